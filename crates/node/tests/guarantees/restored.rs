//! A node whose data directory is brought back from an old copy is found out by its peers: it is set
//! apart until a person has had it reconciled, and nothing appears twice.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::path::Path;

use consign_core::wire::{Hello, Message, PROTOCOL_VERSION, Purpose, encode_frame};

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

/// Its number is that of the life that was lost, and its log has grown longer than that one's was
/// before it meets who knows.
#[test]
fn a_copy_is_found_out_however_much_it_did_before_it_met_who_knows() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    send(&cluster, "early");
    let image = cluster.dir().join("image");
    cluster.kill("prod-1");
    copy(&cluster.node("prod-1").data_dir(), &image);
    cluster.start_one("cons-1");
    cluster.start_one("prod-1");
    cluster.wait_until_done("prod-1", 1, SOON);
    let early = cluster.node("cons-1").inbox().join("early");
    until("it is visible", SOON, || fs::remove_file(&early).is_ok());
    // It stops well: what it has seen is in its log.
    cluster.stop("cons-1");
    cluster.kill("prod-1");

    restore(&cluster, "prod-1", &image);
    cluster.start_one("prod-1");
    (0..20).for_each(|at| send(&cluster, &format!("new-{at}")));
    cluster.start_one("cons-1");
    cluster.wait_for_end("prod-1");
    assert_eq!(names_at(&cluster, "cons-1"), [""; 0]);
    cluster.start_one("prod-1");
    // Whatever order they meet in from here on.
    for node in ["cons-1", "prod-1"] {
        cluster.stop(node);
        cluster.start_one(node);
        let problems = cluster.status("prod-1")["problems"].to_string();
        assert!(problems.contains("is set apart"), "{problems}");
    }
}

/// A catalogue that was copied a moment later than the log says more than that knows.
#[test]
fn a_copy_whose_catalogue_is_newer_than_its_log_sends_nothing_twice_either() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    send(&cluster, "early");
    let image = cluster.dir().join("image");
    copy(&cluster.node("prod-1").data_dir(), &image);
    cluster.start_one("cons-1");
    cluster.wait_until_done("prod-1", 1, SOON);
    let early = cluster.node("cons-1").inbox().join("early");
    until("it is visible", SOON, || fs::remove_file(&early).is_ok());
    // Its consumer connects anew, and hears how far it is.
    cluster.stop("cons-1");
    cluster.start_one("cons-1");
    until("it is connected again", SOON, || {
        cluster.member("prod-1", "cons-1")["incarnation"] == 2
    });
    cluster.stop("prod-1");
    let home = cluster.node("prod-1").data_dir();
    for entry in fs::read_dir(&home).unwrap() {
        let name = entry.unwrap().file_name();
        if name.to_str().unwrap().starts_with("catalogue") {
            fs::copy(home.join(&name), image.join(&name)).unwrap();
        }
    }
    cluster.stop("cons-1");

    restore(&cluster, "prod-1", &image);
    cluster.start_one("cons-1");
    is_found_out(&mut cluster, "prod-1");
    cluster.ask("prod-1", &["audit", "--reconcile"]).good();
    cluster.stop("prod-1");
    cluster.start_one("prod-1");
    send(&cluster, "again");
    until("it sends again", SOON, || {
        names_at(&cluster, "cons-1") == ["again"]
    });
}

/// A copy on another machine hears what it is before the original is cut off.
#[test]
fn a_copy_that_runs_beside_the_original_ends_and_the_original_goes_on() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.producer("copy", "");
    cluster.start();
    cluster.stop("copy");
    send(&cluster, "a");
    cluster.wait_until_done("prod-1", 1, SOON);
    restore(&cluster, "copy", &cluster.node("prod-1").data_dir());
    send(&cluster, "b");
    cluster.wait_until_done("prod-1", 2, SOON);
    // Its consumer hears how far it is.
    cluster.stop("cons-1");
    cluster.start_one("cons-1");
    until("it is connected again", SOON, || {
        cluster.member("prod-1", "cons-1")["incarnation"] == 2
    });
    let config = cluster.node("copy").config();
    let text = fs::read_to_string(&config).unwrap();
    let (node, members) = text.split_once("[membership]").unwrap();
    let members = members.replace(r#"{ name = "copy","#, r#"{ name = "other","#);
    let renamed = node.replace("\"copy\"", "\"prod-1\"");
    let own = cluster.node("prod-1").port();
    let port = cluster.node("copy").port();
    let members = members.replace(&format!(":{own}\""), ":1\"");
    let members = members.replace(&format!(":{port}\""), &format!(":{own}\""));
    let members = members.replace(":1\"", &format!(":{port}\""));
    fs::write(&config, format!("{renamed}[membership]{members}")).unwrap();
    let said = cluster.start_in_vain("copy");
    assert!(said.err.contains("old copy"), "{}", said.err);
    send(&cluster, "c");
    cluster.wait_until_done("prod-1", 3, SOON);
    assert_eq!(cluster.status("prod-1")["incarnation"], 1);
}

/// Whoever lies about it once has a node set apart, and no more than that.
#[test]
fn a_liar_sets_a_node_apart_once_and_does_not_end_it_again() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    for absurd in [u64::MAX, 1 << 40] {
        lie(&cluster, "cons-1", absurd);
    }
    send(&cluster, "a");
    cluster.wait_until_done("prod-1", 1, SOON);
    lie(&cluster, "cons-1", 2);
    cluster.wait_for_end("cons-1");
    cluster.start_one("cons-1");
    for later in [5, 9] {
        lie(&cluster, "cons-1", later);
    }
    until("status says what to do", SOON, || {
        let problems = cluster.status("cons-1")["problems"].to_string();
        problems.contains("start this agent once more") && problems.contains("incarnation 9")
    });
    cluster
        .ask("cons-1", &["audit", "--reconcile"])
        .bad(1, &["start this agent again"]);
    cluster.stop("cons-1");
    cluster.start_one("cons-1");
    assert_eq!(cluster.status("cons-1")["incarnation"], 10);
    reconcile(&mut cluster, "cons-1");
    send(&cluster, "b");
    cluster.wait_until_done("prod-1", 2, SOON);
}

/// A stranger, where nothing is encrypted, says that it has seen this life.
fn lie(cluster: &Cluster, to: &str, seen: u64) {
    let hello = Message::Hello(Hello {
        version: PROTOCOL_VERSION,
        version_min: PROTOCOL_VERSION,
        node: "liar".into(),
        to: to.into(),
        purpose: Purpose::Control.into(),
        incarnation: 1,
        start: 9,
        seen,
        seen_start: 7,
        seen_log: 1,
        seen_log_in: seen,
        ..Hello::default()
    });
    let port = cluster.node(to).port();
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.write_all(&encode_frame(&hello, 0)).unwrap();
    // It answers, and ends.
    let mut said = Vec::new();
    let _ = stream.shutdown(Shutdown::Write);
    let _ = stream.read_to_end(&mut said);
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
    until("it is connected again", SOON, || {
        cluster.member("prod-1", "cons-1")["incarnation"] == 2
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
