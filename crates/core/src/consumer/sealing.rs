//! Large files: committed, sealed, and `saved`.

use crate::consumer::answer::{leg_of, slot_of, slot_record};
use crate::consumer::state::SlotState;
use crate::consumer::{Consumer, Effect, InflowFault, Then};
use crate::ids::{Attempt, Digest, NodeName, SlotId};
use crate::planted::{Planted, planted};
use crate::record::{Publishing, PublishingFile, Record};
use crate::wire::{Commit, Leg, RefusalCode};

impl Consumer {
    pub(super) fn on_commit(&mut self, from: &NodeName, commit: &Commit) {
        let slot = slot_of(from, &commit.leg);
        let Some(entry) = self.entry_mut(&slot) else {
            return;
        };
        // A small file has nothing in staging that could be sealed.
        if !entry.is_large() || !entry.is_current(Attempt(commit.leg.attempt)) {
            return;
        }
        if let Some((_, at)) = entry.state.saved() {
            return self.tell_saved(from, slot.start, &[slot.slot], at);
        }
        let SlotState::Received { digest } = entry.state else {
            return;
        };
        let right = Digest::from_slice(&commit.digest) == Some(digest);
        if !right && !planted(Planted::NoChecksumIsValid) {
            let leg = commit.leg;
            let reason = format!(
                "{} received {digest}, the producer sent other bytes; hint: a link or a memory on the way damages data",
                self.me.node
            );
            self.start_over(&slot);
            return self.refuse(from, leg, RefusalCode::Mismatch, reason);
        }
        let (spec, staging) = (entry.spec.clone(), entry.staging.clone());
        let (feed, path) = match self.place_of(&slot) {
            Ok(place) => place,
            Err((code, why)) => return self.turn_down(&slot, commit.leg, code, why),
        };
        let entry = self.entry_mut(&slot).expect("looked up above");
        entry.become_(SlotState::Sealing { digest });
        let attributes = self.attributes(&spec);
        self.out.push(Effect::Seal {
            slot,
            feed,
            staging,
            path,
            attributes,
        });
    }

    pub(super) fn on_sealed(&mut self, slot: &SlotId, outcome: Result<bool, InflowFault>) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let SlotState::Sealing { digest } = entry.state else {
            return;
        };
        let leg = leg_of(slot, entry);
        match outcome {
            Ok(free) => match self.decide_path(slot, free, false) {
                Some(path) => self.save_large(slot, digest, path),
                None => {
                    let path = self.wished_path(slot).unwrap_or_default();
                    let why = format!(
                        "{path} is taken in the inbox at {}; hint: move what is there away, then `consign retry`",
                        self.me.node
                    );
                    self.turn_down(slot, leg, RefusalCode::Conflict, why);
                }
            },
            Err(fault) => {
                let entry = self.entry_mut(slot).expect("looked up above");
                entry.become_(SlotState::Receiving);
                let attempt = entry.fence.attempt;
                self.on_inflow_failed(slot, attempt, fault);
            }
        }
    }

    /// Refuses to publish what was received. What is synced of it stays, for when a person has
    /// removed the obstacle; but nobody knows when that will be, and until then no file is held
    /// open for it.
    fn turn_down(&mut self, slot: &SlotId, leg: Leg, code: RefusalCode, why: String) {
        let entry = self.entry_mut(slot).expect("its caller looked it up");
        entry.become_(SlotState::Receiving);
        entry.let_go();
        self.out.push(Effect::CloseInflow(slot.clone()));
        self.refuse(&slot.producer, leg, code, why);
    }

    fn save_large(&mut self, slot: &SlotId, digest: Digest, path: String) {
        let at = self.now;
        let entry = self.entry_mut(slot).expect("its caller looked it up");
        let file = PublishingFile {
            slot: slot_record(slot),
            staging: entry.staging.clone(),
            path: path.clone(),
            digest: digest.0.to_vec(),
        };
        entry.become_(SlotState::Saving {
            digest,
            path: Some(path),
        });
        // A crash before this sync finds the staging file sealed and nobody told: it is received
        // again from its watermark. From this sync on it is `saved`.
        self.append(Record::Publishing(Publishing {
            files: vec![file],
            at: at.0,
        }));
        self.journal.when_synced(Then::Saved(slot.clone()));
    }

    pub(super) fn large_saved(&mut self, slot: &SlotId) {
        let at = self.now;
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let SlotState::Saving {
            digest,
            path: Some(path),
        } = entry.state.clone()
        else {
            return;
        };
        entry.become_(SlotState::Publishing { digest, at, path });
        self.receiving.remove(slot);
        self.out.push(Effect::CloseInflow(slot.clone()));
        self.tell_saved(&slot.producer, slot.start, &[slot.slot], at);
        self.publish(vec![slot.clone()]);
    }
}
