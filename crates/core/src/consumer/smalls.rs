//! Small files: their bytes go into the log as they arrive, and a commit behind them, under one
//! sync, saves all of them.

use crate::consumer::answer::{closed_before, key_of, leg_of, slot_of, slot_record};
use crate::consumer::state::{Body, Entry, SlotState, staging_name};
use crate::consumer::{Consumer, Effect, SmallArrival, Then, Wanted};
use crate::ids::{Attempt, Fence, Incarnation, NodeName, Slot, SlotId, Start};
use crate::limits;
use crate::log::Payload;
use crate::planted::{Planted, planted};
use crate::ranges::{RangeSet, SlotRange};
use crate::record::{self, Record, Slots};
use crate::wire::{
    self, Abandoned, Leg, Message, RefusalCode, SmallCommit, SmallLinkLost, SmallMissing,
    SmallQuery,
};

impl Consumer {
    pub(super) fn on_smalls(
        &mut self,
        producer: &NodeName,
        incarnation: Incarnation,
        files: Vec<SmallArrival>,
    ) {
        // What another life of the producer sent, or one that this node has not heard of, changes
        // nothing: whoever is alive asks again.
        let peer = self.peers.get(producer);
        let fenced = |known| match planted(Planted::OlderLifeHeard) {
            true => known < incarnation,
            false => known != incarnation,
        };
        if peer.is_none_or(|peer| fenced(peer.incarnation)) {
            return;
        }
        let mut received = Tally::default();
        for file in files {
            let slot = slot_of(producer, &file.leg);
            if self.peers[producer].is_over(slot.start) {
                continue;
            }
            if self.is_closed(producer, slot.start, slot.slot) {
                let why = closed_before(&slot);
                self.refuse(producer, file.leg, RefusalCode::NotAllowed, why);
                continue;
            }
            let fence = Fence {
                incarnation,
                attempt: Attempt(file.leg.attempt),
            };
            if self.entry(&slot).is_some() {
                self.small_again(&slot, fence, file.leg, &mut received);
                continue;
            }
            if file.bytes.len() as u64 != file.spec.size
                || file.spec.size > limits::SMALL_FILE_BYTES_MAX
            {
                continue;
            }
            let place = self.place_for(producer, slot.start);
            match place.and_then(|()| self.judge(producer, key_of(&file.leg), &file.spec)) {
                Ok(_) => {
                    received.add(&slot);
                    self.receive_small(slot, fence, file);
                }
                Err((code, why)) => self.refuse(producer, file.leg, code, why),
            }
        }
        received.send(self, producer, |slot_start, slots| {
            Message::SmallReceived(wire::SmallReceived { slot_start, slots })
        });
    }

    fn small_again(&mut self, slot: &SlotId, fence: Fence, leg: Leg, received: &mut Tally) {
        let entry = self.entry_mut(slot).expect("its caller looked it up");
        if fence < entry.fence {
            return;
        }
        entry.fence = fence;
        match entry.state {
            SlotState::Received { .. } | SlotState::Checking { .. } => received.add(slot),
            SlotState::Saved { at, .. }
            | SlotState::Staging { at, .. }
            | SlotState::Staged { at, .. }
            | SlotState::Publishing { at, .. }
            | SlotState::Published { at, .. } => {
                self.tell_saved(&slot.producer, slot.start, &[slot.slot], at);
            }
            // It stays so; whoever sends it did not hear of it, or a crash undid the decision.
            SlotState::Abandoned => {
                self.send_when_synced(&slot.producer, Message::Abandoned(Abandoned { leg }));
            }
            // `saved` is about to be told.
            SlotState::Saving { .. } | SlotState::Receiving | SlotState::Sealing { .. } => {}
        }
    }

    fn receive_small(&mut self, slot: SlotId, fence: Fence, file: SmallArrival) {
        let entry = Entry {
            key: key_of(&file.leg),
            spec: file.spec.clone(),
            fence,
            state: SlotState::Received {
                digest: file.digest,
            },
            body: Body::Small { bytes_at: None },
            staging: staging_name(&slot),
            closed: false,
            recorded: None,
            live_bytes: 0,
        };
        let record = record::SmallReceived {
            slot: slot_record(&slot),
            start: entry.key.start.0,
            seq: entry.key.seq.0,
            incarnation: fence.incarnation.0,
            attempt: fence.attempt.0,
            spec: file.spec,
            digest: file.digest.0.to_vec(),
        };
        self.table(&slot.producer, slot.start)
            .entries
            .insert(slot.slot, entry);
        // Appended is `received`; the sync comes with the commit.
        self.append_with(
            Record::SmallReceived(record),
            Payload::Bytes(file.bytes),
            Wanted::Small(slot),
        );
    }

