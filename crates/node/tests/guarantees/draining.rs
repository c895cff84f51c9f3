//! Machines that are taken out of service.

use crate::cluster::{Cluster, SOON, files_in, left_in_staging, random_bytes, until};

fn drain_of(cluster: &Cluster, name: &str) -> serde_json::Value {
    cluster.status(name)["drain"].clone()
}

fn has_drained(cluster: &Cluster, name: &str) -> bool {
    drain_of(cluster, name)["is_done"] == true
}

fn send(cluster: &Cluster, prefix: &str, files: usize, size: usize) {
    let paths: Vec<String> = (0..files)
        .map(|at| {
            let bytes = random_bytes(at as u64, size);
            let path = cluster.write(&format!("{prefix}-{at}"), &bytes);
            path.to_str().unwrap().to_owned()
        })
        .collect();
    let mut args = vec!["send", "--feed", "files"];
    args.extend(paths.iter().map(String::as_str));
    cluster.ask("prod-1", &args).good();
}

fn received(cluster: &Cluster, name: &str) -> Vec<String> {
    let inbox = cluster.node(name).inbox();
    files_in(&inbox).into_keys().collect()
}

#[test]
fn a_drained_consumer_finishes_what_it_was_given_gets_nothing_new_and_says_when_it_is_done() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 1");
    for name in ["cons-1", "cons-2"] {
        cluster.consumer(name, "");
    }
    let link = cluster.proxy("cons-1");
    // So slow that nothing is whole before it is told to drain.
    link.slow_down(20_000);
    cluster.start();
    send(&cluster, "large", 10, 400_000);
    let inbox = cluster.node("cons-1").inbox();
    until("it has begun to receive", SOON, || {
        !left_in_staging(&inbox).is_empty()
    });
    cluster.ask("cons-1", &["drain", "cons-1"]).good();
    until("the producer has heard of it", SOON, || {
        cluster.member("prod-1", "cons-1")["state"] == "draining"
    });
    send(&cluster, "small", 30, 100);
    until("new files go to the other one", SOON, || {
        let names = received(&cluster, "cons-2");
        names
            .iter()
            .filter(|name| name.starts_with("small"))
            .count()
            == 30
    });
    let drain = drain_of(&cluster, "cons-1");
    assert_eq!(drain["is_done"], false);
    assert!(drain.to_string().contains("prod-1"), "{drain}");
    let page = cluster.ask("cons-1", &["status"]).good().out;
    assert!(page.contains("it drains"), "{page}");

    link.slow_down(0);
    cluster.ask("cons-1", &["drain", "--wait"]).good();
    cluster.wait_until_done("prod-1", 40, SOON);
    let names = received(&cluster, "cons-1");
    assert!(!names.is_empty(), "what was begun is finished");
    assert!(names.iter().all(|name| name.starts_with("large")));

    // It stays out of service over a restart, and without its producer it cannot tell.
    cluster.kill("cons-1");
    cluster.start_one("cons-1");
    until("it has drained again", SOON, || {
        has_drained(&cluster, "cons-1")
    });
    cluster.kill("prod-1");
    until("nobody says what is owed", SOON, || {
        let drain = drain_of(&cluster, "cons-1").to_string();
        drain.contains("prod-1 is not connected")
    });
    cluster.start_one("prod-1");
    until("it has drained again", SOON, || {
        has_drained(&cluster, "cons-1")
    });

    cluster.ask("cons-1", &["drain", "--undo"]).good();
    until("the producer has heard of it", SOON, || {
        cluster.member("prod-1", "cons-1")["state"] == "active"
    });
    send(&cluster, "later", 30, 100);
    until("it gets its share", SOON, || {
        let names = received(&cluster, "cons-1");
        names.iter().any(|name| name.starts_with("later"))
    });
    cluster
        .ask("prod-1", &["drain", "cons-1"])
        .bad(2, &["run it on cons-1"]);
}

#[test]
fn a_drained_producer_takes_nothing_new_and_says_when_all_it_had_is_delivered() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 1");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    send(&cluster, "before", 5, 1_000);
    cluster.ask("prod-1", &["drain"]).good();
    let path = cluster.write("after", b"after");
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).bad(1, &["drains", "--undo"]);
    let drain = drain_of(&cluster, "prod-1");
    assert_eq!(drain["is_done"], false, "{drain}");
    assert!(drain.to_string().contains("5 file(s)"), "{drain}");

    cluster.kill("prod-1");
    cluster.start_one("prod-1");
    cluster.ask("prod-1", &args).bad(1, &["drains", "--undo"]);
    cluster.start_one("cons-1");
    cluster.ask("prod-1", &["drain", "--wait"]).good();
    // They are saved; small files are shown a moment later, many at a time.
    until("they are shown", SOON, || {
        received(&cluster, "cons-1").len() == 5
    });

    cluster.ask("prod-1", &["drain", "--undo"]).good();
    cluster.ask("prod-1", &args).good();
    cluster.wait_until_done("prod-1", 6, SOON);
}
