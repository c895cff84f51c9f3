//! Records made by hand, and a data directory to apply them in.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use consign_core::ids::{NodeName, Sequence, Start, TransferId, TransferKey};
use consign_core::ranges::{RangeSet, SlotRange};
use consign_core::record::{
    AttemptStarted, ChainMember, DigestKnown, LegRecord, LegRung, LegsSettled, Placed, Receipt,
    Record, Submitted, Transfers,
};
use consign_core::spec::FileSpec;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::super::{Applied, Catalogue, LogSpan, open};

pub(super) const NODE: &str = "cam-7";
pub(super) const START: u64 = 0xc0ff_ee00_dead_beef;

pub(super) fn id(seq: u64) -> TransferId {
    TransferId {
        producer: NodeName::new(NODE).unwrap(),
        key: TransferKey {
            start: Start(START),
            seq: Sequence(seq),
        },
    }
}

pub(super) fn numbered(all: RangeInclusive<u64>, keep: impl Fn(&u64) -> bool) -> Vec<u64> {
    all.filter(keep).collect()
}

fn ranges(numbers: &[u64]) -> Vec<SlotRange> {
    numbers
        .iter()
        .copied()
        .collect::<RangeSet>()
        .ranges()
        .collect()
}

/// A log in the making.
#[derive(Default, Clone)]
pub(super) struct Story {
    pub(super) records: Vec<Record>,
}

impl Story {
    pub(super) fn new() -> Self {
        Self::default()
    }

    pub(super) fn tell(&mut self, record: Record) {
        self.records.push(record);
    }

    pub(super) fn submitted(&mut self, seq: u64, name: &str, size: u64) {
        self.tell(Record::Submitted(Submitted {
            start: START,
            seq,
            spec: FileSpec {
                feed: "images".to_owned(),
                name: name.to_owned(),
                key: name.to_owned(),
                size,
                submitted_at: 1_000 + seq,
                ..FileSpec::default()
            },
            ..Submitted::default()
        }));
    }

    /// The slot is the sequence.
    pub(super) fn placed(&mut self, seq: u64, attempt: u32, nodes: &[&str], at: u64) {
        let leg = |node: &&str| LegRecord {
            node: (*node).to_owned(),
            start: START,
            slot: seq,
            ..LegRecord::default()
        };
        self.tell(Record::Placed(Placed {
            start: START,
            seq,
            attempt,
            epoch: 7,
            reason: "first placement".to_owned(),
            legs: nodes.iter().map(leg).collect(),
            at,
            ..Placed::default()
        }));
    }

    pub(super) fn attempt(&mut self, seq: u64, attempt: u32, chain: &[(&str, u64)], at: u64) {
        let member = |&(node, from): &(&str, u64)| ChainMember {
            node: node.to_owned(),
            from,
        };
        self.tell(Record::AttemptStarted(AttemptStarted {
            start: START,
            seq,
            attempt,
            chain: chain.iter().map(member).collect(),
            reason: String::new(),
            at,
        }));
    }

    pub(super) fn digest(&mut self, seq: u64, digest: [u8; 32]) {
        self.tell(Record::DigestKnown(DigestKnown {
            start: START,
            seq,
            digest: digest.to_vec(),
        }));
    }

    pub(super) fn settled(&mut self, node: &str, slots: &[u64], rung: LegRung, at: u64) {
        let receipt = Receipt {
            consumer: node.to_owned(),
            incarnation: 4,
            at,
            ..Receipt::default()
        };
        self.tell(Record::LegsSettled(LegsSettled {
            node: node.to_owned(),
            start: START,
            slots: ranges(slots),
            rung: rung as i32,
            receipt: (rung == LegRung::Saved).then_some(receipt),
            refusal: String::new(),
            at,
            ..LegsSettled::default()
        }));
    }

    pub(super) fn done(&mut self, seqs: &[u64], at: u64) {
        self.tell(Record::Done(transfers(seqs, at, "")));
    }

    pub(super) fn released(&mut self, seqs: &[u64], at: u64) {
        self.tell(Record::Released(transfers(seqs, at, "")));
    }

    pub(super) fn failed(&mut self, seqs: &[u64], at: u64, reason: &str) {
        self.tell(Record::Failed(transfers(seqs, at, reason)));
    }

    pub(super) fn retried(&mut self, seqs: &[u64], at: u64) {
        self.tell(Record::Retried(transfers(seqs, at, "")));
    }

