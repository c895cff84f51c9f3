//! Watched directories, and sources that do not hold still.

use std::fs::{self, File};
use std::io::Write as _;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, SOON, files_in, random_bytes, until};

const WATCHED: &str =
    "watch = \"WATCHED\"\nsettle = \"300ms\"\nscan_every = \"500ms\"\nafter = \"delete\"";

fn watching(lines: &str) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", lines);
    cluster.consumer("cons-1", "");
    cluster.start();
    cluster
}

#[test]
fn ten_thousand_files_dropped_at_once() {
    const FILES: u64 = 10_000;
    let cluster = watching(WATCHED);
    let aside = cluster.dir().join("aside");
    for at in 0..FILES {
        let path = aside.join(format!("{:02}/{at:05}", at % 40));
        if at < 40 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::write(path, at.to_le_bytes()).unwrap();
    }
    let watched = cluster.node("prod-1").watched();
    fs::rename(&aside, watched.join("all")).unwrap();
    cluster.wait_until_done("prod-1", FILES, Duration::from_secs(60));
    let inbox = cluster.node("cons-1").inbox();
    until("all are there", SOON, || {
        files_in(&inbox).len() as u64 == FILES
    });
    for at in (0..FILES).step_by(97) {
        let there = fs::read(inbox.join(format!("all/{:02}/{at:05}", at % 40))).unwrap();
        assert_eq!(there, at.to_le_bytes());
    }
    until("the sources are gone", SOON, || {
        files_in(&watched).is_empty()
    });
    for name in ["prod-1", "cons-1"] {
        let peak = cluster.node(name).memory_peak();
        assert!(peak < 128 << 20, "{name} used {} MiB", peak >> 20);
    }
}

#[test]
fn symlink_and_fifo_in_the_watched_directory_are_left_and_reported() {
    let cluster = watching(WATCHED);
    let watched = cluster.node("prod-1").watched();
    symlink("/etc/passwd", watched.join("a-link")).unwrap();
    let fifo = watched.join("a-fifo");
    rustix::fs::mknodat(
        rustix::fs::CWD,
        &fifo,
        rustix::fs::FileType::Fifo,
        0o600.into(),
        0,
    )
    .unwrap();
    fs::write(watched.join("a-file"), "x").unwrap();
    cluster.wait_until_done("prod-1", 1, SOON);
    for name in ["a-link", "a-fifo"] {
        until("it is reported", SOON, || {
            cluster.status("prod-1")["problems"]
                .to_string()
                .contains(name)
        });
        assert!(
            fs::symlink_metadata(watched.join(name)).is_ok(),
            "{name} is left"
        );
    }
    let inbox = cluster.node("cons-1").inbox();
    until("the file is there", SOON, || inbox.join("a-file").exists());
    assert_eq!(files_in(&inbox).len(), 1);
}

#[test]
fn a_name_that_is_not_utf_8_is_left_and_reported() {
    use std::os::unix::ffi::OsStrExt as _;
    let cluster = watching(WATCHED);
    let watched = cluster.node("prod-1").watched();
    let path = watched.join(std::ffi::OsStr::from_bytes(b"latin-1-\xe9.txt"));
    fs::write(&path, "x").unwrap();
    until("it is reported", SOON, || {
        cluster.status("prod-1")["problems"]
            .to_string()
            .contains("latin-1")
    });
    assert!(path.exists());
}

#[test]
fn temporary_names_are_left_alone_until_they_are_renamed() {
    let cluster = watching(WATCHED);
    let watched = cluster.node("prod-1").watched();
    for name in [".hidden", "a.part", "b.tmp", "c~"] {
        fs::write(watched.join(name), name).unwrap();
    }
    fs::write(watched.join("whole"), "whole").unwrap();
    cluster.wait_until_done("prod-1", 1, SOON);
    // Whoever finds this one has looked at the others when they were at rest.
    fs::write(watched.join("later"), "later").unwrap();
    cluster.wait_until_done("prod-1", 2, SOON);
    until("only those are left", SOON, || {
        files_in(&watched).len() == 4
    });
    fs::rename(watched.join("a.part"), watched.join("a")).unwrap();
    cluster.wait_until_done("prod-1", 3, SOON);
    let inbox = cluster.node("cons-1").inbox();
    until("it is there", SOON, || inbox.join("a").exists());
}

