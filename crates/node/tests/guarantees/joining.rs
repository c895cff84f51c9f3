//! Members that nobody listed: they join, go and come by gossip and by etcd, while files flow.

mod outlasting;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::cluster::{Authority, Cluster, Etcd, SOON, files_in, random_bytes, until};

/// How soon a new consumer has its first file, from the start of its process.
const FIRST_FILE: Duration = Duration::from_secs(5);

/// How long a member may be away, where that is limited.
const FORGET_AFTER: Duration = Duration::from_secs(2);

fn names_at(cluster: &Cluster, consumer: &str) -> Vec<String> {
    files_in(&cluster.node(consumer).inbox())
        .into_keys()
        .collect()
}

fn send(cluster: &Cluster, names: &[&str]) {
    for (seed, name) in (0..).zip(names) {
        let path = cluster.write(name, &random_bytes(seed, 1_000));
        let args = ["send", path.to_str().unwrap(), "--feed", "files"];
        cluster.ask("prod-1", &args).good();
    }
}

fn is_heard(cluster: &Cluster, by: &str, node: &str) -> bool {
    let nodes = cluster.ask(by, &["nodes", "--json"]).good().objects();
    let found = nodes.iter().find(|one| one["name"] == node);
    found.is_some_and(|one| one["heard"] == true)
}

/// A producer and two consumers, of whom nobody knows anybody.
fn strangers() -> Cluster {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = \"all\"");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    cluster
}

fn by_gossip(cluster: &mut Cluster) {
    // Whoever is its own seed waits to be asked.
    let seed = format!("127.0.0.1:{}", cluster.node("prod-1").port());
    cluster.learns_by(&format!("kind = \"gossip\"\nseeds = [{seed:?}]"));
}

fn a_new_consumer_gets_its_first_file_soon(mut cluster: Cluster) {
    cluster.configure();
    cluster.start_one("prod-1");
    send(&cluster, &["a"]);
    for (consumer, file) in [("cons-1", "a"), ("cons-2", "b")] {
        let began = Instant::now();
        cluster.spawn(consumer);
        if file == "b" {
            // Those that were submitted before it was there went to the other one.
            until("it is heard", SOON, || {
                is_heard(&cluster, "prod-1", consumer)
            });
            send(&cluster, &["b"]);
        }
        until("it has its first file", SOON, || {
            names_at(&cluster, consumer).contains(&file.to_owned())
        });
        let took = began.elapsed();
        eprintln!("{consumer} had its first file {took:?} after its start");
        assert!(took <= FIRST_FILE, "{consumer} took {took:?}");
    }
    let status = cluster.status("prod-1");
    assert_eq!(status["membership"]["reachable"], true, "{status:#}");
    assert_eq!(status["health"], "ok", "{status:#}");
}

#[test]
fn a_new_consumer_gets_its_first_file_soon_by_gossip() {
    let mut cluster = strangers();
    by_gossip(&mut cluster);
    a_new_consumer_gets_its_first_file_soon(cluster);
}

#[test]
fn a_new_consumer_gets_its_first_file_soon_by_etcd() {
    let Some(etcd) = Etcd::start("a_new_consumer_gets_its_first_file_soon_by_etcd") else {
        return;
    };
    let mut cluster = strangers();
    cluster.learns_by(&etcd.membership());
    a_new_consumer_gets_its_first_file_soon(cluster);
}

/// The letters go over connections with certificates, like all else.
#[test]
fn members_find_each_other_by_gossip_over_tls_and_a_stranger_finds_nobody() {
    let mut cluster = strangers();
    cluster.consumer("spy", "");
    by_gossip(&mut cluster);
    let ours = Authority::new(&cluster, "authority");
    cluster.secure("prod-1", &ours, "producer");
    for consumer in ["cons-1", "cons-2"] {
        cluster.secure(consumer, &ours, "consumer");
    }
    let other = Authority::new(&cluster, "other");
    cluster.secure("spy", &other, "consumer");
    cluster.configure();
    cluster.start_one("spy");
    cluster.start_one("prod-1");
    let refused = |log: String| log.lines().any(|line| line.contains("refused"));
    until("the stranger is refused, aloud", SOON, || {
        refused(cluster.node("prod-1").log())
    });
    cluster.kill("prod-1");
    a_new_consumer_gets_its_first_file_soon(cluster);
}

