//! Keys: nodes that belong together deliver as ever, and nobody else gets anywhere.

mod renewing;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use crate::cluster::{Authority, Cluster, SOON, consign, files_in, random_bytes, until};

/// One producer, and two consumers, with keys.
fn secured() -> (Cluster, Authority) {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 2");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    let authority = Authority::new(&cluster, "authority");
    cluster.secure("prod-1", &authority, "producer");
    cluster.secure("cons-1", &authority, "consumer");
    cluster.secure("cons-2", &authority, "consumer");
    (cluster, authority)
}

/// Sends small files and a large one, and compares what arrives.
fn deliver(cluster: &Cluster, round: u64) {
    let mut sent = Vec::new();
    for at in 0..20 {
        let name = format!("round-{round}/small-{at}");
        sent.push((name, random_bytes(round * 100 + at, 3_000)));
    }
    sent.push((
        format!("round-{round}/large"),
        random_bytes(round, 9_000_000),
    ));
    for (name, bytes) in &sent {
        cluster.write(name, bytes);
    }
    let own = cluster.dir().join("own");
    let before = cluster.count("prod-1", "done");
    let round = own.join(format!("round-{round}"));
    let args = [
        "send",
        round.to_str().unwrap(),
        "--feed",
        "files",
        "--wait",
        "--timeout",
        "60s",
    ];
    cluster.ask("prod-1", &args).good();
    cluster.wait_until_done("prod-1", before + sent.len() as u64, SOON);
    for name in ["cons-1", "cons-2"] {
        let inbox = cluster.node(name).inbox();
        for (path, bytes) in &sent {
            let file = path.split_once('/').unwrap().1;
            until("the file is there", SOON, || {
                files_in(&inbox)
                    .get(file)
                    .is_some_and(|at| fs::read(at).unwrap() == *bytes)
            });
            fs::remove_file(inbox.join(file)).unwrap();
        }
    }
}

fn log_says(cluster: &Cluster, name: &str, words: &[&str]) {
    until(&format!("{name} says {words:?}"), SOON, || {
        let log = cluster.node(name).log();
        log.lines()
            .any(|line| words.iter().all(|word| line.contains(word)))
    });
}

#[test]
fn a_cluster_with_keys_delivers_small_and_large_files_down_the_chain() {
    let (mut cluster, _authority) = secured();
    cluster.start();
    assert_eq!(cluster.status("prod-1")["plaintext"], false);
    deliver(&cluster, 1);
}

#[test]
fn a_clock_ten_years_ahead_or_back_changes_nothing() {
    let (mut cluster, _authority) = secured();
    if !cluster.at_another_time("prod-1", "+10y") || !cluster.at_another_time("cons-1", "-10y") {
        return;
    }
    cluster.start();
    let log = cluster.node("prod-1").log();
    assert!(log.starts_with("203"), "the clock is not ahead: {log}");
    deliver(&cluster, 1);
}

#[test]
fn who_does_not_belong_gets_nowhere_and_both_logs_say_who_and_why() {
    let mut cluster = Cluster::new();
    cluster.consumer("cons-1", "");
    let intruders = ["plain", "foreign", "revoked"];
    for name in intruders {
        cluster.producer(name, "");
    }
    let authority = Authority::new(&cluster, "authority");
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
        let path = cluster.write(name, b"unwanted");
        cluster
            .ask(name, &["send", path.to_str().unwrap(), "--feed", "files"])
            .good();
        log_says(&cluster, name, &["cons-1", here, "hint:"]);
        log_says(&cluster, "cons-1", &[there[0], there[1], "hint:"]);
        assert_eq!(cluster.count(name, "done"), 0);
        let link = cluster.member(name, "cons-1");
        assert_eq!(link["connected"], false, "{link}");
        // The next one's line must not fall into the same few seconds as this one's repetitions.
        cluster.kill(name);
    }
    assert_eq!(files_in(&cluster.node("cons-1").inbox()).len(), 0);
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
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.producer("prod-2", "");
    cluster.consumer("cons-1", "");
    cluster.membership("replace_after = \"never\"");
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
    assert_eq!(files_in(&cluster.node("prod-2").inbox()).len(), 0);
    let mut refused = serde_json::Value::Null;
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

