//! Slots whose transfers were placed elsewhere: their consumers are told so until they have
//! answered, which may be long after the transfer is finished.

use crate::ids::{NodeName, Slot, Start, TransferKey};
use crate::log::Position;
use crate::producer::Producer;
use crate::producer::destination::Abandonment;
use crate::producer::state::TransferLeg;
use crate::ranges::RangeSet;
use crate::record::LegRung;
use crate::wire::{Abandon, Leg, Message};

/// Where a transfer has an abandonment.
pub(super) type AbandonedAt = (NodeName, (Start, Slot));

impl Producer {
    /// A slot is no duty any more: its consumer is to be told.
    pub(super) fn abandon(
        &mut self,
        node: &NodeName,
        slot: (Start, Slot),
        abandonment: Abandonment,
    ) {
        if let Some(position) = abandonment.decided {
            self.live.add(position, 0);
        }
        let destination = self.destinations.at(node, self.now);
        destination.duties.remove(slot);
        let at = self.abandoning.entry(abandonment.key).or_default();
        match destination.abandons.insert(slot, abandonment) {
            Some(old) => self.forget_decision(&old),
            None => at.push((node.clone(), slot)),
        }
    }

    /// Slots whose consumers never heard of them, or never will again, close without their word.
    pub(super) fn close_untold(&mut self, slots: Vec<AbandonedAt>) {
        for (node, (start, slot)) in slots {
            let slots = RangeSet::from_iter([slot.0]);
            self.write_settled(&node, start, slots, LegRung::Abandoned, "");
        }
    }

    /// A consumer has answered, and that is synced.
    pub(super) fn abandoned(&mut self, node: &NodeName, slot: (Start, Slot), closed: &Abandonment) {
        self.forget_decision(closed);
        if let Some(at) = self.abandoning.get_mut(&closed.key) {
            at.retain(|(at, of)| at != node || *of != slot);
            if at.is_empty() {
                self.abandoning.remove(&closed.key);
            }
        }
    }

    fn forget_decision(&mut self, abandonment: &Abandonment) {
        if let Some(position) = abandonment.decided {
            self.live.remove(position, 0);
        }
    }

    /// A transfer's newest placement is synced, and with it the decision to abandon what it does not
    /// name any more. Who hears of that for the first time is told, if it can be reached.
    pub(super) fn note_decided(&mut self, key: TransferKey, position: Position) {
        let mut news = Vec::new();
        for (node, slot) in self.abandoning.get(&key).into_iter().flatten() {
            let destination = self.destinations.get_mut(node);
            let abandonment = destination.and_then(|d| d.abandons.get_mut(slot));
            let abandonment = abandonment.expect("it is forgotten with the slot");
            match abandonment.decided.replace(position) {
                Some(old) => self.live.remove(old, 0),
                None => news.push((node.clone(), *slot)),
            }
            self.live.add(position, 0);
        }
        for (node, slot) in news {
            self.send_abandon(&node, slot);
        }
    }

    /// Whether a consumer has yet to answer that it will not publish what it was dropped for.
    pub(super) fn is_abandoning(&self, leg: &TransferLeg) -> bool {
        self.destinations
            .get(&leg.node)
            .is_some_and(|d| d.abandons.contains_key(&(leg.start, leg.slot)))
    }

    /// Tells a consumer of everything that was placed elsewhere.
    pub(super) fn send_abandons(&mut self, node: &NodeName) {
        let Some(destination) = self.destinations.get(node) else {
            return;
        };
        let slots: Vec<(Start, Slot)> = destination.abandons.keys().copied().collect();
        for slot in slots {
            self.send_abandon(node, slot);
        }
    }

    fn send_abandon(&mut self, node: &NodeName, slot: (Start, Slot)) {
        let abandons = self.destinations.get(node).map(|d| &d.abandons);
        let Some(abandonment) = abandons.and_then(|abandons| abandons.get(&slot)) else {
            return;
        };
        // Not before the decision is synced.
        if abandonment.decided.is_none() {
            return;
        }
        let leg = Leg {
            start: abandonment.key.start.0,
            seq: abandonment.key.seq.0,
            slot_start: slot.0.0,
            slot: slot.1.0,
            attempt: abandonment.attempt.0,
        };
        self.send(node, Message::Abandon(Abandon { leg }));
    }
}
