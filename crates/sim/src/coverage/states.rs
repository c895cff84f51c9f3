//! The states of the three machines by number, and the legal edges between them.

use consign_core::consumer::state::SlotState;
use consign_core::ids::{Digest, Millis};
use consign_core::producer::state::{LegState, Stage};
use consign_core::watched::Machine;

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

/// Edges that no simulated cluster has to take, since the hostile peers of `tests/hostile` do.
///
/// The first two only a consumer takes which says what it does not mean: it saves what it was not told to
/// publish, or what it has refused. The others take three coincidences: an answer that is late over a new
/// connection, while what it is about is received again or written down, and decided otherwise.
pub const LEFT_TO_HOSTILE_PEERS: [(Machine, &str, &str); 4] = [
    (Machine::Leg, "Receiving", "Saved"),
    (Machine::Leg, "Refused", "Saved"),
    (Machine::Leg, "Received", "Saved"),
    (Machine::Transfer, "Parking", "Failed"),
];

/// Edges that no peer has taken yet, honest or hostile, though the code can.
///
/// A consumer that refuses what it has received, and was not told to publish: the core's test
/// `a_consumer_that_refuses_what_it_has_received_is_believed` takes it. And a large file that is placed
/// elsewhere while its consumer seals it, which is within one sync: nothing takes that.
pub const TAKEN_BY_NO_PEER: [(Machine, &str, &str); 2] = [
    (Machine::Leg, "Received", "Refused"),
    (Machine::Slot, "Sealing", "Abandoned"),
];

/// The names of a machine's states, in their order.
#[must_use]
pub fn names(machine: Machine) -> &'static [&'static str] {
    match machine {
        Machine::Transfer => STAGES,
        Machine::Leg => LEGS,
        Machine::Slot => SLOTS,
    }
}

fn may_become(machine: Machine, from: usize, to: usize) -> bool {
    match machine {
        Machine::Transfer => a_stage(from).may_become(&a_stage(to)),
        Machine::Leg => a_leg(from).may_become(&a_leg(to)),
        Machine::Slot => a_slot(from).may_become(&a_slot(to)),
    }
}

/// The number of an edge among all pairs of a machine's states.
pub(super) fn number(machine: Machine, from: usize, to: usize) -> usize {
    from * names(machine).len() + to
}

/// Every pair of a machine's states, by number; of those that are legal edges, the names.
pub(super) fn edges(
    machine: Machine,
) -> impl Iterator<Item = Option<(&'static str, &'static str)>> {
    let names = names(machine);
    let count = names.len();
    let pairs = (0..count).flat_map(move |from| (0..count).map(move |to| (from, to)));
    pairs.map(move |(from, to)| may_become(machine, from, to).then(|| (names[from], names[to])))
}

#[cfg(test)]
mod tests {
    use consign_core::watched::{leg, slot, stage};

    use super::*;

    #[test]
    fn samples_have_the_numbers_of_their_states() {
        assert!((0..STAGES.len()).all(|number| stage(&a_stage(number)) == number));
        assert!((0..LEGS.len()).all(|number| leg(&a_leg(number)) == number));
        assert!((0..SLOTS.len()).all(|number| slot(&a_slot(number)) == number));
    }

    #[test]
    fn an_edge_has_its_number_among_all_pairs() {
        let published = number(Machine::Slot, 8, 9);
        let named = edges(Machine::Slot).nth(published).flatten();
        assert_eq!(named, Some(("Publishing", "Published")));
        let back = edges(Machine::Slot).nth(number(Machine::Slot, 9, 0));
        assert_eq!(back, Some(None), "nothing follows Published");
    }
}
