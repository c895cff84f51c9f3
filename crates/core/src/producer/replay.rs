//! After a restart: from the log's records to where the last life left off.

use std::collections::BTreeMap;

use crate::ids::{
    Attempt, Digest, FeedName, Incarnation, Millis, NodeName, Sequence, Slot, Start, TransferKey,
};
use crate::limits;
use crate::log::Position;
use crate::planted::{Planted, planted};
use crate::producer::destination::Abandonment;
use crate::producer::queue::{Dormant, Rest};
use crate::producer::settle::Finished;
use crate::producer::state::{LegState, Stage, Transfer, TransferLeg};
use crate::producer::{Effect, Producer};
use crate::ranges::SlotRange;
use crate::record::{Claiming, LegRung, LegsSettled, Placed, Record, Submitted};

/// What the records said of a transfer so far.
#[derive(Debug)]
pub(super) struct Replayed {
    /// Boxed: it is large, and nearly every transfer has left it behind.
    claim: Option<Box<(Claiming, Position)>>,
    submitted: Option<Position>,
    placed: Option<Position>,
    feed: u16,
    rank: i32,
    bytes: u64,
    pub(super) legs: Vec<TransferLeg>,
    pub(super) short: bool,
    pub(super) attempt: Attempt,
    pub(super) digest: Option<Digest>,
    pub(super) hashes: Vec<u8>,
    /// Whether something happened since its placement was last written whole.
    pub(super) dirty: bool,
    fate: Fate,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Fate {
    Live,
    Failed(String),
    Done,
    Cancelled,
}

impl Producer {
    /// Takes in one record of the log; in order, before [`Producer::begin`].
    pub fn replay(&mut self, position: Position, record: &Record) {
        self.replayed_to = Some(position);
        match record {
            Record::Boot(boot) => {
                self.queue.note_start(Start(boot.start));
                self.me.incarnation = self.me.incarnation.max(Incarnation(boot.incarnation + 1));
            }
            Record::Forgotten(forgotten) => {
                if let Ok(node) = NodeName::new(&forgotten.node) {
                    self.forgotten.insert(node);
                }
            }
            Record::Claiming(claim) => self.replay_claim(position, claim),
            Record::Unclaimed(claim) => {
                self.replayed.remove(&key_of(claim.start, claim.seq));
            }
            Record::Submitted(submitted) => self.replay_submitted(position, submitted),
            Record::Placed(placed) => self.replay_placed(position, placed),
            Record::AttemptStarted(started) => {
                if let Some(transfer) = self.replayed.get_mut(&key_of(started.start, started.seq)) {
                    transfer.attempt = transfer.attempt.max(Attempt(started.attempt));
                }
            }
            Record::Hashed(hashed) => {
                if let Some(transfer) = self.replayed.get_mut(&key_of(hashed.start, hashed.seq)) {
                    let at = usize::try_from(hashed.first_chunk)
                        .unwrap_or(usize::MAX)
                        .saturating_mul(32);
                    if at <= transfer.hashes.len() {
                        transfer.hashes.truncate(at);
                        transfer.hashes.extend_from_slice(&hashed.hashes);
                    }
                }
            }
            Record::DigestKnown(known) => {
                if let Some(transfer) = self.replayed.get_mut(&key_of(known.start, known.seq)) {
                    transfer.digest = Digest::from_slice(&known.digest);
                    transfer.dirty = true;
                }
            }
            Record::LegsSettled(settled) => self.replay_settled(settled),
            Record::Done(list) => self.replay_fate(list.start, &list.seqs, &Fate::Done),
            Record::Failed(list) => {
                self.replay_fate(list.start, &list.seqs, &Fate::Failed(list.reason.clone()));
            }
            Record::Cancelled(list) => self.replay_fate(list.start, &list.seqs, &Fate::Cancelled),
            Record::Retried(list) => self.replay_fate(list.start, &list.seqs, &Fate::Live),
            Record::Released(list) => {
                for seq in seqs_of(&list.seqs) {
                    self.replay_released(key_of(list.start, seq));
                }
            }
            // The consumer's, and the node's own.
            Record::PeerSeen(_)
            | Record::ViewSeen(_)
            | Record::Opened(_)
            | Record::Watermark(_)
            | Record::SmallReceived(_)
            | Record::SmallSaved(_)
            | Record::Publishing(_)
            | Record::Published(_)
            | Record::SlotAbandoned(_)
            | Record::SlotsClosed(_)
            | Record::SlotCarried(_)
            | Record::InboxMarked(_) => {}
        }
    }

