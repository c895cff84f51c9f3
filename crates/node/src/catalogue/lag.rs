//! How far the catalogue is behind the log. It follows with a small delay; who compares what it says
//! with what this node has told its peers waits until it has caught up with that.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::watch;

/// See the module.
#[derive(Debug)]
pub(crate) struct Lag {
    /// Position of the last record that is synced, and may have been told of.
    synced: AtomicU64,
    /// Position of the last one that is in the database.
    applied: watch::Sender<u64>,
}

impl Default for Lag {
    fn default() -> Self {
        Self {
            synced: AtomicU64::new(0),
            applied: watch::Sender::new(0),
        }
    }
}

impl Lag {
    /// Notes what is synced; before anybody is told of it.
    pub(crate) fn note_synced(&self, position: u64) {
        self.synced.fetch_max(position, Ordering::AcqRel);
    }

    /// Notes what is in the database.
    pub(super) fn note_applied(&self, position: u64) {
        self.applied.send_if_modified(|applied| {
            let is_later = position > *applied;
            *applied = position.max(*applied);
            is_later
        });
    }

    /// Waits until all that is synced by now is in the database; false when that takes longer than
    /// `deadline`. Cancel safe.
    pub(super) async fn is_caught_up(&self, deadline: Duration) -> bool {
        let wanted = self.synced.load(Ordering::Acquire);
        let mut applied = self.applied.subscribe();
        let there = applied.wait_for(|applied| *applied >= wanted);
        matches!(tokio::time::timeout(deadline, there).await, Ok(Ok(_)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_was_told_is_waited_for_and_not_for_ever() {
        let lag = Lag::default();
        assert!(lag.is_caught_up(Duration::ZERO).await, "nothing was told");
        lag.note_synced(7);
        lag.note_applied(6);
        assert!(!lag.is_caught_up(Duration::from_millis(5)).await);
        let (caught_up, ()) = tokio::join!(lag.is_caught_up(Duration::from_secs(20)), async {
            lag.note_applied(9);
        });
        assert!(caught_up);
    }
}
