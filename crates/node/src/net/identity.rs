//! Who we are, and which lives of others we have heard of.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use consign_core::ids::{Incarnation, NodeName, Start};

/// This node as it introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its name.
    pub(crate) node: NodeName,
    /// Its boot counter.
    pub(crate) incarnation: Incarnation,
    /// Its start.
    pub(crate) start: Start,
}

/// The highest incarnation seen of each peer, which only ever rises; and the protocol version that each
/// answered in last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    incarnations: Mutex<HashMap<NodeName, Incarnation>>,
    versions: Mutex<HashMap<NodeName, u32>>,
}

impl Seen {
    /// What the log remembers.
    pub(super) fn new(seen: impl IntoIterator<Item = (NodeName, Incarnation)>) -> Self {
        Self {
            incarnations: Mutex::new(seen.into_iter().collect()),
            versions: Mutex::default(),
        }
    }

    /// The highest seen of `node`; 0 when there was none.
    pub(super) fn of(&self, node: &NodeName) -> Incarnation {
        let seen = locked(&self.incarnations);
        seen.get(node).copied().unwrap_or_default()
    }

    /// Notes one more.
    pub(super) fn note(&self, node: &NodeName, incarnation: Incarnation) {
        let mut seen = locked(&self.incarnations);
        let highest = seen.entry(node.clone()).or_default();
        *highest = (*highest).max(incarnation);
    }

    /// The version in which `node` answered last; `None` when it never did.
    pub(super) fn version_of(&self, node: &NodeName) -> Option<u32> {
        locked(&self.versions).get(node).copied()
    }

    /// Notes the version in which it answers.
    pub(super) fn note_version(&self, node: &NodeName, version: u32) {
        locked(&self.versions).insert(node.clone(), version);
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
