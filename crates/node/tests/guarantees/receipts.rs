//! Receipts: what consumers have signed is exported, outlives crashes, and is checked offline; and what
//! was changed proves nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::cluster::{Authority, Cluster, SOON, Said, consign, random_bytes, until};

/// One producer and two consumers with keys.
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

/// Sends files and waits until they are saved. Returns their ids.
#[track_caller]
fn send(cluster: &Cluster, paths: &[PathBuf]) -> Vec<String> {
    let mut args = vec![
        "send",
        "--feed",
        "files",
        "--wait",
        "--timeout",
        "60s",
        "--json",
    ];
    args.extend(paths.iter().map(|path| path.to_str().unwrap()));
    let sent = cluster.ask("prod-1", &args).good().objects();
    let ids: BTreeSet<_> = sent.iter().map(|one| one["id"].as_str().unwrap()).collect();
    ids.into_iter().map(str::to_owned).collect()
}

/// The receipts of a transfer, as a file.
#[track_caller]
fn export(cluster: &Cluster, id: &str) -> PathBuf {
    let said = cluster.ask("prod-1", &["receipt", id]).good();
    cluster.write(&format!("{id}.json"), said.out.as_bytes())
}

fn verify(document: &Path, ca: &Path, more: &[&str]) -> Said {
    let (document, ca) = (document.to_str().unwrap(), ca.to_str().unwrap());
    let args = [&["receipt", "verify", document, "--ca", ca], more].concat();
    consign(&args)
}

fn ca(authority: &Authority) -> PathBuf {
    authority.dir().join("ca.pem")
}

#[test]
fn receipts_of_small_and_large_files_are_exported_and_prove_who_has_them() {
    let (mut cluster, authority) = secured();
    cluster.start();
    let mut paths: Vec<_> = (0..20)
        .map(|at| cluster.write(&format!("small-{at}"), &random_bytes(at, 3_000)))
        .collect();
    paths.push(cluster.write("large", &random_bytes(99, 5_000_000)));
    paths.push(cluster.write("empty", b""));
    for id in send(&cluster, &paths) {
        let document = export(&cluster, &id);
        let read: Value = serde_json::from_slice(&fs::read(&document).unwrap()).unwrap();
        let data = cluster
            .dir()
            .join("own")
            .join(read["name"].as_str().unwrap());
        let said = verify(
            &document,
            &ca(&authority),
            &["--file", data.to_str().unwrap()],
        )
        .good();
        for word in [
            "cons-1 has signed",
            "cons-2 has signed",
            &id,
            "is that file",
        ] {
            assert!(said.out.contains(word), "no {word} in {said:#?}");
        }
        let other = cluster.write(
            "other",
            &random_bytes(7, data.metadata().unwrap().len() as usize + 1),
        );
        verify(
            &document,
            &ca(&authority),
            &["--file", other.to_str().unwrap()],
        )
        .bad(1, &["bytes"]);
    }
    let line = cluster
        .ask("prod-1", &["show", &send(&cluster, &paths[..1])[0]])
        .good();
    assert_eq!(line.out.matches("receipt signed").count(), 2, "{line:#?}");
}

