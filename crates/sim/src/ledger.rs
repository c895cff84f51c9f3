//! What really happened, seen from outside the nodes, held against the promises of DESIGN.
//!
//! The ledger hears of every record that is appended or committed, of every file that becomes
//! visible or is taken away, of every chunk that is accepted and of every answer. It never looks
//! into a state machine.

mod receipts;
mod visible;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use consign_core::ids::{Digest, NodeName, Slot, SlotId, Start, TransferKey};
use consign_core::ranges::{RangeSet, SlotRange};
use consign_core::record::{
    LegRung, LegsSettled, Placed, Publishing, Record, SlotRecord, Transfers,
};
use consign_core::spec::Replicas;

use crate::content::Content;
use crate::plan::FilePlan;
use crate::promise::Promise;

/// A promise that was broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// Which promise.
    pub promise: Promise,
    /// What was seen.
    pub what: String,
    /// The file concerned, by number.
    pub file: Option<usize>,
}

/// A file that became visible at a consumer.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Where.
    pub path: PathBuf,
    /// Which file it is on its disk.
    pub identity: u64,
    /// Whether its directories are synced.
    pub settled: bool,
    /// Whether the application has taken it.
    pub taken: bool,
    /// Whether a power cut may have undone its rename.
    pub may_repeat: bool,
}

/// One file, and what became of it.
#[derive(Debug, Clone)]
pub struct Story {
    /// What it is.
    pub plan: FilePlan,
    /// Its bytes.
    pub content: Content,
    /// Their digest.
    pub digest: Digest,
    /// Its transfer, once a submission is committed.
    pub key: Option<TransferKey>,
    /// When that was, in ms since the beginning of the run.
    pub accepted_at_ms: u64,
    /// Whether its digest is committed.
    pub digested: bool,
    /// Whether somebody was told that it is submitted.
    pub acknowledged: bool,
    /// Whether it is committed that it is cancelled.
    pub cancelled: bool,
    /// Whether it is done.
    pub done: bool,
    /// Its consumers by the newest committed placement.
    pub kept: BTreeMap<usize, (Start, Slot)>,
    /// Consumers that have committed that they will publish it.
    pub saved: BTreeSet<usize>,
    /// Where it was visible.
    pub shown: BTreeMap<usize, Shown>,
}

/// Counts of a run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Files that became visible.
    pub shown: u64,
    /// Files that became visible again after a power cut had undone their renames.
    pub shown_again: u64,
    /// Chunks accepted.
    pub chunks: u64,
    /// Chunks that arrived although they were there.
    pub wasted_chunks: u64,
    /// Ends of processes and machines.
    pub crashes: u64,
    /// Records committed.
    pub records: u64,
    /// Segments dropped.
    pub segments_dropped: u64,
    /// Transfers cancelled.
    pub cancelled: u64,
    /// Files shown with bytes that a disk has changed: `audit` finds them.
    pub rotten: u64,
}

/// The ledger.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every file of the plan.
    pub stories: Vec<Story>,
    /// Counts.
    pub stats: Stats,
    /// Consumers whose own disk has changed their copy of a file before it was published.
    pub rotten: BTreeSet<(usize, usize)>,
    /// Whether nothing goes wrong in this run.
    pub calm: bool,
    /// Where files were first placed, by epoch, feed and key, where nobody can be unreachable for too
    /// long.
    placements: BTreeMap<(u64, usize, String), BTreeSet<String>>,
    /// How far a slot's bytes were ever accepted.
    reached: BTreeMap<(usize, SlotId), u64>,
    keys: BTreeMap<(usize, TransferKey), usize>,
    slots: BTreeMap<(usize, SlotId), usize>,
    /// Slots that a committed placement has drawn.
    decided: BTreeSet<(usize, SlotId)>,
    watermarks: BTreeMap<(usize, SlotId), u64>,
    receipts: receipts::Expected,
    nodes: BTreeMap<NodeName, usize>,
    replicas: Vec<Replicas>,
    /// Feeds that place files without who is unreachable.
    pub impatient: BTreeSet<usize>,
    /// Feeds whose consumers refuse taken paths: they let go of what is not synced.
    pub refusing: BTreeSet<usize>,
}

fn slot_id(record: &SlotRecord) -> Option<SlotId> {
    Some(SlotId {
        producer: NodeName::new(&record.producer).ok()?,
        start: Start(record.start),
        slot: Slot(record.slot),
    })
}

