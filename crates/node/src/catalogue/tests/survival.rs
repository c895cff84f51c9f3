//! Restarts, deletion, damage: nothing but history may be lost, and nothing may be told wrongly.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::sync::mpsc;
use std::task::Poll;
use std::time::{Duration, Instant};

use consign_core::record::LegRung;
use rusqlite::Connection;

use super::super::row::TransferState;
use super::super::{Catalogue, Filter, LogSpan};
use super::story::{ALL, Bench, Story, close, feed, id};

#[test]
fn a_restart_skips_what_is_there() {
    let (bench, story) = (Bench::new(), Story::eventful());
    bench.fill(&story);
    let before = bench.dump();
    assert!(!before.is_empty());
    // A record at a known position is not looked at: this one would fail a transfer.
    let mut other = story.clone();
    other.failed(&[5], 9_000, "must not be seen");
    other.records.rotate_right(1);
    other.records.truncate(story.records.len());
    bench.fill(&other);
    assert_eq!(bench.dump(), before);
}

#[test]
fn any_suffix_of_the_log_may_be_applied_again_under_later_positions() {
    let story = Story::eventful();
    let whole = Bench::new();
    whole.fill(&story);
    for from in 0..story.records.len() {
        let bench = Bench::new();
        bench.fill(&story);
        let suffix = Story {
            records: story.records[from..].to_vec(),
        };
        bench.fill_from(&suffix, 1_000);
        assert_eq!(bench.dump(), whole.dump(), "from record {from} on");
    }
}

#[test]
fn a_restart_in_the_middle_ends_the_same() {
    let story = Story::eventful();
    let whole = Bench::new();
    whole.fill(&story);
    for cut in 0..story.records.len() {
        let bench = Bench::new();
        let prefix = Story {
            records: story.records[..cut].to_vec(),
        };
        bench.fill(&prefix);
        bench.fill(&story);
        assert_eq!(bench.dump(), whole.dump(), "cut at record {cut}");
    }
}

#[test]
fn a_deleted_catalogue_is_filled_again() {
    let (bench, story) = (Bench::new(), Story::eventful());
    bench.fill(&story);
    let before = bench.dump();
    std::fs::remove_file(bench.path()).unwrap();
    bench.fill(&story);
    assert_eq!(bench.dump(), before);
}

#[test]
fn a_write_ahead_log_without_its_database_is_not_believed() {
    let (bench, story) = (Bench::new(), Story::eventful());
    let catalogue = bench.open();
    feed(&catalogue, &story, 1);
    let wal = bench.dir.path().join("catalogue.db-wal");
    let deadline = Instant::now() + Duration::from_secs(10);
    while std::fs::metadata(&wal).map_or(0, |there| there.len()) == 0 {
        assert!(Instant::now() < deadline, "nothing was written");
        std::thread::yield_now();
    }
    // What a killed agent leaves, after somebody deleted the database and nothing else.
    let other = Bench::new();
    std::fs::copy(&wal, other.dir.path().join("catalogue.db-wal")).unwrap();
    close(catalogue);
    let mut short = Story::new();
    short.submitted(9, "other", 1);
    other.fill(&short);
    let clean = Bench::new();
    clean.fill(&short);
    assert_eq!(other.dump(), clean.dump());
}

#[test]
fn a_file_that_is_no_database_is_set_aside() {
    let (bench, story) = (Bench::new(), Story::eventful());
    std::fs::write(
        bench.path(),
        b"not a database at all, but long enough to look at",
    )
    .unwrap();
    let catalogue = bench.open();
    feed(&catalogue, &story, 1);
    let problem = catalogue.health.problem().unwrap();
    assert!(
        problem.hint.contains("catalogue.db.broken-1"),
        "{problem:?}"
    );
    assert!(!catalogue.health.is_degraded());
    close(catalogue);
    assert!(bench.dir.path().join("catalogue.db.broken-1").exists());
    let clean = Bench::new();
    clean.fill(&story);
    assert_eq!(bench.dump(), clean.dump());
}

