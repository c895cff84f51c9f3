//! Watching the state machines from outside, for the table of what a run has met.

use std::mem;

use consign_core::ids::{NodeName, Slot, SlotId, Start, TransferKey};

use super::World;
use super::node::Life;
use crate::coverage::{self, Coverage, Subject};

/// A transfer as it was seen last.
#[derive(Debug)]
struct SeenTransfer {
    key: TransferKey,
    stage: usize,
    /// Changes whenever the stage is entered again.
    mark: u64,
    /// Its legs, among those of all transfers.
    legs: std::ops::Range<usize>,
}

#[derive(Debug)]
struct SeenLeg {
    node: NodeName,
    start: Start,
    slot: Slot,
    state: usize,
    mark: u64,
}

#[derive(Debug)]
struct SeenSlot {
    slot: SlotId,
    state: usize,
    mark: u64,
}

/// The state machines of a life as they were seen last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    transfers: Vec<SeenTransfer>,
    legs: Vec<SeenLeg>,
    slots: Vec<SeenSlot>,
}

impl Seen {
    fn see_producer(&mut self, life: &consign_core::producer::Producer) {
        use consign_core::producer::state::{LegState, Stage};
        self.transfers.clear();
        self.legs.clear();
        for transfer in life.transfers() {
            let from = self.legs.len();
            self.legs.extend(transfer.legs.iter().map(|leg| SeenLeg {
                node: leg.node.clone(),
                start: leg.start,
                slot: leg.slot,
                state: coverage::leg(&leg.state),
                mark: match leg.state {
                    LegState::Receiving { bytes, .. } => bytes,
                    _ => 0,
                },
            }));
            self.transfers.push(SeenTransfer {
                key: transfer.key,
                stage: coverage::stage(&transfer.stage),
                mark: match transfer.stage {
                    Stage::Opening { deadline, .. } => deadline.0,
                    Stage::Streaming => u64::from(transfer.attempt.0),
                    _ => 0,
                },
                legs: from..self.legs.len(),
            });
        }
    }

    fn see_consumer(&mut self, life: &consign_core::consumer::Consumer) {
        use consign_core::consumer::state::SlotState;
        self.slots.clear();
        self.slots.extend(life.entries().map(|(slot, entry)| {
            let mark = match &entry.state {
                SlotState::Receiving => u64::from(entry.fence.attempt.0),
                SlotState::Publishing { path, .. } => path.len() as u64,
                _ => 0,
            };
            SeenSlot {
                slot,
                state: coverage::slot(&entry.state),
                mark,
            }
        }));
    }
}

/// Counts the way from what was before to what is now.
fn count(coverage: &mut Coverage, edges: Subject, before: Option<(usize, u64)>, now: (usize, u64)) {
    if let Some(before) = before.filter(|before| *before != now) {
        coverage.way(edges, before.0, now.0);
    }
}

impl World {
    /// A producer was given an event.
    pub(super) fn watch_producer(&mut self, node: usize) {
        let Some(life) = self.nodes[node].life.as_deref_mut() else {
            return;
        };
        let mut before = mem::take(&mut self.seen);
        mem::swap(&mut before.transfers, &mut life.seen.transfers);
        mem::swap(&mut before.legs, &mut life.seen.legs);
        life.seen.see_producer(&life.producer);
        let mut old = before.transfers.iter().peekable();
        for transfer in &life.seen.transfers {
            while old.next_if(|old| old.key < transfer.key).is_some() {}
            let Some(old) = old.next_if(|old| old.key == transfer.key) else {
                continue;
            };
            let now = (transfer.stage, transfer.mark);
            let coverage = &mut self.coverage;
            count(
                coverage,
                Subject::StageEdge,
                Some((old.stage, old.mark)),
                now,
            );
            let old_legs = &before.legs[old.legs.clone()];
            for leg in &life.seen.legs[transfer.legs.clone()] {
                let same = |old: &&SeenLeg| {
                    old.slot == leg.slot && old.start == leg.start && old.node == leg.node
                };
                let old = old_legs.iter().find(same).map(|old| (old.state, old.mark));
                count(coverage, Subject::LegEdge, old, (leg.state, leg.mark));
            }
        }
        self.seen = before;
    }

    /// A consumer was given an event.
    pub(super) fn watch_consumer(&mut self, node: usize) {
        let Some(life) = self.nodes[node].life.as_deref_mut() else {
            return;
        };
        let mut before = mem::take(&mut self.seen);
        mem::swap(&mut before.slots, &mut life.seen.slots);
        life.seen.see_consumer(&life.consumer);
        let mut old = before.slots.iter().peekable();
        for slot in &life.seen.slots {
            while old.next_if(|old| old.slot < slot.slot).is_some() {}
            let old = old.next_if(|old| old.slot == slot.slot);
            let old = old.map(|old| (old.state, old.mark));
            let now = (slot.state, slot.mark);
            count(&mut self.coverage, Subject::SlotEdge, old, now);
        }
        self.seen = before;
    }

    /// A life has recovered.
    pub(super) fn watch_recovered(&mut self, node: usize) {
        let Some(life) = self.nodes[node].life.as_deref_mut() else {
            return;
        };
        life.seen.see_producer(&life.producer);
        life.seen.see_consumer(&life.consumer);
        let (stages, slots) = (Subject::StageRecovered, Subject::SlotRecovered);
        count_all(&mut self.coverage, life, stages, slots);
    }

    /// A life ends.
    pub(super) fn watch_end(&mut self, life: &Life) {
        let (stages, slots) = (Subject::StageDied, Subject::SlotDied);
        count_all(&mut self.coverage, life, stages, slots);
    }
}

fn count_all(coverage: &mut Coverage, life: &Life, stages: Subject, slots: Subject) {
    for transfer in &life.seen.transfers {
        coverage.hit(stages, transfer.stage);
    }
    for slot in &life.seen.slots {
        coverage.hit(slots, slot.state);
    }
}
