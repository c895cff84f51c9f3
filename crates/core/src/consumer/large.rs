//! Large files: received in chunks and passed on.

use crate::consumer::answer::{leg_of, slot_of, slot_record};
use crate::consumer::state::{Body, Entry, SlotState};
use crate::consumer::{Consumer, Effect, InflowFault};
use crate::ids::{Attempt, Digest, NodeName, SlotId};
use crate::record::{Record, Watermark};
use crate::tree;
use crate::wire::{Forward, LinkLost, Message, Progress, Received, RefusalCode};

impl Entry {
    /// Forgets that its staging file is open.
    pub(super) fn shut(&mut self) {
        if let Body::Large {
            open, fence_synced, ..
        } = &mut self.body
        {
            *open = None;
            *fence_synced = false;
        }
    }

    /// Forgets what was reported of its staging file, and will be until it is opened again: goes
    /// with [`Effect::CloseInflow`].
    pub(super) fn let_go(&mut self) {
        self.shut();
        let fence = self.fence;
        if let Body::Large { let_go, .. } = &mut self.body {
            *let_go = Some(fence);
        }
    }

    pub(super) fn is_current(&self, attempt: Attempt) -> bool {
        self.fence.attempt == attempt
    }
}

impl Consumer {
    pub(super) fn on_forward(&mut self, from: &NodeName, forward: Forward) {
        let slot = slot_of(from, &forward.leg);
        let Ok(to) = NodeName::new(&forward.to) else {
            return;
        };
        let attempt = Attempt(forward.leg.attempt);
        let Some(entry) = self.entry(&slot) else {
            return;
        };
        let holds = matches!(
            entry.state,
            SlotState::Receiving | SlotState::Received { .. }
        );
        if entry.is_current(attempt) && holds {
            self.out.push(Effect::Forward {
                slot,
                attempt,
                to,
                addr: forward.addr,
                from: forward.from,
                to_leg: forward.to_leg,
            });
        }
    }

    pub(super) fn on_forward_lost(
        &mut self,
        slot: &SlotId,
        attempt: Attempt,
        to: &NodeName,
        reason: String,
    ) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if entry.is_current(attempt) {
            let lost = LinkLost {
                leg: leg_of(slot, entry),
                to: to.as_str().to_owned(),
                reason,
            };
            self.send(&slot.producer, Message::LinkLost(lost));
        }
    }

    pub(super) fn on_inflow_progress(&mut self, slot: &SlotId, attempt: Attempt, bytes: u64) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !entry.is_current(attempt) || entry.state != SlotState::Receiving {
            return;
        }
        let new = entry.wrote(bytes);
        let (leg, feed) = (leg_of(slot, entry), entry.feed());
        self.note_written(feed.as_ref(), new);
        self.send(&slot.producer, Message::Progress(Progress { leg, bytes }));
    }

    pub(super) fn on_inflow_synced(
        &mut self,
        slot: &SlotId,
        offset: u64,
        first_chunk: u64,
        hashes_new: Vec<u8>,
    ) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !matches!(
            entry.state,
            SlotState::Receiving | SlotState::Received { .. }
        ) {
            return;
        }
        let Body::Large {
            synced,
            hashes,
            let_go: None,
            ..
        } = &mut entry.body
        else {
            return;
        };
        let at = usize::try_from(first_chunk)
            .unwrap_or(usize::MAX)
            .saturating_mul(tree::CHUNK_HASH_BYTES);
        if offset <= *synced || at > hashes.len() {
            return;
        }
        hashes.truncate(at);
        hashes.extend_from_slice(&hashes_new);
        *synced = offset;
        // The bytes below are synced already. A crash before this record is loses only the
        // knowledge of it.
        let record = Watermark {
            slot: slot_record(slot),
            offset,
            first_chunk,
            hashes: hashes_new,
        };
        self.append(Record::Watermark(record));
    }

    pub(super) fn on_inflow_complete(&mut self, slot: &SlotId, attempt: Attempt, digest: Digest) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !entry.is_current(attempt) || entry.state != SlotState::Receiving {
            return;
        }
        entry.become_(SlotState::Received { digest });
        let size = entry.spec.size;
        let Body::Large { open, .. } = &entry.body else {
            return;
        };
        let was_all_there = *open == Some(size);
        let new = entry.wrote(size);
        let (leg, feed) = (leg_of(slot, entry), entry.feed());
        self.note_written(feed.as_ref(), new);
        if was_all_there {
            self.answer_open(slot);
        } else {
            let digest = digest.0.to_vec();
            self.send(&slot.producer, Message::Received(Received { leg, digest }));
        }
    }

    pub(super) fn on_inflow_failed(&mut self, slot: &SlotId, attempt: Attempt, fault: InflowFault) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !entry.is_current(attempt) || !matches!(entry.state, SlotState::Receiving) {
            return;
        }
        entry.shut();
        let leg = leg_of(slot, entry);
        let node = self.me.node.clone();
        let (code, reason) = match fault {
            InflowFault::Full => (
                RefusalCode::NoSpace,
                format!("the inbox's disk at {node} is full; hint: free some space there"),
            ),
            InflowFault::Missing => {
                self.start_over(slot);
                (
                    RefusalCode::Busy,
                    format!(
                        "the staging file at {node} is gone, it begins anew; hint: nothing may be removed from an inbox's .consign directory"
                    ),
                )
            }
            InflowFault::Disk(why) => (
                RefusalCode::Disk,
                format!("{why} at {node}; hint: check the disk there"),
            ),
        };
        self.refuse(&slot.producer, leg, code, reason);
    }

    /// Throws away what was received of a file: it begins from its first byte again.
    pub(super) fn start_over(&mut self, slot: &SlotId) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        entry.become_(SlotState::Receiving);
        entry.let_go();
        if let Body::Large {
            synced,
            hashes,
            written,
            ..
        } = &mut entry.body
        {
            (*synced, *written) = (0, 0);
            hashes.clear();
        }
        // A crash before it is synced finds a watermark without its bytes, and begins anew too.
        self.append(Record::Watermark(Watermark {
            slot: slot_record(slot),
            offset: 0,
            first_chunk: 0,
            hashes: Vec::new(),
        }));
        // The staging file stays, and the next opening cuts it back to nothing. Removing it here
        // would race with that opening: the name is the same, and it might be the new file's.
        self.out.push(Effect::CloseInflow(slot.clone()));
    }
}