/// Nobody here has a connection to it: the word comes by whoever tells of members.
fn everybody_hears_who_drains(mut cluster: Cluster) {
    cluster.start();
    let state = |cluster: &Cluster| {
        let nodes = cluster.ask("cons-2", &["nodes", "--json"]).good().objects();
        let found = nodes.iter().find(|one| one["name"] == "cons-1");
        found.map_or_else(String::new, |one| one["state"].as_str().unwrap().to_owned())
    };
    until("they know each other", SOON, || state(&cluster) == "active");
    cluster.ask("cons-1", &["drain"]).good();
    until("it is heard to drain", SOON, || {
        state(&cluster) == "draining"
    });
    cluster.kill("cons-1");
    cluster.start_one("cons-1");
    cluster.ask("cons-1", &["drain", "--undo"]).good();
    until("it is heard to take part", SOON, || {
        state(&cluster) == "active"
    });
}

#[test]
fn everybody_hears_who_drains_by_gossip() {
    let mut cluster = strangers();
    by_gossip(&mut cluster);
    everybody_hears_who_drains(cluster);
}

#[test]
fn everybody_hears_who_drains_by_etcd() {
    let Some(etcd) = Etcd::start("everybody_hears_who_drains_by_etcd") else {
        return;
    };
    let mut cluster = strangers();
    cluster.learns_by(&etcd.membership());
    everybody_hears_who_drains(cluster);
}

/// Who is out of service and stops is no member any more: nobody has to forget it.
fn who_is_drained_and_stops_has_left(mut cluster: Cluster) {
    cluster.start();
    for node in ["cons-1", "cons-2"] {
        until("it is heard", SOON, || is_heard(&cluster, "prod-1", node));
    }
    cluster.ask("cons-1", &["drain", "--wait"]).good();
    cluster.stop("cons-1");
    let knows = |cluster: &Cluster, by: &str| {
        let nodes = cluster.ask(by, &["nodes", "--json"]).good().objects();
        nodes.iter().any(|one| one["name"] == "cons-1")
    };
    for by in ["prod-1", "cons-2"] {
        until("it has left", SOON, || !knows(&cluster, by));
    }
    send(&cluster, &["a"]);
    cluster.wait_until_done("prod-1", 1, SOON);
    // It comes back as it went, and takes part when it is told to.
    cluster.start_one("cons-1");
    until("it is a member again", SOON, || knows(&cluster, "prod-1"));
    cluster.ask("cons-1", &["drain", "--undo"]).good();
    until("it takes part", SOON, || {
        cluster.member("prod-1", "cons-1")["state"] == "active"
    });
    send(&cluster, &["b"]);
    until("it has the next file", SOON, || {
        names_at(&cluster, "cons-1") == ["b"]
    });
}

#[test]
fn who_is_drained_and_stops_has_left_by_gossip() {
    let mut cluster = strangers();
    by_gossip(&mut cluster);
    who_is_drained_and_stops_has_left(cluster);
}

#[test]
fn who_is_drained_and_stops_has_left_by_etcd() {
    let Some(etcd) = Etcd::start("who_is_drained_and_stops_has_left_by_etcd") else {
        return;
    };
    let mut cluster = strangers();
    cluster.learns_by(&etcd.membership());
    who_is_drained_and_stops_has_left(cluster);
}

/// It cannot wait for etcd, which may be gone; but it does not go quietly.
#[test]
fn who_leaves_while_etcd_is_away_says_that_nobody_knows() {
    let Some(mut etcd) = Etcd::start("who_leaves_while_etcd_is_away_says_that_nobody_knows") else {
        return;
    };
    let mut cluster = strangers();
    cluster.learns_by(&etcd.membership());
    cluster.start();
    for node in ["cons-1", "cons-2"] {
        until("it is heard", SOON, || is_heard(&cluster, "prod-1", node));
    }
    cluster.ask("cons-1", &["drain", "--wait"]).good();
    etcd.kill();
    until("it knows that etcd is away", SOON, || {
        cluster.status("cons-1")["membership"]["reachable"] == false
    });
    cluster.stop("cons-1");
    let log = cluster.node("cons-1").log();
    assert!(log.contains("do not know that this node has left"), "{log}");
}

