//! A node whose data directory is brought back from an old copy is found out by its peers: it is set
//! apart until a person has had it reconciled, and nothing appears twice.

use std::fs;
use std::path::Path;

use crate::cluster::{Cluster, SOON, files_in, random_bytes, until};

/// Copies a data directory as a backup does, without the sockets in it.
fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, to) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &to);
        } else if kind.is_file() {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Brings a node's data directory back from a copy.
fn restore(cluster: &Cluster, node: &str, image: &Path) {
    let data_dir = cluster.node(node).data_dir();
    fs::remove_dir_all(&data_dir).unwrap();
    copy(image, &data_dir);
}

fn send(cluster: &Cluster, name: &str) {
    let path = cluster.write(name, &random_bytes(7, 1_000));
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
}

fn names_at(cluster: &Cluster, consumer: &str) -> Vec<String> {
    let files = files_in(&cluster.node(consumer).inbox());
    files.into_keys().collect()
}

/// It starts, hears that it is an old copy, ends, and starts again set apart.
fn is_found_out(cluster: &mut Cluster, node: &str) {
    let said = cluster.start_in_vain(node);
    assert_eq!(said.code, 1, "{}", said.err);
    assert!(said.err.contains("old copy"), "{}", said.err);
    cluster.start_one(node);
    let problems = cluster.status(node)["problems"].to_string();
    assert!(problems.contains("is set apart"), "{problems}");
    assert!(problems.contains("audit --reconcile"), "{problems}");
}

/// A person has it go on.
fn reconcile(cluster: &mut Cluster, node: &str) {
    cluster.ask(node, &["audit", "--reconcile"]).good();
    cluster.stop(node);
    cluster.start_one(node);
    let problems = cluster.status(node)["problems"].to_string();
    assert!(!problems.contains("set apart"), "{problems}");
}

#[test]
fn a_producer_that_is_restored_sends_nothing_twice() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    send(&cluster, "early");
    // It runs on: its backup is of this very life.
    let image = cluster.dir().join("image");
    copy(&cluster.node("prod-1").data_dir(), &image);
    cluster.start_one("cons-1");
    cluster.wait_until_done("prod-1", 1, SOON);
    // Its application takes it.
    let early = cluster.node("cons-1").inbox().join("early");
    until("it is visible", SOON, || fs::remove_file(&early).is_ok());
    // Its consumer connects anew, and hears how far it is.
    cluster.stop("cons-1");
    cluster.start_one("cons-1");
    send(&cluster, "late");
    cluster.wait_until_done("prod-1", 2, SOON);
    cluster.kill("prod-1");

    restore(&cluster, "prod-1", &image);
    is_found_out(&mut cluster, "prod-1");
    let path = cluster.write("refused", b"refused");
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).bad(1, &["set apart"]);
    // As long as somebody may have what it would send again, it must not.
    cluster.stop("cons-1");
    let silent = cluster.ask("prod-1", &["audit", "--reconcile"]);
    silent.bad(1, &["stays set apart", "cons-1"]);
    cluster.start_one("cons-1");
    reconcile(&mut cluster, "prod-1");
    let failed = cluster.transfers("prod-1", &["--state", "failed"]);
    assert_eq!(failed.len(), 1, "{failed:?}");
    assert_eq!(failed[0]["name"], "early");
    send(&cluster, "again");
    until("it sends again", SOON, || {
        names_at(&cluster, "cons-1").contains(&"again".to_owned())
    });
    until("all is published", SOON, || {
        names_at(&cluster, "cons-1") == ["again", "late"]
    });
    // Nobody takes it for a copy any more.
    cluster.stop("prod-1");
    cluster.start_one("prod-1");
    cluster.wait_until_done("prod-1", 1, SOON);
}

#[test]
fn a_consumer_that_is_restored_says_what_it_has_lost_before_it_goes_on() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    send(&cluster, "before");
    until("it is published, and that is logged", SOON, || {
        let published = cluster.transfers("cons-1", &["--state", "published"]);
        published.len() == 1
    });
    let image = cluster.dir().join("image");
    copy(&cluster.node("cons-1").data_dir(), &image);
    send(&cluster, "since");
    cluster.wait_until_done("prod-1", 2, SOON);
    // Its producer connects anew, and hears how far it is.
    cluster.stop("prod-1");
    cluster.start_one("prod-1");
    until("it is connected", SOON, || {
        cluster.member("prod-1", "cons-1")["connected"] == true
    });
    cluster.kill("cons-1");

    restore(&cluster, "cons-1", &image);
    is_found_out(&mut cluster, "cons-1");
    send(&cluster, "waits");
    let audit = cluster.ask("prod-1", &["audit", "--json"]);
    let lost: Vec<_> = (audit.objects().iter())
        .filter(|line| line["class"] == "missing")
        .map(|line| line["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(lost, ["since"]);
    reconcile(&mut cluster, "cons-1");
    cluster.wait_until_done("prod-1", 3, SOON);
    until("all is published", SOON, || {
        names_at(&cluster, "cons-1") == ["before", "since", "waits"]
    });
}

/// A machine whose disk was replaced is no copy at all, and is asked about all the same: what it had is
/// lost, and nobody else could say so.
#[test]
fn a_consumer_that_begins_anew_under_its_old_name_is_set_apart_until_somebody_agrees() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    send(&cluster, "a");
    cluster.wait_until_done("prod-1", 1, SOON);
    cluster.stop("cons-1");
    cluster.start_one("cons-1");
    until("it is connected", SOON, || {
        cluster.member("prod-1", "cons-1")["connected"] == true
    });
    cluster.kill("cons-1");
    let home = cluster.node("cons-1").data_dir();
    fs::remove_dir_all(&home).unwrap();
    fs::create_dir(&home).unwrap();
    is_found_out(&mut cluster, "cons-1");
    reconcile(&mut cluster, "cons-1");
    send(&cluster, "b");
    cluster.wait_until_done("prod-1", 2, SOON);
}