    pub(super) fn cancelled(&mut self, seqs: &[u64], at: u64) {
        self.tell(Record::Cancelled(transfers(seqs, at, "")));
    }

    /// A life with everything in it.
    pub(super) fn eventful() -> Self {
        let mut story = Self::new();
        for seq in 1..=5 {
            story.submitted(seq, &format!("f{seq}"), 100 * seq);
            story.placed(seq, 1, &["store-1", "store-2"], 2_000);
        }
        story.attempt(1, 1, &[("store-1", 0), ("store-2", 0)], 2_050);
        story.digest(1, [1; 32]);
        story.settled("store-1", &[1, 2, 3], LegRung::Saved, 2_100);
        story.failed(&[2, 3], 2_200, "the source changed");
        story.retried(&[2], 2_300);
        story.placed(2, 2, &["store-1", "store-3"], 2_400);
        story.settled("store-3", &[2], LegRung::Saved, 2_500);
        story.settled("store-2", &[1], LegRung::Abandoned, 2_500);
        story.done(&[1, 2], 2_600);
        story.released(&[1], 2_700);
        story.cancelled(&[4], 2_800);
        story
    }
}

fn transfers(seqs: &[u64], at: u64, reason: &str) -> Transfers {
    Transfers {
        start: START,
        seqs: ranges(seqs),
        at,
        reason: reason.to_owned(),
    }
}

/// A data directory.
pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
}

pub(super) const ALL: LogSpan = LogSpan {
    first: 0,
    end: u64::MAX,
};

impl Bench {
    pub(super) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join("catalogue.db")
    }

    pub(super) fn open(&self) -> Catalogue {
        self.open_with(ALL, None)
    }

    pub(super) fn open_with(&self, log: LogSpan, history_ms: Option<u64>) -> Catalogue {
        open(
            self.dir.path(),
            &NodeName::new(NODE).unwrap(),
            log,
            history_ms,
        )
    }

    /// Applies a story from position 1 on, and closes the catalogue again.
    pub(super) fn fill(&self, story: &Story) {
        self.fill_from(story, 1);
    }

    pub(super) fn fill_from(&self, story: &Story, first: u64) {
        let catalogue = self.open();
        feed(&catalogue, story, first);
        close(catalogue);
    }

    /// Every row of every table but the position, as text; the sums are checked on the way.
    pub(super) fn dump(&self) -> Vec<String> {
        let db = Connection::open(self.path()).unwrap();
        for (counts, table) in [
            ("transfer_counts", "transfers"),
            ("delivery_counts", "deliveries"),
        ] {
            let wrong: i64 = db
                .query_row(
                    &format!(
                        "SELECT count(*) FROM
                             (SELECT feed, state, count(*) AS f, sum(size) AS b FROM {table}
                              GROUP BY feed, state) AS there
                         FULL JOIN (SELECT * FROM {counts} WHERE files <> 0 OR bytes <> 0) AS told
                         USING (feed, state)
                         WHERE there.f IS NOT told.files OR there.b IS NOT told.bytes"
                    ),
                    [],
                    |row| row.get(0),
                )
                .unwrap();
            assert_eq!(wrong, 0, "{counts} must be the sums over {table}");
        }
        let mut all = Vec::new();
        for table in [
            "starts",
            "nodes",
            "transfers",
            "legs",
            "events",
            "deliveries",
            "openings",
            "transfer_counts",
            "delivery_counts",
        ] {
            let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
            let columns = statement.column_count();
            let mut rows = statement.query([]).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let values: Vec<Value> = (0..columns).map(|at| row.get(at).unwrap()).collect();
                let counts_nothing = table.ends_with("_counts") && values[2] == Value::Integer(0);
                if !counts_nothing {
                    all.push(format!("{table} {values:?}"));
                }
            }
        }
        all
    }
}

pub(super) fn feed(catalogue: &Catalogue, story: &Story, first: u64) {
    let applied: Vec<Applied> = (first..)
        .zip(&story.records)
        .map(|(position, record)| Applied {
            position,
            record: record.clone(),
        })
        .collect();
    for batch in applied.chunks(100) {
        // On a thread of its own, since a test may already run inside a runtime.
        std::thread::scope(|scope| {
            scope.spawn(|| catalogue.feed.blocking_send(batch.to_vec()).unwrap());
        });
    }
}

pub(super) fn close(catalogue: Catalogue) {
    drop(catalogue.feed);
    catalogue.writer.join();
}