    fn replay_entry(
        &mut self,
        key: TransferKey,
        spec: &crate::spec::FileSpec,
    ) -> Option<&mut Replayed> {
        let feed = self.queue.feed_index(&FeedName::new(&spec.feed).ok()?);
        self.queue.note_start(key.start);
        Some(self.replayed.entry(key).or_insert_with(|| Replayed {
            claim: None,
            submitted: None,
            placed: None,
            feed,
            rank: -spec.priority,
            bytes: spec.size,
            legs: Vec::new(),
            short: false,
            attempt: Attempt(0),
            digest: None,
            hashes: Vec::new(),
            dirty: false,
            fate: Fate::Live,
        }))
    }

    fn replay_claim(&mut self, position: Position, claim: &Claiming) {
        let key = key_of(claim.start, claim.seq);
        if let Some(entry) = self.replay_entry(key, &claim.spec)
            && entry.submitted.is_none()
        {
            entry.claim = Some(Box::new((claim.clone(), position)));
        }
    }

    fn replay_submitted(&mut self, position: Position, submitted: &Submitted) {
        let key = key_of(submitted.start, submitted.seq);
        let payload = payload_bytes(submitted.spec.size);
        let Some(entry) = self.replay_entry(key, &submitted.spec) else {
            return;
        };
        entry.claim = None;
        entry.bytes = submitted.spec.size;
        if let Some(digest) = Digest::from_slice(&submitted.digest) {
            entry.digest = Some(digest);
        }
        // Written again when it was carried forward. Whether all of the carrying was synced cannot be
        // told here: were this place believed, the next shortening of the log could drop what was
        // only said before it, a placement for one, and the file would be placed anew. The place
        // before, which is still there, keeps all of it until it is carried again.
        if entry.submitted.is_none() {
            entry.submitted = Some(position);
            self.live.add(position, payload);
        }
    }

    fn replay_placed(&mut self, position: Position, placed: &Placed) {
        let key = key_of(placed.start, placed.seq);
        let mut legs: Vec<TransferLeg> = placed
            .legs
            .iter()
            .filter_map(TransferLeg::from_record)
            .map(|leg| TransferLeg { tried: true, ..leg })
            .collect();
        legs.shrink_to_fit();
        for leg in &legs {
            self.queue.note_start(leg.start);
        }
        for record in &placed.legs {
            if record.rung() != LegRung::Abandoning {
                continue;
            }
            let Ok(node) = NodeName::new(&record.node) else {
                continue;
            };
            let attempt = Attempt(placed.attempt);
            let at = (Start(record.start), Slot(record.slot));
            let abandonment = Abandonment {
                key,
                attempt,
                decided: Some(position),
            };
            self.abandon(&node, at, abandonment);
        }
        let Some(entry) = self.replayed.get_mut(&key) else {
            return;
        };
        let before = std::mem::take(&mut entry.legs);
        let old = entry.placed.replace(position);
        entry.short = placed.short;
        entry.attempt = entry.attempt.max(Attempt(placed.attempt));
        entry.dirty = false;
        if let Some(digest) = Digest::from_slice(&placed.digest) {
            entry.digest = Some(digest);
        }
        if let Some(old) = old {
            self.live.remove(old, 0);
        }
        self.live.add(position, 0);
        for leg in before {
            self.destinations
                .at(&leg.node, Millis(0))
                .duties
                .remove(&(leg.start, leg.slot));
        }
        for leg in &legs {
            if matches!(leg.state, LegState::Owed | LegState::Refused { .. }) {
                self.destinations
                    .at(&leg.node, Millis(0))
                    .duties
                    .insert((leg.start, leg.slot), key);
            }
        }
        entry.legs = legs;
    }