fn slots_of<'a>(
    producer: &NodeName,
    start: u64,
    ranges: &'a [SlotRange],
) -> impl Iterator<Item = SlotId> + use<'a> {
    let producer = producer.clone();
    let slots: Vec<u64> = RangeSet::from_ranges(ranges).iter().collect();
    slots.into_iter().map(move |slot| SlotId {
        producer: producer.clone(),
        start: Start(start),
        slot: Slot(slot),
    })
}

impl Ledger {
    /// A ledger of these files and nodes, and of how many consumers each feed wants.
    #[must_use]
    pub fn new(stories: Vec<Story>, nodes: &[NodeName], replicas: Vec<Replicas>) -> Self {
        Self {
            replicas,
            stories,
            nodes: nodes.iter().cloned().zip(0..).collect(),
            ..Self::default()
        }
    }

    /// The file of a transfer of `producer`.
    #[must_use]
    pub fn file_of(&self, producer: usize, key: TransferKey) -> Option<usize> {
        self.keys.get(&(producer, key)).copied()
    }

    /// The file behind a slot at `consumer`.
    #[must_use]
    pub fn file_at(&self, consumer: usize, slot: &SlotId) -> Option<usize> {
        self.slots.get(&(consumer, slot.clone())).copied()
    }

    /// What lines of a trace about a file have in them.
    #[must_use]
    pub fn needles(&self, file: usize) -> Vec<String> {
        let keys = self.keys.iter().filter(|(_, of)| **of == file);
        let keys = keys.flat_map(|((_, key), _)| {
            let (start, seq) = (key.start.0, key.seq.0);
            [
                format!("{key}"),
                format!("start: {start}, seq: {seq},"),
                format!("start: Start({start}), seq: Sequence({seq})"),
            ]
        });
        let slots = self.slots.iter().filter(|(_, of)| **of == file);
        let slots = slots.flat_map(|((_, slot), _)| {
            let (start, number) = (slot.start.0, slot.slot.0);
            [
                format!("{slot}"),
                format!("start: {start}, slot: {number} "),
                format!("start: Start({start}), slot: Slot({number})"),
                format!("start: {start}, slots: [SlotRange {{ from: {number},"),
            ]
        });
        keys.chain(slots).collect()
    }

    fn file_of_placed(&self, producer: usize, placed: &Placed) -> Option<usize> {
        let key = TransferKey {
            start: Start(placed.start),
            seq: consign_core::ids::Sequence(placed.seq),
        };
        self.file_of(producer, key)
    }

    /// A record was handed to the log of `node`.
    pub fn appended(&mut self, node: usize, name: &NodeName, record: &Record) {
        match record {
            Record::Submitted(submitted) => {
                if let Some(file) = submitted.spec.meta.get("file").and_then(|f| f.parse().ok()) {
                    let key = TransferKey {
                        start: Start(submitted.start),
                        seq: consign_core::ids::Sequence(submitted.seq),
                    };
                    self.keys.insert((node, key), file);
                    let digest = &self.stories[file].digest;
                    self.receipts.submitted(name, key, &submitted.spec, digest);
                }
            }
            Record::Placed(placed) => {
                let Some(file) = self.file_of_placed(node, placed) else {
                    return;
                };
                for at in self.slots_of_legs(name, placed) {
                    self.receipts.placed(name, placed, &at);
                    self.slots.insert(at, file);
                }
            }
            _ => {}
        }
    }

