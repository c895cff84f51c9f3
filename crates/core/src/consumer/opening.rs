//! Large files: opened, and opened again under a higher fence.

use crate::consumer::answer::{closed_before, key_of, leg_of, slot_of, slot_record};
use crate::consumer::state::{Body, Entry, SlotState, staging_name};
use crate::consumer::{Consumer, Effect, InflowOrder, Then, Wanted};
use crate::ids::{Attempt, FeedName, Fence, NodeName, SlotId};
use crate::limits;
use crate::log::Payload;
use crate::record::{self, Record};
use crate::tree;
use crate::wire::{Holding, Message, Open, OpenAnswer, RefusalCode};

impl Consumer {
    pub(super) fn on_open(&mut self, from: &NodeName, open: Open) {
        let slot = slot_of(from, &open.leg);
        let fence = Fence {
            incarnation: self.peers[from].incarnation,
            attempt: Attempt(open.leg.attempt),
        };
        if self.is_closed(from, slot.start, slot.slot) {
            let why = closed_before(&slot);
            return self.refuse(from, open.leg, RefusalCode::NotAllowed, why);
        }
        if self.entry(&slot).is_some() {
            return self.open_again(&slot, fence, &open);
        }
        let size = open.spec.size;
        let acceptable = tree::is_chunk_size(open.chunk_bytes)
            && (limits::CHUNK_BYTES_MIN..=limits::CHUNK_BYTES_MAX).contains(&open.chunk_bytes)
            && (limits::SMALL_FILE_BYTES_MAX + 1..=limits::FILE_BYTES_MAX).contains(&size);
        if !acceptable {
            let why = format!(
                "a file of {size} bytes in chunks of {} is not acceptable; hint: check the version of {from}",
                open.chunk_bytes
            );
            return self.refuse(from, open.leg, RefusalCode::BadName, why);
        }
        let place = self.place_for(from, slot.start);
        let judged = place.and_then(|()| self.judge(from, key_of(&open.leg), &open.spec));
        if let Err((code, why)) = judged {
            return self.refuse(from, open.leg, code, why);
        }
        let entry = Entry {
            key: key_of(&open.leg),
            spec: open.spec,
            fence,
            state: SlotState::Receiving,
            body: Body::Large {
                chunk_bytes: open.chunk_bytes,
                synced: 0,
                hashes: Vec::new(),
                written: 0,
                fence_synced: false,
                open: None,
                let_go: None,
            },
            staging: staging_name(&slot),
            closed: false,
            recorded: None,
            live_bytes: 0,
        };
        self.table(from, slot.start)
            .entries
            .insert(slot.slot, entry);
        self.receiving.insert(slot.clone());
        self.open_inflow(&slot);
    }

    fn open_again(&mut self, slot: &SlotId, fence: Fence, open: &Open) {
        let entry = self.entry_mut(slot).expect("its caller looked it up");
        let small = matches!(entry.body, Body::Small { .. });
        if small || entry.key != key_of(&open.leg) || entry.spec.size != open.spec.size {
            let why = format!(
                "slot {slot} is of transfer {}; hint: report this as a bug",
                entry.key
            );
            return self.refuse(&slot.producer, open.leg, RefusalCode::NotAllowed, why);
        }
        if fence <= entry.fence {
            return;
        }
        let answer = |holding: Holding| OpenAnswer {
            leg: open.leg,
            holding: holding.into(),
            from: 0,
            digest: Vec::new(),
            receipt: None,
        };
        match entry.state.clone() {
            SlotState::Abandoned => {
                self.send(
                    &slot.producer,
                    Message::OpenAnswer(answer(Holding::Abandoned)),
                );
            }
            SlotState::Receiving | SlotState::Received { .. } => {
                if let Err((code, why)) = self.inbox_of(&open.spec) {
                    return self.refuse(&slot.producer, open.leg, code, why);
                }
                let entry = self.entry_mut(slot).expect("looked up above");
                entry.fence = fence;
                entry.become_(SlotState::Receiving);
                entry.shut();
                self.open_inflow(slot);
            }
            // It is on its way to `saved`, which is told without being asked for.
            SlotState::Checking { .. } | SlotState::Sealing { .. } | SlotState::Saving { .. } => {}
            SlotState::Saved { digest, at }
            | SlotState::Staging { digest, at }
            | SlotState::Staged { digest, at, .. }
            | SlotState::Publishing { digest, at, .. }
            | SlotState::Published { digest, at } => {
                let answer = OpenAnswer {
                    digest: digest.0.to_vec(),
                    receipt: Some(self.receipt(&slot.producer, slot.start, &[slot.slot.0], at)),
                    ..answer(Holding::Saved)
                };
                self.send(&slot.producer, Message::OpenAnswer(answer));
            }
        }
    }

