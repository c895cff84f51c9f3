//! What a consumer says to a producer, and how messages and records name its slots.

use crate::consumer::Consumer;
use crate::consumer::state::Entry;
use crate::ids::{Millis, NodeName, Sequence, Slot, SlotId, Start, TransferKey};
use crate::limits;
use crate::ranges::RangeSet;
use crate::record::{Receipt, SlotRecord};
use crate::wire::{Leg, Message, RefusalCode, Refused, Saved};

/// The leg of a slot as messages name it.
pub(super) fn leg_of(slot: &SlotId, entry: &Entry) -> Leg {
    Leg {
        start: entry.key.start.0,
        seq: entry.key.seq.0,
        slot_start: slot.start.0,
        slot: slot.slot.0,
        attempt: entry.fence.attempt.0,
    }
}

pub(super) fn slot_of(producer: &NodeName, leg: &Leg) -> SlotId {
    SlotId {
        producer: producer.clone(),
        start: Start(leg.slot_start),
        slot: Slot(leg.slot),
    }
}

pub(super) fn slot_record(slot: &SlotId) -> SlotRecord {
    SlotRecord {
        producer: slot.producer.as_str().to_owned(),
        start: slot.start.0,
        slot: slot.slot.0,
    }
}

pub(super) fn key_of(leg: &Leg) -> TransferKey {
    TransferKey {
        start: Start(leg.start),
        seq: Sequence(leg.seq),
    }
}

/// Why a slot that is closed is refused.
pub(super) fn closed_before(slot: &SlotId) -> String {
    format!(
        "slot {slot} was closed before; hint: was {} forgotten here, or its disk restored from an old copy? Cancel the transfer, and send the file again as a new one",
        slot.producer
    )
}

impl Consumer {
    pub(super) fn refuse(&mut self, to: &NodeName, leg: Leg, code: RefusalCode, reason: String) {
        let retry_after_ms = match code {
            RefusalCode::NoSpace | RefusalCode::Disk => limits::NO_SPACE_RETRY_MS,
            RefusalCode::Busy
            | RefusalCode::NotConsumed
            | RefusalCode::Mismatch
            | RefusalCode::NotAllowed
            | RefusalCode::BadName
            | RefusalCode::Conflict => 0,
        };
        self.send(
            to,
            Message::Refused(Refused {
                leg,
                code: code.into(),
                reason,
                retry_after_ms,
            }),
        );
    }

    pub(super) fn tell_saved(&mut self, to: &NodeName, start: Start, slots: &[Slot], at: Millis) {
        // Leaves are in the order of the slots.
        let set: RangeSet = slots.iter().map(|slot| slot.0).collect();
        let slots: Vec<u64> = set.iter().collect();
        for part in slots.chunks(limits::RECEIPT_SLOTS_MAX) {
            let ranges: RangeSet = part.iter().copied().collect();
            let saved = Saved {
                slot_start: start.0,
                slots: ranges.ranges().collect(),
                receipt: self.receipt(to, start, part, at),
            };
            self.send(to, Message::Saved(saved));
        }
    }

    /// This node's word for slots that it has saved, which it looked up. It signs it on the way out,
    /// where it has keys.
    pub(super) fn receipt(
        &self,
        producer: &NodeName,
        start: Start,
        slots: &[u64],
        at: Millis,
    ) -> Receipt {
        let table = self.peers.get(producer).and_then(|p| p.tables.get(&start));
        let leaves = slots.iter().flat_map(|slot| {
            let entry = table.and_then(|table| table.entries.get(&Slot(*slot)));
            let leaf = entry.and_then(|entry| entry.leaf(producer));
            leaf.expect("only what is saved is told to be")
        });
        Receipt {
            consumer: self.me.node.as_str().to_owned(),
            incarnation: self.me.incarnation.0,
            at: at.0,
            leaves: leaves.collect(),
            ..Receipt::default()
        }
    }
}
