//! Revocation while there is only one connection that it concerns, and that one is busy: it ends at
//! once, and not when it has done what it is for.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use crate::cluster::{Authority, Cluster, Proxy, SOON, files_in, random_bytes, until};

use super::log_says;

/// A cluster whose links can be slowed down.
struct Secured {
    cluster: Cluster,
    authority: Authority,
    bundles: BTreeMap<String, PathBuf>,
    links: BTreeMap<String, Proxy>,
}

impl Secured {
    fn new(consumers: &[&str]) -> Self {
        let mut cluster = Cluster::new();
        cluster.producer("prod-1", "replicas = \"all\"");
        for consumer in consumers {
            cluster.consumer(consumer, "");
        }
        let mut secured = Self {
            authority: Authority::new(&cluster, "authority"),
            cluster,
            bundles: BTreeMap::new(),
            links: BTreeMap::new(),
        };
        for consumer in consumers {
            let link = secured.cluster.proxy(consumer);
            secured.links.insert((*consumer).to_owned(), link);
            secured.issue(consumer, "consumer");
        }
        secured.issue("prod-1", "producer");
        secured
    }

    /// Gives a node a certificate: used when the configs are written next.
    fn issue(&mut self, node: &str, roles: &str) {
        let bundle = self.authority.issue(node, roles);
        self.cluster.tls(node, &format!("bundle = {bundle:?}"));
        self.bundles.insert(node.to_owned(), bundle);
    }

    /// Revokes one node, and tells another of it as a person does.
    fn revoke(&mut self, revoked: &str, told: &str) {
        let list = self.authority.revoke(revoked);
        let bundle = &self.bundles[told];
        let lines = format!("bundle = {bundle:?}\nrevoked = {list:?}");
        self.cluster.tls(told, &lines);
        self.cluster.configure();
        self.cluster.hang_up(told);
    }

    fn is_heard(&self, by: &str, node: &str) -> bool {
        let nodes = self.cluster.ask(by, &["nodes", "--json"]).good().objects();
        let found = nodes.iter().find(|one| one["name"] == node);
        found.is_some_and(|one| one["heard"] == true)
    }

    fn slow_down(&self, bytes_per_second: u64) {
        let links = self.links.values();
        links.for_each(|link| link.slow_down(bytes_per_second));
    }

    /// Starts everybody, and sends a large file; the consumers in the order of its chain. It is on its way
    /// to the last of them, slowly.
    fn begin(&mut self, bytes: &[u8]) -> Vec<String> {
        self.cluster.start();
        for consumer in self.links.keys() {
            until("they have met", SOON, || {
                self.cluster.member("prod-1", consumer)["connected"] == true
            });
        }
        let args = ["explain", "--feed", "files", "--key", "large", "--json"];
        let explained = self.cluster.ask("prod-1", &args).good().objects();
        let chain = explained[0]["chain"].as_array().unwrap().iter();
        let chain: Vec<_> = chain.map(|one| one.as_str().unwrap().to_owned()).collect();
        self.slow_down(SLOWLY);
        let before = self.links[chain.last().unwrap()].sent();
        let path = self.cluster.write("large", bytes);
        let args = ["send", path.to_str().unwrap(), "--feed", "files"];
        self.cluster.ask("prod-1", &args).good();
        until("the last one has some of it", SOON, || {
            self.links[chain.last().unwrap()].sent() > before + BEGUN_BYTES
        });
        chain
    }

    fn has(&self, consumer: &str, bytes: &[u8]) -> bool {
        let files = files_in(&self.cluster.node(consumer).inbox());
        let large = files.get("large");
        large.is_some_and(|at| fs::read(at).unwrap() == bytes)
    }

    /// Waits until nobody has a connection to a consumer, not even one on which nothing moves. Those that are
    /// tried meanwhile are over as soon as they are refused.
    fn until_cut_off(&self, consumer: &str) {
        until("all connections are ended", SOON, || {
            self.links[consumer].alive() == 0
        });
    }

    /// Gives a node that was revoked a new certificate, and what was on its way arrives whole.
    fn mend(&mut self, node: &str, roles: &str, bytes: &[u8]) {
        self.slow_down(0);
        self.issue(node, roles);
        self.cluster.configure();
        self.cluster.hang_up(node);
        self.cluster.wait_until_done("prod-1", 1, SOON);
        for consumer in self.links.keys() {
            until("it is published", SOON, || self.has(consumer, bytes));
        }
    }
}

const SLOWLY: u64 = 200_000;
/// More than everything but a file's bytes amounts to.
const BEGUN_BYTES: u64 = 300_000;
/// So large that at this pace it takes longer than any condition here may.
const LARGE_BYTES: usize = 8_000_000;

