//! Which edges the state machines take, counted for the tests: what follows upon an edge that no test
//! takes is known to nobody.
//!
//! The counts are state outside the machines, and so behind the feature `watched`, which only the
//! simulator turns on. They are of the thread, since each of its threads runs one cluster at a time.

use std::cell::RefCell;
use std::collections::BTreeMap;

use crate::consumer::state::SlotState;
use crate::producer::state::{LegState, Stage};

/// A state machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Machine {
    /// A transfer at its producer.
    Transfer,
    /// One consumer of a transfer, as its producer sees it.
    Leg,
    /// A slot at its consumer.
    Slot,
}

/// An edge: of which machine, from and to which state, by number.
pub type Edge = (Machine, usize, usize);

thread_local! {
    static TAKEN: RefCell<BTreeMap<Edge, u64>> = const { RefCell::new(BTreeMap::new()) };
}

/// How often each edge was taken in this thread since the last call.
#[must_use]
pub fn take() -> BTreeMap<Edge, u64> {
    TAKEN.take()
}

pub(crate) fn edge(edge: Edge) {
    TAKEN.with_borrow_mut(|taken| *taken.entry(edge).or_default() += 1);
}

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
