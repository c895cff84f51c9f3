//! Etcd is away for longer than any member may be: nobody takes that for an absence of members.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, Etcd, SOON, files_in, random_bytes, until};

/// How long a member may be away, and the least time before that after which its files go elsewhere.
const FORGET_AFTER: Duration = Duration::from_secs(2);
/// Longer than a lease too, so that etcd itself has time to lose everybody.
const OUTAGE: Duration = Duration::from_secs(12);

const PRODUCERS: [&str; 2] = ["prod-1", "prod-2"];
const CONSUMERS: [&str; 3] = ["cons-1", "cons-2", "cons-3"];
const REPLICAS: usize = 2;

/// Which consumer an application found which file at, and how often.
type Taken = BTreeMap<String, BTreeMap<&'static str, usize>>;

/// Takes what has arrived, as an application does: a second copy is seen as one.
fn take(cluster: &Cluster, taken: &mut Taken) {
    for consumer in CONSUMERS {
        for (name, path) in files_in(&cluster.node(consumer).inbox()) {
            fs::remove_file(path).unwrap();
            *taken.entry(name).or_default().entry(consumer).or_default() += 1;
        }
    }
}

fn everybody() -> impl Iterator<Item = &'static str> + Clone {
    PRODUCERS.into_iter().chain(CONSUMERS)
}

fn all_are_heard(cluster: &Cluster, by: &str) -> bool {
    let nodes = cluster.ask(by, &["nodes", "--json"]).good().objects();
    let is_heard = |name| (nodes.iter()).any(|one| one["name"] == name && one["heard"] == true);
    everybody().filter(|one| *one != by).all(is_heard)
}

fn all_know_that_etcd_is(reachable: bool, cluster: &Cluster) {
    for node in everybody() {
        until(
            &format!("etcd is reachable for {node}: {reachable}"),
            SOON,
            || cluster.status(node)["membership"]["reachable"] == reachable,
        );
    }
}

/// Submits two files at each producer, and waits until all consumers of each have it.
fn deliver(cluster: &Cluster, round: usize) {
    for producer in PRODUCERS {
        let names = [0, 1].map(|at| format!("{producer}-{round}-{at}"));
        let paths = names.map(|name| cluster.write(&name, &random_bytes(round as u64, 2_000)));
        let [one, two] = paths.each_ref().map(|path| path.to_str().unwrap());
        let args = ["send", one, two, "--feed", "files"];
        cluster.ask(producer, &args).good();
    }
    for producer in PRODUCERS {
        cluster.wait_until_done(producer, 2 * (round as u64 + 1), SOON);
    }
}

/// Two producers and three consumers hear each other over connections, so that each has most of all
/// members: nobody is saved by hearing too few to judge.
#[test]
fn nobody_is_forgotten_or_replaced_while_etcd_is_away_for_longer_than_a_member_may_be() {
    let test = "nobody_is_forgotten_or_replaced_while_etcd_is_away_for_longer";
    let Some(mut etcd) = Etcd::start(test) else {
        return;
    };
    let mut cluster = Cluster::new();
    for producer in PRODUCERS {
        cluster.producer(producer, &format!("replicas = {REPLICAS}"));
    }
    for consumer in CONSUMERS {
        cluster.consumer(consumer, "");
    }
    cluster.learns_by(&etcd.membership());
    cluster.membership(&format!(
        "replace_after = \"1s\"\nforget_after = \"{}s\"",
        FORGET_AFTER.as_secs()
    ));
    cluster.start();
    for node in everybody() {
        until("all are heard", SOON, || all_are_heard(&cluster, node));
    }
    let (mut taken, mut round) = (Taken::new(), 0);
    deliver(&cluster, round);
    etcd.kill();
    all_know_that_etcd_is(false, &cluster);
    let away = Instant::now();
    while away.elapsed() < OUTAGE {
        round += 1;
        deliver(&cluster, round);
        take(&cluster, &mut taken);
    }
    let files = PRODUCERS.len() * 2 * (round + 1);
    let copies = |taken: &Taken| taken.values().map(BTreeMap::len).sum::<usize>();
    until("all is published", SOON, || {
        take(&cluster, &mut taken);
        copies(&taken) == files * REPLICAS
    });
    let is_used = |consumer| taken.values().any(|by| by.contains_key(consumer));
    assert!(CONSUMERS.into_iter().all(is_used), "{taken:?}");
    // Who was missed meanwhile would be gone the moment that etcd is heard.
    etcd.run();
    all_know_that_etcd_is(true, &cluster);
    for node in everybody() {
        until("all are heard again", SOON, || {
            all_are_heard(&cluster, node)
        });
        let log = cluster.node(node).log();
        assert!(!log.contains("forgotten"), "{node}: {log}");
    }
    deliver(&cluster, round + 1);
    until("the last ones are published", SOON, || {
        take(&cluster, &mut taken);
        copies(&taken) == (files + 4) * REPLICAS
    });
    for (name, by) in &taken {
        assert_eq!(by.len(), REPLICAS, "{name}: {by:?}");
        assert!(by.values().all(|copies| *copies == 1), "{name}: {by:?}");
    }
    for producer in PRODUCERS {
        for transfer in cluster.transfers(producer, &["--limit", "0"]) {
            let id = transfer["id"].as_str().unwrap();
            let shown = cluster
                .ask(producer, &["show", id, "--json"])
                .good()
                .objects();
            let events = shown[0]["events"].as_array().unwrap().iter();
            let placed = events.filter(|event| event["kind"] == "placed").count();
            assert_eq!(placed, 1, "it was placed again: {}", shown[0]);
        }
    }
}
