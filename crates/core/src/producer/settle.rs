//! Answers for good: `saved`, abandoned, refused; and what follows when the last is in.

use crate::ids::{Attempt, NodeName, Slot, Start, TransferKey};
use crate::limits;
use crate::log::Payload;
use crate::planted::{Planted, planted};
use crate::producer::destination::Abandonment;
use crate::producer::smalls::slots_of;
use crate::producer::state::{LegState, Stage};
use crate::producer::{Effect, Producer, Then, Wanted};
use crate::ranges::RangeSet;
use crate::record::{LegRung, LegsSettled, Receipt, Record};
use crate::wire::{Abandoned, RefusalCode, Refused, Saved};

impl Producer {
    pub(super) fn on_saved(&mut self, from: &NodeName, saved: Saved) {
        let receipt = &saved.receipt;
        // Which leaf is whose must be certain, now and for whoever reads the log.
        if !receipt.leaves.is_empty() && saved.slot_count().is_none() {
            return;
        }
        let slots: Vec<u64> = slots_of(&saved.slots).map(|slot| slot.0).collect();
        self.settle_saved(from, Start(saved.slot_start), &slots, saved.receipt);
    }

    /// A consumer says that slots are `saved`: it is written down, and the slots close when that
    /// is synced. One that says it of other bytes, or of another name, than were sent is not believed:
    /// the transfer fails, aloud.
    pub(super) fn settle_saved(
        &mut self,
        from: &NodeName,
        start: Start,
        slots: &[u64],
        receipt: Receipt,
    ) {
        // What a peer says goes into the log: its length is bounded, and nobody signs for another.
        if receipt.consumer != from.as_str() || !receipt.is_of(slots.len()) {
            return;
        }
        let mut settled = RangeSet::new();
        let mut touched = Vec::new();
        let (mut belied, mut worthless) = (Vec::new(), RangeSet::new());
        for (index, &slot) in slots.iter().enumerate() {
            let slot = Slot(slot);
            let abandoned = self
                .destinations
                .get(from)
                .and_then(|d| d.abandons.get(&(start, slot)).copied());
            if let Some(abandonment) = abandoned {
                let transfer = self.active.get(&abandonment.key);
                if transfer.is_some_and(|t| !t.is_right(&self.me.node, receipt.leaf(index))) {
                    worthless.insert(slot.0);
                    continue;
                }
                settled.insert(slot.0);
                touched.extend(self.extra_copy(abandonment.key, from, (start, slot)));
                continue;
            }
            let Some((key, at)) = self.leg_of_slot(from, start, slot) else {
                continue;
            };
            let transfer = self.active.get_mut(&key).expect("leg_of_slot found it");
            let right = transfer.is_right(&self.me.node, receipt.leaf(index));
            let leg = &mut transfer.legs[at];
            if leg.state == LegState::Saved {
                continue;
            }
            if !right {
                belied.push(key);
                continue;
            }
            leg.become_(LegState::Saved);
            transfer.dirty = true;
            let (small, bytes) = (transfer.is_small(), transfer.spec.size);
            let feed = self.queue.feed_index(&transfer.feed);
            if let Some(destination) = self.destinations.get_mut(from) {
                destination.land(key, small, bytes);
                destination.did_well(feed);
            }
            if planted(Planted::OneReceiptForAll) {
                let others = transfer.legs.iter_mut().filter(|leg| leg.state.in_flight());
                others.for_each(|leg| leg.become_(LegState::Saved));
            }
            settled.insert(slot.0);
            touched.push(key);
        }
        if !settled.is_empty() {
            self.write_saved(from, start, settled, slots, receipt);
        }
        // Nobody waits for these any more: what lies there counts for nothing.
        if !worthless.is_empty() {
            self.write_settled(from, start, worthless, LegRung::Abandoned, "");
        }
        for key in touched {
            self.after_answer(key);
        }
        for key in belied {
            let name = self.active.get(&key).map(|transfer| &transfer.spec.name);
            let Some(name) = name else {
                continue;
            };
            let reason = format!(
                "{from} says that it holds other bytes, or another name, than were sent as {name:?}; hint: what is in its inbox is not this file. Look at that machine and at those before it in the chain, `consign cancel` this, and send the file again as a new one"
            );
            self.fail(key, reason);
        }
    }