    /// Logs the fence and opens the staging file; the producer is answered when both are done.
    fn open_inflow(&mut self, slot: &SlotId) {
        let entry = self.entry(slot).expect("its caller looked it up");
        let Body::Large {
            chunk_bytes,
            synced,
            hashes,
            ..
        } = &entry.body
        else {
            return;
        };
        let fence = entry.fence;
        let feed = FeedName::new(&entry.spec.feed).expect("checked when it was opened first");
        let order = InflowOrder {
            slot: slot.clone(),
            incarnation: fence.incarnation,
            attempt: fence.attempt,
            feed,
            staging: entry.staging.clone(),
            size: entry.spec.size,
            chunk_bytes: *chunk_bytes,
            synced: *synced,
            hashes: hashes.clone(),
        };
        // A crash before this sync forgets the fence; the older attempt then cannot speak either,
        // since its connection is gone with this node.
        let record = record::Opened {
            at: self.now.0,
            ..self.opened_record(slot, entry)
        };
        self.append_with(
            Record::Opened(record),
            Payload::None,
            Wanted::Entry(slot.clone()),
        );
        self.journal
            .when_synced(Then::FenceSynced(slot.clone(), fence));
        self.out.push(Effect::OpenInflow(order));
    }

    /// What the log says of an opening, but for its time.
    pub(super) fn opened_record(&self, slot: &SlotId, entry: &Entry) -> record::Opened {
        let chunk_bytes = match entry.body {
            Body::Large { chunk_bytes, .. } => chunk_bytes,
            Body::Small { .. } | Body::None => 0,
        };
        record::Opened {
            slot: slot_record(slot),
            start: entry.key.start.0,
            seq: entry.key.seq.0,
            incarnation: entry.fence.incarnation.0,
            attempt: entry.fence.attempt.0,
            spec: entry.spec.clone(),
            staging: entry.staging.clone(),
            chunk_bytes,
            at: 0,
        }
    }

    pub(super) fn fence_synced(&mut self, slot: &SlotId, fence: Fence) {
        if let Some(entry) = self.entry_mut(slot)
            && entry.fence == fence
            && let Body::Large { fence_synced, .. } = &mut entry.body
        {
            *fence_synced = true;
            self.answer_open(slot);
        }
    }

    pub(super) fn on_inflow_ready(&mut self, slot: &SlotId, attempt: Attempt, from: u64) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !entry.is_current(attempt) || entry.state != SlotState::Receiving {
            return;
        }
        let fence = entry.fence;
        if let Body::Large {
            open,
            written,
            let_go,
            ..
        } = &mut entry.body
        {
            if *let_go == Some(fence) {
                return;
            }
            *open = Some(from);
            (*written, *let_go) = (from, None);
        }
        self.answer_open(slot);
    }

    /// Answers an `Open`, once its fence is synced and its staging file is open.
    pub(super) fn answer_open(&mut self, slot: &SlotId) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let Body::Large {
            fence_synced: true,
            open: Some(from),
            ..
        } = entry.body
        else {
            return;
        };
        let leg = leg_of(slot, entry);
        let answer = match &entry.state {
            SlotState::Received { digest } => OpenAnswer {
                leg,
                holding: Holding::Received.into(),
                from: entry.spec.size,
                digest: digest.0.to_vec(),
                receipt: None,
            },
            // All there, and its digest is being computed: that will answer.
            SlotState::Receiving if from >= entry.spec.size => return,
            SlotState::Receiving => OpenAnswer {
                leg,
                holding: Holding::Part.into(),
                from,
                digest: Vec::new(),
                receipt: None,
            },
            SlotState::Checking { .. }
            | SlotState::Sealing { .. }
            | SlotState::Saving { .. }
            | SlotState::Saved { .. }
            | SlotState::Staging { .. }
            | SlotState::Staged { .. }
            | SlotState::Publishing { .. }
            | SlotState::Published { .. }
            | SlotState::Abandoned => return,
        };
        self.send(&slot.producer, Message::OpenAnswer(answer));
    }
}
