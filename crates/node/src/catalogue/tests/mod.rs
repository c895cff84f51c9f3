//! The catalogue over real SQLite files, fed with records made by hand.

mod audit;
mod deliveries;
mod story;
mod survival;

use consign_core::record::LegRung;

use super::row::{FileState, LegState, TransferState};
use super::{FileRow, Filter, Pages};
use story::{Bench, NODE, START, Story, id, numbered};

#[tokio::test]
async fn a_transfer_reads_as_its_records_told_it() {
    let bench = Bench::new();
    let mut story = Story::new();
    story.submitted(1, "a/b.jpg", 3 << 20);
    story.placed(1, 1, &["store-1", "store-2"], 1_100);
    story.attempt(1, 1, &[("store-1", 0), ("store-2", 1 << 20)], 1_200);
    story.digest(1, [7; 32]);
    story.settled("store-1", &[1], LegRung::Saved, 1_300);
    bench.fill(&story);

    let reader = bench.open().reader;
    let row = reader.transfer(id(1)).await.unwrap().unwrap();
    assert_eq!(row.id.to_string(), format!("{NODE}.{START:016x}.1"));
    assert_eq!((row.state, row.attempt), (TransferState::Placed, 1));
    assert_eq!(row.digest.unwrap().0, [7; 32]);
    let legs: Vec<_> = row
        .legs
        .iter()
        .map(|leg| (leg.node.as_str(), leg.state, leg.bytes, leg.since.0))
        .collect();
    assert_eq!(
        legs,
        [
            ("store-1", LegState::Saved, 3 << 20, 1_300),
            ("store-2", LegState::Owed, 1 << 20, 1_100)
        ]
    );
    let kinds: Vec<_> = reader
        .timeline(id(1))
        .await
        .unwrap()
        .into_iter()
        .map(|event| (event.at.0, event.kind, event.node.unwrap_or_default()))
        .collect();
    assert_eq!(
        kinds,
        [
            (1_001, "submitted".to_owned(), String::new()),
            (1_100, "placed".to_owned(), String::new()),
            (1_200, "attempt".to_owned(), String::new()),
            (1_200, "digest".to_owned(), String::new()),
            (1_300, "saved".to_owned(), "store-1".to_owned()),
        ]
    );
    assert!(reader.transfer(id(2)).await.unwrap().is_none());
}

#[tokio::test]
async fn a_failure_a_retry_and_another_placement_stay_in_the_timeline() {
    let bench = Bench::new();
    let mut story = Story::new();
    story.submitted(1, "x", 10);
    story.placed(1, 1, &["store-1"], 1_100);
    story.settled("store-1", &[1], LegRung::Refused, 1_200);
    story.failed(&[1], 1_200, "store-1 refused it: bad name");
    story.retried(&[1], 1_300);
    story.placed(1, 2, &["store-2"], 1_400);
    story.settled("store-2", &[1], LegRung::Saved, 1_500);
    story.done(&[1], 1_500);
    story.released(&[1], 1_600);
    bench.fill(&story);

    let reader = bench.open().reader;
    let row = reader.transfer(id(1)).await.unwrap().unwrap();
    assert_eq!((row.state, row.error), (TransferState::Done, None));
    assert_eq!(row.legs.len(), 1, "store-1 is not a consumer any more");
    let events = reader.timeline(id(1)).await.unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| format!("{} {}", event.at.0, event.kind))
        .collect();
    assert_eq!(
        told,
        [
            "1001 submitted",
            "1100 placed",
            "1200 refused",
            "1200 failed",
            "1300 retried",
            "1400 placed",
            "1500 saved",
            "1500 done",
            "1600 released",
        ]
    );
    assert!(events[3].text.contains("bad name"), "{:?}", events[3]);
}