#[test]
fn a_file_that_is_still_written_is_not_taken() {
    let cluster = watching(&WATCHED.replace("300ms", "1500ms"));
    let path = cluster.node("prod-1").watched().join("growing");
    let mut file = File::create(&path).unwrap();
    for _ in 0..10 {
        file.write_all(&random_bytes(1, 1_000)).unwrap();
        // The pace of who writes: slow, and never still for as long as `settle`.
        std::thread::sleep(Duration::from_millis(200));
        assert!(path.exists(), "it was taken while it grew");
    }
    drop(file);
    cluster.wait_until_done("prod-1", 1, SOON);
    let there = cluster.node("cons-1").inbox().join("growing");
    until("it is there", SOON, || there.exists());
    assert_eq!(fs::metadata(there).unwrap().len(), 10_000);
}

#[test]
fn files_dropped_while_the_agent_was_down_are_found() {
    let mut cluster = watching(WATCHED);
    cluster.kill("prod-1");
    let watched = cluster.node("prod-1").watched();
    fs::create_dir_all(watched.join("sub")).unwrap();
    fs::write(watched.join("sub/late"), "late").unwrap();
    cluster.start_one("prod-1");
    cluster.wait_until_done("prod-1", 1, SOON);
}

/// A large file is being taken out of the watched directory when the producer is killed. That
/// directory, and the spool.
fn kill_amid_taking(cluster: &mut Cluster) -> (PathBuf, PathBuf) {
    cluster.configure();
    cluster.start_one("prod-1");
    let node = cluster.node("prod-1");
    let (watched, spool) = (node.watched(), node.data_dir().join("spool"));
    fs::write(watched.join("large.part"), random_bytes(1, 150 << 20)).unwrap();
    fs::rename(watched.join("large.part"), watched.join("large")).unwrap();
    // Without a pause between two looks: what comes next takes milliseconds.
    let deadline = Instant::now() + SOON;
    while fs::read_dir(&spool).unwrap().next().is_none() {
        assert!(Instant::now() < deadline, "it is not taken");
    }
    cluster.kill("prod-1");
    (watched, spool)
}

/// The next life finishes what a kill cut short, and does not find the file a second time.
pub(crate) fn a_file_that_is_being_taken_at_a_kill_is_sent_once(cluster: &mut Cluster) {
    let (watched, spool) = kill_amid_taking(cluster);
    // The same scan finds this one, and lets both settle.
    fs::write(watched.join("later"), "later").unwrap();
    cluster.start_one("prod-1");
    for name in ["large", "later", "last"] {
        if name == "last" {
            fs::write(watched.join(name), name).unwrap();
        }
        until("it is submitted", SOON, || {
            let listed = cluster.transfers("prod-1", &[]);
            listed.iter().any(|transfer| transfer["name"] == name)
        });
    }
    let listed = cluster.transfers("prod-1", &[]);
    assert_eq!(listed.len(), 3, "each was sent once: {listed:#?}");
    // A second one would be on its way, at the least.
    let entries = fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap());
    let large = entries.filter(|entry| entry.metadata().unwrap().len() > 1 << 20);
    assert_eq!(large.count(), 1, "and taken once");
}

#[test]
fn a_kept_file_that_is_being_taken_at_a_kill_is_sent_once() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", &WATCHED.replace("delete", "keep"));
    cluster.consumer("cons-1", "");
    a_file_that_is_being_taken_at_a_kill_is_sent_once(&mut cluster);
}

