//! Keys that change while agents run: what was connected with others ends, and comes back if it may.

use std::fs;
use std::io::Read as _;
use std::net::TcpListener;
use std::path::Path;

use crate::cluster::{Authority, Cluster, SOON, files_in, left_in_staging, random_bytes, until};

use super::{deliver, log_says, secured};

/// The lines of a `[tls]` with this bundle's certificate, that believes these authorities.
fn believing(cluster: &Cluster, bundle: &Path, authorities: &[&Authority]) -> String {
    let all: Vec<_> = authorities.iter().map(|one| one.certificate()).collect();
    let name = bundle.file_name().unwrap().to_str().unwrap();
    let ca = cluster.write(&format!("ca-of-{name}"), &all.concat());
    format!("ca = {ca:?}\ncert = {bundle:?}\nkey = {bundle:?}")
}

fn is_connected(cluster: &Cluster, name: &str) -> bool {
    cluster.member(name, "cons-1")["connected"] == true
}

fn send(cluster: &Cluster, from: &str, file: &str) {
    let path = cluster.write(file, b"something");
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask(from, &args).good();
}

/// How often a node's log has these words in one line.
fn times(cluster: &Cluster, name: &str, words: &[&str]) -> usize {
    let log = cluster.node(name).log();
    let said = |line: &&str| words.iter().all(|word| line.contains(word));
    log.lines().filter(said).count()
}

#[test]
fn who_is_of_an_authority_that_is_not_believed_any_more_is_cut_off_at_once() {
    let mut cluster = Cluster::new();
    cluster.consumer("cons-1", "");
    cluster.producer("prod-1", "");
    cluster.producer("prod-2", "");
    let old = Authority::new(&cluster, "old");
    let new = Authority::new(&cluster, "new");
    let one = old.issue("prod-1", "producer");
    let two = new.issue("prod-2", "producer");
    let own = new.issue("cons-1", "consumer");
    for (name, bundle) in [("prod-1", &one), ("prod-2", &two), ("cons-1", &own)] {
        let lines = believing(&cluster, bundle, &[&old, &new]);
        cluster.tls(name, &lines);
    }
    cluster.start();
    for name in ["prod-1", "prod-2"] {
        until("it is connected", SOON, || is_connected(&cluster, name));
    }
    cluster.tls("cons-1", &format!("bundle = {own:?}"));
    cluster.configure();
    cluster.hang_up("cons-1");
    let ended = ["a connection was ended", "prod-1", "of another authority"];
    log_says(&cluster, "cons-1", &ended);
    until("it is out", SOON, || !is_connected(&cluster, "prod-1"));
    let told = ["cons-1", "of another authority", "hint:"];
    log_says(&cluster, "prod-1", &told);
    send(&cluster, "prod-1", "too-late");
    // Who is of the one that is left comes back.
    send(&cluster, "prod-2", "in-time");
    cluster.wait_until_done("prod-2", 1, SOON);
    let inbox = cluster.node("cons-1").inbox();
    until("it is published", SOON, || !files_in(&inbox).is_empty());
    let there: Vec<_> = files_in(&inbox).into_keys().collect();
    assert_eq!(there, ["in-time"]);
    assert_eq!(cluster.count("prod-1", "done"), 0);
    assert!(!is_connected(&cluster, "prod-1"));
    // It waits for nothing but a certificate of that one.
    cluster.secure("prod-1", &new, "producer");
    cluster.configure();
    cluster.hang_up("prod-1");
    cluster.wait_until_done("prod-1", 1, SOON);
}

#[test]
fn connections_with_a_certificate_that_was_replaced_are_made_anew_and_others_stay() {
    let (mut cluster, authority) = secured();
    cluster.start();
    deliver(&cluster, 1);
    let met = |cluster: &Cluster| times(cluster, "prod-1", &[" connected", "peer=cons-1"]);
    // Nothing has changed.
    cluster.hang_up("prod-1");
    log_says(&cluster, "prod-1", &["were read again"]);
    deliver(&cluster, 2);
    assert_eq!(met(&cluster), 1, "{}", cluster.node("prod-1").log());
    // Its old one may be in other hands.
    cluster.secure("prod-1", &authority, "producer");
    cluster.configure();
    cluster.hang_up("prod-1");
    let why = "this node has another certificate or other authorities";
    log_says(&cluster, "prod-1", &["met cons-1", why, "hint:"]);
    until("they meet again", SOON, || met(&cluster) == 2);
    deliver(&cluster, 3);
    // Also where it was the other end that connected.
    cluster.secure("cons-1", &authority, "consumer");
    cluster.configure();
    cluster.hang_up("cons-1");
    log_says(&cluster, "cons-1", &["was ended", "met prod-1", why]);
    until("they meet again", SOON, || met(&cluster) == 3);
    deliver(&cluster, 4);
}

