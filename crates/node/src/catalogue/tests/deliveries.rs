//! The consumer's side.

use consign_core::ids::{NodeName, Sequence, Start, TransferId, TransferKey};
use consign_core::ranges::SlotRange;
use consign_core::record::{
    Forgotten, Opened, Publishing, PublishingFile, Record, SlotAbandoned, SlotCarried, SlotRecord,
    Slots, SmallReceived, Watermark,
};
use consign_core::spec::FileSpec;

use super::super::query::deliveries::DeliveryRow;
use super::super::row::{DeliveryState, FileState, TransferState};
use super::super::{FileRow, Filter};
use super::story::{Bench, NODE, Story};

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

fn newest() -> Filter {
    Filter {
        newest_first: true,
        ..Filter::default()
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
    let rows = reader.deliveries(newest()).await.unwrap();
    let told: Vec<_> = rows
        .iter()
        .map(|row| (row.id.key.seq.0, row.state, row.bytes))
        .collect();
    assert_eq!(
        told,
        [
            (105, DeliveryState::Abandoned, 10),
            (104, DeliveryState::Saved, 10),
            (103, DeliveryState::Saved, 10),
            (102, DeliveryState::Published, 10),
            (101, DeliveryState::Receiving, 4 << 20),
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
    let rows = bench.open().reader.deliveries(newest()).await.unwrap();
    assert_eq!(
        (rows[0].state, rows[0].path.as_deref()),
        (DeliveryState::Published, Some("file-2"))
    );
    assert_eq!(
        (rows[1].state, rows[1].bytes),
        (DeliveryState::Receiving, 1 << 20)
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
    let rows = bench.open().reader.deliveries(newest()).await.unwrap();
    assert_eq!(rows[4].state, DeliveryState::Abandoned);
    assert_eq!(rows[3].state, DeliveryState::Published);
    assert_eq!(rows[1].state, DeliveryState::Saved);
}

fn id_of(number: u64) -> TransferId {
    TransferId {
        producer: NodeName::new(PRODUCER).unwrap(),
        key: TransferKey {
            start: Start(START),
            seq: Sequence(100 + number),
        },
    }
}

fn opened_again(attempt: u32, at: u64) -> Record {
    Record::Opened(Opened {
        incarnation: 3,
        attempt,
        at,
        ..opened(1)
    })
}

#[tokio::test]
async fn a_consumer_tells_when_a_file_came_from_where_it_went_on_and_what_became_of_it() {
    let bench = Bench::new();
    let mut story = Story::new();
    story.tell(opened_again(1, 2_000));
    story.tell(Record::Watermark(watermark(1, 4 << 20)));
    story.tell(opened_again(2, 9_000));
    story.tell(Record::Publishing(Publishing {
        files: vec![publishing(1)],
        at: 9_500,
    }));
    story.tell(Record::Published(slots(1, 2, 9_600)));
    bench.fill(&story);
    // The log's end, told once more, changes nothing.
    let before = bench.dump();
    bench.fill_from(&story, 1_000);
    assert_eq!(bench.dump(), before);

    let reader = bench.open().reader;
    let events = reader.timeline(id_of(1)).await.unwrap();
    let told: Vec<_> = events
        .iter()
        .map(|event| {
            let node = event.node.as_deref().unwrap_or("-");
            format!("{} {} {node}: {}", event.at.0, event.kind, event.text)
        })
        .collect();
    assert_eq!(
        told,
        [
            "2000 opened cam-9: attempt 1 of its incarnation 3",
            "9000 opened cam-9: attempt 2 of its incarnation 3, from byte 4194304, which is synced here",
            "9500 saved -: synced, and certain to be published",
            "9600 published -: in the inbox as file-1",
        ]
    );
    let stranger = TransferId {
        producer: NodeName::new("cam-8").unwrap(),
        ..id_of(1)
    };
    assert!(reader.timeline(stranger.clone()).await.unwrap().is_empty());
    assert!(reader.file(stranger).await.unwrap().is_none());
}

#[tokio::test]
async fn bytes_that_were_wrong_are_not_told_as_here() {
    let bench = Bench::new();
    let mut story = Story::new();
    story.tell(opened_again(1, 2_000));
    story.tell(Record::Watermark(watermark(1, 4 << 20)));
    story.tell(Record::Watermark(watermark(1, 0)));
    story.tell(opened_again(2, 9_000));
    bench.fill(&story);
    let reader = bench.open().reader;
    let rows = reader.deliveries(newest()).await.unwrap();
    assert_eq!(
        (rows[0].state, rows[0].bytes),
        (DeliveryState::Receiving, 0)
    );
    let events = reader.timeline(id_of(1)).await.unwrap();
    assert_eq!(events[1].text, "attempt 2 of its incarnation 3");
}

#[tokio::test]
async fn a_listing_has_both_roles_and_filters_tell_them_apart() {
    let bench = Bench::new();
    let mut both = story();
    both.submitted(7, "mine", 10);
    both.placed(7, 1, &["store-1"], 2_000);
    bench.fill(&both);
    let reader = bench.open().reader;
    let listed = async |filter: Filter| {
        let files = reader.files(filter).await.unwrap();
        let ids = files.iter().map(|file| match file {
            FileRow::Produced(row) => format!("sent {}", row.id.key.seq.0),
            FileRow::Received(DeliveryRow { id, .. }) => format!("received {}", id.key.seq.0),
        });
        ids.collect::<Vec<_>>().join(", ")
    };
    let all = "sent 7, received 101, received 102, received 103, received 104, received 105";
    let received = all.strip_prefix("sent 7, ").unwrap();
    let name = |name: &str| Some(name.to_owned());
    let any = Filter::default;
    assert_eq!(listed(any()).await, all);
    assert_eq!(
        listed(Filter {
            from: name(NODE),
            ..any()
        })
        .await,
        "sent 7"
    );
    assert_eq!(
        listed(Filter {
            from: name(PRODUCER),
            ..any()
        })
        .await,
        received
    );
    assert_eq!(
        listed(Filter {
            to: name("store-1"),
            ..any()
        })
        .await,
        "sent 7"
    );
    assert_eq!(
        listed(Filter {
            to: name(NODE),
            ..any()
        })
        .await,
        received
    );
    assert_eq!(
        listed(Filter {
            from: name("cam-8"),
            ..any()
        })
        .await,
        ""
    );
    let placed = Some(FileState::Produced(TransferState::Placed));
    assert_eq!(
        listed(Filter {
            state: placed,
            ..any()
        })
        .await,
        "sent 7"
    );
    let saved = Some(FileState::Received(DeliveryState::Saved));
    let expected = "received 103, received 104";
    assert_eq!(
        listed(Filter {
            state: saved,
            ..any()
        })
        .await,
        expected
    );
    let three = "sent 7, received 101, received 102";
    assert_eq!(
        listed(Filter {
            limit: Some(3),
            ..any()
        })
        .await,
        three
    );
}
