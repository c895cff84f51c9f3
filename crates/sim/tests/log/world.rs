//! A log on a simulated disk, and a model of what it must hold.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use consign_core::log::{Log, LogError, LogSettings, Payload, Position, Recovery};
use consign_core::record::{Hashed, Record, Unclaimed};
use consign_sim::disk::SimDisk;
use consign_sim::rng::Rng;

pub(crate) const DIR: &str = "/data/log";

/// A disk with an empty, durable `/data`.
pub(crate) fn new_disk(seed: u64) -> SimDisk {
    let disk = SimDisk::new(seed);
    let mount = disk.mount();
    mount.create_dir(Path::new("/data")).unwrap();
    mount.sync_dir(Path::new("/")).unwrap();
    disk
}

pub(crate) fn segment(id: u32) -> PathBuf {
    Path::new(DIR).join(format!("{id:020}.log"))
}

/// The segments' files and their bytes.
pub(crate) fn segment_files(disk: &SimDisk) -> Vec<(PathBuf, Vec<u8>)> {
    let logs = disk
        .files()
        .into_iter()
        .filter(|path| path.extension().is_some_and(|e| e == "log"));
    logs.map(|path| (path.clone(), disk.bytes(&path).unwrap()))
        .collect()
}

/// The record number `seq`: small ones, larger ones, and some with payloads, empty ones too.
pub(crate) fn record(seq: u64) -> (Record, Option<Bytes>) {
    let hashes = vec![seq as u8; (seq % 5) as usize * 11];
    let record = match seq % 2 {
        0 => Record::Unclaimed(Unclaimed { start: 7, seq }),
        _ => Record::Hashed(Hashed {
            start: 7,
            seq,
            first_chunk: seq,
            hashes,
        }),
    };
    let payload_bytes = match seq % 7 {
        1 => 0,
        3 => 77,
        5 => 600,
        _ => return (record, None),
    };
    (
        record,
        Some((0..payload_bytes).map(|i| (i ^ seq) as u8).collect()),
    )
}

pub(crate) fn seq_of(record: &Record) -> u64 {
    match record {
        Record::Unclaimed(Unclaimed { seq, .. }) | Record::Hashed(Hashed { seq, .. }) => *seq,
        other => panic!("nobody wrote a {}", other.name()),
    }
}

pub(crate) fn append(log: &mut Log, seq: u64) -> Result<Position, LogError> {
    let (record, payload) = record(seq);
    log.append(&record, payload.map_or(Payload::None, Payload::Bytes))
}

/// A log that was opened, and what it replayed.
pub(crate) struct Opened {
    pub(crate) log: Log,
    pub(crate) recovery: Recovery,
    pub(crate) records: Vec<(u64, Position)>,
}

pub(crate) fn open(disk: &SimDisk, segment_bytes: u64) -> Result<Opened, LogError> {
    let mut records = Vec::new();
    // As random as the number of operations: another one at each start.
    let settings = LogSettings {
        segment_bytes,
        seed: disk.ops(),
    };
    let mut replay = |position: Position, found: Record, payload_bytes: u32| {
        let seq = seq_of(&found);
        let (expected, payload) = record(seq);
        assert_eq!(found, expected);
        assert_eq!(
            payload_bytes as usize,
            payload.map_or(0, |payload| payload.len())
        );
        records.push((seq, position));
    };
    let (log, recovery) = Log::open(disk.mount(), Path::new(DIR), settings, &mut replay)?;
    Ok(Opened {
        log,
        recovery,
        records,
    })
}

impl Opened {
    pub(crate) fn seqs(&self) -> Vec<u64> {
        self.records.iter().map(|&(seq, _)| seq).collect()
    }

    pub(crate) fn assert_readable(&self) {
        let reader = self.log.reader();
        for &(seq, position) in &self.records {
            assert_eq!(
                reader.read(position).unwrap(),
                record(seq),
                "record {seq} at {position}"
            );
        }
        assert!(
            self.records.is_sorted_by(|a, b| a.1 < b.1),
            "positions are in order"
        );
    }
}

