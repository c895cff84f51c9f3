//! Who does not belong, or does what it may not: it gets nothing, and nobody else notices.

use std::fs;

use serde_json::Value;

use crate::cluster::{Authority, Cluster, Etcd, SOON, files_in, left_in_staging, until};

use super::log_says;

/// Clocks that have nothing to do with one another, for these nodes in turn.
const CLOCKS: [&str; 2] = ["+10y", "-10y"];

/// Whether agents can be given such clocks here; they are, if so.
fn at_other_times(cluster: &mut Cluster, names: &[&str]) -> bool {
    let mut each = names.iter().zip(CLOCKS.iter().cycle());
    each.all(|(name, offset)| cluster.at_another_time(name, offset))
}

#[test]
fn who_does_not_belong_gets_nowhere_and_both_logs_say_who_and_why() {
    strangers_get_nowhere(false);
}

#[test]
fn who_does_not_belong_gets_nowhere_with_any_clock() {
    strangers_get_nowhere(true);
}

fn strangers_get_nowhere(at_any_time: bool) {
    let mut cluster = Cluster::new();
    cluster.producer("honest", "");
    cluster.consumer("cons-1", "");
    let intruders = ["plain", "foreign", "revoked"];
    for name in intruders {
        cluster.producer(name, "");
    }
    let all = ["cons-1", "honest", "plain", "foreign", "revoked"];
    if at_any_time && !at_other_times(&mut cluster, &all) {
        return;
    }
    let authority = Authority::new(&cluster, "authority");
    cluster.secure("honest", &authority, "producer");
    let other = Authority::new(&cluster, "other");
    // It believes both authorities, so that it is the other end that has to refuse.
    let foreign = other.issue("foreign", "producer");
    let both = cluster.write(
        "both.pem",
        &[authority.certificate(), other.certificate()].concat(),
    );
    let lines = format!("ca = {both:?}\ncert = {foreign:?}\nkey = {foreign:?}");
    cluster.tls("foreign", &lines);
    cluster.secure("revoked", &authority, "producer");
    let list = authority.revoke("revoked");
    let bundle = authority.issue("cons-1", "consumer");
    cluster.tls(
        "cons-1",
        &format!("bundle = {bundle:?}\nrevoked = {list:?}"),
    );
    cluster.configure();
    cluster.start_one("cons-1");
    cluster.start_one("honest");
    let mut honest = Vec::new();
    for (name, there, here) in [
        ("plain", ["plain", "speaks plaintext"], "speaks only TLS"),
        (
            "foreign",
            ["says foreign", "of another authority"],
            "this node's certificate is of another authority",
        ),
        ("revoked", ["revoked", "is revoked by list 1"], "is revoked"),
    ] {
        cluster.start_one(name);
        send(&cluster, name, name);
        log_says(&cluster, name, &["cons-1", here, "hint:"]);
        log_says(&cluster, "cons-1", &[there[0], there[1], "hint:"]);
        // Meanwhile others deliver.
        honest.push(format!("beside-{name}"));
        send(&cluster, "honest", &honest[honest.len() - 1]);
        cluster.wait_until_done("honest", honest.len() as u64, SOON);
        assert_eq!(cluster.count(name, "done"), 0);
        assert_eq!(has_it(&cluster, name), [""; 0]);
        let link = cluster.member(name, "cons-1");
        assert_eq!(link["connected"], false, "{link}");
        // The next one's line must not fall into the same few seconds as this one's repetitions.
        cluster.kill(name);
    }
    // Nothing of theirs was begun, and all of the other's is there.
    let inbox = cluster.node("cons-1").inbox();
    honest.sort_unstable();
    until("all are published", SOON, || {
        files_in(&inbox).into_keys().collect::<Vec<_>>() == honest
    });
    assert!(left_in_staging(&inbox).is_empty());
    let heard_of = cluster.transfers("cons-1", &[]);
    assert!(!heard_of.is_empty());
    let ours = |one: &Value| one["producer"] == "honest";
    assert!(heard_of.iter().all(ours), "{heard_of:?}");
}

fn send(cluster: &Cluster, from: &str, file: &str) {
    let path = cluster.write(file, file.as_bytes());
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask(from, &args).good();
}

/// The consumers that have said anything of what a node has sent.
fn has_it(cluster: &Cluster, name: &str) -> Vec<String> {
    let all = cluster.transfers(name, &[]);
    let consumers = all
        .iter()
        .flat_map(|one| one["consumers"].as_array().unwrap());
    let said = consumers.filter(|one| one["state"] != "owed");
    said.map(ToString::to_string).collect()
}

/// Lets a node believe that a producer consumes the feed `files`.
fn believe_that_it_consumes(cluster: &Cluster, name: &str, producer: &str) {
    let config = cluster.node(name).config();
    let text = fs::read_to_string(&config).unwrap();
    let at = text.find(&format!("{{ name = {producer:?}")).unwrap();
    let (before, entry) = text.split_at(at);
    let entry = entry.replacen("feeds = []", "feeds = [\"files\"]", 1);
    fs::write(&config, format!("{before}{entry}")).unwrap();
}

#[test]
fn a_producer_that_acts_as_a_consumer_gets_nothing_and_files_go_to_others() {
    nothing_goes_to_a_producer(false);
}

#[test]
fn a_producer_that_acts_as_a_consumer_gets_nothing_with_any_clock() {
    nothing_goes_to_a_producer(true);
}