#[test]
fn a_document_that_was_changed_anywhere_or_is_of_another_cluster_proves_nothing() {
    let (mut cluster, authority) = secured();
    cluster.start();
    let paths: Vec<_> = (0..5)
        .map(|at| cluster.write(&format!("small-{at}"), &random_bytes(at, 3_000)))
        .collect();
    let id = &send(&cluster, &paths)[2];
    let document = export(&cluster, id);
    let good: Value = serde_json::from_slice(&fs::read(&document).unwrap()).unwrap();
    let ours = ca(&authority);
    verify(&document, &ours, &[]).good();

    let other = Authority::new(&cluster, "other");
    verify(&document, &ca(&other), &[]).bad(1, &["2 of 2"]);
    let bundle = authority.issue("cons-9", "consumer");
    verify(&document, &bundle, &[]).bad(1, &["a node is no authority"]);

    let changed = |pointer: &str, value: Value| {
        let mut changed = good.clone();
        *changed.pointer_mut(pointer).expect(pointer) = value;
        let path = cluster.write("changed.json", changed.to_string().as_bytes());
        verify(&path, &ours, &[]).bad(1, &[]);
    };
    // One byte, or one, elsewhere, in every field.
    let text = |pointer: &str| good.pointer(pointer).unwrap().as_str().unwrap().to_owned();
    let first = &good["receipts"][0];
    let mut texts = vec!["/format", "/transfer", "/feed", "/name", "/digest"];
    let of_receipt = ["/consumer", "/cluster", "/signature"];
    let of_receipt = of_receipt.map(|field| format!("/receipts/0{field}"));
    texts.extend(of_receipt.iter().map(String::as_str));
    let steps = first["path"].as_array().unwrap().len();
    let steps: Vec<_> = (0..steps)
        .map(|at| format!("/receipts/0/path/{at}"))
        .collect();
    texts.extend(steps.iter().map(String::as_str));
    for pointer in texts {
        let mut value = text(pointer);
        let last = if value.pop() == Some('1') { '2' } else { '1' };
        value.push(last);
        changed(pointer, value.into());
    }
    for pointer in [
        "/size",
        "/receipts/0/incarnation",
        "/receipts/0/at",
        "/receipts/0/count",
        "/receipts/0/scheme",
    ] {
        let value = good.pointer(pointer).unwrap().as_u64().unwrap();
        changed(pointer, (value + 1).into());
    }
    let index = first["index"].as_u64().unwrap();
    changed("/receipts/0/index", (index ^ 1).into());
    let (mine, theirs) = (&good["receipts"][0], &good["receipts"][1]);
    changed("/receipts/0/certificates", theirs["certificates"].clone());
    changed("/receipts/0/certificates", json!([]));
    changed("/receipts/1", mine.clone());
    changed("/receipts", json!([]));
    let long = vec![Value::from("00".repeat(32)); 65];
    changed("/receipts/0/path", long.into());
    verify(&cluster.write("x", b"{\"format\": 1"), &ours, &[]).bad(1, &["no document"]);
    verify(Path::new("/nowhere"), &ours, &[]).bad(1, &["/nowhere"]);
    verify(&document, Path::new("/nowhere"), &[]).bad(1, &["/nowhere"]);
    assert_eq!(
        consign(&["receipt", "verify", document.to_str().unwrap()]).code,
        2
    );
    assert_eq!(consign(&["receipt"]).code, 2);
}

#[test]
fn receipts_outlive_a_kill_and_the_log_keeps_what_the_archive_lacks() {
    let (mut cluster, authority) = secured();
    cluster.start();
    let early = send(&cluster, &[cluster.write("early", b"early")]);
    export(&cluster, &early[0]);
    // Somebody else is at the archive, so that nothing can be written there.
    let archive = cluster.node("prod-1").data_dir().join("receipts.db");
    let lock = || {
        let other = Connection::open(&archive).unwrap();
        other.busy_timeout(SOON).unwrap();
        other.execute_batch("BEGIN IMMEDIATE").unwrap();
        other
    };
    let other = lock();
    let paths: Vec<_> = (0..600)
        .map(|at| cluster.write(&format!("dir/file-{at}"), &random_bytes(at, 200_000)))
        .collect();
    let late = send(&cluster, &paths);
    let segments = || cluster.segments("prod-1");
    let oldest = segments()[0].clone();
    assert!(segments().len() > 4, "{:?}", segments());
    until("it says what it waits for", SOON, || {
        let problems = cluster.status("prod-1")["problems"].to_string();
        problems.contains("receipts cannot be archived") && problems.contains("hint")
    });
    assert_eq!(
        segments()[0],
        oldest,
        "the log keeps what the archive lacks"
    );
    cluster.kill("prod-1");
    drop(other);
    let other = lock();
    cluster.start_one("prod-1");
    assert_eq!(cluster.segments("prod-1")[0], oldest);
    drop(other);
    for id in early.iter().chain(&late) {
        let said = cluster.ask("prod-1", &["receipt", id, "--json"]).good();
        assert_eq!(
            said.objects()[0]["receipts"].as_array().unwrap().len(),
            2,
            "{id}"
        );
    }
    verify(&export(&cluster, &late[0]), &ca(&authority), &[]).good();
    until("the log is short again", SOON, || {
        cluster.segments("prod-1")[0] != oldest
    });
    let problems = cluster.status("prod-1")["problems"].to_string();
    assert!(!problems.contains("receipts"), "{problems}");
    cluster.stop("prod-1");
    let config = cluster.node("prod-1").config();
    let said = consign(&["doctor", "--json", "--config", config.to_str().unwrap()]).good();
    assert!(said.out.contains("1202 receipts under"), "{said:#?}");
}