    fn replay_settled(&mut self, settled: &LegsSettled) {
        let Ok(node) = NodeName::new(&settled.node) else {
            return;
        };
        let start = Start(settled.start);
        for slot in seqs_of(&settled.slots).map(Slot) {
            let destination = self.destinations.at(&node, Millis(0));
            if let Some(abandonment) = destination.abandons.remove(&(start, slot)) {
                self.abandoned(&node, (start, slot), &abandonment);
                if settled.rung() == LegRung::Saved {
                    self.note_extra_copy(abandonment.key, &node, (start, slot));
                }
                continue;
            }
            let Some(&key) = destination.duties.get(&(start, slot)) else {
                continue;
            };
            if settled.rung() != LegRung::Refused {
                destination.duties.remove(&(start, slot));
            }
            let Some(entry) = self.replayed.get_mut(&key) else {
                continue;
            };
            entry.dirty = true;
            if let Some(leg) = entry
                .legs
                .iter_mut()
                .find(|l| l.node == node && l.start == start && l.slot == slot)
            {
                leg.state = match settled.rung() {
                    LegRung::Saved => LegState::Saved,
                    LegRung::Refused => LegState::Refused {
                        reason: settled.refusal.clone(),
                    },
                    LegRung::Abandoned | LegRung::Abandoning => LegState::Dropped,
                    LegRung::Owed => LegState::Owed,
                };
            }
        }
    }

    fn replay_fate(&mut self, start: u64, seqs: &[SlotRange], fate: &Fate) {
        for seq in seqs_of(seqs) {
            let Some(entry) = self.replayed.get_mut(&key_of(start, seq)) else {
                continue;
            };
            if *fate == Fate::Live {
                for leg in &mut entry.legs {
                    if matches!(leg.state, LegState::Refused { .. }) {
                        leg.state = LegState::Owed;
                        entry.dirty = true;
                    }
                }
            }
            entry.fate = fate.clone();
            if planted(Planted::FailedGoneAtRestart) && matches!(fate, Fate::Failed(_)) {
                self.replay_released(key_of(start, seq));
            }
        }
    }

    fn replay_released(&mut self, key: TransferKey) {
        let Some(entry) = self.replayed.remove(&key) else {
            return;
        };
        if let Some(position) = entry.submitted {
            self.live.remove(position, payload_bytes(entry.bytes));
        }
        if let Some(position) = entry.placed {
            self.live.remove(position, 0);
        }
        for leg in entry.legs {
            self.destinations
                .at(&leg.node, Millis(0))
                .duties
                .remove(&(leg.start, leg.slot));
        }
    }

    /// Goes on after the last record: releases what is done, takes up what was claimed, and queues
    /// the rest.
    pub fn begin(&mut self, now: Millis) -> Vec<Effect> {
        self.now = now;
        for destination in self.destinations.0.values_mut() {
            destination.down_since = Some(now);
        }
        let members: Vec<NodeName> = self.view.members().iter().map(|m| m.name.clone()).collect();
        for node in members {
            self.destinations.at(&node, now);
        }
        for (key, mut entry) in std::mem::take(&mut self.replayed) {
            if let Some(claim) = entry.claim.take() {
                self.begin_claim(key, *claim);
            } else if entry.submitted.is_some() {
                self.begin_transfer(key, entry);
            }
        }
        self.release_more();
        self.flush();
        std::mem::take(&mut self.out)
    }

