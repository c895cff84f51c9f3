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
        let set: RangeSet = slots.iter().map(|slot| slot.0).collect();
        let receipt = self.receipt(at);
        let ranges: Vec<_> = set.ranges().collect();
        for part in ranges.chunks(limits::RANGES_PER_MESSAGE_MAX) {
            let saved = Saved {
                slot_start: start.0,
                slots: part.to_vec(),
                receipt: receipt.clone(),
            };
            self.send(to, Message::Saved(saved));
        }
    }

    /// This node's word. It is signed once nodes have keys.
    pub(super) fn receipt(&self, at: Millis) -> Receipt {
        Receipt {
            consumer: self.me.node.as_str().to_owned(),
            incarnation: self.me.incarnation.0,
            at: at.0,
            root: Vec::new(),
            signature: Vec::new(),
        }
    }
}