    pub(super) fn on_small_query(&mut self, from: &NodeName, query: &SmallQuery) {
        let start = Start(query.slot_start);
        let (mut missing, mut received) = (Tally::default(), Tally::default());
        for slot in slots_of(&query.slots) {
            let id = SlotId {
                producer: from.clone(),
                start,
                slot,
            };
            match self.entry(&id).map(|entry| entry.state.clone()) {
                None => missing.add(&id),
                Some(
                    SlotState::Received { .. }
                    | SlotState::Checking { .. }
                    | SlotState::Saving { .. },
                ) => {
                    received.add(&id);
                }
                Some(state) => match state.saved() {
                    Some((_, at)) => self.tell_saved(from, start, &[slot], at),
                    None => missing.add(&id),
                },
            }
        }
        missing.send(self, from, |slot_start, slots| {
            Message::SmallMissing(SmallMissing { slot_start, slots })
        });
        received.send(self, from, |slot_start, slots| {
            Message::SmallReceived(wire::SmallReceived { slot_start, slots })
        });
    }

    pub(super) fn on_small_commit(&mut self, from: &NodeName, commit: &SmallCommit) {
        let slots = slots_of(&commit.slots).map(|slot| slot.0).collect();
        let start = Start(commit.slot_start);
        if self.unpublished >= limits::UNPUBLISHED_FILES_MAX || !self.held.is_empty() {
            self.hold_commit(from, start, &slots);
        } else {
            self.commit_smalls(from, start, &slots);
        }
    }

    fn hold_commit(&mut self, from: &NodeName, start: Start, slots: &RangeSet) {
        let table = self.peers.get(from).and_then(|p| p.tables.get(&start));
        let known = |slot: &u64| table.is_some_and(|t| t.entries.contains_key(&Slot(*slot)));
        let (known, unknown): (Vec<u64>, Vec<u64>) = slots.iter().partition(known);
        let mut missing = Tally::default();
        for slot in unknown {
            missing.add(&SlotId {
                producer: from.clone(),
                start,
                slot: Slot(slot),
            });
        }
        missing.send(self, from, |slot_start, slots| {
            Message::SmallMissing(SmallMissing { slot_start, slots })
        });
        if known.is_empty() {
            return;
        }
        let mut held = self.held.iter_mut();
        let same = held.find(|(of, at, _)| of == from && *at == start);
        match same {
            Some((_, _, slots)) => known.into_iter().for_each(|slot| {
                slots.insert(slot);
            }),
            None => self
                .held
                .push_back((from.clone(), start, known.into_iter().collect())),
        }
    }

    /// Commits that were held back go on when there is less to publish.
    pub(super) fn release_held(&mut self) {
        while self.unpublished < limits::UNPUBLISHED_FILES_MAX {
            let Some((from, start, slots)) = self.held.pop_front() else {
                return;
            };
            self.commit_smalls(&from, start, &slots);
        }
    }

    fn commit_smalls(&mut self, from: &NodeName, start: Start, slots: &RangeSet) {
        let mut save = RangeSet::new();
        let mut look = Vec::new();
        let mut missing = Tally::default();
        for slot in slots.iter().map(Slot) {
            let id = SlotId {
                producer: from.clone(),
                start,
                slot,
            };
            let Some(entry) = self.entry(&id) else {
                missing.add(&id);
                continue;
            };
            match entry.state {
                // Nothing of a large file is synced before it is sealed.
                SlotState::Received { .. } if entry.is_large() => missing.add(&id),
                SlotState::Received { digest } => match self.place_of(&id) {
                    Err((code, why)) => {
                        let leg = leg_of(&id, entry);
                        self.refuse(from, leg, code, why);
                    }
                    Ok((feed, path)) if self.rejects_conflicts(&feed) => {
                        let entry = self.entry_mut(&id).expect("looked up above");
                        entry.become_(SlotState::Checking { digest });
                        look.push((id, feed, path));
                    }
                    Ok(_) => {
                        save.insert(slot.0);
                    }
                },
                SlotState::Checking { .. } | SlotState::Saving { .. } => {}
                SlotState::Saved { at, .. }
                | SlotState::Staging { at, .. }
                | SlotState::Staged { at, .. }
                | SlotState::Publishing { at, .. }
                | SlotState::Published { at, .. } => {
                    self.tell_saved(from, start, &[slot], at);
                }
                SlotState::Receiving | SlotState::Sealing { .. } | SlotState::Abandoned => {
                    missing.add(&id)
                }
            }
        }
        if !look.is_empty() {
            self.out.push(Effect::Look(look));
        }
        missing.send(self, from, |slot_start, slots| {
            Message::SmallMissing(SmallMissing { slot_start, slots })
        });
        self.save_smalls(from, start, save);
    }

