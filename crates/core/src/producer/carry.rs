//! Keeping the log short: which of its segments still hold something live, and writing that anew
//! so that they can go.

use std::collections::{BTreeMap, VecDeque};

use crate::ids::TransferKey;
use crate::limits;
use crate::log::{Payload, Position};
use crate::producer::dormant::{Dormant, Rest};
use crate::producer::replay::payload_bytes;
use crate::producer::state::Stage;
use crate::producer::{Effect, Producer, Then, Wanted};
use crate::ranges::RangeSet;
use crate::record::{Claiming, Hashed, Placed, Record, Submitted, Transfers};
use crate::spec::Replicas;
use crate::tree::CHUNK_HASH_BYTES;

/// Transfers that are read back at the same time in order to be carried.
const CARRIED_AT_ONCE: usize = 64;

/// Chunk hashes in one record, which has to stay below its limit.
const HASHES_PER_RECORD: usize = 16 << 10;

/// How far a transfer is that is being carried. Until it is done, its records' places are about to
/// change, and nobody is sent to read them at the old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carrying {
    /// Its records are being read.
    Reading,
    /// They are written anew, and not synced yet.
    Writing,
}

impl Producer {
    /// Tells the driver from where on the log is needed, when that has changed.
    pub(super) fn tell_needed(&mut self) {
        if let Some(segment) = self.live.news() {
            self.out.push(Effect::NeedsFrom { segment });
        }
    }

    pub(super) fn on_carry(&mut self, through: u32) {
        let old = |position: Option<Position>| position.is_some_and(|p| p.segment <= through);
        let active: Vec<TransferKey> = self
            .active
            .values()
            .filter(|t| old(t.submitted) || old(t.placed) || old(t.claimed))
            .filter(|t| !self.carrying.contains_key(&t.key))
            .map(|t| t.key)
            .collect();
        for key in active {
            self.carry_active(key);
        }
        self.carry_abandonments(through);
        let dormant = self
            .queue
            .dormant
            .iter()
            .filter(|(_, d)| old(Some(d.submitted)) || old(d.placed))
            .map(|(key, _)| key);
        self.carry_queue = dormant.collect::<VecDeque<_>>();
        self.carry_more();
    }

    fn carry_more(&mut self) {
        while self.carrying.len() < CARRIED_AT_ONCE {
            let Some(key) = self.carry_queue.pop_front() else {
                return;
            };
            // What is being read for another reason is active in a moment, and carried as such by
            // the next pass, which comes for as long as the segment stays.
            let Some(dormant) = self.queue.dormant.get(key) else {
                continue;
            };
            if dormant.rest == Rest::Fetching || self.carrying.contains_key(&key) {
                continue;
            }
            self.carrying.insert(key, Carrying::Reading);
            self.out.push(Effect::Fetch {
                key,
                submitted: dormant.submitted,
                placed: dormant.placed,
            });
        }
    }

    fn carry_active(&mut self, key: TransferKey) {
        let transfer = &self.active[&key];
        let (spec, source) = (transfer.spec.clone(), transfer.source.clone());
        if transfer.stage == Stage::Claiming {
            let claim = Claiming {
                start: key.start.0,
                seq: key.seq.0,
                spec,
                source,
                replicas: transfer.replicas.map_or(0, Replicas::to_record),
            };
            return self.append_with(Record::Claiming(claim), Payload::None, Wanted::Claimed(key));
        }
        // One that is not synced yet is not old either.
        let Some(position) = transfer.submitted else {
            return;
        };
        let digest = match transfer.is_small() {
            true => transfer.digest.map(|d| d.0.to_vec()).unwrap_or_default(),
            false => Vec::new(),
        };
        let submitted = Submitted {
            start: key.start.0,
            seq: key.seq.0,
            spec,
            source,
            digest,
            replicas: transfer.replicas.map_or(0, Replicas::to_record),
        };
        let placed = (!transfer.legs.is_empty()).then(|| self.carried_record(key));
        let (stage, hashes) = (transfer.stage.clone(), transfer.hashes.clone());
        self.carry_records(key, submitted, placed, position);
        self.append_hashes(key, 0, &hashes);
        self.carry_fate(key, &stage);
    }

    /// Writes chunk hashes down, in as many records as they need.
    pub(super) fn append_hashes(&mut self, key: TransferKey, first_chunk: u64, hashes: &[u8]) {
        let mut first_chunk = first_chunk;
        for hashes in hashes.chunks(HASHES_PER_RECORD * CHUNK_HASH_BYTES) {
            self.append(Record::Hashed(Hashed {
                start: key.start.0,
                seq: key.seq.0,
                first_chunk,
                hashes: hashes.to_vec(),
            }));
            first_chunk += HASHES_PER_RECORD as u64;
        }
    }

