//! How a source of members is, for people and for the driver.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bounds::ALONE_MAX;
use crate::timestamp::Timestamp;

/// See the module.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Standing {
    /// `static`, `gossip` or `etcd`.
    pub(crate) source: String,
    /// Whether it can be heard now. While it cannot, the last members stay in force.
    pub(crate) reachable: bool,
    /// Since when `reachable` is what it is.
    pub(crate) since: Timestamp,
    /// What is wrong with it, and what to do about that.
    pub(crate) error: Option<String>,
    /// Why this node must not run: another one has its name.
    #[serde(skip)]
    pub(crate) name_taken: Option<String>,
}

impl Standing {
    /// One that has not been heard yet.
    pub(super) fn unheard(source: &str) -> Self {
        Self {
            source: source.to_owned(),
            reachable: false,
            since: Timestamp::now(),
            error: None,
            name_taken: None,
        }
    }

    /// It is heard now.
    pub(super) fn reached(&mut self) {
        self.turn(true, None);
    }

    /// It is not heard now.
    pub(super) fn lost(&mut self, why: String) {
        self.turn(false, Some(why));
    }

    /// No other node has been heard for so long, and nothing is known to be wrong: there may be none.
    pub(super) fn silent_for(&mut self, silence: Duration) {
        let was_reachable = self.reachable;
        self.turn(false, None);
        if was_reachable {
            let silence = u64::try_from(silence.as_millis()).unwrap_or(u64::MAX);
            self.since = Timestamp(self.since.0.saturating_sub(silence));
        }
    }

    /// Whether nobody is heard, and not just because this node has only begun to listen.
    pub(crate) fn is_silent(&self) -> bool {
        let silence = Timestamp::now().since(self.since);
        let is_long = u128::from(silence) >= ALONE_MAX.as_millis();
        !self.reachable && self.error.is_none() && is_long
    }

    fn turn(&mut self, reachable: bool, error: Option<String>) {
        if self.reachable != reachable {
            self.since = Timestamp::now();
        }
        self.reachable = reachable;
        self.error = error;
    }
}
