//! The states of the three machines by number, and the ways between them.

use std::collections::VecDeque;
use std::sync::OnceLock;

use consign_core::consumer::state::SlotState;
use consign_core::ids::{Digest, Millis};
use consign_core::producer::state::{LegState, Stage};

pub(super) const STAGES: &[&str] = &[
    "Claiming",
    "Queued",
    "Placing",
    "Opening",
    "Streaming",
    "Committing",
    "Parking",
    "Done",
    "Failed",
    "Cancelled",
];

pub(super) const LEGS: &[&str] = &[
    "Owed",
    "Opening",
    "Receiving",
    "Received",
    "Committing",
    "Saved",
    "Refused",
    "Dropped",
];

pub(super) const SLOTS: &[&str] = &[
    "Receiving",
    "Received",
    "Checking",
    "Sealing",
    "Saving",
    "Saved",
    "Staging",
    "Staged",
    "Publishing",
    "Published",
    "Abandoned",
];

/// A stage's number.
#[must_use]
pub fn stage(stage: &Stage) -> usize {
    match stage {
        Stage::Claiming => 0,
        Stage::Queued => 1,
        Stage::Placing => 2,
        Stage::Opening { .. } => 3,
        Stage::Streaming => 4,
        Stage::Committing { .. } => 5,
        Stage::Parking => 6,
        Stage::Done => 7,
        Stage::Failed { .. } => 8,
        Stage::Cancelled => 9,
    }
}

/// The number of a leg's state.
#[must_use]
pub fn leg(state: &LegState) -> usize {
    match state {
        LegState::Owed => 0,
        LegState::Opening { .. } => 1,
        LegState::Receiving { .. } => 2,
        LegState::Received => 3,
        LegState::Committing => 4,
        LegState::Saved => 5,
        LegState::Refused { .. } => 6,
        LegState::Dropped => 7,
    }
}

/// The number of a slot's state.
#[must_use]
pub fn slot(state: &SlotState) -> usize {
    match state {
        SlotState::Receiving => 0,
        SlotState::Received { .. } => 1,
        SlotState::Checking { .. } => 2,
        SlotState::Sealing { .. } => 3,
        SlotState::Saving { .. } => 4,
        SlotState::Saved { .. } => 5,
        SlotState::Staging { .. } => 6,
        SlotState::Staged { .. } => 7,
        SlotState::Publishing { .. } => 8,
        SlotState::Published { .. } => 9,
        SlotState::Abandoned => 10,
    }
}

fn a_stage(number: usize) -> Stage {
    let deadline = Millis(0);
    match number {
        0 => Stage::Claiming,
        1 => Stage::Queued,
        2 => Stage::Placing,
        3 => Stage::Opening {
            deadline,
            why: String::new(),
        },
        4 => Stage::Streaming,
        5 => Stage::Committing { deadline },
        6 => Stage::Parking,
        7 => Stage::Done,
        8 => Stage::Failed {
            reason: String::new(),
        },
        _ => Stage::Cancelled,
    }
}

fn a_leg(number: usize) -> LegState {
    let since = Millis(0);
    match number {
        0 => LegState::Owed,
        1 => LegState::Opening { since },
        2 => LegState::Receiving { bytes: 0, since },
        3 => LegState::Received,
        4 => LegState::Committing,
        5 => LegState::Saved,
        6 => LegState::Refused {
            reason: String::new(),
        },
        _ => LegState::Dropped,
    }
}

fn a_slot(number: usize) -> SlotState {
    let (digest, at, path) = (Digest([0; 32]), Millis(0), String::new());
    match number {
        0 => SlotState::Receiving,
        1 => SlotState::Received { digest },
        2 => SlotState::Checking { digest },
        3 => SlotState::Sealing { digest },
        4 => SlotState::Saving { digest, path: None },
        5 => SlotState::Saved { digest, at },
        6 => SlotState::Staging { digest, at },
        7 => SlotState::Staged { digest, at, path },
        8 => SlotState::Publishing { digest, at, path },
        9 => SlotState::Published { digest, at },
        _ => SlotState::Abandoned,
    }
}

