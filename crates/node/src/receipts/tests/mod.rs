//! The archive over a real log and real SQLite files.

mod story;
mod strangers;

use std::fs;
use std::time::{Duration, Instant};

use consign_core::receipt;
use consign_core::record::{LegRung, LegsSettled, Record};
use rusqlite::Connection;

use super::document::{unhex, unhex_hash};
use super::{Document, FILE, examine, open};
use crate::problems::Problems;
use crate::timestamp::Timestamp;
use story::{Bench, NODE, done, dump, eventful, id, leaf, placed, signed, submitted};

const SOON: Duration = Duration::from_secs(20);

/// Waits for a condition that another thread brings about.
#[track_caller]
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {SOON:?}: {what}");
        std::thread::yield_now();
    }
}

/// The consumers in a document, each of whose paths leads to the root that the batch has.
fn signers(document: Option<Document>, seq: u64, roots: &[receipt::Hash]) -> Vec<String> {
    let receipts = document.map(|document| document.receipts);
    let each = receipts.into_iter().flatten().map(|one| {
        let path: Vec<_> = one
            .path
            .iter()
            .map(|hash| unhex_hash(hash).unwrap())
            .collect();
        let root = receipt::root_of(leaf(seq), one.index, one.count, &path).unwrap();
        assert!(roots.contains(&root), "{one:?}");
        one.consumer
    });
    each.collect()
}

#[test]
fn what_was_signed_is_found_by_its_transfer_and_leads_to_what_was_signed() {
    let mut bench = Bench::new();
    let through = bench.tell(&eventful());
    let opened = bench.open(None);
    opened.archive.follow(bench.log.reader(), through);
    let batches: [&[u64]; 4] = [&[1, 2, 3], &[1], &[2, 4], &[2, 3, 4, 5]];
    let roots = batches.map(|seqs| {
        let leaves: Vec<_> = seqs.iter().map(|seq| leaf(*seq)).collect();
        receipt::root(&leaves).unwrap()
    });
    let found = |seq| signers(bench.document(&opened, seq), seq, &roots);
    for seq in 1..=4 {
        assert_eq!(found(seq), ["store-1", "store-2"], "{seq}");
    }
    assert_eq!(found(5), ["store-2"]);
    assert_eq!(found(6), [""; 0]);
    let one = bench.document(&opened, 3).unwrap();
    assert_eq!(one.transfer, id(3).to_string());
    let said = (
        &*one.feed,
        &*one.name,
        one.size,
        unhex(&one.digest).unwrap(),
    );
    assert_eq!(said, ("images", "dir/file-3", 103, vec![3; 32]));
    let first = &one.receipts[0];
    assert_eq!(
        (first.incarnation, first.at, first.count, first.index),
        (4, 5_000, 3, 2)
    );
    assert!(first.certificates[0].starts_with("-----BEGIN CERTIFICATE-----\n"));
    assert_eq!(first.certificates.len(), 2);
    assert_eq!(opened.archive.needs_from(), None);
    opened.writer.unwrap().join();
}

#[test]
fn what_is_applied_again_changes_nothing() {
    let mut bench = Bench::new();
    let through = bench.tell(&eventful());
    bench.follow(through);
    let once = bench.dump();
    // Recovery writes the end of a log again, at other positions.
    for from in [0, 7, 12] {
        let through = bench.tell(&eventful()[from..]);
        bench.follow(through);
        assert_eq!(bench.dump(), once, "from {from}");
    }
}

#[test]
fn a_kill_between_any_two_steps_loses_nothing() {
    let story = eventful();
    let mut bench = Bench::new();
    let positions: Vec<_> = story
        .iter()
        .map(|record| bench.tell(std::slice::from_ref(record)))
        .collect();
    let last = *positions.last().unwrap();
    bench.follow(last);
    let whole = bench.dump();
    for &killed_at in &positions {
        let image = tempfile::tempdir().unwrap();
        fs::remove_file(bench.path()).unwrap();
        let opened = bench.open(None);
        opened.archive.follow(bench.log.reader(), killed_at);
        bench.document(&opened, 1);
        // What a kill leaves: the file and its write-ahead log, not folded back.
        for file in [FILE.to_owned(), format!("{FILE}-wal")] {
            fs::copy(bench.dir.path().join(&file), image.path().join(&file)).unwrap();
        }
        opened.writer.unwrap().join();
        let again = open(image.path(), true, None, &Problems::default());
        again.archive.follow(bench.log.reader(), last);
        bench.document(&again, 1);
        again.writer.unwrap().join();
        let mut found = dump(&image.path().join(FILE));
        let mut wanted = whole.clone();
        // Consumers and certificates may have been met in another order.
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted, "killed at {killed_at:?}");
    }
}

