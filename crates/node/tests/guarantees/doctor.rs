//! Examining a node that is not running, and saving what can be saved of a damaged one.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use serde_json::Value;

use crate::cluster::{Cluster, SOON, consign, random_bytes, until};

fn doctor(cluster: &Cluster, name: &str, options: &[&str]) -> crate::cluster::Said {
    let config = cluster.node(name).config();
    let mut args = vec!["doctor", "--config", config.to_str().unwrap()];
    args.extend(options);
    consign(&args)
}

/// A producer whose only consumer was never there: everything is owed.
fn owing() -> (Cluster, Vec<u8>, Vec<u8>) {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "after = \"keep\"");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    let (small, large) = (random_bytes(1, 1_000), random_bytes(2, 3_000_000));
    for (name, bytes) in [("small file", &small), ("dir/large", &large)] {
        cluster.write(name, bytes);
    }
    let own = cluster.dir().join("own");
    let args = ["send", own.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    (cluster, small, large)
}

fn problems(said: &crate::cluster::Said) -> Vec<Value> {
    let found = said.objects();
    let bad = found.into_iter();
    bad.filter(|finding| finding["verdict"] == "problem")
        .collect()
}

#[test]
fn a_sound_node_is_found_sound_and_is_not_examined_while_it_runs() {
    let (mut cluster, ..) = owing();
    doctor(&cluster, "prod-1", &[]).bad(1, &["another agent is running", "hint:"]);
    cluster.stop("prod-1");
    let data_dir = cluster.node("prod-1").data_dir();
    let before = listing(&data_dir);
    let said = doctor(&cluster, "prod-1", &["--read", "--json"]).good();
    assert_eq!(problems(&said), [] as [Value; 0]);
    assert_eq!(listing(&data_dir), before, "nothing is changed");
    doctor(&cluster, "prod-1", &[]).good();
}

#[test]
fn what_is_owed_is_saved_out_of_a_damaged_log() {
    let (mut cluster, small, large) = owing();
    cluster.kill("prod-1");
    cluster.start_one("prod-1");
    cluster.stop("prod-1");
    // The header of the oldest segment: the agent can tell nothing from it any more.
    let segment = &cluster.segments("prod-1")[0];
    let file = fs::File::options().write(true).open(segment).unwrap();
    file.write_all_at(&[0xff; 8], 16).unwrap();
    let said = doctor(&cluster, "prod-1", &["--json"]);
    assert_eq!(said.code, 1);
    let found = problems(&said);
    assert!(found[0]["what"].as_str().unwrap().contains("is damaged"));
    assert!(found[0]["hint"].as_str().unwrap().contains("--salvage"));

    let to = cluster.dir().join("salvaged");
    doctor(&cluster, "prod-1", &["--salvage", to.to_str().unwrap()]);
    let list = fs::read_to_string(to.join("salvage.jsonl")).unwrap();
    let lines: Vec<Value> = list
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for (name, bytes) in [("small file", &small), ("dir/large", &large)] {
        let line = lines.iter().find(|line| line["name"] == name).unwrap();
        let saved = fs::read(to.join(line["file"].as_str().unwrap())).unwrap();
        assert_eq!(&saved, bytes, "{name}");
        let path = line["file"].as_str().unwrap();
        assert!(path.ends_with(name), "{path} keeps its name");
    }
    let again = doctor(&cluster, "prod-1", &["--salvage", to.to_str().unwrap()]);
    again.bad(1, &["is not empty", "hint:"]);
}

#[test]
fn a_file_that_is_gone_from_the_spool_is_named() {
    let (mut cluster, ..) = owing();
    cluster.stop("prod-1");
    let spool = cluster.node("prod-1").data_dir().join("spool");
    for entry in fs::read_dir(&spool).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let said = doctor(&cluster, "prod-1", &["--json"]);
    assert_eq!(said.code, 1);
    let found = problems(&said);
    assert_eq!(found.len(), 1, "{found:?}");
    let what = found[0]["what"].as_str().unwrap();
    assert!(what.contains("dir/large") && what.contains("no consumer has it"));
}

#[test]
fn rot_in_what_was_received_is_found_where_it_lies() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    let link = cluster.proxy("cons-1");
    link.slow_down(40 << 20);
    cluster.start();
    let path = cluster.write("large", &random_bytes(3, 120 << 20));
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    cluster.ask("prod-1", &args).good();
    let inbox = cluster.node("cons-1").inbox();
    until("more than one watermark is behind it", SOON, || {
        link.sent() > 80 << 20
    });
    cluster.stop("cons-1");
    doctor(&cluster, "cons-1", &["--read"]).good();
    let staged = staged(&inbox).unwrap();
    let file = fs::File::options().write(true).open(staged).unwrap();
    file.write_all_at(b"rot", 1_000_000).unwrap();
    doctor(&cluster, "cons-1", &[]).good();
    let said = doctor(&cluster, "cons-1", &["--read", "--json"]);
    assert_eq!(said.code, 1);
    let found = problems(&said);
    assert!(
        found[0]["what"].as_str().unwrap().contains("chunk 0"),
        "{found:?}"
    );
}

fn staged(inbox: &Path) -> Option<std::path::PathBuf> {
    let entries = fs::read_dir(inbox.join(".consign")).ok()?;
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    paths
        .into_iter()
        .find(|path| path.file_name().is_some_and(|name| name != "marker"))
}

/// Every file below a directory with its length and time.
fn listing(dir: &Path) -> Vec<(std::path::PathBuf, u64, std::time::SystemTime)> {
    let mut found = Vec::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let (path, meta) = (entry.as_ref().unwrap().path(), entry.unwrap().metadata());
            let meta = meta.unwrap();
            match meta.is_dir() {
                true => dirs.push(path),
                // SQLite's shared memory, which every reader of the catalogue maps.
                false if path.to_string_lossy().ends_with("-shm") => {}
                false => found.push((path, meta.len(), meta.modified().unwrap())),
            }
        }
    }
    found.sort();
    found
}