/// Consumers have nothing to do with each other while there is no file, but for gossip.
#[test]
fn a_connection_for_gossip_ends_when_the_other_end_is_revoked() {
    let mut it = Secured::new(&["cons-1", "cons-2"]);
    let seed = it.links["cons-1"].addr();
    it.cluster
        .learns_by(&format!("kind = \"gossip\"\nseeds = [\"{seed}\"]"));
    it.cluster.start();
    for (by, node) in [("cons-1", "cons-2"), ("cons-2", "cons-1")] {
        until("it is heard", SOON, || it.is_heard(by, node));
    }
    it.revoke("cons-2", "prod-1");
    let ended = [
        "a connection was ended",
        "of cons-2",
        "was revoked by list 1",
    ];
    log_says(&it.cluster, "cons-1", &ended);
    until("it is not heard any more", SOON, || {
        !it.is_heard("cons-1", "cons-2")
    });
    until("it hears nobody", SOON, || {
        it.cluster.status("cons-2")["membership"]["reachable"] == false
    });
    let told = ["this node's certificate is revoked", "hint:"];
    log_says(&it.cluster, "cons-2", &told);
    assert!(it.is_heard("cons-1", "prod-1"), "the others go on");
    it.issue("cons-2", "consumer");
    it.cluster.configure();
    it.cluster.hang_up("cons-2");
    for (by, node) in [("cons-1", "cons-2"), ("cons-2", "cons-1")] {
        until("it is heard again", SOON, || it.is_heard(by, node));
    }
}

/// The one that passes a file on has no connection with the next but that for its bytes.
#[test]
fn a_large_file_is_not_passed_on_to_a_consumer_that_is_revoked_meanwhile() {
    let bytes = random_bytes(1, LARGE_BYTES);
    let mut it = Secured::new(&["cons-1", "cons-2"]);
    let chain = it.begin(&bytes);
    let [first, last] = &chain[..] else {
        panic!("{chain:?}");
    };
    it.revoke(last, first);
    let (peer, revoked) = (format!("peer={last}"), "was revoked by list 1");
    let ended = ["a connection was ended", &peer, "purpose=Chunks", revoked];
    log_says(&it.cluster, first, &ended);
    log_says(
        &it.cluster,
        last,
        &["this node's certificate is revoked", "hint:"],
    );
    it.slow_down(0);
    it.until_cut_off(last);
    until("who is not revoked has it", SOON, || it.has(first, &bytes));
    assert_eq!(it.cluster.count("prod-1", "done"), 0);
    assert!(!it.has(last, &bytes));
    let last = last.clone();
    it.mend(&last, "consumer", &bytes);
}

/// As above, where it is the other end that accepted the connection.
#[test]
fn a_large_file_is_not_taken_from_a_consumer_that_is_revoked_meanwhile() {
    let bytes = random_bytes(1, LARGE_BYTES);
    let mut it = Secured::new(&["cons-1", "cons-2"]);
    let chain = it.begin(&bytes);
    let [first, last] = &chain[..] else {
        panic!("{chain:?}");
    };
    it.revoke(first, last);
    let of = format!("of {first}");
    let ended = ["a connection was ended", &of, "was revoked by list 1"];
    log_says(&it.cluster, last, &ended);
    log_says(
        &it.cluster,
        first,
        &["this node's certificate is revoked", "hint:"],
    );
    it.slow_down(0);
    until("who is not revoked has it", SOON, || it.has(last, &bytes));
    assert_eq!(it.cluster.count("prod-1", "done"), 0);
    assert!(!it.has(first, &bytes));
    let first = first.clone();
    it.mend(&first, "consumer", &bytes);
}

#[test]
fn a_large_file_is_not_taken_from_a_producer_that_is_revoked_meanwhile() {
    let bytes = random_bytes(1, LARGE_BYTES);
    let mut it = Secured::new(&["cons-1"]);
    it.begin(&bytes);
    it.revoke("prod-1", "cons-1");
    let ended = [
        "a connection was ended",
        "of prod-1",
        "was revoked by list 1",
    ];
    log_says(&it.cluster, "cons-1", &ended);
    log_says(
        &it.cluster,
        "prod-1",
        &["this node's certificate is revoked", "hint:"],
    );
    // That for orders, and that for bytes, which would go on faster now.
    let before = it.links["cons-1"].sent();
    it.slow_down(0);
    it.until_cut_off("cons-1");
    let more = it.links["cons-1"].sent() - before;
    assert!(more < BEGUN_BYTES, "{more} bytes went on");
    assert_eq!(it.cluster.count("prod-1", "done"), 0);
    assert!(!it.has("cons-1", &bytes));
    it.mend("prod-1", "producer", &bytes);
}
