//! Records made by hand in a real intent log, and an archive beside it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_core::ids::{Digest, NodeName, Sequence, Start, TransferId, TransferKey};
use consign_core::limits::SEGMENT_BYTES;
use consign_core::log::{Log, LogSettings, Payload, Position};
use consign_core::ranges::RangeSet;
use consign_core::receipt::{self, Hash};
use consign_core::record::{
    LegRecord, LegRung, LegsSettled, Placed, Receipt, Record, Submitted, Transfers,
};
use consign_core::spec::FileSpec;
use rusqlite::Connection;
use rusqlite::types::Value;

use super::super::{Document, FILE, Opened, open};
use crate::os_disk::OsDisk;
use crate::problems::Problems;

pub(super) const NODE: &str = "cam-7";
const START: u64 = 0xc0ff_ee00_dead_beef;

pub(super) fn id(seq: u64) -> TransferId {
    TransferId {
        producer: NodeName::new(NODE).unwrap(),
        key: TransferKey {
            start: Start(START),
            seq: Sequence(seq),
        },
    }
}

pub(super) fn name(seq: u64) -> String {
    format!("dir/file-{seq}")
}

pub(super) fn digest(seq: u64) -> Digest {
    Digest([u8::try_from(seq).unwrap(); 32])
}

pub(super) fn leaf(seq: u64) -> Hash {
    receipt::leaf(&id(seq), "images", &name(seq), 100 + seq, &digest(seq))
}

pub(super) fn submitted(seq: u64) -> Record {
    Record::Submitted(Submitted {
        start: START,
        seq,
        spec: FileSpec {
            feed: "images".to_owned(),
            name: name(seq),
            size: 100 + seq,
            ..FileSpec::default()
        },
        digest: digest(seq).0.to_vec(),
        ..Submitted::default()
    })
}

/// The slot is the sequence.
pub(super) fn placed(seq: u64, nodes: &[&str], rung: LegRung) -> Record {
    let leg = |node: &&str| LegRecord {
        node: (*node).to_owned(),
        start: START,
        slot: seq,
        rung: rung.into(),
        ..LegRecord::default()
    };
    Record::Placed(Placed {
        start: START,
        seq,
        legs: nodes.iter().map(leg).collect(),
        ..Placed::default()
    })
}

/// `node` has signed for all of `covered`, and `settled` of them count.
pub(super) fn signed(node: &str, covered: &[u64], settled: &[u64]) -> Record {
    let leaves: Vec<Hash> = covered.iter().map(|seq| leaf(*seq)).collect();
    let receipt = Receipt {
        consumer: node.to_owned(),
        incarnation: 4,
        at: 5_000,
        root: receipt::root(&leaves).unwrap().to_vec(),
        leaves: leaves.concat(),
        cluster: vec![7; 32],
        scheme: 0x0807,
        signature: vec![8; 64],
        certificates: vec![node.as_bytes().to_vec(), b"above".to_vec()],
    };
    let ranges = |seqs: &[u64]| {
        let set: RangeSet = seqs.iter().copied().collect();
        set.ranges().collect()
    };
    Record::LegsSettled(LegsSettled {
        node: node.to_owned(),
        start: START,
        slots: ranges(settled),
        rung: LegRung::Saved.into(),
        receipt: Some(receipt),
        covered: ranges(covered),
        ..LegsSettled::default()
    })
}

/// Ended at the beginning of time.
pub(super) fn done(seq: u64) -> Record {
    Record::Done(Transfers {
        start: START,
        seqs: [seq].into_iter().collect::<RangeSet>().ranges().collect(),
        at: 1,
        ..Transfers::default()
    })
}

/// Everything that is archived: files that wait, that are answered for at once and later, twice, by one
/// consumer and by two, in part, and that ended.
pub(super) fn eventful() -> Vec<Record> {
    let mut records: Vec<_> = (1..=6).map(submitted).collect();
    records.extend((1..=5).map(|seq| placed(seq, &["store-1", "store-2"], LegRung::Owed)));
    records.extend([
        signed("store-1", &[1, 2, 3], &[1, 3]),
        signed("store-2", &[1], &[1]),
        done(1),
        placed(2, &["store-1", "store-2"], LegRung::Owed),
        signed("store-1", &[2, 4], &[2, 4]),
        submitted(3),
        placed(3, &["store-1"], LegRung::Saved),
        signed("store-2", &[2, 3, 4, 5], &[2, 3, 4, 5]),
        done(2),
        done(4),
    ]);
    records
}

/// A data directory with a log.
pub(super) struct Bench {
    pub(super) dir: tempfile::TempDir,
    pub(super) log: Log,
    pub(super) problems: Problems,
    runtime: tokio::runtime::Runtime,
}

impl Bench {
    pub(super) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self {
            log: open_log(dir.path()),
            problems: Problems::default(),
            runtime: runtime.enable_time().build().unwrap(),
            dir,
        }
    }

    pub(super) fn path(&self) -> PathBuf {
        self.dir.path().join(FILE)
    }

    /// Logs records, synced; the position of the last.
    pub(super) fn tell(&mut self, records: &[Record]) -> Position {
        let mut last = None;
        for record in records {
            last = Some(self.log.append(record, Payload::None).unwrap());
        }
        self.log.commit().unwrap();
        last.expect("a story has records")
    }

    pub(super) fn open(&self, history_ms: Option<u64>) -> Opened {
        open(self.dir.path(), true, history_ms, &self.problems)
    }

    /// Has an archive follow the log up to `through`, and closes it again.
    pub(super) fn follow(&self, through: Position) {
        let opened = self.open(None);
        opened.archive.follow(self.log.reader(), through);
        self.document(&opened, 1);
        opened.writer.unwrap().join();
    }

    /// What is archived of a transfer, once the archive has come to where it should be.
    pub(super) fn document(&self, opened: &Opened, seq: u64) -> Option<Document> {
        let asked = opened.reader.document(id(seq));
        self.runtime.block_on(asked).unwrap()
    }

    /// Every row of every table but the position, as text.
    pub(super) fn dump(&self) -> Vec<String> {
        dump(&self.path())
    }
}

pub(super) fn dump(path: &Path) -> Vec<String> {
    let db = Connection::open(path).unwrap();
    let mut all = Vec::new();
    let tables = [
        "nodes",
        "transfers",
        "placed",
        "certificates",
        "chains",
        "links",
        "batches",
        "receipts",
    ];
    for table in tables {
        let mut statement = db.prepare(&format!("SELECT * FROM {table}")).unwrap();
        let columns = statement.column_count();
        let mut rows = statement.query([]).unwrap();
        while let Some(row) = rows.next().unwrap() {
            let values: Vec<Value> = (0..columns).map(|at| row.get(at).unwrap()).collect();
            all.push(format!("{table} {values:?}"));
        }
    }
    all
}

pub(super) fn open_log(dir: &Path) -> Log {
    let disk = Arc::new(OsDisk::private(dir).unwrap());
    let settings = LogSettings {
        segment_bytes: SEGMENT_BYTES,
        seed: 1,
    };
    Log::open(disk, Path::new("log"), settings, &mut |_, _, _| {})
        .unwrap()
        .0
}
