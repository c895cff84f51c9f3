//! What consumers attest: the truth, nothing, or something else.

use consign_core::ids::{NodeName, TransferId};
use consign_core::receipt::{self, HASH_BYTES, Hash};
use consign_core::record::Receipt;

use super::{Bench, key_of, node};

impl Bench {
    /// What an honest consumer attests of a slot; `None` of one of which the producer cannot tell.
    fn leaf(&self, who: &NodeName, slot_start: u64, slot: u64) -> Option<Hash> {
        let mut known = self.legs.iter().rev();
        let (_, leg) = known.find(|(consumer, leg)| {
            consumer == who && (leg.slot_start, leg.slot) == (slot_start, slot)
        })?;
        let key = key_of(leg.start, leg.seq);
        let transfer = self.producer.transfer(key)?;
        let producer = node("cam");
        let id = TransferId { producer, key };
        let spec = &transfer.spec;
        let digest = transfer.digest.as_ref()?;
        Some(receipt::leaf(
            &id, &spec.feed, &spec.name, spec.size, digest,
        ))
    }

    /// The word of `who`; without leaves, as from an older version, where not all are known.
    pub(super) fn receipt(&self, who: &NodeName, slot_start: u64, slots: &[u64]) -> Receipt {
        let leaves = slots.iter().map(|slot| self.leaf(who, slot_start, *slot));
        let leaves: Option<Vec<Hash>> = leaves.collect();
        Receipt {
            consumer: who.to_string(),
            incarnation: 1,
            at: 1,
            leaves: leaves.unwrap_or_default().concat(),
            ..Receipt::default()
        }
    }

    /// A receipt that may be of another file, of none, or of too many.
    pub(super) fn any_receipt(
        &mut self,
        who: &NodeName,
        slot_start: u64,
        slots: &[u64],
    ) -> Receipt {
        let mut receipt = self.receipt(who, slot_start, slots);
        match self.rng.below(8) {
            0 => receipt.leaves.clear(),
            1 => receipt.leaves = vec![7; slots.len() * HASH_BYTES],
            2 => receipt.leaves.extend([7; HASH_BYTES]),
            3 => receipt.leaves.extend([7]),
            4 => {
                let many = receipt.leaves.len() as u64;
                let at = self.rng.below(many.max(1)) as usize;
                receipt
                    .leaves
                    .get_mut(at)
                    .into_iter()
                    .for_each(|byte| *byte ^= 1);
            }
            _ => {}
        }
        receipt
    }

    /// A consumer says that it has these for good. What it attests of another file, or of nobody
    /// knows which, is no such word.
    pub(super) fn note_saved(
        &mut self,
        from: &NodeName,
        slot_start: u64,
        slots: &[u64],
        receipt: Option<&Receipt>,
    ) {
        if let Some(receipt) = receipt
            && (receipt.consumer != from.as_str()
                || !matches!(receipt.leaves.len(), len if len == 0 || len == slots.len() * HASH_BYTES))
        {
            return;
        }
        for (index, &slot) in slots.iter().enumerate() {
            let said = receipt.and_then(|receipt| receipt.leaf(index));
            let sent = self.leaf(from, slot_start, slot);
            if said.is_none() || sent.is_none() || said == sent {
                self.saved.insert((from.clone(), slot_start, slot));
            }
        }
    }
}
