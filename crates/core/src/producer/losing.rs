//! Something went wrong with a member of a chain: it is owed, and the others go on.

use crate::ids::{Attempt, NodeName, TransferKey};
use crate::producer::state::{LegState, Stage};
use crate::producer::{Effect, Producer, StreamFault};
use crate::wire::LinkLost;

/// How often consumers may find other bytes than the digest says before a person must look.
const MISMATCHES_MAX: u32 = 3;

impl Producer {
    pub(super) fn on_stream_failed(
        &mut self,
        key: TransferKey,
        attempt: Attempt,
        fault: StreamFault,
    ) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        if transfer.attempt != attempt || !transfer.streaming {
            return;
        }
        transfer.streaming = false;
        match fault {
            StreamFault::Source(why) => self.fail(key, why),
            StreamFault::Link(why) => {
                let first = transfer
                    .chain
                    .first()
                    .map(|&at| transfer.legs[at].node.clone());
                if let Some(node) = first {
                    self.back_off(&node, 0);
                    self.lose_leg(key, &node, &why);
                }
            }
        }
    }

    pub(super) fn on_link_lost(&mut self, from: &NodeName, lost: LinkLost) {
        let Some((key, _)) = self.current_leg(from, &lost.leg) else {
            return;
        };
        let Ok(to) = NodeName::new(&lost.to) else {
            return;
        };
        self.back_off(&to, 0);
        self.lose_leg(key, &to, &lost.reason);
    }

    /// Something went wrong between a transfer and one of its consumers: that one is owed, and the
    /// others go on without it. `why` is for people.
    pub(super) fn lose_leg(&mut self, key: TransferKey, node: &NodeName, why: &str) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        let Some(at) = transfer.leg_at(node) else {
            return;
        };
        if !transfer.legs[at].state.in_flight() {
            return;
        }
        let (small, bytes) = (transfer.is_small(), transfer.spec.size);
        transfer.legs[at].become_(LegState::Owed);
        transfer.note_setback(format_args!("{node}: {why}"));
        if let Some(destination) = self.destinations.get_mut(node) {
            destination.land(key, small, bytes);
        }
        if small {
            self.small_leg_lost(key, at);
        } else {
            self.chain_without(key);
        }
    }

    /// A member of a large transfer's chain is gone.
    fn chain_without(&mut self, key: TransferKey) {
        let Some(transfer) = self.active.get(&key) else {
            return;
        };
        if !transfer.any_in_flight() {
            return self.conclude(key);
        }
        match transfer.stage {
            Stage::Opening { .. } => self.chain_if_all_answered(key),
            Stage::Streaming => {
                let legs: Vec<usize> = (0..transfer.legs.len())
                    .filter(|&at| transfer.legs[at].state.in_flight())
                    .collect();
                if legs
                    .iter()
                    .all(|&at| transfer.legs[at].state == LegState::Received)
                {
                    self.commit_if_received(key);
                } else {
                    self.open(key, &legs);
                }
            }
            // Who was told to publish goes on; the lost one will be asked.
            Stage::Committing { .. } => {}
            Stage::Claiming
            | Stage::Queued
            | Stage::Placing
            | Stage::Parking
            | Stage::Done
            | Stage::Failed { .. }
            | Stage::Cancelled => {}
        }
    }

    /// Nothing is under way any more: the transfer is finished, or goes on with who is left.
    pub(super) fn conclude(&mut self, key: TransferKey) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        if transfer.any_in_flight() {
            return;
        }
        if std::mem::take(&mut transfer.streaming) {
            self.out.push(Effect::StopStream { key });
        }
        let transfer = self.active.get_mut(&key).expect("looked up above");
        if transfer.is_delivered() {
            return self.finish(key);
        }
        let waiting = transfer.kept().any(|leg| leg.state == LegState::Owed);
        let refused = transfer.kept().find_map(|leg| match &leg.state {
            LegState::Refused { reason } => Some(format!("{}: {reason}", leg.node)),
            LegState::Owed
            | LegState::Opening { .. }
            | LegState::Receiving { .. }
            | LegState::Received
            | LegState::Committing
            | LegState::Saved
            | LegState::Dropped => None,
        });
        match refused {
            Some(reason) if !waiting => self.fail(key, reason),
            Some(_) | None => {
                if transfer.stage != Stage::Queued {
                    transfer.become_(Stage::Queued);
                }
                self.consider(key);
            }
        }
    }

    /// A consumer says that it threw its copy away because it does not have the digest.
    pub(super) fn on_mismatch(&mut self, key: TransferKey, node: &NodeName) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        transfer.mismatches += 1;
        let often = transfer.mismatches >= MISMATCHES_MAX;
        self.back_off(node, 0);
        self.lose_leg(key, node, "it received other bytes than were sent");
        if often && self.active.contains_key(&key) {
            self.fail(key, format!("{node} received other bytes than were sent, {MISMATCHES_MAX} times; hint: check memory, disk and network of {node}, then `consign retry`"));
        }
    }
}
