//! Who we are, and which lives of others we have heard of.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

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

/// The highest incarnation seen of each peer. It only ever rises.
#[derive(Debug, Default)]
pub(super) struct Seen(Mutex<HashMap<NodeName, Incarnation>>);

impl Seen {
    /// What the log remembers.
    pub(super) fn new(seen: impl IntoIterator<Item = (NodeName, Incarnation)>) -> Self {
        Self(Mutex::new(seen.into_iter().collect()))
    }

    /// The highest seen of `node`; 0 when there was none.
    pub(super) fn of(&self, node: &NodeName) -> Incarnation {
        let seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        seen.get(node).copied().unwrap_or_default()
    }

    /// Notes one more.
    pub(super) fn note(&self, node: &NodeName, incarnation: Incarnation) {
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let highest = seen.entry(node.clone()).or_default();
        *highest = (*highest).max(incarnation);
    }
}