/// A state machine: its legal edges, and the shortest way from each state to each other.
#[derive(Debug)]
pub struct Machine {
    names: &'static [&'static str],
    legal: Vec<bool>,
    /// For each pair the edges between, by number.
    ways: Vec<Vec<usize>>,
    /// States whose edges to themselves can be told from outside.
    visible_loops: &'static [&'static str],
}

impl Machine {
    fn new(
        names: &'static [&'static str],
        visible_loops: &'static [&'static str],
        may_become: impl Fn(usize, usize) -> bool,
    ) -> Self {
        let count = names.len();
        let pairs = (0..count).flat_map(|from| (0..count).map(move |to| (from, to)));
        let legal = pairs.clone().map(|(from, to)| may_become(from, to));
        let legal: Vec<bool> = legal.collect();
        let ways = pairs.map(|(from, to)| shortest(&legal, count, from, to));
        Self {
            ways: ways.collect(),
            names,
            visible_loops,
            legal,
        }
    }

    /// Every pair of states; those that are legal with their names, and whether they can be told.
    pub(super) fn edges(&self) -> impl Iterator<Item = Option<(&str, &str, bool)>> {
        self.legal.iter().enumerate().map(|(edge, &legal)| {
            let (from, to) = (edge / self.names.len(), edge % self.names.len());
            let seen = from != to || self.visible_loops.contains(&self.names[from]);
            legal.then(|| (self.names[from], self.names[to], seen))
        })
    }

    /// The edges from one state to another, by number; none when there is no legal way.
    pub(super) fn way(&self, from: usize, to: usize) -> impl Iterator<Item = usize> + use<'_> {
        self.ways[from * self.names.len() + to].iter().copied()
    }
}

/// The shortest way along legal edges.
fn shortest(legal: &[bool], count: usize, from: usize, to: usize) -> Vec<usize> {
    let mut before: Vec<Option<usize>> = vec![None; count];
    let mut next = VecDeque::from([from]);
    while let Some(at) = next.pop_front() {
        for step in (0..count).filter(|step| legal[at * count + step]) {
            if before[step].is_none() {
                before[step] = Some(at);
                next.push_back(step);
            }
        }
    }
    let mut way = Vec::new();
    let mut at = to;
    while let Some(earlier) = before[at] {
        way.push(earlier * count + at);
        if earlier == from {
            return way;
        }
        at = earlier;
    }
    Vec::new()
}

pub(super) fn stages() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        Machine::new(STAGES, &["Opening", "Streaming"], |from, to| {
            a_stage(from).may_become(&a_stage(to))
        })
    })
}

pub(super) fn legs() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        Machine::new(LEGS, &["Receiving"], |from, to| {
            a_leg(from).may_become(&a_leg(to))
        })
    })
}

pub(super) fn slots() -> &'static Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    MACHINE.get_or_init(|| {
        Machine::new(SLOTS, &["Receiving", "Publishing"], |from, to| {
            a_slot(from).may_become(&a_slot(to))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_have_the_numbers_of_their_states() {
        assert!((0..STAGES.len()).all(|number| stage(&a_stage(number)) == number));
        assert!((0..LEGS.len()).all(|number| leg(&a_leg(number)) == number));
        assert!((0..SLOTS.len()).all(|number| slot(&a_slot(number)) == number));
    }

    #[test]
    fn a_way_of_several_edges_takes_each_of_them() {
        let machine = slots();
        let way: Vec<usize> = machine.way(4, 6).collect();
        let edge = |from, to| from * SLOTS.len() + to;
        assert_eq!(way, [edge(5, 6), edge(4, 5)]);
        assert_eq!(machine.way(9, 0).count(), 0, "nothing follows Published");
    }
}