#[test]
fn a_newer_schema_is_set_aside_and_kept() {
    let (bench, story) = (Bench::new(), Story::eventful());
    bench.fill(&story);
    let before = bench.dump();
    let db = Connection::open(bench.path()).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    for n in 1..=2 {
        bench.fill(&story);
        assert_eq!(bench.dump(), before);
        let kept = bench.dir.path().join("catalogue.db.broken-1");
        assert!(kept.exists(), "round {n}");
    }
    assert!(!bench.dir.path().join("catalogue.db.broken-2").exists());
}

#[test]
fn pages_damaged_in_the_middle_degrade_and_the_next_start_recovers() {
    let bench = Bench::new();
    let mut story = Story::new();
    for seq in 1..=2_000 {
        story.submitted(seq, &format!("f{seq}"), 1);
    }
    bench.fill(&story);
    let mut bytes = std::fs::read(bench.path()).unwrap();
    let end = bytes.len();
    // All but the first page, which says what the file is, and the tables' roots.
    bytes[16 * 4096..end].fill(0xa5);
    std::fs::write(bench.path(), bytes).unwrap();

    let mut more = Story::new();
    for seq in 1..=2_000 {
        more.placed(seq, 1, &["store-1"], 5_000);
    }
    let catalogue = bench.open();
    feed(&catalogue, &more, 3_000);
    let health = std::sync::Arc::clone(&catalogue.health);
    close(catalogue);
    assert!(health.is_degraded(), "damage must be noticed");

    story.records.extend(more.records);
    bench.fill(&story);
    let clean = Bench::new();
    clean.fill(&story);
    assert_eq!(bench.dump(), clean.dump());
}

#[test]
fn a_catalogue_ahead_of_its_log_is_begun_anew() {
    let (bench, story) = (Bench::new(), Story::eventful());
    bench.fill(&story);
    let log = LogSpan { first: 0, end: 5 };
    let catalogue = bench.open_with(log, None);
    let problem = catalogue.health.problem().unwrap();
    assert!(
        problem.what.contains("ahead of the intent log"),
        "{problem:?}"
    );
    close(catalogue);
    assert_eq!(bench.dump(), [] as [&str; 0]);
}

#[tokio::test]
async fn what_ended_in_a_part_of_the_log_that_is_gone_is_not_listed_as_live() {
    let bench = Bench::new();
    let mut story = Story::new();
    for seq in 1..=3 {
        story.submitted(seq, &format!("f{seq}"), 1);
        story.placed(seq, 1, &["store-1"], 2_000);
    }
    story.done(&[1], 2_100);
    bench.fill(&story);
    // Meanwhile 2 was done, and the log has dropped that record; 3 still lives, and is carried.
    let log = LogSpan {
        first: 100,
        end: u64::MAX,
    };
    let catalogue = bench.open_with(log, None);
    let mut carried = Story::new();
    carried.submitted(3, "f3", 1);
    carried.placed(3, 1, &["store-1"], 2_000);
    feed(&catalogue, &carried, 100);
    let reader = catalogue.reader.clone();
    close(catalogue);
    let rows = reader.transfers(Filter::default()).await.unwrap();
    let states: Vec<_> = rows.iter().map(|r| (r.id.clone(), r.state)).collect();
    assert_eq!(
        states,
        [(id(1), TransferState::Done), (id(3), TransferState::Placed)]
    );
}

#[tokio::test]
async fn a_failing_database_never_stops_the_feed() {
    let bench = Bench::new();
    let catalogue = bench.open();
    let db = Connection::open(bench.path()).unwrap();
    db.execute_batch("DROP TABLE transfers").unwrap();
    // Far more batches than the channel holds: each of them has to be taken.
    let mut story = Story::new();
    for seq in 1..=20_000 {
        story.submitted(seq, "x", 1);
    }
    feed(&catalogue, &story, 1);
    let health = std::sync::Arc::clone(&catalogue.health);
    let reader = catalogue.reader.clone();
    close(catalogue);
    let problem = health.problem().unwrap();
    assert!(problem.what.contains("degraded"), "{problem:?}");
    assert!(reader.transfers(Filter::default()).await.is_err());
}

#[tokio::test]
async fn a_catalogue_that_cannot_be_created_says_so_and_drains() {
    let bench = Bench::new();
    std::fs::create_dir(bench.path()).unwrap();
    let catalogue = bench.open();
    feed(&catalogue, &Story::eventful(), 1);
    let error = catalogue.reader.transfer(id(1)).await.unwrap_err();
    assert!(error.to_string().contains("hint: "), "{error}");
    assert!(catalogue.health.is_degraded());
    close(catalogue);
}

