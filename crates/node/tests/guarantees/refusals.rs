//! What is wrong is refused before anything starts, by an error that names it and says what to do.

use std::fs;
use std::net::TcpListener;

use crate::cluster::{Cluster, consign, consign_with};

fn alone(lines: &str) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", lines);
    cluster.configure();
    cluster
}

fn check(cluster: &Cluster) -> crate::cluster::Said {
    let config = cluster.node("prod-1").config();
    consign(&["config", "check", "--config", config.to_str().unwrap()])
}

#[test]
fn unknown_config_key_names_the_nearest() {
    let mut cluster = alone("replica = 2");
    check(&cluster).bad(2, &["replica", "replicas", "consign.toml:"]);
    cluster
        .start_in_vain("prod-1")
        .bad(2, &["replica", "replicas"]);
}

#[test]
fn keys_and_values_of_later_versions_are_refused_by_name() {
    for (lines, word) in [
        ("bandwidth = \"1MiB/s\"", "bandwidth"),
        ("ack = \"processed\"", "processed"),
        ("expire_after = \"1d\"", "expire_after"),
    ] {
        check(&alone(lines)).bad(2, &[word, "not implemented yet"]);
    }
}

#[test]
fn a_good_config_is_printed_with_its_defaults() {
    let said = check(&alone("replicas = 2")).good();
    assert!(said.out.contains("replicas = 2"), "{said:#?}");
    assert!(said.out.contains("priority = 0"), "{said:#?}");
}

#[test]
fn a_log_level_that_is_not_understood_is_said() {
    let cluster = alone("");
    let (config, data_dir) = (
        cluster.node("prod-1").config(),
        cluster.node("prod-1").data_dir(),
    );
    // A file in the place of the data directory ends the agent before it begins.
    fs::write(data_dir, "").unwrap();
    let args = ["agent", "--config", config.to_str().unwrap()];
    let said = consign_with(&args, &[("CONSIGN_LOG", "loud")]);
    said.bad(1, &["CONSIGN_LOG", "loud", "info", "data directory"]);
}

#[test]
fn port_in_use_is_said() {
    let mut cluster = alone("");
    let port = cluster.node("prod-1").port();
    let _taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let port = port.to_string();
    cluster.start_in_vain("prod-1").bad(1, &[&port, "in use"]);
}

#[test]
fn a_file_larger_than_its_queue_is_told_that_it_never_fits() {
    let mut cluster = alone("max_queue = \"1MB\"");
    cluster.start_one("prod-1");
    let path = cluster.write("large", &[0; 2_000_000]);
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    let said = cluster.ask("prod-1", &args);
    said.bad(1, &["2000000", "1000000", "never fits, raise max_queue"]);
}

#[test]
fn a_data_directory_whose_log_is_gone_is_not_begun_anew() {
    let mut cluster = alone("");
    cluster.start_one("prod-1");
    let path = cluster.write("file", b"bytes");
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    crate::cluster::until("it is listed", crate::cluster::SOON, || {
        !cluster.transfers("prod-1", &[]).is_empty()
    });
    cluster.stop("prod-1");
    for segment in cluster.segments("prod-1") {
        fs::remove_file(segment).unwrap();
    }
    let said = cluster.start_in_vain("prod-1");
    said.bad(1, &["intent log", "is gone", "hint: bring log/ back"]);
}

#[test]
fn a_link_that_leads_from_one_directory_into_another_is_refused() {
    let mut cluster = Cluster::new();
    let real = cluster.dir().join("real");
    fs::create_dir(&real).unwrap();
    let link = cluster.dir().join("link");
    std::os::unix::fs::symlink(&real, &link).unwrap();
    let archive = link.join("sent");
    let lines = format!("watch = {real:?}\nafter = \"archive\"\narchive_dir = {archive:?}");
    cluster.producer("prod-1", &lines);
    cluster.configure();
    let said = cluster.start_in_vain("prod-1");
    said.bad(
        1,
        &["produce[1].watch", "produce[1].archive_dir", "hint: choose"],
    );
}

#[test]
fn data_directory_of_another_node_is_refused() {
    let mut cluster = alone("");
    cluster.start_one("prod-1");
    cluster.stop("prod-1");
    let config = cluster.node("prod-1").config();
    let text = fs::read_to_string(&config).unwrap();
    fs::write(&config, text.replace("\"prod-1\"", "\"prod-2\"")).unwrap();
    cluster
        .start_in_vain("prod-1")
        .bad(1, &["prod-1", "prod-2", "data"]);
}

#[test]
fn a_second_agent_on_one_data_directory_is_refused() {
    let mut cluster = alone("");
    cluster.start_one("prod-1");
    let config = cluster.node("prod-1").config();
    let said = consign(&["agent", "--config", config.to_str().unwrap()]);
    said.bad(1, &["another agent", "data"]);
    // The first one does not mind.
    assert_eq!(cluster.status("prod-1")["ready"], true);
}

#[test]
fn a_data_directory_of_a_newer_version_is_refused() {
    let mut cluster = alone("");
    cluster.start_one("prod-1");
    cluster.stop("prod-1");
    let identity = cluster.node("prod-1").data_dir().join("identity");
    let text = fs::read_to_string(&identity).unwrap();
    fs::write(&identity, text.replacen('1', "999", 1)).unwrap();
    cluster.start_in_vain("prod-1").bad(1, &["999", "version"]);
}

#[test]
fn an_inbox_whose_marker_is_damaged_is_not_guessed_at() {
    let mut cluster = Cluster::new();
    cluster.consumer("cons-1", "");
    cluster.start();
    cluster.stop("cons-1");
    let inbox = cluster.node("cons-1").inbox();
    fs::write(inbox.join(".consign/marker"), "short").unwrap();
    cluster
        .start_in_vain("cons-1")
        .bad(1, &["marker", "16 bytes", "backup"]);
}

#[test]
fn a_log_that_is_damaged_in_the_middle_is_not_guessed_at() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    for at in 0..50 {
        cluster.write(&format!("{at}"), &crate::cluster::random_bytes(at, 1_000));
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    cluster.kill("prod-1");
    let segments = cluster.segments("prod-1");
    let first = segments.first().expect("there is a log");
    let mut bytes = fs::read(first).unwrap();
    // The record of the start: every later batch proves that it was synced.
    let name = bytes.windows(6).position(|window| window == b"prod-1");
    bytes[name.expect("the start is logged")] ^= 0xff;
    fs::write(first, bytes).unwrap();
    cluster.spawn("prod-1");
    crate::cluster::until("it says what is wrong", crate::cluster::SOON, || {
        let said = cluster.ask("prod-1", &["status", "--json"]);
        said.code == 1 && said.out.contains("damaged")
    });
    assert_eq!(cluster.status("prod-1")["ready"], false);
    // Nothing new is accepted meanwhile.
    let said = cluster.ask("prod-1", &args);
    said.bad(1, &["damaged", "consign doctor"]);
}