#[test]
fn a_file_that_was_being_taken_at_a_kill_and_cannot_be_is_named() {
    // A kill that comes too late finds the file submitted, and shows nothing.
    for _ in 0..5 {
        let mut cluster = Cluster::new();
        cluster.producer("prod-1", &WATCHED.replace("delete", "keep"));
        cluster.consumer("cons-1", "");
        let (watched, spool) = kill_amid_taking(&mut cluster);
        // Neither the original nor the link in the spool is there any more.
        fs::remove_file(watched.join("large")).unwrap();
        for entry in fs::read_dir(&spool).unwrap() {
            fs::remove_file(entry.unwrap().path()).unwrap();
        }
        cluster.start_one("prod-1");
        let is_submitted = || !cluster.transfers("prod-1", &[]).is_empty();
        let is_named = || {
            let problems = cluster.status("prod-1")["problems"].to_string();
            problems.contains("large")
        };
        until("one or the other", SOON, || is_submitted() || is_named());
        if !is_submitted() {
            return;
        }
    }
    panic!("no kill came in time");
}

#[test]
fn source_changed_while_waiting_fails_loudly_and_can_be_retried() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    let path = cluster.write("large.bin", &random_bytes(1, 2 << 20));
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    let mut file = File::options().append(true).open(&path).unwrap();
    file.write_all(b"more").unwrap();
    drop(file);
    cluster.start_one("cons-1");
    until("it failed", SOON, || cluster.count("prod-1", "failed") == 1);
    let failed = cluster
        .transfers("prod-1", &["--state", "failed"])
        .remove(0);
    let why = failed["error"].as_str().unwrap();
    assert!(
        why.contains("edited in place") && why.contains("hint: "),
        "{why}"
    );
    let status = cluster.ask("prod-1", &["status"]).good().out;
    assert!(status.contains("failed"), "status tells of it:\n{status}");
    assert_eq!(
        files_in(&cluster.node("cons-1").inbox()).len(),
        0,
        "nothing wrong arrived"
    );

    cluster
        .ask("prod-1", &["retry", failed["id"].as_str().unwrap()])
        .good();
    cluster.wait_until_failed_again("prod-1", failed["id"].as_str().unwrap());
}

#[test]
fn a_source_that_cannot_be_archived_is_named_once_and_until_it_can() {
    let cluster = watching(&WATCHED.replace("delete", "archive"));
    let watched = cluster.node("prod-1").watched();
    fs::create_dir_all(watched.join(".consign")).unwrap();
    let in_the_way = watched.join(".consign/archive");
    fs::write(&in_the_way, "a file where the archive belongs").unwrap();
    let held = |files: usize| {
        let problems = cluster.status("prod-1")["problems"].to_string();
        problems.matches("is still held").count() == files
    };
    for (at, name) in ["first", "second"].into_iter().enumerate() {
        fs::write(watched.join(name), name).unwrap();
        cluster.wait_until_done("prod-1", at as u64 + 1, SOON);
        until("status names it", SOON, || held(at + 1));
    }
    fs::remove_file(&in_the_way).unwrap();
    until("both are archived", SOON, || {
        files_in(&in_the_way).len() == 2
    });
    until("nothing is wrong any more", SOON, || held(0));
    let log = cluster.node("prod-1").log();
    assert_eq!(log.matches("could not be released").count(), 2, "{log}");
}

#[test]
fn source_deleted_after_it_was_sent_arrives_all_the_same() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    let bytes = random_bytes(1, 2 << 20);
    let path = cluster.write("large.bin", &bytes);
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    fs::remove_file(&path).unwrap();
    cluster.start_one("cons-1");
    cluster.wait_until_done("prod-1", 1, SOON);
    let there = cluster.node("cons-1").inbox().join("large.bin");
    until("it is there", SOON, || there.exists());
    assert!(fs::read(there).unwrap() == bytes);
}