    fn begin_claim(&mut self, key: TransferKey, (claim, position): (Claiming, Position)) {
        let Ok(feed) = FeedName::new(&claim.spec.feed) else {
            return;
        };
        self.queue.feed_index(&feed);
        let mut transfer = Transfer::new(key, feed, claim.spec, claim.source);
        transfer.stage = Stage::Claiming;
        transfer.claimed = Some(position);
        self.live.add(position, 0);
        self.activate(transfer);
        self.take(key);
    }

    fn begin_transfer(&mut self, key: TransferKey, entry: Replayed) {
        let feed = entry.feed;
        let large = entry.bytes > limits::SMALL_FILE_BYTES_MAX;
        let dormant = Dormant {
            submitted: entry.submitted.expect("its caller looked"),
            placed: entry.placed,
            bytes: entry.bytes,
            feed,
            rank: entry.rank,
            large,
            rest: Rest::Parked,
        };
        self.queue.dormant.insert(key, dormant);
        if entry.fate != Fate::Done && entry.fate != Fate::Cancelled {
            let feed = &mut self.queue.feeds[usize::from(feed)];
            feed.queued_bytes += entry.bytes;
            feed.queued_files += 1;
        }
        match &entry.fate {
            Fate::Done => self.rest_finished(key, Finished::Done),
            Fate::Cancelled => self.rest_finished(key, Finished::Cancelled),
            Fate::Failed(reason) => {
                self.failures.insert(key, reason.clone());
                self.queue.dormant.get_mut(&key).expect("just made").rest = Rest::Failed;
                self.queue.feeds[usize::from(feed)].failed += 1;
                self.replayed.insert(key, entry);
            }
            // Whatever its consumers have to be asked for, the queue brings it back.
            Fate::Live => {
                let owners = self.owners_of(&entry);
                if entry.dirty || !entry.hashes.is_empty() {
                    self.replayed.insert(key, entry);
                }
                match owners {
                    Some(owners) => self.await_owners(key, &dormant, &owners),
                    None => self.queue.make_fresh(key),
                }
            }
        }
    }

    /// The consumers that a placed transfer waits for; `None` when it has to be placed first, for
    /// the first time or anew.
    fn owners_of(&self, entry: &Replayed) -> Option<Vec<NodeName>> {
        let owed = entry.legs.iter().filter(|leg| leg.state == LegState::Owed);
        let owners: Vec<NodeName> = owed.map(|leg| leg.node.clone()).collect();
        let stays = |node| !self.is_gone_for_good(node);
        let settled = entry.placed.is_some() && !entry.short && owners.iter().all(stays);
        settled.then_some(owners)
    }

    /// A placed transfer goes on with its own consumers, whoever else accepts its feed by now.
    fn await_owners(&mut self, key: TransferKey, dormant: &Dormant, owners: &[NodeName]) {
        let turn = self.queue.turn(key, dormant);
        for node in owners {
            self.destinations.at(node, self.now).park(turn, false);
        }
        // Everybody has answered already: only its end was not written any more.
        if owners.is_empty() {
            self.fetch(key);
        }
    }
}

/// Bytes of a submission's payload in the log.
pub(super) fn payload_bytes(size: u64) -> u64 {
    if size <= limits::SMALL_FILE_BYTES_MAX {
        size
    } else {
        0
    }
}

fn key_of(start: u64, seq: u64) -> TransferKey {
    TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    }
}

fn seqs_of(ranges: &[SlotRange]) -> impl Iterator<Item = u64> + '_ {
    ranges.iter().flat_map(|range| range.from..range.to)
}

/// What replaying has gathered, until [`Producer::begin`].
pub(super) type ReplayedTransfers = BTreeMap<TransferKey, Replayed>;

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue of a million files is held like this while the log is replayed, and as `Dormant`
    /// from then on.
    #[test]
    fn a_waiting_file_takes_little_memory() {
        assert!(size_of::<Replayed>() + size_of::<TransferLeg>() <= 224);
        assert!(size_of::<Dormant>() <= 40);
    }
}
