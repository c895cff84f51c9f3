//! What audits ask of the catalogue.

use consign_core::audit::{Belief, Scope};
use consign_core::ids::{NodeName, Sequence, Start, TransferKey};
use consign_core::log::Position;
use consign_core::ranges::SlotRange;
use consign_core::record::{
    LegRecord, LegRung, Placed, Publishing, PublishingFile, Record, SlotRecord, Slots,
    SmallReceived,
};
use consign_core::spec::FileSpec;

use super::super::{HeldSpan, LogSpan};
use super::story::{Bench, START, Story, close, id};
use crate::timestamp::Timestamp;

const DAY_MS: u64 = 86_400_000;

fn node(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn key(start: u64, seq: u64) -> TransferKey {
    TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    }
}

fn seqs<T>(rows: &[T], key: impl Fn(&T) -> TransferKey) -> Vec<u64> {
    rows.iter().map(|row| key(row).seq.0).collect()
}

#[tokio::test]
async fn the_ledger_is_walked_in_pages_and_knows_each_consumer_apart() {
    let bench = Bench::new();
    let mut story = Story::new();
    for seq in 1..=20 {
        let to: &[&str] = if seq % 2 == 0 {
            &["store-1", "store-2"]
        } else {
            &["store-2"]
        };
        story.submitted(seq, &format!("f{seq}"), seq);
        story.placed(seq, 1, to, 1_100);
    }
    story.settled("store-1", &[2, 4], LegRung::Saved, 1_300);
    story.settled("store-1", &[6], LegRung::Refused, 1_300);
    bench.fill(&story);
    let reader = bench.open().reader;
    let (mut first, mut found) = (key(0, 0), Vec::new());
    loop {
        let rows = reader.ledger(node("store-1"), Scope::default(), first, 3);
        let rows = rows.await.unwrap();
        let Some(last) = rows.last() else {
            break;
        };
        first = key(START, last.key.seq.0 + 1);
        found.extend(rows);
    }
    // One that was refused is not the consumer's.
    let even: Vec<u64> = (1..=10).map(|n| 2 * n).filter(|&seq| seq != 6).collect();
    assert_eq!(seqs(&found, |row| row.key), even);
    assert_eq!(found[0].belief, Belief::Saved { at: 1_300 });
    assert_eq!(found[2].belief, Belief::Owed);
    let scope = Scope {
        since: 1_000 + 15,
        ..Scope::default()
    };
    let count = reader.ledger_count(node("store-1"), scope).await.unwrap();
    assert_eq!(count, 3, "16, 18 and 20");
    let keys = vec![id(6).key, key(START, 99), key(7, 1), id(1).key];
    let (some, _) = reader.ledger_of(node("store-1"), keys).await.unwrap();
    let beliefs = some.into_iter().map(|row| row.map(|row| row.belief));
    let not_placed = Some(Belief::NotPlaced);
    let expected = [not_placed, None, None, not_placed];
    assert_eq!(beliefs.collect::<Vec<_>>(), expected);
    let consumers = reader.ledger_consumers().await.unwrap();
    assert_eq!(consumers, ["store-1", "store-2"]);
}

#[tokio::test]
async fn a_consumer_that_was_replaced_is_not_placed_although_it_has_saved() {
    let mut story = Story::new();
    story.submitted(1, "f", 1);
    story.placed(1, 1, &["store-1"], 1_100);
    let leg = |node: &str, slot, rung: LegRung| LegRecord {
        node: node.to_owned(),
        start: START,
        slot,
        rung: rung as i32,
        ..LegRecord::default()
    };
    let again = Record::Placed(Placed {
        start: START,
        seq: 1,
        attempt: 2,
        legs: vec![
            leg("store-1", 1, LegRung::Abandoning),
            leg("store-2", 1, LegRung::Owed),
        ],
        at: 1_200,
        ..Placed::default()
    });
    story.tell(again);
    story.settled("store-1", &[1], LegRung::Saved, 1_300);
    story.settled("store-2", &[1], LegRung::Saved, 1_400);
    for from in 0..story.records.len() {
        let bench = Bench::new();
        bench.fill(&story);
        // A part of the log that is applied again changes nothing.
        let suffix = Story {
            records: story.records[from..].to_vec(),
        };
        bench.fill_from(&suffix, 1_000);
        let reader = bench.open().reader;
        for (name, belief) in [
            ("store-1", Belief::NotPlaced),
            ("store-2", Belief::Saved { at: 1_400 }),
        ] {
            let rows = reader.ledger_of(node(name), vec![id(1).key]).await;
            let row = rows.unwrap().0.remove(0).unwrap();
            assert_eq!(row.belief, belief, "{name}, from record {from} on");
        }
    }
}

const PRODUCERS: [(&str, u64); 3] = [("cam-1", 0x30), ("cam-2", 0x10), ("cam-1", 0x20)];

