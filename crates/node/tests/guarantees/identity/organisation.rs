//! Certificates that other tools have made: `ca`, `cert` and `key` apart, which are replaced in their places.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{deliver, log_says};
use crate::cluster::{Cluster, SOON, until};

const NODES: [&str; 3] = ["prod-1", "cons-1", "cons-2"];

/// An authority that knows nothing of consign: it issues to hosts, below one of its own for them, and all of
/// that has expired long ago.
struct Organisation {
    root: String,
    hosts: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Organisation {
    fn new(name: &str) -> Self {
        let authority = |kind: &str| {
            let mut params = dated(CertificateParams::default(), &format!("{name} {kind}"));
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
            params
        };
        let (root, root_key) = (authority("root"), KeyPair::generate().unwrap());
        let root_pem = root.self_signed(&root_key).unwrap().pem();
        let root = Issuer::new(root, root_key);
        let (hosts, hosts_key) = (authority("hosts"), KeyPair::generate().unwrap());
        Self {
            root: root_pem,
            hosts: hosts.signed_by(&hosts_key, &root).unwrap().pem(),
            issuer: Issuer::new(hosts, hosts_key),
        }
    }

    /// Puts a certificate of a host, and its key, where the node looks for them.
    fn issue(&self, cluster: &Cluster, host: &str) {
        let names = vec![format!("{host}.example.org")];
        let mut leaf = dated(CertificateParams::new(names).unwrap(), host);
        leaf.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let key = KeyPair::generate().unwrap();
        let leaf = leaf.signed_by(&key, &self.issuer).unwrap().pem();
        let chain = leaf + &self.hosts;
        cluster.write(&format!("{host}.cert.pem"), chain.as_bytes());
        let key = cluster.write(&format!("{host}.key.pem"), key.serialize_pem().as_bytes());
        fs::set_permissions(key, fs::Permissions::from_mode(0o600)).unwrap();
    }
}

fn dated(mut params: CertificateParams, name: &str) -> CertificateParams {
    params.not_before = rcgen::date_time_ymd(2001, 1, 1);
    params.not_after = rcgen::date_time_ymd(2003, 1, 1);
    params.distinguished_name.push(DnType::CommonName, name);
    params
}

/// Whom all believe from their next SIGHUP on.
fn believe(cluster: &Cluster, roots: &[&Organisation]) {
    let roots: String = roots.iter().map(|one| one.root.as_str()).collect();
    cluster.write("roots.pem", roots.as_bytes());
}

/// SIGHUP, until the node has done with it.
fn read_again(cluster: &Cluster, name: &str) {
    let times = || cluster.node(name).log().matches("were read again").count();
    let before = times();
    cluster.hang_up(name);
    until("it has read all of it again", SOON, || times() > before);
}

/// A node's own connection has ended for its new certificate, and it has met the other again.
fn has_met_again(cluster: &Cluster, name: &str, other: &str) {
    let why = "this node has another certificate or other authorities";
    log_says(cluster, name, &[&format!("met {other}"), why]);
    until("they meet again", SOON, || {
        cluster.member("prod-1", "cons-1")["connected"] == true
            && cluster.member("prod-1", "cons-2")["connected"] == true
    });
}

#[test]
fn certificates_of_an_organisation_deliver_and_are_replaced_while_the_agents_run() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 2");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    let (old, new) = (Organisation::new("old"), Organisation::new("new"));
    believe(&cluster, &[&old, &new]);
    for name in NODES {
        old.issue(&cluster, name);
        let path = |file: &str| cluster.dir().join("own").join(file);
        let ca = path("roots.pem");
        let cert = path(&format!("{name}.cert.pem"));
        let key = path(&format!("{name}.key.pem"));
        let lines = format!("ca = {ca:?}\ncert = {cert:?}\nkey = {key:?}");
        cluster.tls(name, &lines);
    }
    cluster.start();
    assert_eq!(cluster.status("prod-1")["plaintext"], false);
    deliver(&cluster, 1);
    // One after the other gets another of another authority: they still talk to each other.
    for (name, round) in NODES.into_iter().zip(2..) {
        new.issue(&cluster, name);
        read_again(&cluster, name);
        let other = if name == "prod-1" { "cons-1" } else { "prod-1" };
        has_met_again(&cluster, name, other);
        deliver(&cluster, round);
    }
    // That these are in use shows when nobody believes the old authority any more.
    believe(&cluster, &[&new]);
    for name in NODES {
        read_again(&cluster, name);
    }
    deliver(&cluster, 5);
    for name in NODES {
        let log = cluster.node(name).log();
        assert!(!log.contains("of another authority"), "{name}: {log}");
    }
    // A node that is given one of the old authority once more stays with what it has.
    old.issue(&cluster, "cons-1");
    cluster.hang_up("cons-1");
    let refused = ["not in force", "cons-1.cert.pem", "of another authority"];
    log_says(&cluster, "cons-1", &refused);
    deliver(&cluster, 6);
}