    /// One that is not in memory has been read. Whether that was all it was read for.
    pub(super) fn carry_fetched(
        &mut self,
        key: TransferKey,
        submitted: &Submitted,
        placed: Option<&Placed>,
    ) -> bool {
        if self.carrying.get(&key) != Some(&Carrying::Reading) {
            return false;
        }
        self.carrying.remove(&key);
        let Some(dormant) = self.queue.dormant.get(key) else {
            return true;
        };
        if dormant.rest == Rest::Fetching {
            self.carry_more();
            return false;
        }
        // What a replay found beyond its placement is written with it.
        let placed = placed.map(|placed| {
            let current = self.replayed_placement(key).unwrap_or_else(|| Placed {
                legs: self.leg_records(&self.legs_of(key, placed, dormant.placed)),
                ..placed.clone()
            });
            Placed {
                carried: true,
                reason: self.setback_in(placed, dormant.placed).to_owned(),
                ..current
            }
        });
        self.carry_records(key, submitted.clone(), placed, dormant.submitted);
        let hashes = self.replayed.get(&key).map(|entry| entry.hashes.clone());
        self.append_hashes(key, 0, &hashes.unwrap_or_default());
        if let Some(finished) = self.finished.get(&key) {
            self.carry_fate(key, &finished.stage());
        }
        if dormant.rest == Rest::Failed {
            let reason = self.failures.get(&key).cloned().unwrap_or_default();
            self.carry_fate(key, &Stage::Failed { reason });
        }
        true
    }

    fn carry_records(
        &mut self,
        key: TransferKey,
        submitted: Submitted,
        placed: Option<Placed>,
        at: Position,
    ) {
        // An empty file has a payload too, an empty one.
        let payload = match submitted.spec.size <= limits::SMALL_FILE_BYTES_MAX {
            true => Payload::CopyOf(at),
            false => Payload::None,
        };
        self.append_with(
            Record::Submitted(submitted),
            payload,
            Wanted::Submitted(key),
        );
        if let Some(placed) = placed {
            self.append_with(Record::Placed(placed), Payload::None, Wanted::Placed(key));
        }
        self.carrying.insert(key, Carrying::Writing);
        self.journal.when_synced(Then::Carried(key));
    }

    /// A transfer is carried: whoever waited to read it may.
    pub(super) fn carried(&mut self, key: TransferKey) {
        self.carrying.remove(&key);
        if let Some(dormant) = self.queue.dormant.get(key)
            && dormant.rest == Rest::Fetching
        {
            self.out.push(Effect::Fetch {
                key,
                submitted: dormant.submitted,
                placed: dormant.placed,
            });
        }
        self.carry_more();
    }

    fn carry_fate(&mut self, key: TransferKey, stage: &Stage) {
        let list = |reason: &str| Transfers {
            start: key.start.0,
            seqs: RangeSet::from_iter([key.seq.0]).ranges().collect(),
            at: self.now.0,
            reason: reason.to_owned(),
        };
        let record = match stage {
            Stage::Done => Record::Done(list("")),
            Stage::Cancelled => Record::Cancelled(list("")),
            Stage::Failed { reason } => Record::Failed(list(reason)),
            Stage::Claiming
            | Stage::Queued
            | Stage::Placing
            | Stage::Opening { .. }
            | Stage::Streaming
            | Stage::Committing { .. }
            | Stage::Parking => return,
        };
        self.append(record);
    }

    /// Abandonments outlive their transfers, and are carried on their own.
    fn carry_abandonments(&mut self, through: u32) {
        let mut records: BTreeMap<TransferKey, Placed> = BTreeMap::new();
        for (node, destination) in &self.destinations.0 {
            for ((start, slot), abandonment) in &destination.abandons {
                let key = abandonment.key;
                let old = abandonment.decided.is_some_and(|p| p.segment <= through);
                if !old || self.active.contains_key(&key) || self.queue.dormant.contains(key) {
                    continue;
                }
                let record = records.entry(key).or_insert_with(|| Placed {
                    start: key.start.0,
                    seq: key.seq.0,
                    attempt: abandonment.attempt.0,
                    carried: true,
                    ..Placed::default()
                });
                record.legs.push(crate::record::LegRecord {
                    node: node.as_str().to_owned(),
                    start: start.0,
                    slot: slot.0,
                    rung: crate::record::LegRung::Abandoning.into(),
                    tried: true,
                    refusal: String::new(),
                });
            }
        }
        for (key, record) in records {
            self.append_with(Record::Placed(record), Payload::None, Wanted::Placed(key));
        }
    }

    /// The new place of a carried submission.
    pub(super) fn note_carried(&mut self, key: TransferKey, position: Position) {
        let Some(old) = self.queue.dormant.get(key) else {
            return;
        };
        let bytes = payload_bytes(old.bytes);
        let place = |dormant: &mut Dormant| dormant.submitted = position;
        self.queue.dormant.update(key, place);
        self.live.remove(old.submitted, bytes);
        self.live.add(position, bytes);
    }

    /// The new place of a carried placement.
    pub(super) fn note_carried_placement(&mut self, key: TransferKey, position: Position) {
        let Some(old) = self.queue.dormant.get(key) else {
            return;
        };
        let place = |dormant: &mut Dormant| dormant.placed = Some(position);
        self.queue.dormant.update(key, place);
        if let Some(old) = old.placed {
            self.live.remove(old, 0);
        }
        self.live.add(position, 0);
    }
}
