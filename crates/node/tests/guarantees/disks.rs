//! Disks that are full, or not there.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::cluster::{Cluster, SOON, files_in, random_bytes, until};

/// A small filesystem, unmounted at the end.
struct Small(PathBuf);

impl Small {
    /// `None`, said aloud, where this user may not mount.
    fn mount(at: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        let size = format!("size={bytes}");
        let mut mount = Command::new("mount");
        Self::with(
            at,
            mount.args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(at),
        )
    }

    /// The same, of the kind that people have: its blocks are in the file `image`.
    fn ext4(at: &Path, image: &Path, bytes: u64) -> Option<Self> {
        fs::create_dir_all(at).unwrap();
        fs::File::create(image).unwrap().set_len(bytes).unwrap();
        let made = Command::new("mkfs.ext4")
            .args(["-q", "-m", "0"])
            .arg(image)
            .output();
        if !made.is_ok_and(|output| output.status.success()) {
            eprintln!("SKIPPED: mkfs.ext4 is not there");
            return None;
        }
        let mut mount = Command::new("mount");
        Self::with(at, mount.args(["-o", "loop"]).arg(image).arg(at))
    }

    fn with(at: &Path, mount: &mut Command) -> Option<Self> {
        if mount.output().is_ok_and(|output| output.status.success()) {
            return Some(Self(at.to_owned()));
        }
        eprintln!("SKIPPED: only root can mount a small filesystem");
        None
    }
}

/// Fills a filesystem but for so many bytes; the file that fills it.
fn fill(dir: &Path, but_for: u64) -> PathBuf {
    let ballast = dir.join("ballast");
    let mut file = fs::File::create(&ballast).unwrap();
    for block in [vec![0; 1 << 20], vec![0; 1 << 12]] {
        while std::io::Write::write_all(&mut file, &block).is_ok() {}
    }
    let len = file.metadata().unwrap().len();
    file.set_len(len - but_for).unwrap();
    ballast
}