/// Everybody is restarted meanwhile: who the members are is in each one's log.
#[test]
fn files_flow_between_known_members_while_etcd_is_away() {
    let test = "files_flow_between_known_members_while_etcd_is_away";
    let Some(mut etcd) = Etcd::start(test) else {
        return;
    };
    let mut cluster = strangers();
    cluster.learns_by(&etcd.membership());
    cluster.start();
    for node in ["cons-1", "cons-2"] {
        until("it is heard", SOON, || is_heard(&cluster, "prod-1", node));
    }
    // Who the members are is in the log a moment after they are in force.
    until("the log has them", SOON, || {
        cluster.kill("prod-1");
        etcd.kill();
        cluster.start_one("prod-1");
        let nodes = cluster.ask("prod-1", &["nodes"]).good().out;
        let known = nodes.contains("cons-1") && nodes.contains("cons-2");
        if !known {
            etcd.run();
            for node in ["cons-1", "cons-2"] {
                until("it is heard", SOON, || is_heard(&cluster, "prod-1", node));
            }
        }
        known
    });
    until("status says that etcd is away", SOON, || {
        let status = cluster.status("prod-1");
        status["membership"]["reachable"] == false && status["health"] == "degraded"
    });
    let page = cluster.ask("prod-1", &["status"]).good().out;
    assert!(page.contains("etcd does not answer"), "{page}");
    send(&cluster, &["a", "b", "c"]);
    cluster.wait_until_done("prod-1", 3, SOON);
    for node in ["cons-1", "cons-2"] {
        cluster.kill(node);
        cluster.start_one(node);
        assert_eq!(names_at(&cluster, node), ["a", "b", "c"]);
    }
    send(&cluster, &["d"]);
    cluster.wait_until_done("prod-1", 4, SOON);
    etcd.run();
    until("etcd is heard again", SOON, || {
        let status = cluster.status("prod-1");
        status["membership"]["reachable"] == true && status["health"] == "ok"
    });
}

/// Nobody asks on behalf of whoever is its own only seed. The first one is alone until others come,
/// and nothing is wrong with that; once it knows others, hearing none of them is.
#[test]
fn a_seed_is_rightly_alone_until_it_knows_others_and_says_since_when_it_hears_none() {
    let mut cluster = strangers();
    by_gossip(&mut cluster);
    cluster.configure();
    cluster.start_one("prod-1");
    let page = |cluster: &Cluster| cluster.ask("prod-1", &["status"]).good().out;
    assert!(page(&cluster).contains("alone"), "{}", page(&cluster));
    cluster.start_one("cons-1");
    until("it hears the other", SOON, || {
        is_heard(&cluster, "prod-1", "cons-1")
    });
    assert!(!page(&cluster).contains("alone"), "{}", page(&cluster));
    let says_so = |cluster: &Cluster| {
        let status = cluster.status("prod-1");
        let problems = status["problems"].to_string();
        status["membership"]["reachable"] == false && problems.contains("hears no other node")
    };
    cluster.kill("cons-1");
    until("it says that it hears nobody", SOON, || says_so(&cluster));
    assert!(page(&cluster).contains("gossip hears nobody"));
    cluster.kill("prod-1");
    cluster.start_one("prod-1");
    until("it knows it after a restart", SOON, || says_so(&cluster));
}

/// Another machine, whose agent has the name of one that there is already.
fn add_twin_of_cons_1(cluster: &mut Cluster) {
    cluster.consumer("twin", "");
    cluster.configure();
    let config = cluster.node("twin").config();
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("\"twin\"", "\"cons-1\"")).unwrap();
}

