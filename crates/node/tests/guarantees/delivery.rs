//! Every file is on exactly its placed consumers, whole, once, under its name.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::time::{Duration, SystemTime};

use crate::cluster::{Cluster, SOON, files_in, left_in_staging, random_bytes, until};

const CONSUMERS: [&str; 3] = ["cons-1", "cons-2", "cons-3"];

/// Who holds a file, by looking into every inbox.
fn holders<'a>(cluster: &Cluster, consumers: &[&'a str], name: &str, bytes: &[u8]) -> Vec<&'a str> {
    let holds = |consumer: &&&str| {
        let path = cluster.node(consumer).inbox().join(name);
        fs::read(path).is_ok_and(|there| there == bytes)
    };
    consumers.iter().filter(holds).copied().collect()
}

/// Whom the producer names as those who have a transfer.
fn placed(cluster: &Cluster, id: &str) -> Vec<String> {
    let all = cluster.transfers("prod-1", &[]);
    let transfer = all
        .into_iter()
        .find(|t| t["id"] == id)
        .expect("it is listed");
    let consumers = transfer["consumers"].as_array().unwrap().iter();
    let saved = consumers.filter(|consumer| consumer["state"] == "saved");
    let mut names: Vec<_> = saved
        .map(|consumer| consumer["node"].as_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn file_sent_with_wait_is_in_the_inboxes_of_its_replicas() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 2");
    CONSUMERS.iter().for_each(|name| cluster.consumer(name, ""));
    cluster.start();
    for (seed, size) in [(1, 0), (2, 1), (3, 10_000), (4, 3 << 20)] {
        let bytes = random_bytes(seed, size);
        let name = format!("file-{size}");
        let path = cluster.write(&name, &bytes);
        let mtime = SystemTime::UNIX_EPOCH + Duration::from_secs(1_500_000_000);
        fs::File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_modified(mtime)
            .unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let said = cluster
            .ask(
                "prod-1",
                &[
                    "send",
                    path.to_str().unwrap(),
                    "--feed",
                    "files",
                    "--wait",
                    "--json",
                ],
            )
            .good();
        let transfer = said.objects().remove(0);
        assert_eq!(transfer["state"], "done", "{transfer}");
        let digest = blake3::hash(&bytes).to_hex();
        if size > 0 {
            assert_eq!(transfer["digest"], digest.as_str(), "{transfer}");
        }
        // `saved` means that it will be seen, not that it is seen already.
        until("two inboxes hold it", SOON, || {
            holders(&cluster, &CONSUMERS, &name, &bytes).len() >= 2
        });
        let holders = holders(&cluster, &CONSUMERS, &name, &bytes);
        assert_eq!(holders, placed(&cluster, transfer["id"].as_str().unwrap()));
        for consumer in holders {
            let there = fs::metadata(cluster.node(consumer).inbox().join(&name)).unwrap();
            assert_eq!(there.mode() & 0o7777, 0o640);
            assert_eq!(there.mtime(), 1_500_000_000);
        }
        assert!(path.exists(), "the source is kept");
    }
    for consumer in CONSUMERS {
        assert_eq!(left_in_staging(&cluster.node(consumer).inbox()), [""; 0]);
        cluster.stop(consumer);
    }
    cluster.stop("prod-1");
}

#[test]
fn awkward_names_arrive_as_they_are() {
    let long = "n".repeat(255);
    let names = [
        "  spaces  in  front and behind ",
        "Zażółć — 文件 — 🚚.txt",
        "new'quote\"and\\backslash",
        "a/b/c/d/e/f/g/leaf",
        "%2e%2e",
        "per cent % and & ? #",
        long.as_str(),
    ];
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    for name in names {
        cluster.write(name, name.as_bytes());
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files", "--wait"];
    cluster.ask("prod-1", &args).good();
    let inbox = cluster.node("cons-1").inbox();
    until("all are there", SOON, || {
        files_in(&inbox).len() == names.len()
    });
    for name in names {
        assert_eq!(
            fs::read(inbox.join(name)).unwrap(),
            name.as_bytes(),
            "{name:?}"
        );
    }
}

#[test]
fn replicas_all_reaches_every_consumer() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = \"all\"");
    CONSUMERS.iter().for_each(|name| cluster.consumer(name, ""));
    cluster.start();
    let path = cluster.write("to-all", &random_bytes(1, 2 << 20));
    let args = ["send", path.to_str().unwrap(), "--feed", "files", "--wait"];
    cluster.ask("prod-1", &args).good();
    until("every inbox has it", SOON, || {
        let mut inboxes = CONSUMERS.iter().map(|name| cluster.node(name).inbox());
        inboxes.all(|inbox| inbox.join("to-all").exists())
    });
}