impl Drop for Small {
    fn drop(&mut self) {
        // A mount that stays is seen in the removal of the test's directory.
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

#[test]
fn a_consumer_without_room_is_waited_for_and_says_so() {
    let mut cluster = Cluster::new();
    let inbox = cluster.dir().join("small");
    let Some(_small) = Small::mount(&inbox, 24 << 20) else {
        return;
    };
    cluster.producer("prod-1", "");
    cluster.consumer_at("cons-1", &inbox, "min_free = \"1MiB\"");
    cluster.start();
    let ballast = inbox.join("ballast");
    fs::write(&ballast, vec![0; 12 << 20]).unwrap();
    let bytes = random_bytes(1, 16 << 20);
    let path = cluster.write("large.bin", &bytes);
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    cluster.write("small", b"small");
    until("somebody says that there is no room", SOON, || {
        let said = format!("{} {}", cluster.status("prod-1"), cluster.status("cons-1"));
        said.contains("space") || said.contains("room")
    });
    assert_eq!(cluster.count("prod-1", "done"), 0);
    assert_eq!(cluster.count("prod-1", "failed"), 0);
    fs::remove_file(&ballast).unwrap();
    cluster.wait_until_done("prod-1", 1, Duration::from_secs(30));
    until("it is there", SOON, || inbox.join("large.bin").exists());
    assert!(fs::read(inbox.join("large.bin")).unwrap() == bytes);
}

#[test]
fn small_files_for_a_consumer_without_room_arrive_once_there_is_some() {
    let mut cluster = Cluster::new();
    let inbox = cluster.dir().join("small");
    let Some(_small) = Small::mount(&inbox, 8 << 20) else {
        return;
    };
    cluster.producer("prod-1", "");
    cluster.consumer_at("cons-1", &inbox, "min_free = \"1MiB\"");
    cluster.start();
    let ballast = inbox.join("ballast");
    fs::write(&ballast, vec![0; 6 << 20]).unwrap();
    for at in 0..100 {
        cluster.write(&format!("{at}"), &random_bytes(at, 40_000));
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    until("somebody says that there is no room", SOON, || {
        let said = format!("{} {}", cluster.status("prod-1"), cluster.status("cons-1"));
        said.contains("space") || said.contains("room")
    });
    assert_eq!(cluster.count("prod-1", "failed"), 0);
    fs::remove_file(&ballast).unwrap();
    cluster.wait_until_done("prod-1", 100, Duration::from_secs(30));
    for at in 0..100 {
        let path = inbox.join(format!("{at}"));
        until("it is there", SOON, || path.exists());
        assert_eq!(fs::read(path).unwrap(), random_bytes(at, 40_000));
    }
}

#[test]
fn an_inbox_whose_disk_is_not_mounted_takes_nothing_until_it_is() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    let send = |cluster: &Cluster, name: &str, bytes: &[u8]| {
        let path = cluster.write(name, bytes);
        let args = ["send", path.to_str().unwrap(), "--feed", "files"];
        cluster.ask("prod-1", &args).good();
    };
    send(&cluster, "before", b"before");
    cluster.wait_until_done("prod-1", 1, SOON);
    let inbox = cluster.node("cons-1").inbox();
    let away = inbox.with_file_name("away");
    for mount_point in [true, false] {
        cluster.stop("cons-1");
        fs::rename(&inbox, &away).unwrap();
        if mount_point {
            fs::create_dir(&inbox).unwrap();
        }
        cluster.start_one("cons-1");
        let name = |kind: &str| format!("{kind}-{mount_point}");
        send(&cluster, &name("small"), b"small");
        send(&cluster, &name("large"), &random_bytes(7, 1 << 20));
        until("the producer says why they wait", SOON, || {
            let problems = cluster.status("prod-1")["problems"].to_string();
            let waits = cluster.transfers("prod-1", &["--state", "placed"]);
            waits.len() == 2 && problems.contains("mount the right disk")
        });
        let status = cluster.status("cons-1").to_string();
        assert!(status.contains("mount the right disk"), "{status}");
        assert_eq!(cluster.count("prod-1", "failed"), 0);
        assert_eq!(inbox.exists(), mount_point, "nothing is made there");
        if mount_point {
            assert_eq!(fs::read_dir(&inbox).unwrap().count(), 0);
            fs::remove_dir(&inbox).unwrap();
        }
        cluster.stop("cons-1");
        fs::rename(&away, &inbox).unwrap();
        cluster.start_one("cons-1");
        let done = if mount_point { 3 } else { 5 };
        cluster.wait_until_done("prod-1", done, Duration::from_secs(30));
        // `done` is `saved` everywhere, and what is saved is visible soon after.
        let names = ["before".to_owned(), name("small"), name("large")];
        until("all are there", SOON, || {
            names.iter().all(|name| inbox.join(name).exists())
        });
    }
}

#[test]
fn a_rotten_byte_in_one_queued_file_fails_that_file_and_no_other() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    cluster.kill("cons-1");
    let rotten = random_bytes(1, 10_000);
    let path = cluster.write("rotten", &rotten);
    for at in 0..20 {
        cluster.write(&format!("{at}"), &random_bytes(at + 2, 10_000));
    }
    let own = path.parent().unwrap().to_str().unwrap();
    let args = ["send", own, "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    // A recovery proves all of the log: what rots after it is in nobody's memory.
    cluster.stop("prod-1");
    cluster.start_one("prod-1");
    cluster.stop("prod-1");
    for segment in cluster.segments("prod-1") {
        let mut bytes = fs::read(&segment).unwrap();
        let found = bytes.windows(64).position(|part| part == &rotten[..64]);
        if let Some(at) = found {
            bytes[at] ^= 1;
            fs::write(&segment, bytes).unwrap();
        }
    }
    cluster.start_one("prod-1");
    cluster.start_one("cons-1");
    cluster.wait_until_done("prod-1", 20, Duration::from_secs(30));
    let failed = cluster.transfers("prod-1", &["--state", "failed"]);
    assert_eq!(failed.len(), 1, "{failed:?}");
    let why = failed[0]["error"].to_string();
    for word in ["rotten", "checksum", "hint: "] {
        assert!(why.contains(word), "{why}");
    }
    assert_eq!(cluster.status("prod-1")["ready"], true);
    // Retrying is possible, and says the same.
    cluster.ask("prod-1", &["retry", "--failed"]).good();
    cluster.wait_until_failed_again("prod-1", failed[0]["id"].as_str().unwrap());
}

#[test]
fn a_copied_file_that_waits_leaves_the_watched_directory_and_is_sent_once() {
    for after in ["delete", "archive"] {
        let mut cluster = Cluster::new();
        let watched = cluster.dir().join("prod-1").join("watched");
        let Some(_small) = Small::mount(&watched, 8 << 20) else {
            return;
        };
        let lines = format!("watch = \"WATCHED\"\nafter = {after:?}");
        cluster.producer("prod-1", &lines);
        cluster.consumer("cons-1", "");
        cluster.configure();
        fs::write(watched.join("small"), b"small").unwrap();
        fs::write(watched.join("large"), random_bytes(1, 1 << 20)).unwrap();
        cluster.start_one("prod-1");
        until("both are taken away", SOON, || {
            fs::read_dir(&watched).unwrap().count() == 0
        });
        cluster.start_one("cons-1");
        cluster.wait_until_done("prod-1", 2, SOON);
        assert_eq!(cluster.transfers("prod-1", &[]).len(), 2);
    }
}

#[test]
fn a_file_that_is_being_copied_at_a_kill_is_sent_once() {
    for after in ["delete", "archive"] {
        let mut cluster = Cluster::new();
        let watched = cluster.dir().join("prod-1").join("watched");
        let Some(_small) = Small::mount(&watched, 320 << 20) else {
            return;
        };
        let lines = format!(
            "watch = \"WATCHED\"\nsettle = \"100ms\"\nscan_every = \"300ms\"\nafter = {after:?}"
        );
        cluster.producer("prod-1", &lines);
        cluster.consumer("cons-1", "");
        crate::sources::a_file_that_is_being_taken_at_a_kill_is_sent_once(&mut cluster);
    }
}

#[test]
fn a_full_disk_under_the_producers_log_refuses_and_recovers() {
    let mut cluster = Cluster::new();
    let home = cluster.dir().join("prod-1");
    let Some(_small) = Small::mount(&home, 192 << 20) else {
        return;
    };
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    let inbox = cluster.node("cons-1").inbox();
    cluster.start();
    let ballast = fill(&home, 0);
    for at in 0..600 {
        cluster.write(&format!("{at}"), &random_bytes(at, 200_000));
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files", "--json"];
    let said = cluster.ask("prod-1", &args);
    let accepted = said.objects().len() as u64;
    assert_eq!(said.code, 1, "120 MB do not fit: {said:#?}");
    assert!(said.err.contains("space"), "{}", said.err);
    assert_eq!(cluster.status("prod-1")["ready"], true, "it goes on");
    // Counted where they arrive: the catalogue has no space left either, and lists some only later.
    until("what was accepted arrives", Duration::from_secs(30), || {
        files_in(&inbox).len() as u64 == accepted
    });
    fs::remove_file(&ballast).unwrap();
    let path = cluster.write("afterwards", &random_bytes(1, 1_000));
    let path = path.to_str().unwrap();
    until("it takes files again", SOON, || {
        cluster
            .ask("prod-1", &["send", path, "--feed", "files"])
            .code
            == 0
    });
    until("they arrive as before", SOON, || {
        files_in(&inbox).len() as u64 == accepted + 1
    });
}

#[test]
fn a_catalogue_that_found_no_room_is_complete_again_once_there_is_some() {
    let mut cluster = Cluster::new();
    let home = cluster.dir().join("prod-1");
    let image = cluster.dir().join("image");
    let Some(_small) = Small::ext4(&home, &image, 192 << 20) else {
        return;
    };
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    let inbox = cluster.node("cons-1").inbox();
    cluster.start();
    let ballast = fill(&home, 0);
    // The log goes on in the space that it has set aside; the catalogue has none.
    let mut accepted = 0;
    let is_degraded = || {
        let problems = cluster.status("prod-1")["problems"].to_string();
        problems.contains("the catalogue is degraded")
    };
    until("the catalogue has no room", SOON, || {
        for at in 0..50 {
            cluster.write(
                &format!("{accepted}/{accepted}-{at}"),
                &random_bytes(at, 100),
            );
        }
        let own = cluster.dir().join("own").join(accepted.to_string());
        let args = ["send", own.to_str().unwrap(), "--feed", "files", "--json"];
        accepted += cluster.ask("prod-1", &args).objects().len();
        is_degraded()
    });
    until("what was accepted arrives", SOON, || {
        files_in(&inbox).len() == accepted
    });
    fs::remove_file(&ballast).unwrap();
    until("the catalogue is complete again", SOON, || !is_degraded());
    assert_eq!(cluster.count("prod-1", "done"), accepted as u64);
    assert_eq!(cluster.transfers("prod-1", &[]).len(), accepted);
}

#[test]
fn an_agent_whose_inbox_is_full_starts_and_delivers_once_there_is_room() {
    let mut cluster = Cluster::new();
    let inbox = cluster.dir().join("small");
    let Some(_small) = Small::mount(&inbox, 8 << 20) else {
        return;
    };
    cluster.producer("prod-1", "");
    cluster.consumer_at("cons-1", &inbox, "");
    cluster.start();
    cluster.stop("cons-1");
    let ballast = fill(&inbox, 0);
    cluster.start_one("cons-1");
    let status = cluster.status("cons-1")["problems"].to_string();
    assert!(status.contains("was full"), "{status}");
    cluster.write("small", b"small");
    cluster.write("large", &random_bytes(1, 1 << 20));
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    until("the producer says why they wait", SOON, || {
        cluster.status("prod-1")["problems"]
            .to_string()
            .contains("free")
    });
    fs::remove_file(ballast).unwrap();
    cluster.wait_until_done("prod-1", 2, Duration::from_secs(30));
    until("they are there", SOON, || files_in(&inbox).len() == 2);
}

#[test]
fn an_agent_whose_data_dir_is_full_starts_and_goes_on_once_there_is_room() {
    for but_for in [0, 8 << 10] {
        for after in ["keep", "delete"] {
            let mut cluster = Cluster::new();
            let lines = format!(
                "watch = \"WATCHED\"\nsettle = \"100ms\"\nscan_every = \"500ms\"\nafter = {after:?}"
            );
            cluster.producer("prod-1", &lines);
            cluster.consumer("cons-1", "");
            let data = ["prod-1", "cons-1"].map(|name| cluster.node(name).data_dir());
            let [Some(_one), Some(_two)] = data.each_ref().map(|at| Small::mount(at, 160 << 20))
            else {
                return;
            };
            let (watched, inbox) = (
                cluster.node("prod-1").watched(),
                cluster.node("cons-1").inbox(),
            );
            cluster.start();
            fs::write(watched.join("before"), b"before").unwrap();
            cluster.wait_until_done("prod-1", 1, SOON);
            let mut ballast = Vec::new();
            for (name, data) in ["prod-1", "cons-1"].iter().zip(&data) {
                cluster.stop(name);
                ballast.push(fill(data, but_for));
                cluster.start_one(name);
            }
            for name in ["prod-1", "cons-1"] {
                let status = cluster.status(name)["problems"].to_string();
                assert!(status.contains("full"), "{name}: {status}");
            }
            for name in ["prod-1", "cons-1"] {
                cluster.kill(name);
                cluster.start_one(name);
            }
            fs::write(watched.join("small"), b"small").unwrap();
            fs::write(watched.join("large"), random_bytes(1, 1 << 20)).unwrap();
            ballast
                .iter()
                .for_each(|file| fs::remove_file(file).unwrap());
            until("they are there", Duration::from_secs(45), || {
                files_in(&inbox).len() == 3
            });
            for name in ["prod-1", "cons-1"] {
                cluster.kill(name);
                cluster.start_one(name);
            }
            assert_eq!(files_in(&inbox).len(), 3, "nothing is sent twice");
        }
    }
}

#[test]
fn a_kept_file_that_cannot_be_remembered_on_a_full_disk_stops_no_agent_and_is_sent_once() {
    for restart in [false, true] {
        let mut cluster = Cluster::new();
        let lines =
            "watch = \"WATCHED\"\nsettle = \"100ms\"\nscan_every = \"500ms\"\nafter = \"keep\"";
        cluster.producer("prod-1", lines);
        cluster.consumer("cons-1", "");
        let data = cluster.node("prod-1").data_dir();
        let Some(_small) = Small::mount(&data, 160 << 20) else {
            return;
        };
        let inbox = cluster.node("cons-1").inbox();
        let watched = cluster.node("prod-1").watched();
        cluster.start();
        let ballast = fill(&data, 0);
        // Each takes a page of the set, and what SQLite has reserved is soon used up.
        for at in 0..40 {
            fs::write(watched.join(format!("{at}")), random_bytes(at, 1_000)).unwrap();
        }
        until("it is named", SOON, || {
            let problems = cluster.status("prod-1")["problems"].to_string();
            problems.contains("kept.db")
        });
        if restart {
            cluster.kill("prod-1");
            cluster.start_one("prod-1");
        }
        fs::remove_file(&ballast).unwrap();
        until("they are there", Duration::from_secs(45), || {
            files_in(&inbox).len() == 40
        });
        cluster.kill("prod-1");
        cluster.start_one("prod-1");
        let path = cluster.write("afterwards", b"afterwards");
        let args = ["send", path.to_str().unwrap(), "--feed", "files"];
        cluster.ask("prod-1", &args).good();
        until("it goes on", SOON, || inbox.join("afterwards").exists());
        assert_eq!(files_in(&inbox).len(), 41, "nothing is sent twice");
    }
}
