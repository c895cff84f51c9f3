//! What happens because nothing happened.

use crate::ids::{Millis, NodeName, TransferKey};
use crate::limits;
use crate::planted::{Planted, planted};
use crate::producer::Producer;
use crate::producer::state::{LegState, Stage, Transfer};

/// Transfers that one tick puts back in the queue because their consumer has been away for long.
const REPLACED_PER_TICK: usize = 1024;

/// A consumer that keeps a transfer waiting beyond its deadline.
struct Late {
    key: TransferKey,
    node: NodeName,
    /// What it is late with, for a person.
    why: &'static str,
}

impl Producer {
    pub(super) fn on_tick(&mut self) {
        let late: Vec<Late> = self
            .active
            .values()
            .flat_map(|transfer| self.late(transfer))
            .collect();
        for Late { key, node, why } in late {
            self.back_off(&node, 0);
            self.lose_leg(key, &node, why);
        }
        if self.now.since(self.settled_at) >= limits::SETTLE_EVERY_MS {
            self.settled_at = self.now;
            let nodes: Vec<NodeName> = self.destinations.0.keys().cloned().collect();
            for node in nodes {
                self.send_closed(&node);
                self.tell_duties(&node);
            }
            self.release_paused = false;
            self.replace_overdue();
        }
    }

    /// Consumers that are keeping a transfer waiting beyond their deadline.
    fn late(&self, transfer: &Transfer) -> Vec<Late> {
        let key = transfer.key;
        let in_state = |wanted: fn(&LegState) -> bool, why: &'static str| {
            let legs = transfer.legs.iter().filter(|leg| wanted(&leg.state));
            let late = legs.map(|leg| Late {
                key,
                node: leg.node.clone(),
                why,
            });
            late.collect()
        };
        let opening = |state: &LegState| matches!(state, LegState::Opening { .. });
        let committing = |state: &LegState| *state == LegState::Committing;
        match &transfer.stage {
            Stage::Opening { deadline, .. } if *deadline <= self.now => {
                in_state(opening, "no answer in time")
            }
            Stage::Committing { deadline } if *deadline <= self.now => {
                in_state(committing, "no answer to the commit in time")
            }
            Stage::Committing { deadline } if self.holds_up_another(transfer, *deadline) => {
                in_state(
                    committing,
                    "others can take the file, and it has not answered to the commit",
                )
            }
            Stage::Streaming => {
                let why = "no progress for too long";
                let straggler = self.straggler(transfer);
                Vec::from_iter(straggler.map(|node| Late { key, node, why }))
            }
            Stage::Opening { .. }
            | Stage::Committing { .. }
            | Stage::Claiming
            | Stage::Queued
            | Stage::Placing
            | Stage::Parking
            | Stage::Done
            | Stage::Failed { .. }
            | Stage::Cancelled => Vec::new(),
        }
    }

    /// Whether those that commit have had their time, and the file is owed to somebody who could take
    /// it now. Whoever is slow publishes all the same, and says so under its slot.
    fn holds_up_another(&self, transfer: &Transfer, deadline: Millis) -> bool {
        let left = deadline.since(self.now);
        if left + limits::COMMIT_ALONE_MS > limits::COMMIT_DEADLINE_MS {
            return false;
        }
        let mut feeds = self.queue.feeds.iter();
        let Some(feed) = feeds.position(|feed| feed.name == transfer.feed) else {
            return false;
        };
        let small = transfer.is_small();
        let share = self.window.share(small);
        let mut owed = transfer
            .legs
            .iter()
            .filter(|leg| leg.state == LegState::Owed);
        owed.any(|leg| {
            let destination = self.destinations.get(&leg.node);
            destination
                .is_some_and(|d| d.ready_for(feed as u16, self.now) && d.has_room(small, share))
        })
    }

    /// The first in the chain who makes no progress although whoever is before it has more. Those
    /// behind it cannot have got any further, and are not to blame.
    fn straggler(&self, transfer: &Transfer) -> Option<NodeName> {
        if planted(Planted::LossNeverMissed) {
            return None;
        }
        let mut upstream = transfer.spec.size;
        for &at in &transfer.chain {
            let leg = &transfer.legs[at];
            let held = match &leg.state {
                LegState::Receiving { bytes, since } => {
                    let behind = *bytes < upstream || transfer.is_small();
                    if behind && self.now.since(*since) >= limits::PROGRESS_DEADLINE_MS {
                        return Some(leg.node.clone());
                    }
                    *bytes
                }
                // Of a large file who is asked has a deadline of the whole attempt.
                LegState::Opening { since }
                    if transfer.is_small()
                        && self.now.since(*since) >= limits::PROGRESS_DEADLINE_MS =>
                {
                    return Some(leg.node.clone());
                }
                LegState::Received | LegState::Saved | LegState::Committing => transfer.spec.size,
                LegState::Owed
                | LegState::Opening { .. }
                | LegState::Refused { .. }
                | LegState::Dropped => upstream,
            };
            upstream = upstream.min(held);
        }
        None
    }

    /// What is owed to a consumer that has been away for longer than its feed's patience goes back
    /// in the queue, and is placed elsewhere when its turn comes.
    fn replace_overdue(&mut self) {
        let patience: Vec<Option<u64>> = self
            .queue
            .feeds
            .iter()
            .map(|feed| {
                feed.rules
                    .as_ref()
                    .and_then(|rules| rules.policy.replace_after_ms)
            })
            .collect();
        let mut overdue = Vec::new();
        for destination in self.destinations.0.values_mut() {
            if destination.connected() {
                continue;
            }
            // Where nobody else can take them they stay where they are; the next look begins
            // behind them, so that they do not hide the others.
            let from = destination.replace_cursor;
            let from = from.map_or_else(|| destination.parked.first(), |last| Some(last.next()));
            let turns = from
                .into_iter()
                .flat_map(|from| destination.parked.from(from));
            let turns: Vec<_> = turns.take(REPLACED_PER_TICK).collect();
            destination.replace_cursor = turns.last().copied();
            for turn in &turns {
                let key = self.queue.key(*turn);
                let Some(dormant) = self.queue.dormant.get(key) else {
                    continue;
                };
                let patience = patience[usize::from(dormant.feed)];
                if destination.gone_longer_than(patience, self.now) {
                    overdue.push(key);
                }
            }
        }
        for key in overdue {
            self.wake(key);
        }
    }
}
