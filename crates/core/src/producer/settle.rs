//! Answers for good: `saved`, abandoned, refused; and what follows when the last is in.

use crate::ids::{NodeName, Slot, Start, TransferKey};
use crate::limits;
use crate::log::Payload;
use crate::planted::{Planted, planted};
use crate::producer::destination::Abandonment;
use crate::producer::dormant::{Dormant, Rest};
use crate::producer::pump::by_start;
use crate::producer::replay::payload_bytes;
use crate::producer::smalls::slots_of;
use crate::producer::state::{LegState, Stage};
use crate::producer::window::Load;
use crate::producer::{Effect, Producer, Release, Then, Wanted};
use crate::ranges::RangeSet;
use crate::record::{LegRung, LegsSettled, Receipt, Record, Transfers};
use crate::spec::After;
use crate::wire::{Abandoned, RefusalCode, Refused, Saved};

/// Finished transfers that one event takes up again; a disk that is still full turns down no more.
const RELEASED_AT_ONCE: usize = 64;

/// How a transfer ended whose source is still to be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finished {
    Done,
    Cancelled,
}

impl Finished {
    pub(super) fn stage(self) -> Stage {
        match self {
            Self::Done => Stage::Done,
            Self::Cancelled => Stage::Cancelled,
        }
    }

    fn of(stage: &Stage) -> Option<Self> {
        match stage {
            Stage::Done => Some(Self::Done),
            Stage::Cancelled => Some(Self::Cancelled),
            Stage::Claiming
            | Stage::Queued
            | Stage::Placing
            | Stage::Opening { .. }
            | Stage::Streaming
            | Stage::Committing { .. }
            | Stage::Parking
            | Stage::Failed { .. } => None,
        }
    }
}

impl Producer {
    pub(super) fn on_saved(&mut self, from: &NodeName, saved: Saved) {
        let slots: Vec<u64> = slots_of(&saved.slots).map(|slot| slot.0).collect();
        self.settle_saved(from, Start(saved.slot_start), &slots, saved.receipt);
    }