    /// A record is synced in the log of `node`.
    pub fn committed(
        &mut self,
        node: usize,
        name: &NodeName,
        record: &Record,
        now_ms: u64,
    ) -> Result<(), Violation> {
        self.stats.records += 1;
        match record {
            Record::Submitted(submitted) => {
                let key = TransferKey {
                    start: Start(submitted.start),
                    seq: consign_core::ids::Sequence(submitted.seq),
                };
                let Some(file) = self.file_of(node, key) else {
                    return Ok(());
                };
                let story = &mut self.stories[file];
                if story.key.is_some_and(|known| known != key) {
                    return Err(Violation {
                        promise: Promise::SubmittedOnce,
                        what: format!("file {file} is {:?} and {key}", story.key),
                        file: Some(file),
                    });
                }
                if story.key.replace(key).is_none() {
                    story.accepted_at_ms = now_ms;
                }
            }
            Record::Placed(placed) => {
                let decided = self.slots_of_legs(name, placed);
                self.decided.extend(decided);
                self.placed(node, placed);
                return self.same_placement(node, placed);
            }
            Record::DigestKnown(known) => {
                let key = TransferKey {
                    start: Start(known.start),
                    seq: consign_core::ids::Sequence(known.seq),
                };
                if let Some(file) = self.file_of(node, key) {
                    self.stories[file].digested = true;
                }
            }
            Record::Done(list) => return self.done(node, list),
            Record::Cancelled(list) => self.cancelled(node, list),
            Record::LegsSettled(settled) => self.answered(name, settled),
            Record::SmallSaved(slots) => {
                if let Ok(producer) = NodeName::new(&slots.producer) {
                    for slot in slots_of(&producer, slots.start, &slots.slots) {
                        self.saved(node, &slot);
                    }
                }
            }
            Record::Publishing(publishing) => return self.publishing(node, publishing),
            Record::SlotCarried(carried) if carried.saved_at > 0 => {
                if let Some(slot) = slot_id(&carried.slot) {
                    self.saved(node, &slot);
                }
            }
            Record::Watermark(watermark) => {
                if let Some(slot) = slot_id(&watermark.slot) {
                    self.watermarks.insert((node, slot), watermark.offset);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The consumers and slots of a placement.
    fn slots_of_legs(&self, producer: &NodeName, placed: &Placed) -> Vec<(usize, SlotId)> {
        let legs = placed.legs.iter().filter_map(|leg| {
            let consumer = *self.nodes.get(&NodeName::new(&leg.node).ok()?)?;
            let slot = SlotId {
                producer: producer.clone(),
                start: Start(leg.start),
                slot: Slot(leg.slot),
            };
            Some((consumer, slot))
        });
        legs.collect()
    }

    /// A producer speaks to a consumer of a slot that is to be filled.
    pub fn spoken_of(&self, consumer: usize, slot: SlotId) -> Result<(), Violation> {
        let file = self.file_at(consumer, &slot);
        let what = format!("{slot} is on its way, and no synced placement has drawn it");
        match self.decided.contains(&(consumer, slot)) {
            true => Ok(()),
            false => Err(Violation {
                promise: Promise::Decided,
                what,
                file,
            }),
        }
    }

    fn placed(&mut self, node: usize, placed: &Placed) {
        let Some(file) = self.file_of_placed(node, placed) else {
            return;
        };
        let kept = placed
            .legs
            .iter()
            .filter(|leg| !matches!(leg.rung(), LegRung::Abandoned | LegRung::Abandoning))
            .filter_map(|leg| {
                let node = *self.nodes.get(&NodeName::new(&leg.node).ok()?)?;
                Some((node, (Start(leg.start), Slot(leg.slot))))
            });
        let kept: BTreeMap<_, _> = kept.collect();
        // What is carried of a finished transfer names only who has yet to abandon it. Its `done`
        // may be replayed after that.
        if placed.carried && kept.is_empty() {
            return;
        }
        self.stories[file].kept = kept;
    }

    /// Equal views give equal placements on every node: S7. Only their order may differ, which
    /// depends on the producer's own zone.
    fn same_placement(&mut self, node: usize, placed: &Placed) -> Result<(), Violation> {
        let Some(file) = self.file_of_placed(node, placed) else {
            return Ok(());
        };
        let plan = &self.stories[file].plan;
        let first = placed.attempt == 1 && !placed.carried;
        if !self.calm || !first || self.impatient.contains(&plan.feed) {
            return Ok(());
        }
        let at = (placed.epoch, plan.feed, plan.name.clone());
        let chosen: BTreeSet<String> = placed.legs.iter().map(|leg| leg.node.clone()).collect();
        let known = self.placements.entry(at).or_insert_with(|| chosen.clone());
        if *known == chosen {
            return Ok(());
        }
        Err(Violation {
            promise: Promise::SamePlacement,
            what: format!("epoch {}: {known:?} and {chosen:?}", placed.epoch),
            file: Some(file),
        })
    }

    /// A consumer answered for good. It had saved a file although it was to abandon it: its copy counts.
    fn answered(&mut self, producer: &NodeName, settled: &LegsSettled) {
        let Some(&consumer) = NodeName::new(&settled.node)
            .ok()
            .and_then(|name| self.nodes.get(&name))
        else {
            return;
        };
        for slot in slots_of(producer, settled.start, &settled.slots) {
            let Some(file) = self.file_at(consumer, &slot) else {
                continue;
            };
            let kept = &mut self.stories[file].kept;
            let at = (slot.start, slot.slot);
            match settled.rung() {
                LegRung::Saved => {
                    kept.entry(consumer).or_insert(at);
                }
                LegRung::Abandoned if kept.get(&consumer) == Some(&at) => {
                    kept.remove(&consumer);
                }
                LegRung::Abandoned | LegRung::Owed | LegRung::Refused | LegRung::Abandoning => {}
            }
        }
    }

    fn saved(&mut self, node: usize, slot: &SlotId) {
        if let Some(file) = self.file_at(node, slot) {
            self.stories[file].saved.insert(node);
        }
    }

    fn publishing(&mut self, node: usize, publishing: &Publishing) -> Result<(), Violation> {
        for file in &publishing.files {
            let Some(slot) = slot_id(&file.slot) else {
                continue;
            };
            self.saved(node, &slot);
            let Some(number) = self.file_at(node, &slot) else {
                continue;
            };
            if file.digest != self.stories[number].digest.0 {
                return Err(Violation {
                    promise: Promise::RightDigest,
                    what: format!("{slot} is about to be published with another digest"),
                    file: Some(number),
                });
            }
        }
        Ok(())
    }

    /// Whether `consumer` has committed that it will publish what a slot holds.
    #[must_use]
    pub fn is_saved(&self, consumer: usize, slot: &SlotId) -> bool {
        self.file_at(consumer, slot)
            .is_none_or(|file| self.stories[file].saved.contains(&consumer))
    }

    /// A chunk was accepted: none that is synced may be sent again.
    pub fn accepted_chunk(
        &mut self,
        consumer: usize,
        slot: &SlotId,
        end: u64,
    ) -> Result<(), Violation> {
        self.stats.chunks += 1;
        let at = (consumer, slot.clone());
        let reached = self.reached.insert(at.clone(), end);
        let file = self.file_at(consumer, slot);
        let refusing =
            file.is_none_or(|file| self.refusing.contains(&self.stories[file].plan.feed));
        if self.calm && !refusing && reached.is_some_and(|reached| end <= reached) {
            return Err(Violation {
                promise: Promise::NothingAgain,
                what: format!("{slot} got bytes up to {end} again without any failure"),
                file: self.file_at(consumer, slot),
            });
        }
        let synced = self.watermarks.get(&at);
        if synced.is_some_and(|&synced| end <= synced) {
            return Err(Violation {
                promise: Promise::NothingAgain,
                what: format!("{slot} got bytes up to {end} again, synced are {synced:?}"),
                file: self.file_at(consumer, slot),
            });
        }
        Ok(())
    }

    fn cancelled(&mut self, producer: usize, list: &Transfers) {
        for seq in RangeSet::from_ranges(&list.seqs).iter() {
            let key = TransferKey {
                start: Start(list.start),
                seq: consign_core::ids::Sequence(seq),
            };
            if let Some(file) = self.file_of(producer, key) {
                self.stories[file].cancelled = true;
            }
        }
    }

    /// Transfers are done: from here on their sources may go.
    fn done(&mut self, producer: usize, list: &Transfers) -> Result<(), Violation> {
        for seq in RangeSet::from_ranges(&list.seqs).iter() {
            let key = TransferKey {
                start: Start(list.start),
                seq: consign_core::ids::Sequence(seq),
            };
            let Some(file) = self.file_of(producer, key) else {
                continue;
            };
            let story = &mut self.stories[file];
            story.done = true;
            let enough = match self.replicas[story.plan.feed] {
                Replicas::Count(count) => count,
                Replicas::All => 1,
            };
            let all_saved = story.kept.keys().all(|node| story.saved.contains(node));
            if story.kept.len() < enough || !all_saved {
                return Err(Violation {
                    promise: Promise::DoneIsSaved,
                    what: format!(
                        "{key} is placed at {:?}, saved at {:?}, wanted {enough}",
                        story.kept, story.saved
                    ),
                    file: Some(file),
                });
            }
        }
        Ok(())
    }
}
