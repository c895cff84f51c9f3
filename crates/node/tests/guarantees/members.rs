//! Machines come and go: what is owed to whom, and what happens to it.

use std::fs;

use crate::cluster::{Cluster, SOON, files_in, left_in_staging, random_bytes, until};

fn send(cluster: &Cluster, names: &[&str], size: usize) {
    for (seed, name) in (0..).zip(names) {
        cluster.write(name, &random_bytes(seed, size));
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
}

/// Everything in the inbox of a consumer.
fn names_at(cluster: &Cluster, consumer: &str) -> Vec<String> {
    files_in(&cluster.node(consumer).inbox())
        .into_keys()
        .collect()
}

/// Some file was placed again, and `show` says that this is why.
fn assert_placed_again(cluster: &Cluster, why: &str) {
    let transfers = cluster.transfers("prod-1", &[]);
    let mut ids = transfers.iter().map(|one| one["id"].as_str().unwrap());
    let says_so = |id: &str| {
        cluster
            .ask("prod-1", &["show", id])
            .good()
            .out
            .contains(why)
    };
    assert!(ids.any(says_so), "no page says {why:?}");
}

#[test]
fn a_consumer_that_was_down_gets_what_is_owed_to_it() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = \"all\"");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    cluster.configure();
    cluster.start_one("prod-1");
    cluster.start_one("cons-1");
    send(&cluster, &["a", "b", "c"], 1_000);
    until("who is there has it", SOON, || {
        names_at(&cluster, "cons-1").len() == 3
    });
    assert_eq!(cluster.count("prod-1", "done"), 0, "the other one is owed");
    until("nodes tells what is owed", SOON, || {
        let nodes = cluster.ask("prod-1", &["nodes", "--json"]).good().objects();
        let away = nodes.iter().find(|node| node["name"] == "cons-2");
        away.unwrap()["owed_files"] == 3
    });
    cluster.start_one("cons-2");
    cluster.wait_until_done("prod-1", 3, SOON);
    until("it has everything", SOON, || {
        names_at(&cluster, "cons-2").len() == 3
    });
}

