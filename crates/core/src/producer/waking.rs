//! A transfer comes back into memory: from its records, and from what happened since they were
//! written.

use crate::ids::{Attempt, Digest, NodeName, Slot, Start, TransferKey};
use crate::log::Position;
use crate::producer::Producer;
use crate::producer::dormant::Rest;
use crate::producer::releasing::Finished;
use crate::producer::state::{LegState, Stage, Transfer, TransferLeg};
use crate::producer::window::Load;
use crate::record::{Placed, Submitted};
use crate::spec::Replicas;

impl Producer {
    /// A transfer's records are back in memory.
    pub(super) fn on_fetched(
        &mut self,
        key: TransferKey,
        submitted: Submitted,
        placed: Option<Placed>,
    ) {
        if self.carry_fetched(key, &submitted, placed.as_ref()) {
            return;
        }
        let Some(dormant) = self.queue.dormant.get(key) else {
            return;
        };
        if dormant.rest != Rest::Fetching {
            return;
        }
        self.queue.dormant.remove(key);
        let finished = self.finished.get(&key).copied();
        self.window.leave(match finished {
            Some(_) => Load::Finished,
            None => Load::of_size(dormant.large),
        });
        let turn = self.queue.turn(key, &dormant);
        for destination in self.destinations.0.values_mut() {
            destination.unpark(&turn);
        }
        self.short.remove(&key);
        let feed = self.queue.feeds[usize::from(dormant.feed)].name.clone();
        let mut transfer = Transfer::new(key, feed, submitted.spec, submitted.source);
        transfer.submitted = Some(dormant.submitted);
        transfer.placed = dormant.placed;
        transfer.replicas = Replicas::from_record(submitted.replicas);
        transfer.digest = Digest::from_slice(&submitted.digest);
        if let Some(placed) = &placed {
            transfer.short = placed.short;
            transfer.attempt = Attempt(placed.attempt);
            transfer.digest = transfer.digest.or(Digest::from_slice(&placed.digest));
            transfer.legs = self.legs_of(key, placed, dormant.placed);
            transfer.note_setback(self.setback_in(placed, dormant.placed));
        }
        transfer.dirty = self.extra_copies.remove(&key).is_some();
        if let Some(entry) = self.replayed.remove(&key) {
            transfer.legs = entry.legs;
            transfer.short = entry.short;
            transfer.attempt = transfer.attempt.max(entry.attempt);
            transfer.digest = transfer.digest.or(entry.digest);
            transfer.hashes = entry.hashes;
            transfer.dirty |= entry.dirty;
        }
        // It was read from the log, and so it is synced.
        transfer.digest_synced = transfer.digest.is_some();
        // A person retried it, unless it is only looked at in order to be cancelled.
        let retried = !self.failures.contains_key(&key);
        for leg in &mut transfer.legs {
            if retried && matches!(leg.state, LegState::Refused { .. }) {
                leg.become_(LegState::Owed);
                transfer.dirty = true;
            }
        }
        if let Some(finished) = finished {
            self.finished.remove(&key);
            transfer.stage = finished.stage();
            transfer.hashes = Vec::new();
            self.activate(transfer);
            return self.release(&[key]);
        }
        self.activate(transfer);
        self.resume(key);
    }

    fn resume(&mut self, key: TransferKey) {
        let cancels = self.cancelling.remove(&key).unwrap_or_default();
        if !cancels.is_empty() {
            for token in cancels {
                self.on_cancel(token, key);
            }
            if self.stage_of(key) == Some(&Stage::Cancelled) {
                return;
            }
        }
        if let Some(reason) = self.failures.get(&key).cloned() {
            let transfer = self.active.get_mut(&key).expect("it was just read");
            transfer.become_(Stage::Failed { reason });
            return self.rest_failed(key);
        }
        self.consider(key);
    }
}

impl Producer {
    /// The legs of a placement that was read from the log at a place, as they are by now.
    pub(super) fn legs_of(
        &self,
        key: TransferKey,
        placed: &Placed,
        at: Option<Position>,
    ) -> Vec<TransferLeg> {
        let read = placed.legs.iter().filter_map(TransferLeg::from_record);
        let mut legs: Vec<TransferLeg> = read.collect();
        // An earlier life may have sent bytes after it wrote this down.
        let aged = at <= self.replayed_to;
        for leg in &mut legs {
            leg.tried |= aged;
        }
        for (node, slot) in self.extra_copies.get(&key).into_iter().flatten() {
            let extra = legs
                .iter_mut()
                .find(|leg| leg.node == *node && (leg.start, leg.slot) == *slot);
            if let Some(leg) = extra {
                leg.state = LegState::Saved;
            }
        }
        // Everybody has answered for what is done, also where no placement was written since. It is
        // carried forward for as long as its source cannot be released, and owed to nobody by that.
        if self.finished.get(&key) == Some(&Finished::Done) {
            let answered = |leg: &&mut TransferLeg| leg.state != LegState::Dropped;
            for leg in legs.iter_mut().filter(answered) {
                leg.state = LegState::Saved;
            }
        }
        legs
    }

    /// Why a transfer is tried again whose placement was read from the log at a place.
    pub(super) fn setback_in<'a>(&self, placed: &'a Placed, at: Option<Position>) -> &'a str {
        if at <= self.replayed_to {
            return "the producer was started anew";
        }
        // The reason of a decision is another: why it was placed so.
        match placed.carried {
            true => &placed.reason,
            false => "",
        }
    }

    /// A consumer that was dropped from a transfer outside memory had saved it all the same.
    pub(super) fn note_extra_copy(
        &mut self,
        key: TransferKey,
        node: &NodeName,
        slot: (Start, Slot),
    ) {
        let replayed = self.replayed.get_mut(&key).and_then(|entry| {
            entry.dirty = true;
            entry
                .legs
                .iter_mut()
                .find(|leg| leg.node == *node && (leg.start, leg.slot) == slot)
        });
        if let Some(leg) = replayed {
            leg.state = LegState::Saved;
        } else if self.queue.dormant.contains(key) {
            let copies = self.extra_copies.entry(key).or_default();
            copies.push((node.clone(), slot));
        }
    }

    /// The current placement of a transfer that a replay left with news, as a record.
    pub(super) fn replayed_placement(&self, key: TransferKey) -> Option<Placed> {
        let entry = self
            .replayed
            .get(&key)
            .filter(|entry| !entry.legs.is_empty())?;
        Some(Placed {
            start: key.start.0,
            seq: key.seq.0,
            attempt: entry.attempt.0,
            epoch: self.view.epoch(),
            reason: String::new(),
            legs: self.leg_records(&entry.legs),
            at: self.now.0,
            carried: true,
            short: entry.short,
            digest: entry.digest.map(|d| d.0.to_vec()).unwrap_or_default(),
        })
    }
}
