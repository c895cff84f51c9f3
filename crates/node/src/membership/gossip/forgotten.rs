//! Those that are known to be gone for good, as gossip carries them: what one has heard, all pass on,
//! so that it outlives who said it first.
//!
//! A letter ends at 64 KiB, and a value that does not fit into one holds up all that would come behind
//! it. So the names, one a line, are in parts, each under a key of its own. A new name is added to the
//! last part, so that only that one is told anew.

use std::collections::BTreeSet;

use chitchat::NodeState;
use consign_core::ids::NodeName;

use super::super::bounds::{FORGOTTEN_MAX, FORGOTTEN_PART_BYTES_MAX};

/// The key of the first part; those of later ones have a number behind it.
const KEY: &str = "forgotten";

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Forgotten {
    names: BTreeSet<NodeName>,
    parts: Vec<String>,
}

impl Forgotten {
    pub(super) fn names(&self) -> &BTreeSet<NodeName> {
        &self.names
    }

    /// Whether no more are taken in.
    pub(super) fn is_full(&self) -> bool {
        self.names.len() >= FORGOTTEN_MAX
    }

    /// Adds one, if there is room.
    pub(super) fn insert(&mut self, node: NodeName) {
        if self.is_full() || self.names.contains(&node) {
            return;
        }
        let has_room =
            |part: &&mut String| part.len() + 1 + node.as_str().len() <= FORGOTTEN_PART_BYTES_MAX;
        match self.parts.last_mut().filter(has_room) {
            Some(part) => {
                part.push('\n');
                part.push_str(node.as_str());
            }
            None => self.parts.push(node.to_string()),
        }
        self.names.insert(node);
    }

    /// Adds those that another node tells of.
    pub(super) fn hear(&mut self, told: &NodeState) {
        let parts = told.iter_prefix(KEY).map(|(_, part)| part.value.as_str());
        for name in parts.flat_map(str::lines).take(FORGOTTEN_MAX) {
            if let Ok(name) = NodeName::new(name) {
                self.insert(name);
            }
        }
    }

    /// What this node tells, as keys and values.
    pub(super) fn keys(&self) -> impl Iterator<Item = (String, String)> {
        let key = |at| match at {
            0 => KEY.to_owned(),
            later => format!("{KEY}-{later}"),
        };
        let parts = self.parts.iter().enumerate();
        parts.map(move |(at, part)| (key(at), part.clone()))
    }
}

impl FromIterator<NodeName> for Forgotten {
    fn from_iter<T: IntoIterator<Item = NodeName>>(nodes: T) -> Self {
        let mut forgotten = Self::default();
        nodes.into_iter().for_each(|node| forgotten.insert(node));
        forgotten
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_fits_and_only_the_last_one_changes() {
        let node = |n: usize| NodeName::new(&format!("{n:05}{}", "x".repeat(50))).unwrap();
        let mut forgotten: Forgotten = (0..1_000).map(node).collect();
        let before: Vec<_> = forgotten.keys().collect();
        assert!(before.len() > 2);
        let fits = |(_, part): &(String, String)| part.len() <= FORGOTTEN_PART_BYTES_MAX;
        assert!(before.iter().all(fits));
        forgotten.insert(NodeName::new("a").unwrap());
        let after: Vec<_> = forgotten.keys().collect();
        let changed = after.iter().filter(|part| !before.contains(part));
        assert_eq!(changed.count(), 1);
        (0..2 * FORGOTTEN_MAX).for_each(|n| forgotten.insert(node(n)));
        assert!(forgotten.is_full());
        assert_eq!(forgotten.names().len(), FORGOTTEN_MAX);
    }
}
