//! What consumers attest, held against the files that were really sent.

use std::collections::BTreeMap;

use consign_core::ids::{Digest, NodeName, Sequence, SlotId, Start, TransferId, TransferKey};
use consign_core::receipt::{self, Hash};
use consign_core::record::Placed;
use consign_core::spec::FileSpec;

use super::{Ledger, Violation};
use crate::promise::Promise;

/// The leaves of the receipts that honest consumers give.
#[derive(Debug, Default)]
pub(super) struct Expected {
    transfers: BTreeMap<TransferId, Hash>,
    slots: BTreeMap<(usize, SlotId), Hash>,
}

impl Expected {
    pub(super) fn submitted(
        &mut self,
        producer: &NodeName,
        key: TransferKey,
        spec: &FileSpec,
        digest: &Digest,
    ) {
        let producer = producer.clone();
        let id = TransferId { producer, key };
        let leaf = receipt::leaf(&id, &spec.feed, &spec.name, spec.size, digest);
        self.transfers.insert(id, leaf);
    }

    pub(super) fn placed(&mut self, producer: &NodeName, placed: &Placed, at: &(usize, SlotId)) {
        let key = TransferKey {
            start: Start(placed.start),
            seq: Sequence(placed.seq),
        };
        let producer = producer.clone();
        if let Some(leaf) = self.transfers.get(&TransferId { producer, key }) {
            self.slots.insert(at.clone(), *leaf);
        }
    }
}

impl Ledger {
    /// `consumer` says that it has saved what was sent to it under a slot.
    pub fn attested(
        &self,
        consumer: usize,
        slot: &SlotId,
        leaf: Option<Hash>,
    ) -> Result<(), Violation> {
        let broken = |promise, what: &str| Violation {
            promise,
            what: format!("consumer {consumer} says that {slot} is saved, and {what}"),
            file: self.file_at(consumer, slot),
        };
        if !self.is_saved(consumer, slot) {
            return Err(broken(Promise::SavedIsSynced, "it is not"));
        }
        let expected = self.receipts.slots.get(&(consumer, slot.clone()));
        match expected.is_none_or(|expected| leaf == Some(*expected)) {
            true => Ok(()),
            false => Err(broken(Promise::RightReceipt, "attests another file")),
        }
    }
}