fn nothing_goes_to_a_producer(at_any_time: bool) {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.producer("prod-2", "");
    cluster.consumer("cons-1", "");
    cluster.membership("replace_after = \"never\"");
    let all = ["prod-1", "prod-2", "cons-1"];
    if at_any_time && !at_other_times(&mut cluster, &all) {
        return;
    }
    let authority = Authority::new(&cluster, "authority");
    cluster.secure("prod-1", &authority, "producer");
    cluster.secure("prod-2", &authority, "producer");
    cluster.secure("cons-1", &authority, "consumer");
    cluster.configure();
    believe_that_it_consumes(&cluster, "prod-1", "prod-2");
    cluster.start_one("cons-1");
    cluster.start_one("prod-1");
    let count = 20;
    let own: Vec<_> = (0..count).map(|at| format!("own/file-{at}")).collect();
    for name in &own {
        cluster.write(name, name.as_bytes());
    }
    let all = cluster.dir().join("own/own");
    let send = ["send", all.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &send).good();
    // While it has shown no certificate, half of them wait for it.
    until("some are placed on it", SOON, || {
        cluster.member("prod-1", "prod-2")["owed_files"].as_u64() > Some(0)
    });
    assert!(cluster.count("prod-1", "done") < count);
    cluster.start_one("prod-2");
    for name in ["prod-1", "prod-2"] {
        let why = ["prod-2 takes no files", "producer and not consumer"];
        log_says(&cluster, name, &[&why[..], &["hint:"]].concat());
    }
    log_says(&cluster, "prod-1", &["WARN", "nothing is placed on prod-2"]);
    cluster.wait_until_done("prod-1", count, SOON);
    until("all are published", SOON, || {
        files_in(&cluster.node("cons-1").inbox()).len() == own.len()
    });
    for sent in cluster.transfers("prod-1", &[]) {
        let consumers = sent["consumers"].as_array().unwrap();
        let held = consumers.iter().filter(|one| one["state"] != "abandoned");
        let who: Vec<_> = held.map(|one| &one["node"]).collect();
        assert_eq!(who, ["cons-1"], "{sent:#}");
    }
    assert_eq!(cluster.transfers("prod-2", &[]), [] as [Value; 0]);
    let mut refused = Value::Null;
    until("nodes says so", SOON, || {
        refused = cluster.member("prod-1", "prod-2");
        refused["state"] == "refused" && refused["owed_files"] == 0
    });
    let error = refused["last_error"].as_str().unwrap();
    assert!(
        error.contains("takes no files") && error.contains("hint:"),
        "{error}"
    );
    let problems = cluster.status("prod-1")["problems"].to_string();
    assert!(
        problems.contains("nothing is placed on prod-2"),
        "{problems}"
    );
    // With a certificate that says so it is a consumer like any other, and that is found out.
    cluster.secure("prod-2", &authority, "producer,consumer");
    cluster.configure();
    believe_that_it_consumes(&cluster, "prod-1", "prod-2");
    cluster.hang_up("prod-2");
    until("it is one of them", SOON, || {
        cluster.member("prod-1", "prod-2")["state"] == "active"
    });
    let problems = cluster.status("prod-1")["problems"].to_string();
    assert!(!problems.contains("nothing is placed on"), "{problems}");
}

/// No agent announces what its certificate does not allow. Whoever can write into etcd, or has changed
/// his agent's program, does.
#[test]
fn what_is_announced_counts_for_nothing_without_the_role() {
    let Some(etcd) = Etcd::start("what_is_announced_counts_for_nothing_without_the_role") else {
        return;
    };
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.producer("prod-2", "");
    cluster.consumer("cons-1", "");
    cluster.learns_by(&etcd.membership());
    cluster.membership("replace_after = \"never\"");
    let authority = Authority::new(&cluster, "authority");
    cluster.secure("prod-1", &authority, "producer");
    cluster.secure("prod-2", &authority, "producer");
    cluster.secure("cons-1", &authority, "consumer");
    cluster.configure();
    // It does not take its own key back.
    let config = cluster.node("prod-2").config();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace(&etcd.membership(), "nodes = []")).unwrap();
    let addr = format!("127.0.0.1:{}", cluster.node("prod-2").port());
    let announcement = serde_json::json!({
        "version": 1, "name": "prod-2", "addr": addr, "weight": 100_000, "feeds": ["files"],
        "state": "active", "incarnation": 1, "start": "1",
    });
    if !etcd.put("members/prod-2", &announcement.to_string()) {
        return;
    }
    for name in ["cons-1", "prod-2", "prod-1"] {
        cluster.start_one(name);
    }
    for at in 0..20 {
        send(&cluster, "prod-1", &format!("file-{at}"));
    }
    log_says(&cluster, "prod-1", &["WARN", "nothing is placed on prod-2"]);
    cluster.wait_until_done("prod-1", 20, SOON);
    until("nodes says so", SOON, || {
        cluster.member("prod-1", "prod-2")["state"] == "refused"
    });
    assert_eq!(cluster.transfers("prod-2", &[]), [] as [Value; 0]);
    // Not even a start later, when it is not known yet what it will show.
    cluster.kill("prod-1");
    cluster.start_one("prod-1");
    send(&cluster, "prod-1", "after");
    cluster.wait_until_done("prod-1", 21, SOON);
    assert_eq!(cluster.transfers("prod-2", &[]), [] as [Value; 0]);
}

#[test]
fn a_node_that_is_configured_for_what_its_certificate_does_not_allow_says_so_at_once() {
    let mut cluster = Cluster::new();
    cluster.consumer("prod-3", "");
    cluster.secure("prod-3", &Authority::new(&cluster, "authority"), "producer");
    cluster.configure();
    let said = cluster.start_in_vain("prod-3");
    said.bad(
        1,
        &[
            "prod-3",
            "lacks the role consumer",
            "[[consume]]",
            "keys issue prod-3",
        ],
    );
}
