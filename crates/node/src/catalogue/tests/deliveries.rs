//! The consumer's side.

use consign_core::ranges::SlotRange;
use consign_core::record::{
    Forgotten, Opened, Publishing, PublishingFile, Record, SlotAbandoned, SlotCarried, SlotRecord,
    Slots, SmallReceived, Watermark,
};
use consign_core::spec::FileSpec;

use super::super::row::DeliveryState;
use super::story::{Bench, Story};

const PRODUCER: &str = "cam-9";
const START: u64 = 0x1234;

fn slot(slot: u64) -> SlotRecord {
    SlotRecord {
        producer: PRODUCER.to_owned(),
        start: START,
        slot,
    }
}

fn spec(name: &str, size: u64) -> FileSpec {
    FileSpec {
        feed: "images".to_owned(),
        name: name.to_owned(),
        size,
        submitted_at: 1_000,
        ..FileSpec::default()
    }
}

fn opened(number: u64) -> Opened {
    Opened {
        slot: slot(number),
        start: START,
        seq: 100 + number,
        spec: spec("large", 9 << 20),
        ..Opened::default()
    }
}

fn small(number: u64) -> SmallReceived {
    SmallReceived {
        slot: slot(number),
        start: START,
        seq: 100 + number,
        spec: spec("small", 10),
        digest: vec![3; 32],
        ..SmallReceived::default()
    }
}

fn watermark(number: u64, offset: u64) -> Watermark {
    Watermark {
        slot: slot(number),
        offset,
        ..Watermark::default()
    }
}

fn publishing(number: u64) -> PublishingFile {
    PublishingFile {
        slot: slot(number),
        staging: String::new(),
        path: format!("file-{number}"),
        digest: vec![3; 32],
    }
}

fn slots(from: u64, to: u64, at: u64) -> Slots {
    Slots {
        producer: PRODUCER.to_owned(),
        start: START,
        slots: vec![SlotRange { from, to }],
        at,
    }
}

fn story() -> Story {
    let mut story = Story::new();
    story.tell(Record::Opened(opened(1)));
    story.tell(Record::Watermark(watermark(1, 4 << 20)));
    for number in 2..=5 {
        story.tell(Record::SmallReceived(small(number)));
    }
    story.tell(Record::SmallSaved(slots(2, 5, 2_000)));
    story.tell(Record::Publishing(Publishing {
        files: vec![publishing(2), publishing(3)],
        at: 2_100,
    }));
    story.tell(Record::Published(slots(2, 3, 2_200)));
    story.tell(Record::SlotAbandoned(SlotAbandoned {
        slot: slot(5),
        at: 2_300,
        ..SlotAbandoned::default()
    }));
    story
}

#[tokio::test]
async fn deliveries_climb_their_ladder() {
    let bench = Bench::new();
    bench.fill(&story());
    let reader = bench.open().reader;
    let rows = reader.deliveries(None, 100).await.unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.id.key.seq.0, row.state, row.bytes))
        .collect();
    assert_eq!(
        told,
        [
            (105, DeliveryState::Abandoned, 10),
            (104, DeliveryState::Saved, 10),
            (103, DeliveryState::Publishing, 10),
            (102, DeliveryState::Published, 10),
            (101, DeliveryState::Opened, 4 << 20),
        ]
    );
    assert_eq!(rows[3].path.as_deref(), Some("file-2"));
    assert_eq!(rows[3].id.to_string(), "cam-9.0000000000001234.102");
    let counts = reader.delivery_counts().await.unwrap();
    assert_eq!(counts.iter().map(|count| count.files).sum::<u64>(), 5);
}

#[test]
fn no_delivery_falls_back_whatever_is_applied_again() {
    let bench = Bench::new();
    bench.fill(&story());
    let before = bench.dump();
    let mut again = story();
    again.records.reverse();
    bench.fill_from(&again, 1_000);
    assert_eq!(bench.dump(), before);
}

#[tokio::test]
async fn a_carried_slot_is_as_good_as_its_story() {
    let bench = Bench::new();
    let mut carried = Story::new();
    carried.tell(Record::SlotCarried(SlotCarried {
        slot: slot(2),
        small: Some(small(2)),
        saved_at: 2_000,
        publishing: Some(publishing(2)),
        published: true,
        ..SlotCarried::default()
    }));
    carried.tell(Record::SlotCarried(SlotCarried {
        slot: slot(1),
        opened: Some(opened(1)),
        watermark: Some(watermark(1, 1 << 20)),
        ..SlotCarried::default()
    }));
    bench.fill(&carried);
    let rows = bench.open().reader.deliveries(None, 9).await.unwrap();
    assert_eq!(
        (rows[0].state, rows[0].path.as_deref()),
        (DeliveryState::Published, Some("file-2"))
    );
    assert_eq!(
        (rows[1].state, rows[1].bytes),
        (DeliveryState::Opened, 1 << 20)
    );
}

#[tokio::test]
async fn a_forgotten_producers_halves_are_abandoned_and_its_files_stay() {
    let bench = Bench::new();
    let mut story = story();
    story.tell(Record::Forgotten(Forgotten {
        node: PRODUCER.to_owned(),
        at: 9_000,
    }));
    bench.fill(&story);
    let rows = bench.open().reader.deliveries(None, 9).await.unwrap();
    assert_eq!(rows[4].state, DeliveryState::Abandoned);
    assert_eq!(rows[3].state, DeliveryState::Published);
    assert_eq!(rows[1].state, DeliveryState::Saved);
}