#[test]
fn what_a_kill_left_is_synced_before_it_is_believed() {
    let mut bench = Bench::new();
    let through = bench.tell(&eventful());
    let opened = bench.open(None);
    opened.archive.follow(bench.log.reader(), through);
    bench.document(&opened, 1);
    let image = tempfile::tempdir().unwrap();
    let wal = format!("{FILE}-wal");
    for file in [FILE, &wal] {
        fs::copy(bench.dir.path().join(file), image.path().join(file)).unwrap();
    }
    opened.writer.unwrap().join();
    let left = || image.path().join(&wal).metadata().unwrap().len();
    assert!(
        left() > 0,
        "the last commit is in the write-ahead log alone"
    );
    let again = open(image.path(), true, None, &Problems::default());
    again.archive.follow(bench.log.reader(), through);
    assert!(bench.document(&again, 1).is_some());
    assert_eq!(left(), 0, "it is written and synced into the database");
    again.writer.unwrap().join();
}

#[test]
fn a_log_keeps_its_segments_until_the_archive_has_them_synced() {
    let mut bench = Bench::new();
    let through = bench.tell(&eventful());
    bench.follow(through);
    let other = Connection::open(bench.path()).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let through = bench.tell(&[
        submitted(9),
        placed(9, &["store-1"], LegRung::Owed),
        signed("store-1", &[9], &[9]),
    ]);
    let opened = bench.open(None);
    opened.archive.follow(bench.log.reader(), through);
    let stands_still = || {
        let problems = bench.problems.list();
        let told = |one: &crate::problems::Problem| one.what.contains("cannot be archived");
        problems.iter().any(told)
    };
    until("it says that it stands still", stands_still);
    assert!(opened.archive.needs_from().is_some());
    other.execute_batch("COMMIT").unwrap();
    until("it has all", || opened.archive.needs_from().is_none());
    assert_eq!(bench.document(&opened, 9).unwrap().receipts.len(), 1);
    until("it says no more", || !stands_still());
    opened.writer.unwrap().join();
}

#[test]
fn what_ended_before_history_goes_and_a_signature_with_its_last_file() {
    let mut bench = Bench::new();
    let through = bench.tell(&eventful());
    bench.follow(through);
    let path = bench.path();
    let count = |table: &str| -> i64 {
        let db = Connection::open(&path).unwrap();
        let query = format!("SELECT count(*) FROM {table}");
        db.query_row(&query, [], |row| row.get(0)).unwrap()
    };
    // However late it is by the clock: nothing has ended since.
    let opened = bench.open(Some(60_000));
    opened.archive.follow(bench.log.reader(), through);
    until("it follows", || opened.archive.needs_from().is_none());
    opened.writer.unwrap().join();
    assert_eq!(count("transfers"), 6);
    let Record::Done(mut late) = done(6) else {
        panic!("it is one");
    };
    late.at = Timestamp::now().0;
    let through = bench.tell(&[Record::Done(late)]);
    let opened = bench.open(Some(60_000));
    opened.archive.follow(bench.log.reader(), through);
    until("1, 2 and 4 are gone", || count("transfers") == 3);
    assert_eq!(bench.document(&opened, 1), None);
    for (seq, receipts) in [(3, 2), (5, 1)] {
        assert_eq!(
            bench.document(&opened, seq).unwrap().receipts.len(),
            receipts
        );
    }
    // Those of store-1 for 1 to 3, and of store-2 for 2 to 5.
    assert_eq!((count("receipts"), count("batches")), (3, 2));
    opened.writer.unwrap().join();
    assert_eq!(examine(bench.dir.path()).unwrap().wrong, [""; 0]);
}