fn the_later_of_two_agents_of_one_name_stops(mut cluster: Cluster) {
    add_twin_of_cons_1(&mut cluster);
    cluster.start_one("prod-1");
    cluster.start_one("cons-1");
    until("it is heard", SOON, || {
        is_heard(&cluster, "prod-1", "cons-1")
    });
    let said = cluster.start_in_vain("twin");
    assert_eq!(said.code, 1, "{}", said.err);
    let taken = "another node called cons-1 runs already";
    assert!(said.err.contains(taken), "{}", said.err);
    send(&cluster, &["a"]);
    until("the first one has the file", SOON, || {
        names_at(&cluster, "cons-1") == ["a"]
    });
}

#[test]
fn the_later_of_two_agents_of_one_name_stops_by_gossip() {
    let mut cluster = strangers();
    by_gossip(&mut cluster);
    the_later_of_two_agents_of_one_name_stops(cluster);
}

#[test]
fn the_later_of_two_agents_of_one_name_stops_by_etcd() {
    let Some(etcd) = Etcd::start("the_later_of_two_agents_of_one_name_stops_by_etcd") else {
        return;
    };
    let mut cluster = strangers();
    cluster.learns_by(&etcd.membership());
    the_later_of_two_agents_of_one_name_stops(cluster);
}

/// A machine that stood still for longer than its lease goes on, and another one has its name.
#[test]
fn an_agent_whose_name_another_took_while_it_stood_still_stops() {
    let test = "an_agent_whose_name_another_took_while_it_stood_still_stops";
    let Some(etcd) = Etcd::start(test) else {
        return;
    };
    let mut cluster = strangers();
    cluster.learns_by(&etcd.membership());
    add_twin_of_cons_1(&mut cluster);
    for node in ["cons-1", "cons-2"] {
        cluster.start_one(node);
    }
    let addr = |cluster: &Cluster| cluster.member("cons-2", "cons-1")["addr"].clone();
    until("it is heard", SOON, || {
        is_heard(&cluster, "cons-2", "cons-1")
    });
    let before = addr(&cluster);
    cluster.freeze("cons-1");
    cluster.spawn("twin");
    until("the other one has its name", SOON, || {
        addr(&cluster) != before
    });
    cluster.thaw("cons-1");
    let status = cluster.wait_for_end("cons-1");
    assert_eq!(status.code(), Some(1));
    let log = cluster.node("cons-1").log();
    assert!(log.contains("took the name cons-1"), "{log}");
    assert!(
        log.contains("hint: give that one a name of its own"),
        "{log}"
    );
    assert!(is_heard(&cluster, "cons-2", "cons-1"));
}

/// One `forget`, on one node, is enough for all.
#[test]
fn a_consumer_that_is_forgotten_on_one_node_is_forgotten_on_all() {
    let mut cluster = strangers();
    cluster.producer("prod-2", "replicas = \"all\"");
    by_gossip(&mut cluster);
    cluster.start();
    for by in ["prod-1", "prod-2"] {
        for node in ["cons-1", "cons-2"] {
            until("it is heard", SOON, || is_heard(&cluster, by, node));
        }
    }
    cluster.kill("cons-2");
    let path = cluster.write("late", &random_bytes(1, 1_000));
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-2", &args).good();
    until("it is owed", SOON, || {
        cluster.member("prod-2", "cons-2")["owed_files"] == 1
    });
    until("it may be forgotten", SOON, || {
        cluster.ask("prod-1", &["forget", "cons-2"]).code == 0
    });
    cluster.wait_until_done("prod-2", 1, SOON);
    for by in ["prod-1", "prod-2", "cons-1"] {
        until("it is gone", SOON, || {
            !cluster.ask(by, &["nodes"]).good().out.contains("cons-2")
        });
    }
}

