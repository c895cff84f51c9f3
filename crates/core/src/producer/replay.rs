//! After a restart: from the log's records to where the last life left off.

use crate::ids::{Attempt, Digest, FeedName, Millis, NodeName, Sequence, Slot, Start, TransferKey};
use crate::limits;
use crate::log::Position;
use crate::planted::{Planted, planted};
use crate::producer::Producer;
use crate::producer::destination::Abandonment;
use crate::producer::dormant::{Dormant, Rest};
use crate::producer::replaying::{Fate, Replaying};
use crate::producer::state::{LegState, TransferLeg};
use crate::ranges::SlotRange;
use crate::record::{Claiming, LegRung, LegsSettled, Placed, Record, Submitted};
use crate::view::MemberState;

/// What a replay left of a transfer outside memory, beyond what its own records say.
#[derive(Debug)]
pub(super) struct Replayed {
    pub(super) legs: Vec<TransferLeg>,
    pub(super) short: bool,
    pub(super) attempt: Attempt,
    pub(super) digest: Option<Digest>,
    pub(super) hashes: Vec<u8>,
    /// Whether something happened since its placement was last written whole.
    pub(super) dirty: bool,
}

impl Producer {
    /// Takes in one record of the log; in order, before [`Producer::begin`].
    pub fn replay(&mut self, position: Position, record: &Record) {
        self.replayed_to = Some(position);
        self.me.incarnation = self.me.incarnation.max(record.incarnation_min());
        match record {
            Record::Boot(boot) => {
                self.queue.note_start(Start(boot.start));
            }
            Record::Forgotten(forgotten) => {
                if let Ok(node) = NodeName::new(&forgotten.node) {
                    self.forgotten.insert(node);
                }
            }
            Record::StandingSet(set) => {
                self.standing = MemberState::from_number(set.state).unwrap_or(self.standing);
            }
            Record::PeerStanding(said) => {
                let state = MemberState::from_number(said.state);
                if let (Ok(node), Some(state)) = (NodeName::new(&said.node), state) {
                    self.destinations.at(&node, Millis(0)).standing = state;
                }
            }
            Record::Claiming(claim) => self.replay_claim(position, claim),
            Record::Unclaimed(claim) => {
                self.replay.remove(key_of(claim.start, claim.seq));
            }
            Record::Submitted(submitted) => self.replay_submitted(position, submitted),
            Record::Placed(placed) => self.replay_placed(position, placed),
            Record::AttemptStarted(started) => {
                if let Some(transfer) = self.replayed_at(key_of(started.start, started.seq)) {
                    transfer.attempt = transfer.attempt.max(Attempt(started.attempt));
                }
            }
            Record::Hashed(hashed) => {
                if let Some(transfer) = self.replayed_at(key_of(hashed.start, hashed.seq)) {
                    let known = &mut transfer.more().hashes;
                    let at = usize::try_from(hashed.first_chunk)
                        .unwrap_or(usize::MAX)
                        .saturating_mul(32);
                    if at <= known.len() {
                        known.truncate(at);
                        known.extend_from_slice(&hashed.hashes);
                    }
                }
            }
            Record::DigestKnown(known) => {
                if let Some(transfer) = self.replayed_at(key_of(known.start, known.seq)) {
                    transfer.more().digest = Digest::from_slice(&known.digest);
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
            | Record::PeerLog(_)
            | Record::Outlived(_)
            | Record::Reconciled(_)
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

    /// What is known of a transfer beyond its submission; `None` for one that is not submitted, or
    /// not any more.
    fn replayed_at(&mut self, key: TransferKey) -> Option<&mut Replaying> {
        let lives = self.queue.dormant.contains(key);
        lives.then(|| self.replay.at(key))
    }

    fn replay_claim(&mut self, position: Position, claim: &Claiming) {
        let key = key_of(claim.start, claim.seq);
        let Ok(feed) = FeedName::new(&claim.spec.feed) else {
            return;
        };
        self.queue.feed_index(&feed);
        self.queue.note_start(key.start);
        if !self.queue.dormant.contains(key) {
            self.replay.at(key).more().claim = Some((claim.clone(), position));
        }
    }

    fn replay_submitted(&mut self, position: Position, submitted: &Submitted) {
        let key = key_of(submitted.start, submitted.seq);
        let Ok(feed) = FeedName::new(&submitted.spec.feed) else {
            return;
        };
        let feed = self.queue.feed_index(&feed);
        self.queue.note_start(key.start);
        self.replay.forget_claim(key);
        // Written again when it was carried forward. Whether all of the carrying was synced cannot be
        // told here: were this place believed, the next shortening of the log could drop what was
        // only said before it, a placement for one, and the file would be placed anew. The place
        // before, which is still there, keeps all of it until it is carried again.
        if self.queue.dormant.contains(key) {
            return;
        }
        let bytes = submitted.spec.size;
        let dormant = Dormant {
            submitted: position,
            placed: None,
            bytes,
            feed,
            rank: -submitted.spec.priority,
            large: bytes > limits::SMALL_FILE_BYTES_MAX,
            rest: Rest::Parked,
        };
        self.queue.dormant.insert(key, dormant);
        self.live.add(position, payload_bytes(bytes));
    }

    fn replay_placed(&mut self, position: Position, placed: &Placed) {
        let key = key_of(placed.start, placed.seq);
        let legs: Vec<TransferLeg> = placed
            .legs
            .iter()
            .filter_map(TransferLeg::from_record)
            .collect();
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
        let Some(old) = self.queue.dormant.get(key) else {
            return;
        };
        let place = |dormant: &mut Dormant| dormant.placed = Some(position);
        self.queue.dormant.update(key, place);
        if let Some(old) = old.placed {
            self.live.remove(old, 0);
        }
        self.live.add(position, 0);
        for leg in self.replay.set_legs(key, &legs) {
            let destination = self.destinations.at(&leg.node, Millis(0));
            destination.duties.remove((leg.start, leg.slot));
        }
        for leg in &legs {
            if matches!(leg.state, LegState::Owed | LegState::Refused { .. }) {
                let destination = self.destinations.at(&leg.node, Millis(0));
                destination.duties.insert((leg.start, leg.slot), key);
            }
        }
        let entry = self.replay.at(key);
        entry.short = placed.short;
        entry.attempt = entry.attempt.max(Attempt(placed.attempt));
        entry.dirty = false;
        // A small file's stands in its submission, which is read again.
        if old.large
            && let Some(digest) = Digest::from_slice(&placed.digest)
        {
            entry.more().digest = Some(digest);
        }
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
                    let leg = (&node, start, slot);
                    self.replay.settle(abandonment.key, leg, LegRung::Saved, "");
                }
                continue;
            }
            let Some(key) = destination.duties.get((start, slot)) else {
                continue;
            };
            if settled.rung() != LegRung::Refused {
                destination.duties.remove((start, slot));
            }
            let leg = (&node, start, slot);
            self.replay
                .settle(key, leg, settled.rung(), &settled.refusal);
        }
    }

    fn replay_fate(&mut self, start: u64, seqs: &[SlotRange], fate: &Fate) {
        for seq in seqs_of(seqs) {
            let key = key_of(start, seq);
            if *fate == Fate::Live {
                self.replay.retry(key);
            }
            if let Some(entry) = self.replayed_at(key) {
                entry.more().fate = fate.clone();
            }
            if planted(Planted::FailedGoneAtRestart) && matches!(fate, Fate::Failed(_)) {
                self.replay_released(key);
            }
        }
    }

    fn replay_released(&mut self, key: TransferKey) {
        let Some(dormant) = self.queue.dormant.remove(key) else {
            return;
        };
        self.live
            .remove(dormant.submitted, payload_bytes(dormant.bytes));
        if let Some(position) = dormant.placed {
            self.live.remove(position, 0);
        }
        let Some(entry) = self.replay.remove(key) else {
            return;
        };
        for leg in self.replay.legs(&entry) {
            let destination = self.destinations.at(&leg.node, Millis(0));
            destination.duties.remove((leg.start, leg.slot));
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