#[test]
fn a_damaged_archive_is_set_aside_and_begun_anew_from_what_the_log_holds() {
    let mut bench = Bench::new();
    let through = bench.tell(&eventful());
    bench.follow(through);
    let whole = bench.dump();
    fs::write(bench.path(), b"this is no database, whatever it was before").unwrap();
    assert_eq!(examine(bench.dir.path()).unwrap().wrong.len(), 1);
    bench.follow(through);
    assert_eq!(bench.dump(), whole);
    let kept = bench.dir.path().join(format!("{FILE}.broken-1"));
    assert!(fs::read(&kept).unwrap().starts_with(b"this is no"));
    let problems = bench.problems.list();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(
        problems[0].hint.contains(kept.to_str().unwrap()),
        "{problems:?}"
    );
    let examined = examine(bench.dir.path()).unwrap();
    assert_eq!((examined.wrong.len(), examined.set_aside.len()), (0, 1));
}

#[test]
fn an_archive_that_is_begun_after_the_log_knows_whose_slots_are_answered_for() {
    let mut bench = Bench::new();
    // The placement that the answer was to is dropped; what was carried stands behind it.
    let through = bench.tell(&[
        signed("store-1", &[1], &[1]),
        submitted(1),
        placed(1, &["store-1", "store-2"], LegRung::Saved),
    ]);
    bench.follow(through);
    let opened = bench.open(None);
    assert_eq!(bench.document(&opened, 1).unwrap().receipts.len(), 1);
    opened.writer.unwrap().join();
}

#[test]
fn receipts_stand_beside_a_log_that_was_begun_anew() {
    let mut bench = Bench::new();
    let through = bench.tell(&eventful());
    bench.follow(through);
    let next = Bench::new();
    fs::copy(bench.path(), next.path()).unwrap();
    let mut next = next;
    let through = next.tell(&[submitted(8), placed(8, &["store-1"], LegRung::Owed)]);
    next.follow(through);
    let through = next.tell(&[signed("store-1", &[8], &[8]), done(8)]);
    let opened = next.open(None);
    opened.archive.follow(next.log.reader(), through);
    for seq in [1, 8] {
        assert!(next.document(&opened, seq).is_some(), "{seq}");
    }
    opened.writer.unwrap().join();
}

#[test]
fn what_nobody_has_signed_is_not_archived() {
    let mut bench = Bench::new();
    let Record::LegsSettled(settled) = signed("store-1", &[1], &[1]) else {
        unreachable!()
    };
    let receipt = settled.receipt.clone().map(|receipt| receipt.unsigned());
    let unsigned = Record::LegsSettled(LegsSettled { receipt, ..settled });
    let story = [
        submitted(1),
        placed(1, &["store-1"], LegRung::Owed),
        unsigned,
        done(1),
    ];
    let through = bench.tell(&story);
    let opened = bench.open(None);
    opened.archive.follow(bench.log.reader(), through);
    assert_eq!(bench.document(&opened, 1), None);
    opened.writer.unwrap().join();
    assert!(!bench.dump().iter().any(|row| row.starts_with("placed")));
    // And a node that never had keys has no archive at all.
    let plain = tempfile::tempdir().unwrap();
    let opened = open(plain.path(), false, None, &Problems::default());
    assert!(!opened.reader.is_kept() && opened.writer.is_none());
    assert!(!plain.path().join(FILE).exists(), "{NODE}");
}

#[test]
fn a_batch_whose_leaves_have_changed_is_found_by_an_examination() {
    let mut bench = Bench::new();
    let through = bench.tell(&eventful());
    bench.follow(through);
    assert_eq!(examine(bench.dir.path()).unwrap().wrong, [""; 0]);
    let db = Connection::open(bench.path()).unwrap();
    let turned = "UPDATE batches SET leaves = zeroblob(length(leaves)) WHERE id = 2";
    assert_eq!(db.execute(turned, []).unwrap(), 1);
    drop(db);
    let wrong = examine(bench.dir.path()).unwrap().wrong;
    assert_eq!(wrong, ["batch 2 does not have the root of its leaves"]);
}