/// Without keys an agent talks to nobody beyond this machine, and keys that it did not have at its start
/// need a restart.
#[test]
fn members_elsewhere_wait_for_the_restart_that_brings_the_keys_and_hear_nothing_in_plaintext() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.start();
    send(&cluster, "prod-1", "waits");
    // Of a name it is not known that it leads here.
    let elsewhere = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = elsewhere.local_addr().unwrap().port();
    cluster.consumer("cons-1", "");
    let authority = Authority::new(&cluster, "authority");
    cluster.secure("prod-1", &authority, "producer");
    cluster.configure();
    let config = cluster.node("prod-1").config();
    let text = fs::read_to_string(&config).unwrap();
    let here = format!("127.0.0.1:{}", cluster.node("cons-1").port());
    fs::write(&config, text.replace(&here, &format!("LOCALHOST:{port}"))).unwrap();
    cluster.hang_up("prod-1");
    log_says(&cluster, "prod-1", &["needs a restart: [tls]", "hint:"]);
    until("status says so", SOON, || {
        let problems = cluster.status("prod-1")["problems"].to_string();
        problems.contains("needs a restart: [tls]")
    });
    let nodes = cluster.ask("prod-1", &["nodes", "--json"]).good().objects();
    assert!(nodes.iter().all(|one| one["name"] != "cons-1"), "{nodes:?}");
    // The first that is ever heard there comes after the restart, and is TLS.
    cluster.kill("prod-1");
    cluster.start_one("prod-1");
    let (mut first, _) = elsewhere.accept().unwrap();
    let mut said = [0];
    first.set_read_timeout(Some(SOON)).unwrap();
    first.read_exact(&mut said).unwrap();
    assert_eq!(said, [0x16], "it is plaintext");
}

#[test]
fn a_file_that_is_on_its_way_arrives_whole_when_keys_are_replaced() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    let link = cluster.proxy("cons-1");
    let authority = Authority::new(&cluster, "authority");
    cluster.secure("prod-1", &authority, "producer");
    cluster.secure("cons-1", &authority, "consumer");
    cluster.start();
    until("they have met", SOON, || is_connected(&cluster, "prod-1"));
    link.slow_down(200_000);
    let bytes = random_bytes(1, 6_000_000);
    let path = cluster.write("large", &bytes);
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    let inbox = cluster.node("cons-1").inbox();
    until("it has begun to arrive", SOON, || {
        !left_in_staging(&inbox).is_empty()
    });
    cluster.secure("prod-1", &authority, "producer");
    cluster.configure();
    cluster.hang_up("prod-1");
    log_says(&cluster, "prod-1", &["this node has another certificate"]);
    assert_eq!(
        cluster.count("prod-1", "done"),
        0,
        "it was still on its way"
    );
    link.slow_down(0);
    cluster.wait_until_done("prod-1", 1, SOON);
    until("it is published", SOON, || {
        let files = files_in(&inbox);
        files
            .get("large")
            .is_some_and(|at| fs::read(at).unwrap() == bytes)
    });
}

/// Nobody would talk to a node with such a certificate, and it still has a good one.
#[test]
fn a_certificate_that_is_revoked_is_not_taken_into_use() {
    let mut cluster = Cluster::new();
    cluster.consumer("cons-1", "");
    cluster.producer("prod-1", "");
    let authority = Authority::new(&cluster, "authority");
    let first = authority.issue("prod-1", "producer");
    let kept = cluster.dir().join("first.pem");
    fs::copy(&first, &kept).unwrap();
    let list = authority.revoke("prod-1");
    let second = authority.issue("prod-1", "producer");
    cluster.tls(
        "prod-1",
        &format!("bundle = {second:?}\nrevoked = {list:?}"),
    );
    cluster.secure("cons-1", &authority, "consumer");
    cluster.start();
    until("it is connected", SOON, || is_connected(&cluster, "prod-1"));
    cluster.tls("prod-1", &format!("bundle = {kept:?}"));
    cluster.configure();
    cluster.hang_up("prod-1");
    log_says(
        &cluster,
        "prod-1",
        &["not in force", "revoked by list 1", "keys issue"],
    );
    send(&cluster, "prod-1", "still-there");
    cluster.wait_until_done("prod-1", 1, SOON);
    assert_eq!(
        times(&cluster, "cons-1", &["a connection was ended", "prod-1"]),
        0
    );
}