#[test]
fn a_damaged_archive_keeps_nobody_down_and_is_named() {
    let (mut cluster, _authority) = secured();
    cluster.start();
    let before = send(&cluster, &[cluster.write("before", b"before")]);
    export(&cluster, &before[0]);
    cluster.stop("prod-1");
    let archive = cluster.node("prod-1").data_dir().join("receipts.db");
    fs::write(&archive, vec![7; 5_000]).unwrap();
    let config = cluster.node("prod-1").config();
    let doctor = ["doctor", "--config", config.to_str().unwrap()];
    let found = consign(&doctor);
    assert_eq!(found.code, 1);
    assert!(found.out.contains("receipts.db is damaged"), "{found:#?}");
    cluster.start_one("prod-1");
    let after = send(&cluster, &[cluster.write("after", b"after")]);
    export(&cluster, &after[0]);
    let problems = cluster.status("prod-1")["problems"].to_string();
    assert!(problems.contains("receipts.db.broken-1"), "{problems}");
    let kept = archive.with_file_name("receipts.db.broken-1");
    assert_eq!(fs::read(kept).unwrap(), vec![7; 5_000]);
}

#[test]
fn why_there_is_no_receipt_is_said() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    let path = cluster.write("file", b"file");
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    let id = cluster.ask("prod-1", &args).good().out.trim().to_owned();
    let receipt = |name: &str, id: &str| cluster.ask(name, &["receipt", id]);
    receipt("prod-1", &id).bad(1, &["no consumer has saved it"]);
    receipt("prod-1", "prod-1.0000000000000001.1").bad(1, &["prod-1.0000000000000001.1"]);
    receipt("prod-1", "prod-2.0000000000000001.1").bad(1, &["ask the agent of prod-2"]);
    receipt("prod-1", "nonsense").bad(2, &["not a transfer id"]);
    cluster.start_one("cons-1");
    cluster.wait_until_done("prod-1", 1, SOON);
    let ask = |args: &[&str]| cluster.ask("prod-1", args);
    ask(&["receipt", &id]).bad(1, &["cons-1 saved it", "without keys nothing is signed"]);
    let shown = ask(&["show", &id]).good();
    assert!(shown.out.contains("receipt unsigned"), "{shown:#?}");
    cluster
        .ask("cons-1", &["receipt", &id])
        .bad(1, &["ask the agent of prod-1"]);
}

/// Receipts outlive every version: what was exported once must verify for ever.
#[test]
fn a_document_of_this_version_is_verified_by_every_later_one() {
    let at = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/receipts");
    let data = at.join("data");
    let said = verify(
        &at.join("document.json"),
        &at.join("ca.pem"),
        &["--file", data.to_str().unwrap()],
    )
    .good();
    for word in ["cons-1 has signed", "cons-2 has signed", "is that file"] {
        assert!(said.out.contains(word), "no {word} in {said:#?}");
    }
}
