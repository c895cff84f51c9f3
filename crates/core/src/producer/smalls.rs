//! Small files: their bytes are pushed down a route without being asked for, many to a frame, and
//! answered by ranges of slots, so that nothing waits a round trip for each file.

use crate::ids::{Attempt, NodeName, Slot, Start, TransferKey};
use crate::limits;
use crate::producer::state::{LegState, Stage};
use crate::producer::{Producer, SmallSend, Unread};
use crate::ranges::SlotRange;
use crate::record::{AttemptStarted, ChainMember, Record};
use crate::wire::{SmallLinkLost, SmallMissing, SmallReceived};

impl Producer {
    /// Starts an attempt: who may have some of it already is asked, the others are sent it.
    pub(super) fn send_small(&mut self, key: TransferKey, legs: &[usize]) {
        let now = self.now;
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        let bytes = transfer.spec.size;
        let again = transfer.legs.iter().any(|leg| leg.tried);
        if again {
            transfer.attempt = Attempt(transfer.attempt.0 + 1);
            transfer.dirty = true;
        }
        transfer.become_(Stage::Streaming);
        let mut push = Vec::new();
        let mut members = Vec::new();
        for &at in legs {
            let leg = &mut transfer.legs[at];
            if leg.tried {
                leg.become_(LegState::Opening { since: now });
                self.queries
                    .entry((leg.node.clone(), leg.start))
                    .or_default()
                    .insert(leg.slot.0);
            } else {
                push.push(at);
            }
            members.push(ChainMember {
                node: leg.node.as_str().to_owned(),
                from: 0,
            });
            self.destinations
                .at(&leg.node, now)
                .take_off(key, true, bytes);
        }
        transfer.chain = legs.to_vec();
        if again {
            let reason = transfer.take_reason();
            let record = AttemptStarted {
                start: key.start.0,
                seq: key.seq.0,
                attempt: transfer.attempt.0,
                chain: members,
                reason,
                at: now.0,
            };
            self.append(Record::AttemptStarted(record));
        }
        self.push_small(key, &push);
    }

    /// Puts a file on its way along the given legs.
    fn push_small(&mut self, key: TransferKey, legs: &[usize]) {
        if legs.is_empty() {
            return;
        }
        let now = self.now;
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        let mut route = Vec::with_capacity(legs.len());
        let mut slots = Vec::with_capacity(legs.len());
        for &at in legs {
            let leg = &mut transfer.legs[at];
            if !leg.tried {
                leg.tried = true;
                transfer.dirty = true;
            }
            leg.become_(LegState::Receiving {
                bytes: 0,
                since: now,
            });
            route.push(leg.node.clone());
            slots.push((leg.start, leg.slot));
        }
        let send = SmallSend {
            key,
            attempt: transfer.attempt,
            slots,
            submitted: transfer
                .submitted
                .expect("it was synced before its placement"),
            spec: transfer.spec.clone(),
            digest: transfer
                .digest
                .expect("a small file's digest is in its submission"),
        };
        self.outgoing.entry(route).or_default().push(send);
    }

    /// The leg of a small file that a consumer speaks of. Of a large one it speaks otherwise.
    fn small_leg(&self, from: &NodeName, start: Start, slot: Slot) -> Option<(TransferKey, usize)> {
        let found = self.leg_of_slot(from, start, slot);
        found.filter(|(key, _)| self.active[key].is_small())
    }

    pub(super) fn on_small_received(&mut self, from: &NodeName, received: SmallReceived) {
        for slot in slots_of(&received.slots) {
            let Some((key, at)) = self.small_leg(from, Start(received.slot_start), slot) else {
                continue;
            };
            let transfer = self.active.get_mut(&key).expect("leg_of_slot found it");
            let leg = &mut transfer.legs[at];
            if matches!(
                leg.state,
                LegState::Opening { .. } | LegState::Receiving { .. }
            ) {
                leg.become_(LegState::Received);
                self.commit_if_received(key);
            }
        }
    }

    pub(super) fn on_small_missing(&mut self, from: &NodeName, missing: SmallMissing) {
        for slot in slots_of(&missing.slots) {
            let Some((key, at)) = self.small_leg(from, Start(missing.slot_start), slot) else {
                continue;
            };
            match self.active[&key].legs[at].state {
                LegState::Opening { .. } => self.push_small(key, &[at]),
                // It lost what it had received: its connection is about to say so, too.
                LegState::Received | LegState::Committing => {
                    self.lose_leg(key, from, "it lost what it had received");
                }
                LegState::Owed
                | LegState::Receiving { .. }
                | LegState::Saved
                | LegState::Refused { .. }
                | LegState::Dropped => {}
            }
        }
    }

    /// A leg of a small file was lost. Those behind it in the route may not have got the bytes.
    pub(super) fn small_leg_lost(&mut self, key: TransferKey, lost: usize) {
        let now = self.now;
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        let position = transfer.chain.iter().position(|&at| at == lost);
        let behind: Vec<usize> = match position {
            Some(position) => transfer.chain[position + 1..].to_vec(),
            None => Vec::new(),
        };
        for at in behind {
            let leg = &mut transfer.legs[at];
            if matches!(leg.state, LegState::Receiving { .. }) {
                leg.become_(LegState::Opening { since: now });
                self.queries
                    .entry((leg.node.clone(), leg.start))
                    .or_default()
                    .insert(leg.slot.0);
            }
        }
        if self.active[&key].any_in_flight() {
            self.commit_if_received(key);
        } else {
            self.conclude(key);
        }
    }

    pub(super) fn on_smalls_not_sent(&mut self, to: &NodeName, slots: &[(Start, Slot)], why: &str) {
        let mut hit = false;
        for &(start, slot) in slots {
            if let Some((key, _)) = self.leg_of_slot(to, start, slot) {
                if !hit {
                    self.back_off(to, 0);
                    hit = true;
                }
                self.lose_leg(key, to, why);
            }
        }
    }

    /// No consumer is to blame for it, so none is backed off from: only this transfer waits.
    pub(super) fn on_small_unread(
        &mut self,
        key: TransferKey,
        attempt: Attempt,
        to: &NodeName,
        why: Unread,
    ) {
        let under_way = self.active.get(&key).is_some_and(|transfer| {
            transfer.is_small() && transfer.attempt == attempt && transfer.any_in_flight()
        });
        match why {
            _ if !under_way => {}
            Unread::Moved => self.lose_leg(key, to, "its bytes were moved within the log"),
            Unread::Lost(reason) => self.fail(key, reason),
        }
    }

    pub(super) fn on_small_link_lost(&mut self, lost: SmallLinkLost) {
        let Ok(to) = NodeName::new(&lost.to) else {
            return;
        };
        let slots: Vec<_> = slots_of(&lost.slots)
            .map(|slot| (Start(lost.slot_start), slot))
            .collect();
        self.on_smalls_not_sent(&to, &slots, &lost.reason);
    }
}

/// The slots of ranges from a peer, no more than can be under way.
pub(super) fn slots_of(ranges: &[SlotRange]) -> impl Iterator<Item = Slot> + '_ {
    ranges
        .iter()
        .flat_map(|range| range.from..range.to)
        .take(limits::SMALL_WINDOW_FILES * 2)
        .map(Slot)
}