    fn write_saved(
        &mut self,
        node: &NodeName,
        start: Start,
        settled: RangeSet,
        said: &[u64],
        receipt: Receipt,
    ) {
        let covered: RangeSet = match receipt.leaves.is_empty() {
            true => RangeSet::new(),
            false => said.iter().copied().collect(),
        };
        let covered = match covered == settled {
            true => Vec::new(),
            false => covered.ranges().collect(),
        };
        self.write_answer(
            node,
            settled,
            LegsSettled {
                start: start.0,
                rung: LegRung::Saved.into(),
                receipt: Some(receipt),
                covered,
                ..LegsSettled::default()
            },
        );
    }

    /// A consumer had saved a transfer before it could be told that it was placed elsewhere: that
    /// is a copy like the others. Returns the transfer if it may go on.
    fn extra_copy(
        &mut self,
        key: TransferKey,
        node: &NodeName,
        slot: (Start, Slot),
    ) -> Option<TransferKey> {
        let Some(transfer) = self.active.get_mut(&key) else {
            self.note_extra_copy(key, node, slot);
            if self.short.remove(&key) {
                self.wake(key);
            }
            return None;
        };
        let goes_on = match transfer.stage {
            Stage::Claiming | Stage::Done | Stage::Cancelled => return None,
            Stage::Failed { .. } => false,
            Stage::Queued
            | Stage::Placing
            | Stage::Opening { .. }
            | Stage::Streaming
            | Stage::Committing { .. }
            | Stage::Parking => true,
        };
        let leg = transfer
            .legs
            .iter_mut()
            .find(|leg| leg.node == *node && (leg.start, leg.slot) == slot)?;
        // It says so once of its own accord, and once more when it is told to abandon it.
        if leg.state == LegState::Saved {
            return None;
        }
        leg.become_(LegState::Saved);
        transfer.dirty = true;
        goes_on.then_some(key)
    }

    pub(super) fn write_settled(
        &mut self,
        node: &NodeName,
        start: Start,
        slots: RangeSet,
        rung: LegRung,
        refusal: &str,
    ) {
        self.write_answer(
            node,
            slots,
            LegsSettled {
                start: start.0,
                rung: rung.into(),
                refusal: refusal.to_owned(),
                ..LegsSettled::default()
            },
        );
    }

    /// Writes an answer for good of these slots.
    fn write_answer(&mut self, node: &NodeName, slots: RangeSet, answer: LegsSettled) {
        let (start, rung) = (Start(answer.start), answer.rung());
        for slots in slots.parts() {
            self.append(Record::LegsSettled(LegsSettled {
                node: node.as_str().to_owned(),
                slots,
                at: self.now.0,
                ..answer.clone()
            }));
        }
        if planted(Planted::CloseBeforeSync) && rung == LegRung::Saved {
            self.close_slots(node, start, &slots);
            self.send_closed(node);
        } else if rung != LegRung::Refused {
            self.journal
                .when_synced(Then::Close(node.clone(), start, slots));
        }
    }

    pub(super) fn close_slots(&mut self, node: &NodeName, start: Start, slots: &RangeSet) {
        let Some(destination) = self.destinations.get_mut(node) else {
            return;
        };
        let mut abandoned: Vec<(Slot, Abandonment)> = Vec::new();
        for slot in slots.iter().map(Slot) {
            abandoned.extend(destination.close(start, slot).map(|closed| (slot, closed)));
        }
        for (slot, abandonment) in abandoned {
            self.abandoned(node, (start, slot), &abandonment);
            // Its consumer may have a second slot now.
            if self.short.remove(&abandonment.key) {
                self.wake(abandonment.key);
            }
        }
    }

    /// A leg has answered for good: the transfer is finished, goes on, or waits for the others.
    fn after_answer(&mut self, key: TransferKey) {
        let Some(transfer) = self.active.get(&key) else {
            return;
        };
        match transfer.stage {
            // A person is to look at it, or nobody wants it any more: the answer is written down,
            // and a retry finds that nothing is left to do.
            Stage::Failed { .. } | Stage::Cancelled | Stage::Done | Stage::Claiming => {}
            _ if transfer.is_delivered() => self.finish(key),
            Stage::Streaming if transfer.any_in_flight() => self.commit_if_received(key),
            Stage::Opening { .. } | Stage::Streaming | Stage::Committing { .. }
                if !transfer.any_in_flight() =>
            {
                self.conclude(key);
            }
            // It may have been the last that was asked what it has.
            Stage::Opening { .. } => self.chain_if_all_answered(key),
            Stage::Queued
            | Stage::Placing
            | Stage::Streaming
            | Stage::Committing { .. }
            | Stage::Parking => {}
        }
    }