#[test]
fn consumer_that_stays_away_is_replaced_after() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 2");
    for name in ["cons-1", "cons-2", "cons-3"] {
        cluster.consumer(name, "");
    }
    let link = cluster.proxy("cons-1");
    // So slow that nothing is whole before it dies.
    link.slow_down(20_000);
    cluster.membership("replace_after = \"1s\"");
    cluster.start();
    let names: Vec<_> = (0..30).map(|at| format!("file-{at}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    send(&cluster, &names, 300_000);
    let inbox = cluster.node("cons-1").inbox();
    until("it has begun to receive", SOON, || {
        !left_in_staging(&inbox).is_empty()
    });
    cluster.kill("cons-1");
    cluster.wait_until_done("prod-1", 30, SOON);
    assert_placed_again(
        &cluster,
        "cons-1 has been away for longer than replace_after",
    );
    let args = ["explain", "--feed", "files", "--key", "new"];
    let explained = cluster.ask("prod-1", &args).good().out;
    let of_it = explained.lines().find(|line| line.contains("cons-1"));
    assert!(of_it.unwrap().contains("away for longer"), "{explained}");
    for name in ["cons-2", "cons-3"] {
        until("who is left has everything", SOON, || {
            names_at(&cluster, name).len() == names.len()
        });
    }
    // Whoever was replaced and returns is told, and keeps nothing in staging.
    assert!(!left_in_staging(&inbox).is_empty());
    link.slow_down(0);
    cluster.start_one("cons-1");
    until("it is connected and owed nothing", SOON, || {
        let node = cluster.member("prod-1", "cons-1");
        node["connected"] == true && node["owed_files"] == 0
    });
    until("staging is empty", SOON, || {
        left_in_staging(&inbox).is_empty()
    });
    assert_eq!(names_at(&cluster, "cons-1"), [""; 0]);
    assert_eq!(cluster.count("prod-1", "done"), 30);
}

#[test]
fn forget_places_files_elsewhere() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 2");
    for name in ["cons-1", "cons-2", "cons-3"] {
        cluster.consumer(name, "");
    }
    cluster.membership("replace_after = \"never\"");
    cluster.start();
    cluster.kill("cons-1");
    let names: Vec<_> = (0..30).map(|at| format!("file-{at}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    send(&cluster, &names, 5_000);
    until("only what is owed to the dead one is left", SOON, || {
        let held = names_at(&cluster, "cons-2").len() + names_at(&cluster, "cons-3").len();
        held < 60 && held as u64 == 30 + cluster.count("prod-1", "done")
    });
    assert!(
        cluster.count("prod-1", "done") < 30,
        "some files are owed to cons-1"
    );
    cluster.ask("prod-1", &["forget", "cons-1"]).good();
    cluster.wait_until_done("prod-1", 30, SOON);
    assert_placed_again(&cluster, "cons-1 was forgotten");
    for name in ["cons-2", "cons-3"] {
        until("who is left has everything", SOON, || {
            names_at(&cluster, name).len() == 30
        });
    }
    cluster
        .ask("prod-1", &["forget", "cons-7"])
        .bad(1, &["cons-7"]);
}

#[test]
fn a_feed_nobody_consumes_waits_and_status_says_why() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.start();
    send(&cluster, &["a", "b"], 1_000);
    until("status says why", SOON, || {
        let status = cluster.status("prod-1");
        let feed = &status["produces"][0];
        feed["queued_files"] == 2 && feed["waiting_reason"].is_string()
    });
    let said = cluster.ask("prod-1", &["status"]).good();
    assert!(
        said.out.contains("files") && said.out.contains("consume"),
        "{}",
        said.out
    );
    let waiting = cluster.transfers("prod-1", &["--state", "submitted"]);
    assert_eq!(waiting.len(), 2);

    // A member that consumes it is all that is missing.
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.kill("prod-1");
    cluster.start_one("prod-1");
    cluster.start_one("cons-1");
    cluster.wait_until_done("prod-1", 2, SOON);
}

#[test]
fn a_slow_consumer_delays_only_its_own_files() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    let link = cluster.proxy("cons-1");
    link.slow_down(20_000);
    cluster.start();
    let names: Vec<_> = (0..40).map(|at| format!("file-{at}")).collect();
    let names: Vec<_> = names.iter().map(String::as_str).collect();
    send(&cluster, &names, 400_000);
    let goes_to = |name: &str| {
        let args = ["explain", "--feed", "files", "--key", name, "--json"];
        let explained = cluster.ask("prod-1", &args).good().objects().remove(0);
        explained["chain"][0].as_str().unwrap().to_owned()
    };
    let fast = names
        .iter()
        .filter(|name| goes_to(name) == "cons-2")
        .count();
    assert!((1..names.len()).contains(&fast), "both have some");
    until("the fast one has all of its own", SOON, || {
        names_at(&cluster, "cons-2").len() == fast
    });
    assert!(names_at(&cluster, "cons-1").len() < names.len() - fast);
}

#[test]
fn members_are_listed_and_reloaded_on_sighup() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    cluster.consumer("cons-2", "");
    cluster.configure();
    cluster.hang_up("prod-1");
    until("the new member is known", SOON, || {
        let nodes = cluster.ask("prod-1", &["nodes", "--json"]).good().objects();
        nodes.iter().any(|node| node["name"] == "cons-2")
    });
    // What was wrong in a config that was reloaded changes nothing.
    fs::write(cluster.node("prod-1").config(), "[nod]").unwrap();
    cluster.hang_up("prod-1");
    until("it says so", SOON, || {
        cluster.node("prod-1").log().contains("nod")
    });
    assert_eq!(cluster.status("prod-1")["ready"], true);
    let problems = |cluster: &Cluster| cluster.status("prod-1")["problems"].to_string();
    until("status tells it", SOON, || {
        problems(&cluster).contains("not in force")
    });
    // What needs a restart is not taken over, and is said to wait for one.
    cluster.configure();
    let config = cluster.node("prod-1").config();
    let elsewhere = format!(
        "{}watch = {:?}\n",
        fs::read_to_string(&config).unwrap(),
        cluster.node("prod-1").inbox()
    );
    fs::write(&config, elsewhere).unwrap();
    cluster.hang_up("prod-1");
    until("status names it", SOON, || {
        problems(&cluster).contains("needs a restart: watch of feed files")
    });
    let feeds = cluster.ask("prod-1", &["feeds", "--json"]).good().objects();
    assert_eq!(feeds[0]["watch"], serde_json::Value::Null, "{feeds:?}");
}

