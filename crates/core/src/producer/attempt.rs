//! One try of a large transfer: ask everybody what they hold, form the chain, stream, and commit
//! when all have received.
//!
//! Data flows down the chain while control goes directly between producer and consumers, as in the
//! Google File System (Ghemawat et al., SOSP 2003, sections 3.1 and 3.2).

use crate::ids::{Attempt, NodeName, TransferKey};
use crate::limits;
use crate::planted::{Planted, planted};
use crate::producer::state::{LegState, Stage};
use crate::producer::{Effect, Producer, StreamOrder, StreamTarget, Then};
use crate::record::{AttemptStarted, ChainMember, Record};
use crate::wire::{self, Forward, Holding, Message, Open, OpenAnswer};

impl Producer {
    /// Tries a placed transfer with every consumer that can take it now.
    pub(super) fn start_attempt(&mut self, key: TransferKey) {
        let now = self.now;
        let transfer = &self.active[&key];
        let small = transfer.is_small();
        let feed = self.queue.feed_index(&transfer.feed);
        let (share, blocked_max) = (self.window.share(small), self.window.blocked_max());
        let transfer = self.active.get_mut(&key).expect("looked up above");
        transfer.crowded_out_by = None;
        let transfer = &self.active[&key];
        let legs: Vec<usize> = (0..transfer.legs.len())
            .filter(|&at| transfer.legs[at].state == LegState::Owed)
            .filter(|&at| {
                self.destinations
                    .ready_for(&transfer.legs[at].node, feed, now)
            })
            .collect();
        let owed = transfer
            .legs
            .iter()
            .filter(|leg| leg.state == LegState::Owed);
        let waits_for_all = planted(Planted::WaitsForAll) && legs.len() < owed.count();
        if legs.is_empty() || waits_for_all {
            return self.park(key);
        }
        // The chain waits for its busiest member, so that all of it commits together.
        for &at in &legs {
            let node = &transfer.legs[at].node;
            let destination = self.destinations.get_mut(node).expect("it is ready");
            if !destination.has_room(small, share) {
                // A large one gives its place in memory to others, that wait for nobody.
                if !small || destination.blocked.len() >= blocked_max {
                    let node = Some(node.clone());
                    let transfer = self.active.get_mut(&key).expect("looked up above");
                    transfer.crowded_out_by = node;
                    return self.park(key);
                }
                destination.blocked.push_back(key);
                return;
            }
        }
        // Nobody hears of a slot before the placement that it was drawn for is synced: a crash would
        // forget it, and whoever had saved the file under it would be given it under another.
        let transfer = self.active.get_mut(&key).expect("looked up above");
        let unsynced = transfer.placings > 0
            && !(planted(Planted::SlotBeforeSync) && transfer.submitted.is_some());
        if unsynced {
            transfer.become_(Stage::Placing);
            return self.journal.when_synced(Then::Begin(key));
        }
        if small {
            self.send_small(key, &legs);
        } else {
            self.open(key, &legs);
        }
    }

    /// Asks consumers what they hold, under the next attempt unless this one is untouched.
    pub(super) fn open(&mut self, key: TransferKey, legs: &[usize]) {
        let (now, bytes) = (self.now, self.active[&key].spec.size);
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        if transfer.legs.iter().any(|leg| leg.tried) {
            transfer.attempt = Attempt(transfer.attempt.0 + 1);
            // It must not be used again after the transfer has left memory and come back.
            transfer.dirty = true;
        }
        transfer.chain.clear();
        let why = transfer.take_reason();
        transfer.become_(Stage::Opening {
            deadline: now.plus(limits::OPEN_DEADLINE_MS),
            why,
        });
        let stream = std::mem::take(&mut transfer.streaming);
        let (attempt, spec) = (transfer.attempt, transfer.spec.clone());
        let mut opens = Vec::new();
        for &at in legs {
            let leg = &mut transfer.legs[at];
            leg.become_(LegState::Opening { since: now });
            if !leg.tried {
                leg.tried = true;
                transfer.dirty = true;
            }
            opens.push((leg.node.clone(), leg.named(key, attempt)));
        }
        if stream {
            self.out.push(Effect::StopStream { key });
        }
        for (node, leg) in opens {
            self.destinations.at(&node, now).take_off(key, false, bytes);
            let chunk_bytes = limits::chunk_bytes_for(spec.size);
            self.send(
                &node,
                Message::Open(Open {
                    leg,
                    spec: spec.clone(),
                    chunk_bytes,
                }),
            );
        }
    }

    /// The leg of a large file that a message of the current attempt is about.
    pub(super) fn current_leg(
        &self,
        from: &NodeName,
        leg: &wire::Leg,
    ) -> Option<(TransferKey, usize)> {
        let (key, at) = self.leg_of_slot(
            from,
            crate::ids::Start(leg.slot_start),
            crate::ids::Slot(leg.slot),
        )?;
        let transfer = &self.active[&key];
        let current = leg.attempt == transfer.attempt.0 || planted(Planted::OlderAttemptHeard);
        let same = current && leg.seq == key.seq.0 && leg.start == key.start.0;
        (same && !transfer.is_small()).then_some((key, at))
    }

