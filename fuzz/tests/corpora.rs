//! Everything that is in the corpora, among it what once made a target fail, is tried at each run of
//! the tests.

use std::path::{Path, PathBuf};

use consign_core::record::Record;
use consign_core::wire::{Message, encode_frame};

fn corpus(target: &str) -> PathBuf {
    let corpora = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    corpora.join(target)
}

/// Where a fuzzer begins: one message and one record of each kind. Run with
/// `CONSIGN_WRITE_CORPORA=1` when there are new kinds.
fn write_first(target: &str, name: &str, input: &[u8]) {
    let dir = corpus(target);
    std::fs::create_dir_all(&dir).expect("it can be made");
    std::fs::write(dir.join(name), input).expect("it can be written");
}

fn try_all(target: &str, run: fn(&[u8])) {
    let corpus = corpus(target);
    let mut tried = 0;
    for entry in std::fs::read_dir(&corpus).expect("each target has a corpus") {
        let path = entry.expect("it can be listed").path();
        println!("{}", path.display());
        run(&std::fs::read(&path).expect("it can be read"));
        tried += 1;
    }
    assert!(tried > 0, "{} is empty", corpus.display());
}

#[test]
fn frames_of_strangers_do_no_harm() {
    for &kind in Message::kinds() {
        let message = Message::decode(kind, &[])
            .ok()
            .flatten()
            .expect("an empty body is good");
        let frame = encode_frame(&message, 0);
        consign_fuzz::frames(&frame);
        if std::env::var_os("CONSIGN_WRITE_CORPORA").is_some() {
            write_first("frames", &format!("first-{}", message.name()), &frame);
        }
    }
    try_all("frames", consign_fuzz::frames);
}

#[test]
fn records_are_read_or_refused() {
    for &kind in Record::kinds() {
        let record = Record::read(kind, &[]).expect("an empty body is good");
        consign_fuzz::records(&[kind]);
        if std::env::var_os("CONSIGN_WRITE_CORPORA").is_some() {
            write_first("records", &format!("first-{}", record.name()), &[kind]);
        }
    }
    try_all("records", consign_fuzz::records);
}

#[test]
fn damaged_logs_are_recovered_alike_or_refused() {
    try_all("log", consign_fuzz::log);
}

#[test]
fn names_stay_beneath_their_inbox() {
    try_all("names", consign_fuzz::names);
}

#[test]
fn configurations_are_read_or_refused_with_a_hint() {
    try_all("config", consign_fuzz::config);
}

#[test]
fn connections_of_strangers_do_no_harm() {
    try_all("connection", consign_fuzz::connection);
}

#[test]
fn requests_of_strangers_are_answered_or_closed() {
    try_all("http", consign_fuzz::http);
}