#[test]
fn a_consumer_that_takes_nothing_is_named_with_its_reason() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "min_free = \"1000TB\"");
    cluster.start();
    let path = cluster.write("waits", b"waits");
    cluster
        .ask(
            "prod-1",
            &["send", path.to_str().unwrap(), "--feed", "files"],
        )
        .good();
    until("status says why it waits", SOON, || {
        let problems = cluster.status("prod-1")["problems"].to_string();
        problems.contains("cons-1 takes nothing of feed files") && problems.contains("min_free")
    });
}

#[test]
fn who_is_alive_is_not_forgotten_by_mistake() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    until("they are connected", SOON, || {
        let nodes = cluster.ask("prod-1", &["nodes", "--json"]).good().objects();
        nodes.iter().any(|node| node["connected"] == true)
    });
    for (node, why) in [("prod-1", "is this node"), ("cons-1", "is connected")] {
        let said = cluster.ask("prod-1", &["forget", node]);
        assert_ne!(said.code, 0, "{node}");
        assert!(said.err.contains(why), "{}", said.err);
        assert!(said.err.contains("hint:"), "{}", said.err);
    }
    cluster.stop("cons-1");
    until("who is gone may be", SOON, || {
        cluster.ask("prod-1", &["forget", "cons-1"]).code == 0
    });
    until("it is listed as such", SOON, || {
        let nodes = cluster.ask("prod-1", &["nodes", "--json"]).good().objects();
        let gone = nodes.iter().find(|node| node["name"] == "cons-1").unwrap();
        gone["state"] == "forgotten"
    });
}

#[test]
fn a_consumer_forgets_a_producer_that_is_gone_and_none_that_is_connected() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    send(&cluster, &["a"], 1_000);
    cluster.wait_until_done("prod-1", 1, SOON);
    let alive = cluster.ask("cons-1", &["forget", "prod-1"]);
    alive.bad(2, &["is connected", "hint:"]);
    cluster.stop("prod-1");
    until("who is gone may be forgotten", SOON, || {
        cluster.ask("cons-1", &["forget", "prod-1"]).code == 0
    });
    let unknown = cluster.ask("cons-1", &["forget", "prod-7"]);
    unknown.bad(1, &["prod-7", "hint:"]);
}

/// A list that becomes gossip is no reason to think that those of the list have gone.
#[test]
fn who_was_owed_a_file_by_a_list_is_owed_it_when_gossip_takes_its_place() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = \"all\"\nafter = \"delete\"");
    for name in ["cons-1", "cons-2"] {
        cluster.consumer(name, "");
    }
    cluster.configure();
    cluster.start_one("prod-1");
    cluster.start_one("cons-1");
    send(&cluster, &["one"], 1_000);
    until("who is there has it", SOON, || {
        names_at(&cluster, "cons-1") == ["one"]
    });
    for name in ["prod-1", "cons-1"] {
        cluster.stop(name);
    }
    let seed = format!("127.0.0.1:{}", cluster.node("prod-1").port());
    cluster.learns_by(&format!("kind = \"gossip\"\nseeds = [{seed:?}]"));
    cluster.configure();
    cluster.start_one("prod-1");
    cluster.start_one("cons-1");
    until("they have found each other", SOON, || {
        cluster.member("prod-1", "cons-1")["connected"] == true
    });
    assert_eq!(cluster.count("prod-1", "done"), 0, "the other one is owed");
    cluster.start_one("cons-2");
    until("it has it, too", SOON, || {
        names_at(&cluster, "cons-2") == ["one"]
    });
    cluster.wait_until_done("prod-1", 1, SOON);
}
