//! How much is in memory, and who may have how much of it.
//!
//! What is on its way is counted by its size, since a large file must not hold up small ones. What
//! is finished, and only waits for its source to be released, is counted on its own: a full
//! archive holds up nobody's files.
//!
//! Each connected consumer has an equal share of the room, and never less than a small one. The
//! room grows by those small ones, so that whoever has something of its share left always finds
//! room, however much the others hold.

use crate::ids::TransferKey;
use crate::limits;
use crate::producer::Producer;
use crate::producer::state::{Stage, Transfer};

/// What a transfer in memory, or on its way there, counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Load {
    Small,
    Large,
    Finished,
}

impl Load {
    pub(super) fn of_size(large: bool) -> Self {
        match large {
            true => Self::Large,
            false => Self::Small,
        }
    }

    fn of(transfer: &Transfer) -> Self {
        match transfer.stage {
            Stage::Done | Stage::Cancelled => Self::Finished,
            Stage::Claiming
            | Stage::Queued
            | Stage::Placing
            | Stage::Opening { .. }
            | Stage::Streaming
            | Stage::Committing { .. }
            | Stage::Parking
            | Stage::Failed { .. } => Self::of_size(!transfer.is_small()),
        }
    }
}

/// How many transfers there are of each load, and for how many consumers.
#[derive(Debug, Default)]
pub(super) struct Window {
    small: usize,
    large: usize,
    finished: usize,
    /// Consumers that are connected.
    pub(super) consumers: usize,
}

impl Window {
    fn count_mut(&mut self, load: Load) -> &mut usize {
        match load {
            Load::Small => &mut self.small,
            Load::Large => &mut self.large,
            Load::Finished => &mut self.finished,
        }
    }

    pub(super) fn enter(&mut self, load: Load) {
        *self.count_mut(load) += 1;
    }

    pub(super) fn leave(&mut self, load: Load) {
        *self.count_mut(load) -= 1;
    }

    pub(super) fn has_room(&self, load: Load) -> bool {
        let consumers = self.consumers;
        match load {
            Load::Small => {
                self.small < limits::SMALL_ACTIVE_MAX + consumers * limits::SMALL_SHARE_MIN
            }
            Load::Large => {
                self.large < limits::LARGE_ACTIVE_MAX + consumers * limits::LARGE_SHARE_MIN
            }
            Load::Finished => self.finished < limits::RELEASING_MAX,
        }
    }

    /// Whether more is finished than waits in memory for its sources to be released.
    pub(super) fn is_over_full(&self) -> bool {
        self.finished > limits::RELEASING_MAX
    }

    /// How many transfers one consumer may hold.
    pub(super) fn share(&self, small: bool) -> usize {
        let (all, least) = match small {
            true => (limits::SMALL_ACTIVE_MAX, limits::SMALL_SHARE_MIN),
            false => (limits::LARGE_ACTIVE_MAX, limits::LARGE_SHARE_MIN),
        };
        (all / self.consumers.max(1)).max(least)
    }

    /// How many small transfers may wait in memory for one consumer's window; more leave memory
    /// again. It is part of the consumer's share.
    pub(super) fn blocked_max(&self) -> usize {
        self.share(true) / limits::SMALL_SHARE_BLOCKED
    }
}

impl Producer {
    /// Takes a transfer into memory.
    pub(super) fn activate(&mut self, transfer: Transfer) {
        self.window.enter(Load::of(&transfer));
        let old = self.active.insert(transfer.key, transfer);
        assert!(old.is_none(), "a transfer is in memory once");
    }

    pub(super) fn deactivate(&mut self, key: TransferKey) -> Option<Transfer> {
        let transfer = self.active.remove(&key)?;
        self.window.leave(Load::of(&transfer));
        Some(transfer)
    }

    /// Nothing is left of a transfer but its source: it makes room for others.
    pub(super) fn become_finished(&mut self, key: TransferKey, stage: Stage) {
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        self.window.leave(Load::of(transfer));
        transfer.become_(stage);
        transfer.hashes = Vec::new();
        self.window.enter(Load::of(transfer));
    }

    pub(super) fn window_has_room(&self, small: bool) -> bool {
        self.window.has_room(Load::of_size(!small))
    }

    pub(super) fn count_consumers(&mut self) {
        let connected = self.destinations.0.values().filter(|d| d.connected());
        self.window.consumers = connected.count();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whatever the others hold, up to their shares, one more always finds room.
    #[test]
    fn the_shares_of_all_consumers_fit_in_the_window() {
        for consumers in [1, 2, 3, 7, 31, 32, 33, 255, 256, 1_000, 16_384] {
            for small in [true, false] {
                let mut window = Window {
                    consumers,
                    ..Window::default()
                };
                let load = Load::of_size(!small);
                *window.count_mut(load) = (consumers - 1) * window.share(small);
                assert!(window.has_room(load), "{consumers} consumers");
            }
        }
    }
}