/// Files of two producers, one of which has had two starts.
fn received() -> Story {
    let mut story = Story::new();
    for (producer, start) in PRODUCERS {
        for number in 1..=4 {
            let slot = SlotRecord {
                producer: producer.to_owned(),
                start,
                slot: number,
            };
            story.tell(Record::SmallReceived(SmallReceived {
                slot: slot.clone(),
                start,
                seq: 10 + number,
                spec: FileSpec {
                    feed: "images".to_owned(),
                    name: format!("f{number}"),
                    size: 10,
                    mtime_ns: Some(7),
                    submitted_at: 1_000 + number,
                    ..FileSpec::default()
                },
                digest: vec![3; 32],
                ..SmallReceived::default()
            }));
            story.tell(Record::Publishing(Publishing {
                files: vec![PublishingFile {
                    slot,
                    staging: String::new(),
                    path: format!("{start:x}/f{number}"),
                    digest: vec![3; 32],
                }],
                at: 2_000,
            }));
        }
        story.tell(Record::Published(Slots {
            producer: producer.to_owned(),
            start,
            slots: vec![SlotRange { from: 1, to: 5 }],
            at: 2_100,
        }));
    }
    story
}

#[tokio::test]
async fn what_is_held_is_walked_in_the_order_of_the_transfers() {
    let bench = Bench::new();
    bench.fill(&received());
    let reader = bench.open().reader;
    let mut span = HeldSpan {
        first: key(0, 0),
        after: -1,
        last: key(0x30, 13),
    };
    let mut found = Vec::new();
    loop {
        let page = reader.held(node("cam-1"), Scope::default(), span, 3);
        let (page, _) = page.await.unwrap();
        let Some(last) = page.last() else {
            break;
        };
        (span.first, span.after) = (last.key, last.number);
        found.extend(page);
    }
    let keys: Vec<_> = found.iter().map(|row| row.key).collect();
    let of = |start: u64, to: u64| (11..=to).map(move |seq| key(start, seq));
    let expected: Vec<_> = of(0x20, 14).chain(of(0x30, 13)).collect();
    assert_eq!(keys, expected);
    let row = &found[0];
    assert_eq!(
        (row.path.as_deref(), row.mtime_ns),
        (Some("20/f1"), Some(7))
    );
    assert_eq!(reader.held_producers().await.unwrap(), ["cam-1", "cam-2"]);
    let scope = Scope {
        feed: "other".to_owned(),
        ..Scope::default()
    };
    span.first = key(0, 0);
    let (rows, known_from) = reader.held(node("cam-1"), scope, span, 3).await.unwrap();
    assert_eq!((rows, known_from), (Vec::new(), 0));
}

#[tokio::test]
async fn a_path_is_another_files_only_with_its_digest() {
    let bench = Bench::new();
    let mut story = received();
    let mut later = received();
    // The same path once more, with other bytes.
    for record in &mut later.records {
        if let Record::SmallReceived(small) = record {
            small.slot.start = 0x99;
            small.digest = vec![4; 32];
        }
        if let Record::Publishing(publishing) = record {
            publishing.files[0].slot.start = 0x99;
            publishing.files[0].digest = vec![4; 32];
        }
    }
    story.records.extend(later.records.drain(..2));
    bench.fill(&story);
    let reader = bench.open().reader;
    let span = HeldSpan {
        first: key(0x30, 11),
        after: -1,
        last: key(0x30, 11),
    };
    let (rows, _) = reader
        .held(node("cam-1"), Scope::default(), span, 9)
        .await
        .unwrap();
    assert_eq!(rows.len(), 2);
    for (digest, expected) in [([4; 32], true), ([3; 32], false), ([5; 32], false)] {
        let digest = consign_core::ids::Digest(digest);
        let other = reader.is_of_another(rows[0].clone(), digest).await.unwrap();
        assert_eq!(other, expected, "{digest}");
    }
}

#[tokio::test]
async fn it_is_known_since_when_history_is_whole() {
    let at = |segment| Position { segment, offset: 0 }.pack();
    let span = |first, end| LogSpan {
        first: at(first),
        end: at(end),
    };
    // A log from its first segment on.
    let bench = Bench::new();
    let catalogue = bench.open_with(span(1, 9), None);
    assert_eq!(catalogue.reader.known_from().await.unwrap(), 0);
    close(catalogue);
    // A limit alone takes nothing; what has expired is not known any more.
    let limited = |bench: &Bench| bench.open_with(span(1, 9), Some(DAY_MS));
    let catalogue = limited(&bench);
    assert_eq!(catalogue.reader.known_from().await.unwrap(), 0);
    close(catalogue);
    bench.fill_from(&received(), at(1) + 1);
    let catalogue = limited(&bench);
    // What a start sends once the log is recovered.
    catalogue.feed.send(Vec::new()).await.unwrap();
    let from = loop {
        match catalogue.reader.known_from().await.unwrap() {
            0 => tokio::task::yield_now().await,
            from => break from,
        }
    };
    let kept_ms = Timestamp::now().0 - from;
    assert!((DAY_MS..DAY_MS + 60_000).contains(&kept_ms), "{from}");
    close(catalogue);
    // Also when the limit is lifted, or the clock set back.
    let catalogue = bench.open_with(span(1, 9), None);
    assert_eq!(catalogue.reader.known_from().await.unwrap(), from);
    close(catalogue);

    // Deleted, when the log has moved on: it is whole from now on.
    let bench = Bench::new();
    let before = Timestamp::now().0;
    let catalogue = bench.open_with(span(2, 9), None);
    let from = catalogue.reader.known_from().await.unwrap();
    assert!((before..=Timestamp::now().0).contains(&from), "{from}");
    close(catalogue);

    // It was away for so long that the log has dropped what it has missed.
    let bench = Bench::new();
    bench.fill(&Story::eventful());
    let catalogue = bench.open_with(span(5, 9), None);
    assert!(catalogue.reader.known_from().await.unwrap() >= before);
    close(catalogue);
}