#[test]
fn equal_keys_go_to_equal_consumers_and_explain_says_where() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "key = \"{dir}\"");
    CONSUMERS.iter().for_each(|name| cluster.consumer(name, ""));
    cluster.start();
    for at in 0..20 {
        cluster.write(&format!("same/{at}"), &random_bytes(at, 100));
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files", "--wait"];
    cluster.ask("prod-1", &args).good();
    let args = ["explain", "--feed", "files", "--key", "same", "--json"];
    let explained = cluster.ask("prod-1", &args).good().objects().remove(0);
    let chosen = explained["chain"][0].as_str().unwrap();
    let inbox = cluster.node(chosen).inbox();
    until("all are there", SOON, || files_in(&inbox).len() == 20);
}

#[test]
fn inbox_path_taken_is_renamed() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    let inbox = cluster.node("cons-1").inbox();
    fs::create_dir_all(&inbox).unwrap();
    for (name, size) in [("small.txt", 10), ("large.bin", 1 << 20)] {
        fs::write(inbox.join(name), "was here").unwrap();
        cluster.write(name, &random_bytes(1, size));
    }
    cluster.start();
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files", "--wait"];
    cluster.ask("prod-1", &args).good();
    until("both are there", SOON, || files_in(&inbox).len() == 4);
    for (stem, extension, size) in [("small", "txt", 10), ("large", "bin", 1 << 20)] {
        let old = fs::read(inbox.join(format!("{stem}.{extension}"))).unwrap();
        assert_eq!(old, b"was here", "nothing is ever replaced");
        let files = files_in(&inbox);
        let (_, path) = files
            .iter()
            .find(|(name, _)| {
                name.starts_with(&format!("{stem}.prod-1.")) && name.ends_with(extension)
            })
            .expect("it is named after its transfer");
        assert_eq!(fs::read(path).unwrap(), random_bytes(1, size));
    }
}

#[test]
fn inbox_path_taken_is_rejected_when_the_consumer_says_so() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "on_conflict = \"reject\"");
    let inbox = cluster.node("cons-1").inbox();
    fs::create_dir_all(&inbox).unwrap();
    fs::write(inbox.join("taken.txt"), "was here").unwrap();
    cluster.start();
    let path = cluster.write("taken.txt", b"another");
    let args = [
        "send",
        path.to_str().unwrap(),
        "--feed",
        "files",
        "--wait",
        "--timeout",
        "15s",
    ];
    let said = cluster.ask("prod-1", &args);
    assert_eq!(said.code, 1, "{said:#?}");
    let failed = cluster.transfers("prod-1", &["--state", "failed"]);
    assert_eq!(failed.len(), 1);
    let why = failed[0]["error"].as_str().unwrap();
    assert!(why.contains("taken.txt"), "{why}");
    assert_eq!(fs::read(inbox.join("taken.txt")).unwrap(), b"was here");
    assert_eq!(files_in(&inbox).len(), 1);

    // Once the path is free, it is only to be tried again.
    fs::remove_file(inbox.join("taken.txt")).unwrap();
    cluster.ask("prod-1", &["retry", "--failed"]).good();
    until("it is there", SOON, || {
        fs::read(inbox.join("taken.txt")).is_ok_and(|bytes| bytes == b"another")
    });
}

