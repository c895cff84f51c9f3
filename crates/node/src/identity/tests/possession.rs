//! Certificates are no secret. Whoever shows one must have its key, at whichever end.

use std::sync::Arc;

use rustls::client::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::server::ServerConfig;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{CertificateError, ClientConnection, Error, ServerConnection};

use super::super::keys::provider;
use super::super::newcomer::{Newcomer, Prepared};
use super::super::{Door, JOIN_PROTOCOL, NODE_PROTOCOL};
use super::{Ca, Keys, node, roles};
use crate::timestamp::Timestamp;

/// Brings TLS up without a network, as far as both ends let it come: how it ended at each.
fn meet(client: Arc<ClientConfig>, server: Arc<ServerConfig>) -> [Result<(), Error>; 2] {
    let name = ServerName::try_from("node.consign").unwrap();
    let mut client = ClientConnection::new(client, name).unwrap();
    let mut server = ServerConnection::new(server).unwrap();
    let mut ends = [Ok(()), Ok(())];
    while client.wants_write() || server.wants_write() {
        let mut said = Vec::new();
        client.write_tls(&mut said).unwrap();
        server.read_tls(&mut said.as_slice()).unwrap();
        let heard = server.process_new_packets().map(drop);
        ends[1] = std::mem::replace(&mut ends[1], Ok(())).and(heard);
        let mut said = Vec::new();
        server.write_tls(&mut said).unwrap();
        client.read_tls(&mut said.as_slice()).unwrap();
        let heard = client.process_new_packets().map(drop);
        ends[0] = std::mem::replace(&mut ends[0], Ok(())).and(heard);
    }
    ends
}

/// The certificates of somebody, and the key of another.
fn with_another_key(shown: &[CertificateDer<'static>], by: &Keys) -> Arc<SingleCertAndKey> {
    let stolen = CertifiedKey::new(shown.to_vec(), Arc::clone(&by.signer));
    Arc::new(SingleCertAndKey::from(stolen))
}

/// A server that shows this, and asks nobody for a certificate.
fn server(shows: Arc<SingleCertAndKey>, protocol: &[u8]) -> Arc<ServerConfig> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_no_client_auth().with_cert_resolver(shows);
    config.alpn_protocols = vec![protocol.to_vec()];
    Arc::new(config)
}

const NOT_ITS_KEY: Error = Error::InvalidCertificate(CertificateError::BadSignature);

#[test]
fn a_node_that_shows_the_certificate_of_another_without_its_key_is_no_node() {
    let mut ca = Ca::new();
    let (eve, cam) = (
        ca.keys("eve", "producer,consumer"),
        ca.keys("cam", "producer"),
    );
    let keyring = ca.keyring("store", "consumer");
    // As who is dialled.
    let (client, _) = keyring.dialling();
    let honest = server(Arc::clone(&cam.own), NODE_PROTOCOL);
    assert_eq!(meet(Arc::clone(&client), honest), [Ok(()), Ok(())]);
    let false_cam = server(with_another_key(&cam.chain, &eve), NODE_PROTOCOL);
    assert_eq!(meet(client, false_cam)[0], Err(NOT_ITS_KEY));
    // As who dials.
    let client = |shows: Arc<SingleCertAndKey>| {
        let (mut config, _) = keyring.dialling();
        Arc::make_mut(&mut config).client_auth_cert_resolver = shows;
        config
    };
    let (accepting, _) = keyring.accepting();
    let honest = client(Arc::clone(&cam.own));
    assert_eq!(meet(honest, Arc::clone(&accepting)), [Ok(()), Ok(())]);
    let false_cam = client(with_another_key(&cam.chain, &eve));
    assert_eq!(meet(false_cam, accepting)[1], Err(NOT_ITS_KEY));
}

#[test]
fn whoever_joins_tells_nothing_to_a_door_that_shows_the_authority_without_its_key() {
    let mut ca = Ca::new();
    let times = (Timestamp(0), Timestamp(1));
    let invited = ca
        .authority
        .invite(&node("cam"), roles("producer"), times, "127.0.0.1:1");
    let out = ca.dir.path().join("joined.pem");
    let Prepared::Asks(newcomer) = Newcomer::prepare(invited.unwrap(), &out).unwrap() else {
        panic!("it has not joined yet");
    };
    let authority = ca.authority.certificate.clone();
    // A node of the cluster has the certificate, and a key that is good for much.
    let eve = ca.keys("eve", "producer,consumer");
    let (client, shown) = newcomer.dialling();
    let false_door = server(
        with_another_key(std::slice::from_ref(&authority), &eve),
        JOIN_PROTOCOL,
    );
    assert_eq!(meet(client, false_door)[0], Err(NOT_ITS_KEY));
    assert_eq!(
        shown.shown(),
        Some(Ok(authority)),
        "it is the right certificate"
    );
    // With its own certificate it is not what the token names.
    let (client, shown) = newcomer.dialling();
    let node_as_door = server(Arc::clone(&eve.own), JOIN_PROTOCOL);
    assert!(meet(client, node_as_door)[0].is_err());
    assert_eq!(shown.shown(), Some(Err(())));
    // The door itself has both.
    let Ca { dir, authority } = ca;
    drop(authority);
    let door = Door::open(&dir.path().join("ca"), &eve).unwrap();
    let (client, _) = newcomer.dialling();
    assert_eq!(meet(client, door.accepting()), [Ok(()), Ok(())]);
}