#[test]
fn revocation_ends_live_connections_and_new_keys_need_no_restart() {
    let mut cluster = Cluster::new();
    cluster.consumer("cons-1", "");
    cluster.producer("prod-1", "");
    cluster.producer("prod-2", "");
    let authority = Authority::new(&cluster, "authority");
    cluster.secure("cons-1", &authority, "consumer");
    cluster.secure("prod-2", &authority, "producer");
    let bundle = authority.issue("prod-1", "producer");
    cluster.tls("prod-1", &format!("bundle = {bundle:?}"));
    cluster.start();
    let is_connected =
        |cluster: &Cluster, name| cluster.member(name, "cons-1")["connected"] == true;
    for name in ["prod-1", "prod-2"] {
        until("it is connected", SOON, || is_connected(&cluster, name));
    }
    // One node is told; the others hear it from that one.
    let list = authority.revoke("prod-2");
    cluster.tls(
        "prod-1",
        &format!("bundle = {bundle:?}\nrevoked = {list:?}"),
    );
    cluster.configure();
    cluster.hang_up("prod-1");
    log_says(&cluster, "cons-1", &["a newer revocation list is in force"]);
    log_says(
        &cluster,
        "prod-2",
        &["cons-1", "this node's certificate is revoked", "hint:"],
    );
    log_says(
        &cluster,
        "cons-1",
        &["a connection was ended", "prod-2", "was revoked by list 1"],
    );
    until("it is gone", SOON, || !is_connected(&cluster, "prod-2"));
    assert!(is_connected(&cluster, "prod-1"));
    // It holds beyond a restart.
    cluster.kill("cons-1");
    cluster.start_one("cons-1");
    until("it is connected again", SOON, || {
        is_connected(&cluster, "prod-1")
    });
    log_says(
        &cluster,
        "cons-1",
        &["prod-2", "is revoked by list 1", "hint:"],
    );
    assert!(!is_connected(&cluster, "prod-2"));
    // A certificate that is issued now is good.
    let path = cluster.write("waits", b"waits");
    cluster
        .ask(
            "prod-2",
            &["send", path.to_str().unwrap(), "--feed", "files"],
        )
        .good();
    cluster.secure("prod-2", &authority, "producer");
    cluster.configure();
    cluster.hang_up("prod-2");
    cluster.wait_until_done("prod-2", 1, SOON);
}

#[test]
fn keys_that_are_wrong_change_nothing_while_the_agent_runs() {
    let (mut cluster, _authority) = secured();
    cluster.start();
    let other = Authority::new(&cluster, "other");
    let wrong = other.issue("somebody", "producer");
    cluster.tls("prod-1", &format!("bundle = {wrong:?}"));
    cluster.configure();
    cluster.hang_up("prod-1");
    until("status says so", SOON, || {
        let problems = cluster.status("prod-1")["problems"].to_string();
        problems.contains("not in force") && problems.contains("somebody")
    });
    deliver(&cluster, 1);
}

#[test]
fn plaintext_beyond_this_machine_is_refused_with_the_way_to_keys() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.configure();
    let config = cluster.node("prod-1").config();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replacen("127.0.0.1", "10.0.0.1", 1)).unwrap();
    let words = [
        "10.0.0.1",
        "consign keys init",
        "consign keys issue prod-1",
        "plaintext",
    ];
    cluster.start_in_vain("prod-1").bad(2, &words);
}

#[test]
fn an_authority_is_made_used_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let at = dir.path().join("authority");
    let out = dir.path().join("cam-7.pem");
    let keys = |args: &[&str]| {
        let mut all = vec!["keys"];
        all.extend(args);
        all.extend(["--dir", at.to_str().unwrap()]);
        consign(&all)
    };
    keys(&["list"]).bad(1, &["no authority", "keys init"]);
    keys(&["init", "--cluster", "test"]).good();
    keys(&["init"]).bad(1, &["already"]);
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&at), mode(&at.join("ca.key"))), (0o700, 0o600));
    let issue = ["issue", "cam-7", "--roles", "producer,consumer", "--json"];
    let issue = [issue.as_slice(), &["--out", out.to_str().unwrap()]].concat();
    let said = keys(&issue).good().objects();
    assert_eq!(said[0]["serial"], 1);
    assert_eq!(mode(&out), 0o600);
    let bundle = fs::read(&out).unwrap();
    keys(&issue).bad(1, &["is there already"]);
    assert_eq!(fs::read(&out).unwrap(), bundle);
    keys(&["issue", "cam-8", "--roles", "boss"]).bad(2, &["boss", "producer, consumer"]);
    keys(&["issue", "../x", "--roles", "producer"]).bad(2, &["../x"]);
    keys(&["revoke", "cam-9"]).bad(1, &["nothing to cam-9", "keys list"]);
    assert_eq!(
        keys(&["revoke", "cam-7", "--json"]).good().objects()[0]["list"],
        1
    );
    let listed = keys(&["list", "--json"]).good().objects();
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0]["node"], "cam-7");
    assert_eq!(listed[0]["revoked"], true);
    // A bundle that others can read is not used.
    let mut cluster = Cluster::new();
    cluster.producer("cam-7", "");
    fs::set_permissions(&out, fs::Permissions::from_mode(0o644)).unwrap();
    cluster.tls("cam-7", &format!("bundle = {out:?}"));
    cluster.configure();
    cluster
        .start_in_vain("cam-7")
        .bad(1, &["0644", "chmod 600"]);
}