#[tokio::test]
async fn finished_transfers_leave_after_the_history_and_live_ones_stay() {
    let bench = Bench::new();
    let mut story = Story::new();
    for seq in 1..=2_500 {
        story.submitted(seq, &format!("f{seq}"), 1);
        story.placed(seq, 1, &["store-1"], 2_000);
    }
    let most: Vec<u64> = (1..=2_400).collect();
    story.settled("store-1", &most, LegRung::Saved, 2_100);
    story.done(&most, 2_100);
    story.failed(&[2_450], 2_100, "gone");
    bench.fill(&story);
    // Everything above happened in 1970.
    let catalogue = bench.open_with(ALL, Some(1000));
    // What a start sends once the log is recovered.
    catalogue.feed.send(Vec::new()).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        let counts = catalogue.reader.transfer_counts().await.unwrap();
        let done = counts.iter().find(|c| c.state == TransferState::Done);
        match done {
            None => break,
            Some(done) => assert!(Instant::now() < deadline, "{done:?} still there"),
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let rows = catalogue.reader.transfers(Filter::default()).await.unwrap();
    assert_eq!(rows.len(), 100);
    close(catalogue);
    let legs = bench
        .dump()
        .iter()
        .filter(|row| row.starts_with("legs"))
        .count();
    assert_eq!(legs, 100);
}

/// `cargo test --release -p consign -- --ignored --nocapture catalogue_speed`
#[test]
#[ignore = "a measurement: it needs a release build and an idle machine"]
fn catalogue_speed() {
    let bench = Bench::new();
    let mut story = Story::new();
    let files = 200_000;
    for first in (1..=files).step_by(500) {
        let seqs: Vec<u64> = (first..first + 500).collect();
        for &seq in &seqs {
            story.submitted(seq, &format!("camera/2026/frame-{seq:09}.jpg"), 10_000);
        }
        for &seq in &seqs {
            story.placed(seq, 1, &["store-1", "store-2"], 2_000);
        }
        story.settled("store-1", &seqs, LegRung::Saved, 2_100);
        story.settled("store-2", &seqs, LegRung::Saved, 2_100);
        story.done(&seqs, 2_200);
        story.released(&seqs, 2_300);
    }
    let began = Instant::now();
    bench.fill(&story);
    let took = began.elapsed().as_secs_f64();
    let size = std::fs::metadata(bench.path()).unwrap().len();
    println!(
        "{} records, {files} files to two consumers each, in {took:.2} s: {:.0} records/s, {:.0} files/s, {} bytes a file",
        story.records.len(),
        story.records.len() as f64 / took,
        files as f64 / took,
        size / files
    );
    assert!(story.records.len() as f64 / took > 50_000.0);
}

/// Such a query has a connection, and the last connection is to be the writer's.
#[tokio::test]
async fn an_end_waits_for_a_query_whose_asker_is_gone_and_leaves_no_write_ahead_log() {
    let bench = Bench::new();
    bench.fill(&Story::eventful());
    let Catalogue {
        feed,
        reader,
        writer,
        ..
    } = bench.open();
    let (go_on, waits) = mpsc::channel::<()>();
    let (begins, began) = tokio::sync::oneshot::channel();
    let asking = tokio::spawn({
        let reader = reader.clone();
        async move {
            let query = move |_: &Connection, _: &_| {
                let _ = begins.send(());
                let _ = waits.recv();
                Ok(())
            };
            reader.ask(query).await
        }
    });
    began.await.unwrap();
    asking.abort();
    let mut closing = pin!(reader.close());
    let waits = poll_fn(|cx| Poll::Ready(closing.as_mut().poll(cx).is_pending())).await;
    assert!(waits, "the query runs");
    go_on.send(()).unwrap();
    closing.await;
    drop(feed);
    writer.join();
    assert!(!bench.dir.path().join("catalogue.db-wal").exists());
    assert!(
        reader.transfer(id(1)).await.is_err(),
        "none begins any more"
    );
}