#[tokio::test]
async fn ranges_settle_exactly_their_slots() {
    let bench = Bench::new();
    let mut story = Story::new();
    for seq in 1..=20 {
        story.submitted(seq, &format!("f{seq}"), 1);
        story.placed(seq, 1, &["store-1", "store-2"], 2_000);
    }
    story.settled("store-1", &[1, 2, 3, 7], LegRung::Saved, 2_100);
    story.done(&[1, 2, 3], 2_200);
    bench.fill(&story);

    let reader = bench.open().reader;
    let rows = reader.transfers(Filter::default()).await.unwrap();
    let saved = |node: &str| {
        let with = rows.iter().filter(|row| {
            let leg = row.legs.iter().find(|leg| leg.node == node);
            leg.is_some_and(|leg| leg.state == LegState::Saved)
        });
        with.map(|row| row.id.key.seq.0).collect::<Vec<_>>()
    };
    assert_eq!(saved("store-1"), [1, 2, 3, 7]);
    assert_eq!(saved("store-2"), [] as [u64; 0]);
    let done = rows.iter().filter(|row| row.state == TransferState::Done);
    assert_eq!(done.count(), 3);
}

#[tokio::test]
async fn counts_follow_every_move() {
    let bench = Bench::new();
    let mut story = Story::new();
    for seq in 1..=10 {
        story.submitted(seq, &format!("f{seq}"), 100);
    }
    for seq in 1..=6 {
        story.placed(seq, 1, &["store-1"], 2_000);
    }
    story.done(&[1, 2], 2_100);
    story.failed(&[3, 9], 2_100, "gone");
    story.retried(&[9], 2_200);
    story.cancelled(&[4, 1], 2_300);
    bench.fill(&story);

    let counts = bench.open().reader.transfer_counts().await.unwrap();
    let counts: Vec<_> = counts.iter().map(|c| (c.state, c.files, c.bytes)).collect();
    assert_eq!(
        counts,
        [
            (TransferState::Submitted, 4, 400),
            (TransferState::Placed, 2, 200),
            (TransferState::Done, 2, 200),
            (TransferState::Failed, 1, 100),
            (TransferState::Cancelled, 1, 100),
        ],
        "what is done cannot be cancelled"
    );
}

fn seq_of(file: &FileRow) -> u64 {
    match file {
        FileRow::Produced(row) => row.id.key.seq.0,
        FileRow::Received(row) => row.id.key.seq.0,
    }
}

#[tokio::test]
async fn listings_page_through_everything_that_matches() {
    let bench = Bench::new();
    let mut story = Story::new();
    for seq in 1..=1_700 {
        story.submitted(seq, &format!("f{seq}"), 1);
        let node = if seq % 2 == 0 { "store-1" } else { "store-2" };
        story.placed(seq, 1, &[node], 2_000);
    }
    story.failed(&numbered(1..=1_700, |seq| seq % 100 == 0), 2_100, "gone");
    bench.fill(&story);
    let reader = bench.open().reader;
    let listed = async |filter: Filter| {
        let rows = reader.transfers(filter).await.unwrap();
        rows.iter().map(|row| row.id.key.seq.0).collect::<Vec<_>>()
    };

    assert_eq!(
        listed(Filter::default()).await,
        numbered(1..=1_700, |_| true)
    );
    let to = Filter {
        to: Some("store-1".to_owned()),
        ..Filter::default()
    };
    assert_eq!(listed(to).await, numbered(1..=1_700, |seq| seq % 2 == 0));
    let failed = Filter {
        state: Some(FileState::Produced(TransferState::Failed)),
        newest_first: true,
        limit: Some(3),
        ..Filter::default()
    };
    assert_eq!(listed(failed).await, [1_700, 1_600, 1_500]);
    let nothing = Filter {
        feed: Some("other".to_owned()),
        ..Filter::default()
    };
    assert_eq!(listed(nothing).await, [] as [u64; 0]);

    let (first, rest) = reader.page(Pages::new(Filter::default())).await.unwrap();
    assert!(
        first.len() < 1_700,
        "a page is bounded, it has {}",
        first.len()
    );
    let (second, _) = reader.page(rest).await.unwrap();
    assert_eq!(seq_of(&second[0]), seq_of(first.last().unwrap()) + 1);
}
