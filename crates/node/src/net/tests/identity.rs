//! Connections over TLS: who is let in, who is not, and what both sides hear of it.

use std::sync::Arc;

use consign_core::consumer::Event;
use consign_core::wire::{Message, Purpose, SmallFrame, encode_frame};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::identity::Keyring;
use crate::identity::tests::Ca;
use crate::net::bounds::{TLS_BYTES_MAX, TLS_DEADLINE};
use crate::net::shared::NetEvent;

use super::raw::{Raw, hello};
use super::support::{Node, name, soon};

/// Why `from` has no connection to the node at `addr`, which it calls `to`.
async fn refusal(from: &Node, to: &str, addr: &str) -> String {
    from.net.set_targets(vec![(name(to), addr.to_owned())]);
    soon(async {
        loop {
            let states = from.net.peer_states();
            let error = states.iter().find_map(|state| state.error.clone());
            assert!(!states.iter().any(|state| state.connected), "it is let in");
            match error {
                Some(error) => return error,
                None => tokio::task::yield_now().await,
            }
        }
    })
    .await
}

async fn connects(from: &Node, to: &Node) {
    from.net
        .set_targets(vec![(to.name.clone(), to.addr.clone())]);
    soon(async {
        while !from.net.peer_states().iter().any(|state| state.connected) {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn nodes_of_one_authority_talk() {
    let mut ca = Ca::new();
    let (cam, store) = (
        ca.keyring("cam", "producer"),
        ca.keyring("store", "consumer"),
    );
    let cam = Node::start_secured("cam", &cam).await;
    let store = Node::start_secured("store", &store).await;
    connects(&cam, &store).await;
}

#[tokio::test]
async fn who_is_of_another_authority_gets_nowhere() {
    let cam = Ca::new().keyring("cam", "producer");
    let store = Ca::new().keyring("store", "consumer");
    let cam = Node::start_secured("cam", &cam).await;
    let store = Node::start_secured("store", &store).await;
    let why = refusal(&cam, "store", &store.addr).await;
    assert!(
        why.contains("says store is of another authority") && why.contains("hint:"),
        "{why}"
    );
}

#[tokio::test]
async fn a_certificate_is_good_for_its_own_name_alone() {
    let mut ca = Ca::new();
    // The keys of one node under the name of another, at either end.
    let (cam, eve) = (
        ca.keyring("cam", "producer"),
        ca.keyring("eve", "producer,consumer"),
    );
    let store = ca.keyring("store", "consumer");
    let cam = Node::start_secured("cam", &cam).await;
    let store = Node::start_secured("store", &store).await;
    let false_store = Node::start_secured("store", &eve).await;
    let why = refusal(&cam, "store", &false_store.addr).await;
    assert!(
        why.contains("eve answers where store was expected"),
        "{why}"
    );
    let false_cam = Node::start_secured("cam", &eve).await;
    let why = refusal(&false_cam, "store", &store.addr).await;
    assert!(why.contains("that of eve, and its hello says cam"), "{why}");
}

#[tokio::test]
async fn roles_are_needed_at_both_ends() {
    let mut ca = Ca::new();
    let (cam, other) = (
        ca.keyring("cam", "producer"),
        ca.keyring("cam-2", "producer"),
    );
    let (store, deposit) = (
        ca.keyring("store", "consumer"),
        ca.keyring("store-2", "consumer"),
    );
    let cam = Node::start_secured("cam", &cam).await;
    let other = Node::start_secured("cam-2", &other).await;
    let why = refusal(&cam, "cam-2", &other.addr).await;
    assert!(
        why.contains("cam-2 takes no files") && why.contains("not consumer"),
        "{why}"
    );
    let store = Node::start_secured("store", &store).await;
    let deposit = Node::start_secured("store-2", &deposit).await;
    let why = refusal(&store, "store-2", &deposit.addr).await;
    assert!(
        why.contains("store sends no files") && why.contains("not producer"),
        "{why}"
    );
}

#[tokio::test]
async fn plaintext_and_tls_do_not_mix_and_both_are_told() {
    let mut ca = Ca::new();
    let keyring = ca.keyring("store", "producer,consumer");
    let (plain, secured) = (
        Node::start("cam").await,
        Node::start_secured("store", &keyring).await,
    );
    let why = refusal(&plain, "store", &secured.addr).await;
    assert!(
        why.contains("speaks only TLS") && why.contains("hint:"),
        "{why}"
    );
    let why = refusal(&secured, "cam", &plain.addr).await;
    assert!(
        why.contains("before TLS was up") && why.contains("hint:"),
        "{why}"
    );
}

#[tokio::test]
async fn a_revoked_node_gets_nowhere_and_what_it_has_is_ended() {
    let mut ca = Ca::new();
    let (cam, store) = (
        ca.keyring("cam", "producer"),
        ca.keyring("store", "consumer"),
    );
    let other = ca.keyring("other", "producer");
    let cam_node = Node::start_secured("cam", &cam).await;
    let store_node = Node::start_secured("store", &store).await;
    let other_node = Node::start_secured("other", &other).await;
    connects(&cam_node, &store_node).await;
    connects(&other_node, &store_node).await;
    let list = ca.revoke("cam").into_bytes();
    // As the config of a producer that nobody has revoked would bring it.
    other_node.net.shared.take_over(list).await.unwrap();
    // It travels to the consumer, which ends the producer's connection.
    soon(async {
        while store.lowest_list() == 0 {
            tokio::task::yield_now().await;
        }
        while cam_node
            .net
            .peer_states()
            .iter()
            .any(|state| state.connected)
        {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let why = soon(async {
        loop {
            let states = cam_node.net.peer_states();
            let error = states.iter().find_map(|state| state.error.clone());
            match error.filter(|error| error.contains("revoked")) {
                Some(error) => return error,
                None => tokio::time::sleep(std::time::Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    assert!(why.contains("hint:"), "{why}");
    connects(&other_node, &store_node).await;
}

#[tokio::test]
async fn whoever_has_the_newer_list_tells_the_other_when_they_connect() {
    for dialler_knows in [true, false] {
        let mut ca = Ca::new();
        let cam = ca.keyring("cam", "producer");
        let store = ca.keyring("store", "consumer");
        drop(ca.keys("gone", "producer"));
        let list = ca.revoke("gone");
        let (knows, learns) = match dialler_knows {
            true => (&cam, &store),
            false => (&store, &cam),
        };
        knows.take_over(list.as_bytes()).unwrap().unwrap();
        let cam_node = Node::start_secured("cam", &cam).await;
        let store_node = Node::start_secured("store", &store).await;
        connects(&cam_node, &store_node).await;
        soon(async {
            while learns.lowest_list() == 0 {
                tokio::task::yield_now().await;
            }
        })
        .await;
        assert_eq!(learns.lists(), knows.lists());
    }
}

#[tokio::test]
async fn lists_of_two_authorities_travel_and_one_that_is_not_believed_ends_nothing() {
    let (mut old, mut new) = (Ca::new(), Ca::new());
    let cam = old.keyring_of_both(&new, "cam", "producer");
    let store = old.keyring_of_both(&new, "store", "consumer");
    let of_old_alone = old.keyring("store-2", "consumer");
    for _ in 0..3 {
        drop(old.keys("gone", "producer"));
        let list = old.revoke("gone");
        for keyring in [&cam, &store, &of_old_alone] {
            keyring.take_over(list.as_bytes()).unwrap().unwrap();
        }
    }
    drop(new.keys("gone", "producer"));
    let first = new.revoke("gone");
    cam.take_over(first.as_bytes()).unwrap().unwrap();
    let cam_node = Node::start_secured("cam", &cam).await;
    let store = (Node::start_secured("store", &store).await, store);
    let deaf = Node::start_secured("store-2", &of_old_alone).await;
    let targets = [&store.0, &deaf].map(|node| (node.name.clone(), node.addr.clone()));
    cam_node.net.set_targets(targets.to_vec());
    soon(async {
        while store.1.lists() != cam.lists() {
            tokio::task::yield_now().await;
        }
        while !cam_node.net.peer_states().iter().all(|one| one.connected) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    // One more, which the third hears behind the one that it does not believe.
    drop(old.keys("gone", "producer"));
    let fourth = old.revoke("gone").into_bytes();
    cam_node.net.shared.take_over(fourth).await.unwrap();
    soon(async {
        while of_old_alone.lowest_list() < 4 {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let states = cam_node.net.peer_states();
    assert!(
        states
            .iter()
            .all(|one| one.connected && one.error.is_none()),
        "{states:?}"
    );
}

#[tokio::test]
async fn who_shows_no_certificate_hears_that_it_needs_one() {
    let keyring = Ca::new().keyring("store", "consumer");
    let store = Node::start_secured("store", &keyring).await;
    let stream = TcpStream::connect(&store.addr).await.unwrap();
    let mut stream = without_certificate(&keyring, stream, b"consign")
        .await
        .unwrap();
    let hello = encode_frame(&Message::Hello(hello(&store, Purpose::Control)), 0);
    let _ = stream.write_all(&hello).await;
    let error = soon(stream.read(&mut [0; 64]))
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("CertificateRequired"), "{error}");
    let stream = TcpStream::connect(&store.addr).await.unwrap();
    let error = without_certificate(&keyring, stream, b"h2")
        .await
        .unwrap_err()
        .to_string();
    assert!(error.contains("NoApplicationProtocol"), "{error}");
}

async fn without_certificate(
    keyring: &Keyring,
    stream: TcpStream,
    protocol: &[u8],
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let (_, verifier) = keyring.dialling();
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    config.dangerous().set_certificate_verifier(verifier);
    config.alpn_protocols = vec![protocol.to_vec()];
    let name = ServerName::try_from("node.consign").unwrap();
    soon(TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

#[tokio::test]
async fn a_producer_brings_its_own_files_and_no_others() {
    let mut ca = Ca::new();
    let (cam, store) = (
        ca.keyring("cam", "producer"),
        ca.keyring("store", "consumer"),
    );
    let store = Node::start_secured("store", &store).await;
    let mut stream = by_hand(&cam, &store).await;
    let hello = encode_frame(&Message::Hello(hello(&store, Purpose::Smalls)), 0);
    stream.write_all(&hello).await.unwrap();
    let frame = SmallFrame {
        producer: "cam-2".into(),
        ..SmallFrame::default()
    };
    stream
        .write_all(&encode_frame(&Message::SmallFrame(frame), 0))
        .await
        .unwrap();
    // The welcome, and then the end.
    let mut heard = Vec::new();
    let _ = timeout(TLS_DEADLINE, stream.read_to_end(&mut heard))
        .await
        .expect("it is closed");
    assert!(heard.windows(5).any(|window| window == b"store"));
}

async fn by_hand(keyring: &Keyring, to: &Node) -> tokio_rustls::client::TlsStream<TcpStream> {
    let stream = TcpStream::connect(&to.addr).await.unwrap();
    let (config, _) = keyring.dialling();
    let name = ServerName::try_from("node.consign").unwrap();
    soon(TlsConnector::from(config).connect(name, stream))
        .await
        .unwrap()
}

#[tokio::test]
async fn a_stranger_cannot_say_much_before_tls_is_up() {
    let keyring = Ca::new().keyring("store", "consumer");
    let store = Node::start_secured("store", &keyring).await;
    let mut raw = Raw::connect(&store).await;
    // Records of a hello that never ends.
    let record = [
        [0x16, 3, 1, 0x40, 0, 1, 0, 0xff, 0xf0].as_slice(),
        &[0; 0x3ffb],
    ]
    .concat();
    let mut said = 0;
    let ended = soon(async {
        while raw.stream.write_all(&record).await.is_ok() {
            said += record.len();
            if said > 100 * TLS_BYTES_MAX {
                return false;
            }
        }
        true
    })
    .await;
    assert!(ended, "{said} bytes were taken");
}

#[tokio::test(start_paused = true)]
async fn tls_that_does_not_come_up_has_a_deadline() {
    let keyring = Ca::new().keyring("store", "consumer");
    let store = Node::start_secured("store", &keyring).await;
    let mut slow = TcpStream::connect(&store.addr).await.unwrap();
    slow.write_all(&[0x16, 3, 1]).await.unwrap();
    let ended = timeout(3 * TLS_DEADLINE, slow.read(&mut [0; 64])).await;
    assert!(ended.is_ok(), "the listener waits for ever");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let cam = Node::start_secured("cam", &Ca::new().keyring("cam", "producer")).await;
    let addr = listener.local_addr().unwrap().to_string();
    let why = refusal_of_silent(&cam, &addr, &listener).await;
    assert!(why.contains("bringing TLS up took more than 5 s"), "{why}");
}

async fn refusal_of_silent(cam: &Node, addr: &str, listener: &TcpListener) -> String {
    cam.net.set_targets(vec![(name("store"), addr.to_owned())]);
    let (_silent, _) = listener.accept().await.unwrap();
    loop {
        let states = cam.net.peer_states();
        match states.iter().find_map(|state| state.error.clone()) {
            Some(error) => return error,
            None => tokio::time::sleep(TLS_DEADLINE / 10).await,
        }
    }
}

/// Passes one connection on, and keeps what the dialling side said.
async fn listen_in(listener: TcpListener, to: String) -> Vec<u8> {
    let (mut near, _) = listener.accept().await.unwrap();
    let mut far = TcpStream::connect(to).await.unwrap();
    let (mut from_near, mut to_near) = near.split();
    let (mut from_far, mut to_far) = far.split();
    let mut said = Vec::new();
    let there = async {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from_near.read(&mut bytes).await {
            said.extend_from_slice(&bytes[..count]);
            to_far.write_all(&bytes[..count]).await.unwrap();
        }
        let _ = to_far.shutdown().await;
    };
    let back = tokio::io::copy(&mut from_far, &mut to_near);
    let _ = tokio::join!(there, back);
    said
}

#[tokio::test]
async fn a_session_that_is_played_back_is_not_heard() {
    let mut ca = Ca::new();
    let (cam, store) = (
        ca.keyring("cam", "producer"),
        ca.keyring("store", "consumer"),
    );
    let cam = Node::start_secured("cam", &cam).await;
    let mut store = Node::start_secured("store", &store).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let heard = tokio::spawn(listen_in(listener, store.addr.clone()));
    cam.net.set_targets(vec![(name("store"), addr)]);
    let is_up = |event| matches!(event, NetEvent::Consumer(Event::PeerUp { .. })).then_some(());
    store.event(is_up).await;
    soon(async {
        while !cam.net.peer_states().iter().any(|state| state.connected) {
            tokio::task::yield_now().await;
        }
    })
    .await;
    cam.net.set_targets(Vec::new());
    let said = soon(heard).await.unwrap();
    let is_down = |event| matches!(event, NetEvent::Consumer(Event::PeerDown { .. })).then_some(());
    store.event(is_down).await;
    assert!(said.len() > 500, "{} bytes are no session", said.len());

    let mut again = TcpStream::connect(&store.addr).await.unwrap();
    again.write_all(&said).await.unwrap();
    let mut answer = Vec::new();
    // It ends with or without a reset, since not all was read.
    let _ = soon(again.read_to_end(&mut answer)).await;
    // Whoever comes next is the first who is heard.
    let next = ca.keyring("cam-2", "producer");
    let next = Node::start_secured("cam-2", &next).await;
    connects(&next, &store).await;
    let who = |event| match event {
        NetEvent::Consumer(Event::PeerUp { node, .. }) => Some(node),
        _ => None,
    };
    assert_eq!(store.event(who).await, name("cam-2"));
}
