//! Keys: nodes that belong together deliver as ever, and nobody else gets anywhere.

mod dates;
mod intruders;
mod organisation;
mod renewing;
mod revoking;
mod syncing;

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