    pub(super) fn on_open_answer(&mut self, from: &NodeName, answer: OpenAnswer) {
        let Some((key, at)) = self.current_leg(from, &answer.leg) else {
            return;
        };
        let now = self.now;
        let transfer = self.active.get_mut(&key).expect("current_leg found it");
        if !matches!(transfer.legs[at].state, LegState::Opening { .. }) {
            return;
        }
        let Ok(holding) = Holding::try_from(answer.holding) else {
            return;
        };
        match holding {
            Holding::Part => {
                let bytes = answer.from.min(transfer.spec.size);
                transfer.legs[at].become_(LegState::Receiving { bytes, since: now });
            }
            Holding::Received => transfer.legs[at].become_(LegState::Received),
            Holding::Saved => {
                if let Some(receipt) = answer.receipt {
                    let leg = &transfer.legs[at];
                    let (start, slot) = (leg.start, leg.slot);
                    self.settle_saved(from, start, &[slot.0], receipt);
                }
                // It may have been the last to answer; `settle_saved` went on if it was the last
                // of all.
            }
            Holding::Abandoned => return self.renew_slot(key, at),
        }
        self.chain_if_all_answered(key);
    }

    pub(super) fn chain_if_all_answered(&mut self, key: TransferKey) {
        let Some(transfer) = self.active.get(&key) else {
            return;
        };
        let opening = matches!(transfer.stage, Stage::Opening { .. });
        if opening
            && transfer
                .legs
                .iter()
                .all(|leg| !matches!(leg.state, LegState::Opening { .. }))
        {
            self.form_chain(key);
        }
    }

    /// Everybody has answered or is late: whoever holds most goes first, and each sends the next
    /// what that one lacks. So nothing is sent again that anybody in the chain holds.
    fn form_chain(&mut self, key: TransferKey) {
        let now = self.now;
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        let size = transfer.spec.size;
        let held = |state: &LegState| match state {
            LegState::Receiving { bytes, .. } => Some(*bytes),
            LegState::Received => Some(size),
            LegState::Owed
            | LegState::Opening { .. }
            | LegState::Committing
            | LegState::Saved
            | LegState::Refused { .. }
            | LegState::Dropped => None,
        };
        let mut chain: Vec<(usize, u64)> = transfer
            .legs
            .iter()
            .enumerate()
            .filter_map(|(at, leg)| held(&leg.state).map(|bytes| (at, bytes)))
            .collect();
        if chain.is_empty() {
            return self.conclude(key);
        }
        chain.sort_by_key(|&(at, bytes)| (std::cmp::Reverse(bytes), at));
        transfer.chain = chain.iter().map(|&(at, _)| at).collect();
        let reason = match &mut transfer.stage {
            Stage::Opening { why, .. } => std::mem::take(why),
            other => unreachable!("a chain is formed from {other:?}"),
        };
        transfer.become_(Stage::Streaming);
        let attempt = transfer.attempt;
        let members = chain
            .iter()
            .map(|&(at, from)| ChainMember {
                node: transfer.legs[at].node.as_str().to_owned(),
                from,
            })
            .collect();
        let record = AttemptStarted {
            start: key.start.0,
            seq: key.seq.0,
            attempt: attempt.0,
            chain: members,
            reason,
            at: now.0,
        };
        let links: Vec<_> = chain
            .windows(2)
            .filter(|pair| pair[1].1 < size)
            .map(|pair| {
                let (upper, lower) = (&transfer.legs[pair[0].0], &transfer.legs[pair[1].0]);
                let forward = (
                    upper.named(key, attempt),
                    lower.node.clone(),
                    pair[1].1,
                    lower.named(key, attempt),
                );
                (upper.node.clone(), forward)
            })
            .collect();
        let (first, held) = chain[0];
        let from = match planted(Planted::StreamFromStart) && held < size {
            true => 0,
            false => held,
        };
        let target = (from < size).then(|| {
            let leg = &transfer.legs[first];
            (leg.node.clone(), leg.named(key, attempt), from)
        });
        // The attempt needs no sync of its own before it is used: the incarnation is synced, and
        // fences everything of an earlier life.
        self.append(Record::AttemptStarted(record));
        for (node, (leg, to, from, to_leg)) in links {
            let addr = self.address_of(&to);
            let to = to.as_str().to_owned();
            self.send(
                &node,
                Message::Forward(Forward {
                    leg,
                    to,
                    addr,
                    from,
                    to_leg,
                }),
            );
        }
        self.stream(key, target);
        self.commit_if_received(key);
    }

    pub(super) fn stream(&mut self, key: TransferKey, target: Option<(NodeName, wire::Leg, u64)>) {
        let addr = target
            .as_ref()
            .map(|(node, _, _)| self.address_of(node))
            .unwrap_or_default();
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        if target.is_none() && transfer.digest.is_some() {
            return;
        }
        transfer.streaming = true;
        self.out.push(Effect::Stream(StreamOrder {
            key,
            source: transfer.source.clone(),
            size: transfer.spec.size,
            chunk_bytes: limits::chunk_bytes_for(transfer.spec.size),
            hashes: transfer.hashes.clone(),
            to: target.map(|(node, leg, from)| StreamTarget {
                node,
                addr,
                leg,
                from,
            }),
            attempt: transfer.attempt,
        }));
    }
}