    /// A consumer says that slots are `saved`: it is written down, and the slots close when that
    /// is synced.
    pub(super) fn settle_saved(
        &mut self,
        from: &NodeName,
        start: Start,
        slots: &[u64],
        receipt: Receipt,
    ) {
        // What a peer says goes into the log: its length is bounded, and nobody signs for another.
        if receipt.consumer != from.as_str()
            || receipt.root.len() > 32
            || receipt.signature.len() > 64
        {
            return;
        }
        let mut settled = RangeSet::new();
        let mut touched = Vec::new();
        for &slot in slots {
            let slot = Slot(slot);
            let abandoned = self
                .destinations
                .get(from)
                .and_then(|d| d.abandons.get(&(start, slot)).copied());
            if let Some(abandonment) = abandoned {
                settled.insert(slot.0);
                touched.extend(self.extra_copy(abandonment.key, from, (start, slot)));
                continue;
            }
            let Some((key, at)) = self.leg_of_slot(from, start, slot) else {
                continue;
            };
            let transfer = self.active.get_mut(&key).expect("leg_of_slot found it");
            let leg = &mut transfer.legs[at];
            if leg.state == LegState::Saved {
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
        if settled.is_empty() {
            return;
        }
        self.write_settled(from, start, settled, LegRung::Saved, Some(receipt), "");
        for key in touched {
            self.after_answer(key);
        }
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
        receipt: Option<Receipt>,
        refusal: &str,
    ) {
        for slots in slots.parts() {
            self.append(Record::LegsSettled(LegsSettled {
                node: node.as_str().to_owned(),
                start: start.0,
                slots,
                rung: rung.into(),
                receipt: receipt.clone(),
                refusal: refusal.to_owned(),
                at: self.now.0,
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
            Stage::Queued
            | Stage::Placing
            | Stage::Opening { .. }
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
            return self.write_settled(from, start, slots, LegRung::Abandoned, None, "");
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
            None,
            &reason,
        );
        if small {
            self.small_leg_lost(key, at);
        } else {
            self.chain_if_all_answered(key);
            self.after_answer(key);
        }
    }

    /// A consumer abandoned a slot that is to be delivered: it gets another one. This happens when
    /// a decision to place elsewhere was itself undone.
    pub(super) fn renew_slot(&mut self, key: TransferKey, at: usize) {
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        let node = transfer.legs[at].node.clone();
        let old = (transfer.legs[at].start, transfer.legs[at].slot);
        let destination = self.destinations.at(&node, self.now);
        let slot = destination.draw_slot();
        destination.duties.remove(old);
        destination.duties.insert((self.me.start, slot), key);
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
            None,
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

    /// `done` or `cancelled` is synced: the sources may go.
    pub(super) fn release(&mut self, keys: &[TransferKey]) {
        let mut releases = Vec::new();
        let mut nothing_to_do = Vec::new();
        let mut later = Vec::new();
        for &key in keys {
            let Some(transfer) = self.active.get(&key) else {
                continue;
            };
            let source = &transfer.source;
            let give_back = transfer.stage == Stage::Cancelled;
            let kept_in_place =
                source.spool.is_empty() && !source.watched || planted(Planted::SourceNotReleased);
            if kept_in_place {
                nothing_to_do.push(key);
                continue;
            }
            assert!(
                give_back || transfer.stage == Stage::Done,
                "only what is done or cancelled is released"
            );
            if self.window.is_over_full() {
                later.push(key);
                continue;
            }
            releases.push(Release {
                key,
                feed: transfer.feed.clone(),
                name: transfer.spec.name.clone(),
                source: source.clone(),
                give_back: give_back && source.after() != After::Keep,
            });
        }
        if !releases.is_empty() {
            self.out.push(Effect::Release(releases));
        }
        self.forget_released(&nothing_to_do);
        self.release_later(&later);
    }

    pub(super) fn on_released(&mut self, keys: Vec<TransferKey>, failed: Vec<TransferKey>) {
        self.forget_released(&keys);
        // A tick tries again. Whatever the disk lacks is lacking for the others, too.
        self.release_paused |= !failed.is_empty();
        self.release_later(&failed);
    }

    /// Finished transfers leave memory until their sources can be released.
    fn release_later(&mut self, keys: &[TransferKey]) {
        for &key in keys {
            if let Some(finished) = self.stage_of(key).and_then(Finished::of) {
                self.put_to_rest(key, Rest::Unreleased);
                self.rest_finished(key, finished);
            }
        }
    }

    pub(super) fn rest_finished(&mut self, key: TransferKey, finished: Finished) {
        let resting = |dormant: &mut Dormant| dormant.rest = Rest::Unreleased;
        let rests = self.queue.dormant.update(key, resting);
        assert!(rests.is_some(), "it was just put to rest");
        self.finished.insert(key, finished);
        self.unreleased.push_back(key);
    }

    /// Takes up finished transfers whose sources are still there, as far as there is room.
    pub(super) fn release_more(&mut self) {
        for _ in 0..RELEASED_AT_ONCE {
            if self.release_paused || !self.window.has_room(Load::Finished) {
                return;
            }
            let Some(key) = self.unreleased.pop_front() else {
                return;
            };
            self.fetch(key);
        }
    }

    fn forget_released(&mut self, keys: &[TransferKey]) {
        let mut gone = Vec::new();
        for &key in keys {
            let finished = matches!(self.stage_of(key), Some(Stage::Done | Stage::Cancelled));
            if !finished {
                continue;
            }
            let transfer = self.deactivate(key).expect("it has a stage");
            let bytes = payload_bytes(transfer.spec.size);
            if let Some(position) = transfer.submitted {
                self.live.remove(position, bytes);
            }
            if let Some(position) = transfer.placed {
                self.live.remove(position, 0);
            }
            gone.push(key);
        }
        for (start, seqs) in by_start(&gone) {
            // No sync waits for it: a crash before one releases the source again, which is harmless.
            self.append(Record::Released(Transfers {
                start: start.0,
                seqs,
                at: self.now.0,
                reason: String::new(),
            }));
        }
    }

    /// A person must act: the transfer is listed, and can be retried.
    pub(super) fn fail(&mut self, key: TransferKey, reason: String) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        match transfer.stage {
            // What came of it is decided, and this word is late.
            Stage::Failed { .. } | Stage::Cancelled | Stage::Done => return,
            Stage::Claiming
            | Stage::Queued
            | Stage::Placing
            | Stage::Opening { .. }
            | Stage::Streaming
            | Stage::Committing { .. }
            | Stage::Parking => {}
        }
        let (small, bytes, feed) = (
            transfer.is_small(),
            transfer.spec.size,
            transfer.feed.clone(),
        );
        let mut landed = Vec::new();
        for leg in &mut transfer.legs {
            if leg.state.in_flight() {
                leg.become_(LegState::Owed);
                landed.push(leg.node.clone());
            }
        }
        if std::mem::take(&mut transfer.streaming) {
            self.out.push(Effect::StopStream { key });
        }
        let transfer = self.active.get_mut(&key).expect("looked up above");
        transfer.setback.clear();
        transfer.note_setback(&reason);
        transfer.become_(Stage::Failed {
            reason: reason.clone(),
        });
        for node in landed {
            if let Some(destination) = self.destinations.get_mut(&node) {
                destination.land(key, small, bytes);
            }
        }
        if let Some(feed) = self.queue.feed_mut(&feed) {
            feed.failed += 1;
        }
        self.failures.insert(key, reason.clone());
        self.append(Record::Failed(Transfers {
            start: key.start.0,
            seqs: RangeSet::from_iter([key.seq.0]).ranges().collect(),
            at: self.now.0,
            reason,
        }));
        self.rest_failed(key);
    }

    /// Moves a failed transfer out of memory as soon as its records' places are known.
    pub(super) fn rest_failed(&mut self, key: TransferKey) {
        let ready = self.active.get(&key).is_some_and(|t| {
            matches!(t.stage, Stage::Failed { .. })
                && t.submitted.is_some()
                && t.placings == 0
                && (t.placed.is_some() || t.legs.is_empty())
        });
        if ready && !self.active[&key].dirty {
            return self.put_to_rest(key, Rest::Failed);
        }
        if ready {
            let transfer = self.active.get_mut(&key).expect("looked up above");
            transfer.dirty = false;
            let record = self.carried_record(key);
            self.append_with(Record::Placed(record), Payload::None, Wanted::Placed(key));
        }
    }
}