/// Nobody has to forget a consumer that is away for longer than the configuration allows, and the
/// one that does so on its own tells the others.
#[test]
fn a_consumer_that_is_away_for_longer_than_forget_after_is_forgotten_everywhere() {
    let mut cluster = strangers();
    let seed = format!("127.0.0.1:{}", cluster.node("prod-1").port());
    cluster.learns_by(&format!(
        "kind = \"gossip\"\nseeds = [{seed:?}]\nreplace_after = \"never\"\nforget_after = \"{}s\"",
        FORGET_AFTER.as_secs()
    ));
    cluster.start();
    for node in ["cons-1", "cons-2"] {
        until("it is heard", SOON, || is_heard(&cluster, "prod-1", node));
    }
    cluster.kill("cons-2");
    send(&cluster, &["late"]);
    cluster.wait_until_done("prod-1", 1, SOON);
    for by in ["prod-1", "cons-1"] {
        until("it is gone", SOON, || {
            !cluster.ask(by, &["nodes"]).good().out.contains("cons-2")
        });
    }
    let logs = ["prod-1", "cons-1"].map(|by| cluster.node(by).log());
    let by_itself = |log: &String| log.contains("longer than membership.forget_after");
    assert!(logs.iter().any(by_itself), "{logs:?}");
    // The last other one: whoever hears nobody may be the one that is cut off.
    cluster.kill("cons-1");
    let killed = Instant::now();
    until("twice as long", SOON, || {
        killed.elapsed() > 2 * FORGET_AFTER
    });
    assert!(
        cluster
            .ask("prod-1", &["nodes"])
            .good()
            .out
            .contains("cons-1")
    );
    cluster.start_one("cons-1");
    send(&cluster, &["later"]);
    cluster.wait_until_done("prod-1", 2, SOON);
}

/// A weight is for others to know, and they learn it from the node itself; and so is a zone.
#[test]
fn a_weight_or_zone_that_changes_is_known_everywhere_without_a_restart() {
    let mut cluster = strangers();
    by_gossip(&mut cluster);
    cluster.start();
    until("it is heard", SOON, || {
        is_heard(&cluster, "prod-1", "cons-1")
    });
    let config = cluster.node("cons-1").config();
    let text = std::fs::read_to_string(&config).unwrap();
    let heavier = text.replace("[[consume]]", "[[consume]]\nweight = 250");
    let moved = heavier.replace("[node]", "[node]\nzone = \"hall-2\"");
    std::fs::write(&config, moved).unwrap();
    cluster.hang_up("cons-1");
    until("the weight and the zone are known", SOON, || {
        let member = cluster.member("prod-1", "cons-1");
        member["weight"] == 250 && member["zone"] == "hall-2"
    });
    assert_eq!(cluster.status("cons-1")["zone"], "hall-2");
    assert_eq!(cluster.status("cons-1")["health"], "ok");
}

/// Whoever is forgotten by a crash would be taken for gone, and its files would be placed again.
#[test]
fn a_placement_on_a_newcomer_survives_a_crash_at_once_although_nobody_tells_of_it_again() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    by_gossip(&mut cluster);
    for consumer in ["cons-1", "cons-2"] {
        // It is heard, and nothing is whole before the crash.
        cluster.proxy(consumer).slow_down(20_000);
    }
    cluster.configure();
    cluster.start_one("prod-1");
    let names: Vec<_> = (0..20).map(|at| format!("file-{at}")).collect();
    for (seed, name) in (0..).zip(&names) {
        cluster.write(name, &random_bytes(seed, 400_000));
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    cluster.spawn("cons-1");
    cluster.spawn("cons-2");
    let placed = |cluster: &Cluster| {
        let transfers = cluster.transfers("prod-1", &[]);
        let on = transfers.into_iter().flat_map(|transfer| {
            let name = transfer["name"].as_str().unwrap().to_owned();
            let consumers = transfer["consumers"].as_array().unwrap().clone();
            consumers
                .into_iter()
                .map(move |consumer| (name.clone(), consumer["node"].as_str().unwrap().to_owned()))
        });
        on.collect::<BTreeSet<_>>()
    };
    until("something is placed on the newcomers", SOON, || {
        !placed(&cluster).is_empty()
    });
    let before = placed(&cluster);
    for node in ["prod-1", "cons-1", "cons-2"] {
        cluster.kill(node);
    }
    cluster.start_one("prod-1");
    let after = placed(&cluster);
    assert!(before.is_subset(&after), "{before:?} became {after:?}");
    let nodes = cluster.ask("prod-1", &["nodes"]).good().out;
    for (_, consumer) in before {
        assert!(nodes.contains(&consumer), "{nodes}");
    }
}