    pub(super) fn on_looked(&mut self, files: Vec<(SlotId, bool)>) {
        for (slot, free) in files {
            let Some(entry) = self.entry(&slot) else {
                continue;
            };
            let SlotState::Checking { digest } = entry.state else {
                continue;
            };
            let leg = leg_of(&slot, entry);
            if self.decide_path(&slot, free, false).is_some() {
                self.save_smalls(
                    &slot.producer,
                    slot.start,
                    RangeSet::from_iter([slot.slot.0]),
                );
            } else {
                let entry = self.entry_mut(&slot).expect("looked up above");
                entry.become_(SlotState::Received { digest });
                let path = self.wished_path(&slot).unwrap_or_default();
                let why = format!(
                    "{path} is taken in the inbox at {}; hint: move what is there away, then `consign retry`",
                    self.me.node
                );
                self.refuse(&slot.producer, leg, RefusalCode::Conflict, why);
            }
        }
    }

    fn save_smalls(&mut self, from: &NodeName, start: Start, slots: RangeSet) {
        if slots.is_empty() {
            return;
        }
        for slot in slots.iter().map(Slot) {
            let id = SlotId {
                producer: from.clone(),
                start,
                slot,
            };
            let entry = self.entry_mut(&id).expect("its caller looked it up");
            let digest = match entry.state {
                SlotState::Received { digest } | SlotState::Checking { digest } => digest,
                ref other => unreachable!("{id} is committed from {other:?}"),
            };
            entry.become_(SlotState::Saving { digest, path: None });
        }
        let record = Slots {
            producer: from.as_str().to_owned(),
            start: start.0,
            slots: slots.ranges().collect(),
            at: self.now.0,
        };
        // One sync over their bytes and this record: a crash before it, and they are not saved and
        // nobody was told; after it they are, whatever happens to their staging files.
        self.append(Record::SmallSaved(record));
        if planted(Planted::SavedBeforeSync) {
            let told: Vec<Slot> = slots.iter().map(Slot).collect();
            self.tell_saved(from, start, &told, self.now);
        }
        self.journal
            .when_synced(Then::SmallsSaved(from.clone(), start, slots));
    }

    pub(super) fn smalls_saved(&mut self, node: &NodeName, start: Start, slots: &RangeSet) {
        let at = self.now;
        let mut told = Vec::new();
        for slot in slots.iter().map(Slot) {
            let id = SlotId {
                producer: node.clone(),
                start,
                slot,
            };
            let Some(entry) = self.entry_mut(&id) else {
                continue;
            };
            let SlotState::Saving { digest, .. } = entry.state else {
                continue;
            };
            entry.become_(SlotState::Saved { digest, at });
            let bytes = entry.spec.size;
            self.unpublished += 1;
            self.unpublished_bytes += bytes;
            self.to_stage.push_back(id);
            told.push(slot);
        }
        self.tell_saved(node, start, &told, at);
    }

    pub(super) fn on_smalls_not_forwarded(
        &mut self,
        producer: &NodeName,
        to: &NodeName,
        slots: &[(Start, Slot)],
        reason: &str,
    ) {
        let mut lost = Tally::default();
        for &(start, slot) in slots {
            lost.add(&SlotId {
                producer: producer.clone(),
                start,
                slot,
            });
        }
        lost.send(self, producer, |slot_start, slots| {
            let (to, reason) = (to.as_str().to_owned(), reason.to_owned());
            Message::SmallLinkLost(SmallLinkLost {
                to,
                slot_start,
                slots,
                reason,
            })
        });
    }
}

/// Slots of one producer gathered for one kind of message.
#[derive(Debug, Default)]
struct Tally(std::collections::BTreeMap<Start, RangeSet>);

impl Tally {
    fn add(&mut self, slot: &SlotId) {
        self.0.entry(slot.start).or_default().insert(slot.slot.0);
    }

    fn send(
        self,
        consumer: &mut Consumer,
        to: &NodeName,
        message: impl Fn(u64, Vec<SlotRange>) -> Message,
    ) {
        for (start, slots) in self.0 {
            let ranges: Vec<_> = slots.ranges().collect();
            for part in ranges.chunks(limits::RANGES_PER_MESSAGE_MAX) {
                consumer.send(to, message(start.0, part.to_vec()));
            }
        }
    }
}

/// The slots of ranges from a peer, no more than can be under way.
fn slots_of(ranges: &[SlotRange]) -> impl Iterator<Item = Slot> + '_ {
    ranges
        .iter()
        .flat_map(|range| range.from..range.to)
        .take(limits::SMALL_WINDOW_FILES * 2)
        .map(Slot)
}