/// One thing that a writer does.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Step {
    Append(u64),
    Flush,
    Commit,
    Idle,
    /// Drop all segments below the current one but so many.
    DropAllBut(u32),
    Reserve,
}

/// What the log must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Model {
    /// Every record that was appended, perhaps in vain, in order.
    pub(crate) appended: Vec<(u64, Position)>,
    /// So many of them are acknowledged.
    pub(crate) committed: usize,
    /// The log may begin with any of these.
    starts: Vec<usize>,
    next_seq: u64,
}

impl Model {
    pub(crate) fn new() -> Self {
        Self {
            starts: vec![0],
            ..Self::default()
        }
    }

    /// Does a step. An error ends the log's life; being full does not.
    pub(crate) fn step(&mut self, log: &mut Log, step: Step) -> Result<(), LogError> {
        match step {
            Step::Append(times) => {
                for _ in 0..times {
                    self.append(log)?;
                }
            }
            Step::Flush => log.flush()?,
            Step::Commit => {
                let synced = log.commit()?;
                assert!(self.appended.iter().all(|&(_, position)| position < synced));
                self.committed = self.appended.len();
            }
            Step::Idle => drop(log.mark_idle()?),
            Step::DropAllBut(kept) => {
                let lowest = log.current_segment().saturating_sub(kept);
                let start = self
                    .appended
                    .partition_point(|&(_, at)| at.segment < lowest);
                let start = start.max(self.starts[0]);
                self.starts.push(start);
                match log.drop_below(lowest) {
                    Err(LogError::Full { .. }) => drop(self.starts.pop()),
                    dropped => {
                        dropped?;
                        self.starts = vec![start];
                    }
                }
            }
            Step::Reserve => drop(log.ensure_reserve()?),
        }
        Ok(())
    }

    fn append(&mut self, log: &mut Log) -> Result<(), LogError> {
        let seq = self.next_seq;
        self.next_seq += 1;
        self.appended.push((
            seq,
            Position {
                segment: u32::MAX,
                offset: 0,
            },
        ));
        match append(log, seq) {
            Ok(position) => self.appended.last_mut().unwrap().1 = position,
            Err(LogError::Full { .. }) => drop(self.appended.pop()),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Holds what was recovered against what was promised.
    pub(crate) fn check(&self, opened: &Opened) {
        let all: Vec<u64> = self.appended.iter().map(|&(seq, _)| seq).collect();
        let found = opened.seqs();
        let fits = |&start: &usize| {
            let kept = all.get(start..).unwrap_or_default();
            kept.starts_with(&found) && start + found.len() >= self.committed
        };
        assert!(
            self.starts.iter().any(fits),
            "recovered {found:?} of {all:?}, of which {} are committed; may begin at {:?}",
            self.committed,
            self.starts
        );
    }

    /// Goes on from what was recovered.
    pub(crate) fn resume(&mut self, opened: &Opened) {
        self.appended.clone_from(&opened.records);
        self.committed = opened.records.len();
        self.starts = vec![0];
    }
}

/// How a life ends.
#[derive(Debug, Clone, Copy)]
pub(crate) enum End {
    Kill,
    PowerCut(u64),
}

impl End {
    pub(crate) fn come(self, disk: &SimDisk) {
        match self {
            Self::Kill => disk.kill(),
            Self::PowerCut(seed) => disk.power_cut(&mut Rng::new(seed)),
        }
    }
}

/// Whether an error is only the planned crash.
pub(crate) fn is_crash(error: &LogError) -> bool {
    let source: Option<&Arc<std::io::Error>> = match error {
        LogError::Io { source, .. } | LogError::SyncFailed { source, .. } => Some(source),
        _ => None,
    };
    source.is_some_and(|source| consign_sim::disk::is_crash(source))
}