    pub(super) fn on_abandoned(&mut self, from: &NodeName, abandoned: Abandoned) {
        let (start, slot) = (Start(abandoned.leg.slot_start), Slot(abandoned.leg.slot));
        let known = self
            .destinations
            .get(from)
            .is_some_and(|d| d.abandons.contains_key(&(start, slot)));
        if known {
            let slots = RangeSet::from_iter([slot.0]);
            return self.write_settled(from, start, slots, LegRung::Abandoned, "");
        }
        if let Some((key, at)) = self.leg_of_slot(from, start, slot)
            && self.active[&key].legs[at].state.in_flight()
        {
            self.renew_slot(key, at);
        }
    }

    pub(super) fn on_refused(&mut self, from: &NodeName, refused: Refused) {
        let (start, slot) = (Start(refused.leg.slot_start), Slot(refused.leg.slot));
        let Some((key, at)) = self.leg_of_slot(from, start, slot) else {
            return;
        };
        let transfer = self.active.get_mut(&key).expect("leg_of_slot found it");
        if !transfer.legs[at].state.in_flight() || refused.leg.attempt > transfer.attempt.0 {
            return;
        }
        // What this version does not know is tried again: nothing is given up by mistake.
        let code = RefusalCode::try_from(refused.code).unwrap_or(RefusalCode::Busy);
        if code == RefusalCode::Mismatch {
            return self.on_mismatch(key, from);
        }
        if !code.is_final() {
            let wait = refused.retry_after_ms.min(limits::RETRY_DELAY_MAX_MS);
            let feed = self.queue.feed_index(&transfer.feed);
            let feed = code.concerns_feed().then_some(feed);
            if let Some(destination) = self.destinations.get_mut(from) {
                let reason = refused
                    .reason
                    .chars()
                    .take(limits::REASON_CHARS_MAX)
                    .collect();
                destination.complained(feed, self.now, reason);
            }
            self.back_off_of(from, feed, wait);
            return self.lose_leg(key, from, &refused.reason);
        }
        let reason: String = refused
            .reason
            .chars()
            .take(limits::REASON_CHARS_MAX)
            .collect();
        let transfer = self.active.get_mut(&key).expect("looked up above");
        transfer.legs[at].become_(LegState::Refused {
            reason: reason.clone(),
        });
        transfer.dirty = true;
        let (small, bytes) = (transfer.is_small(), transfer.spec.size);
        if let Some(destination) = self.destinations.get_mut(from) {
            destination.land(key, small, bytes);
        }
        self.write_settled(
            from,
            start,
            RangeSet::from_iter([slot.0]),
            LegRung::Refused,
            &reason,
        );
        if small {
            self.small_leg_lost(key, at);
        } else {
            self.after_answer(key);
        }
    }

    /// A consumer abandoned a slot that is to be delivered: it gets another one. This happens when
    /// a decision to place elsewhere was itself undone.
    pub(super) fn renew_slot(&mut self, key: TransferKey, at: usize) {
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        let node = transfer.legs[at].node.clone();
        let old = (transfer.legs[at].start, transfer.legs[at].slot);
        let attempt = transfer.attempt;
        let destination = self.destinations.at(&node, self.now);
        let slot = destination.draw_slot();
        destination.duties.insert((self.me.start, slot), key);
        // Open until the answer is synced: a crash before that asks under it again.
        let abandonment = Abandonment {
            key,
            attempt: Attempt(attempt.0 + 1),
            decided: None,
        };
        self.abandon(&node, old, abandonment);
        let transfer = self.active.get_mut(&key).expect("looked up above");
        transfer.legs[at].start = self.me.start;
        transfer.legs[at].slot = slot;
        let record = self.placed_record(key, "the consumer had abandoned its slot", false);
        self.append_with(Record::Placed(record), Payload::None, Wanted::Placed(key));
        self.write_settled(
            &node,
            old.0,
            RangeSet::from_iter([old.1.0]),
            LegRung::Abandoned,
            "",
        );
        self.lose_leg(key, &node, "it had abandoned its slot");
    }

    /// Every consumer has it: `done` is written with what else this event brings.
    pub(super) fn finish(&mut self, key: TransferKey) {
        self.become_finished(key, Stage::Done);
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        let (feed, bytes) = (transfer.feed.clone(), transfer.spec.size);
        if std::mem::take(&mut transfer.streaming) {
            self.out.push(Effect::StopStream { key });
        }
        if let Some(feed) = self.queue.feed_mut(&feed) {
            feed.queued_bytes = feed.queued_bytes.saturating_sub(bytes);
            feed.queued_files = feed.queued_files.saturating_sub(1);
            feed.done_files += 1;
            feed.done_bytes += bytes;
        }
        self.short.remove(&key);
        self.done.push(key);
    }
}