#[test]
fn what_becomes_of_a_source_is_as_its_feed_says() {
    for after in ["delete", "archive", "keep"] {
        let mut cluster = Cluster::new();
        let lines = format!(
            "watch = \"WATCHED\"\nsettle = \"300ms\"\nscan_every = \"500ms\"\nafter = \"{after}\""
        );
        cluster.producer("prod-1", &lines);
        cluster.consumer("cons-1", "");
        let watched = cluster.node("prod-1").watched();
        fs::create_dir_all(watched.join("sub")).unwrap();
        for (name, size) in [("sub/small", 100), ("large", 2 << 20)] {
            fs::write(watched.join(name), random_bytes(1, size)).unwrap();
        }
        cluster.start();
        cluster.wait_until_done("prod-1", 2, SOON);
        let inbox = cluster.node("cons-1").inbox();
        until("both are there", SOON, || files_in(&inbox).len() == 2);
        assert_eq!(
            fs::read(inbox.join("sub/small")).unwrap(),
            random_bytes(1, 100)
        );
        let names = || files_in(&watched).into_keys().collect::<Vec<_>>();
        match after {
            "keep" => assert_eq!(names(), ["large", "sub/small"]),
            _ => until("the sources are released", SOON, || names().is_empty()),
        }
        if after == "archive" {
            let archive = watched.join(".consign/archive");
            until("both are archived", SOON, || files_in(&archive).len() == 2);
        }
        let spool = cluster.node("prod-1").data_dir().join("spool");
        until("the spool is empty", SOON, || files_in(&spool).is_empty());
        // What was taken once is not taken again.
        cluster.kill("prod-1");
        cluster.start_one("prod-1");
        // Whoever finds this one has found all that is there.
        fs::write(watched.join("later"), "later").unwrap();
        cluster.wait_until_done("prod-1", 3, SOON);
        let all = cluster.transfers("prod-1", &[]);
        assert_eq!(all.len(), 3, "after = {after}");
    }
}

#[test]
fn two_files_of_one_name_both_arrive() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    let path = cluster.write("same", b"first");
    let args = ["send", path.to_str().unwrap(), "--feed", "files", "--wait"];
    cluster.ask("prod-1", &args).good();
    fs::remove_file(&path).unwrap();
    cluster.write("same", b"second");
    cluster.ask("prod-1", &args).good();
    let inbox = cluster.node("cons-1").inbox();
    until("both are there", SOON, || files_in(&inbox).len() == 2);
    let mut all: Vec<_> = files_in(&inbox)
        .values()
        .map(|path| fs::read(path).unwrap())
        .collect();
    all.sort();
    assert_eq!(all, [b"first".to_vec(), b"second".to_vec()]);
}

#[test]
fn a_file_whose_directory_is_taken_is_published_under_another_name() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "on_conflict = \"rename\"");
    cluster.start();
    let inbox = cluster.node("cons-1").inbox();
    fs::write(inbox.join("par"), "a file, where a directory has to be").unwrap();
    let mut names = Vec::new();
    for (name, length) in [("par/small", 100), ("par/large", 1 << 20)] {
        cluster.write(name, &random_bytes(length as u64, length));
        names.push(name.strip_prefix("par/").unwrap());
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files", "--wait"];
    cluster.ask("prod-1", &args).good();
    for name in names {
        until("it is in the inbox itself", SOON, || {
            let files = files_in(&inbox);
            files
                .keys()
                .any(|there| there.starts_with(&format!("{name}.prod-1.")))
        });
        let log = cluster.node("cons-1").log();
        let told = log.lines().any(|line| {
            line.contains(" WARN ")
                && line.contains(&format!("/par/{name}\""))
                && line.contains("hint: ")
        });
        assert!(told, "{log}");
    }
}
