//! Who we are, which lives of others we have heard of, and how far their logs were.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use consign_core::ids::{Incarnation, NodeName, Start};
use consign_core::log::Position;

/// The most by which a peer may have seen a later incarnation of ours and be believed: what is beyond
/// was never a number of starts.
const LIVES_MISSED_MAX: u64 = 1 << 32;

/// This node as it introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its name.
    pub(crate) node: NodeName,
    /// Its boot counter.
    pub(crate) incarnation: Incarnation,
    /// Its start.
    pub(crate) start: Start,
    /// How far its log was found, packed, when its lives began, as far back as it tells; this one is
    /// the last.
    pub(crate) lives: BTreeMap<Incarnation, u64>,
    /// What others have seen of its lives up to this one does not count.
    pub(crate) reconciled: Incarnation,
}

impl Identity {
    /// Whether a peer has seen this node further on than it is: the data directory is an older copy,
    /// or another node has this name.
    ///
    /// `log` is how far its log is synced now.
    pub(super) fn is_outlived_by(&self, seen: Sight, log: u64) -> bool {
        if seen.incarnation > self.incarnation {
            return true;
        }
        let longest = match seen.log_in == self.incarnation {
            true => Some(log),
            // The next life found all that this one had told of.
            false => self.found_after(seen.log_in),
        };
        seen.log_in > self.reconciled && longest.is_some_and(|longest| seen.log > longest)
    }

    /// How far the log was when the first life after this one began; `None` when nobody knows.
    fn found_after(&self, life: Incarnation) -> Option<u64> {
        let mut later = self.lives.range((Bound::Excluded(life), Bound::Unbounded));
        later.next().map(|(_, found_to)| *found_to)
    }

    /// How far it is itself, as others see it.
    pub(super) fn at_start(&self) -> Sight {
        Sight {
            incarnation: self.incarnation,
            log: self
                .lives
                .last_key_value()
                .map_or(0, |(_, found_to)| *found_to),
            log_in: self.incarnation,
        }
    }
}

/// How far somebody has seen a node come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Its highest incarnation; 0 for none.
    pub(crate) incarnation: Incarnation,
    /// The furthest that its log was synced, packed; 0 for nothing.
    pub(crate) log: u64,
    /// In which incarnation it said so.
    pub(crate) log_in: Incarnation,
}

impl Sight {
    /// Of a node that calls itself `me`, as it was told.
    pub(super) fn told(me: &Identity, incarnation: u64, log: u64, log_in: u64) -> Self {
        let believed = me.incarnation.0.saturating_add(LIVES_MISSED_MAX);
        Self {
            incarnation: Incarnation(incarnation.min(believed)),
            log,
            log_in: Incarnation(log_in),
        }
    }

    /// Takes in what the node itself says.
    fn note(&mut self, incarnation: Incarnation, log: u64, reconciled: Incarnation) {
        self.incarnation = self.incarnation.max(incarnation);
        if log > self.log || self.log_in <= reconciled {
            (self.log, self.log_in) = (log, incarnation);
        }
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { segment, offset } = Position::unpack(self.log);
        write!(f, "incarnation {}", self.incarnation)?;
        match self.log {
            0 => Ok(()),
            _ => write!(f, " with its log at segment {segment}, byte {offset}"),
        }
    }
}

/// How far each peer was seen, which only ever rises; and the protocol version that each answered in
/// last.
#[derive(Debug, Default)]
pub(super) struct Seen {
    sights: Mutex<HashMap<NodeName, Sight>>,
    versions: Mutex<HashMap<NodeName, u32>>,
}

impl Seen {
    /// What the log remembers.
    pub(super) fn new(seen: impl IntoIterator<Item = (NodeName, Sight)>) -> Self {
        Self {
            sights: Mutex::new(seen.into_iter().collect()),
            versions: Mutex::default(),
        }
    }

    /// The highest incarnation seen of `node`; 0 when there was none.
    pub(super) fn of(&self, node: &NodeName) -> Incarnation {
        self.sight(node).incarnation
    }

    /// How far `node` was seen.
    pub(super) fn sight(&self, node: &NodeName) -> Sight {
        let sights = locked(&self.sights);
        sights.get(node).copied().unwrap_or_default()
    }

    /// Everybody of whose log anything was heard.
    pub(super) fn all(&self) -> Vec<(NodeName, Sight)> {
        let sights = locked(&self.sights);
        let heard = sights.iter().filter(|(_, sight)| sight.log > 0);
        heard.map(|(node, sight)| (node.clone(), *sight)).collect()
    }

    /// Notes one more life.
    pub(super) fn note(&self, node: &NodeName, incarnation: Incarnation) {
        let mut sights = locked(&self.sights);
        let sight = sights.entry(node.clone()).or_default();
        sight.incarnation = sight.incarnation.max(incarnation);
    }

    /// Notes how far a node says that its log is; 0 when it does not say. What was heard in lives up
    /// to `reconciled` does not count any more.
    pub(super) fn note_log(
        &self,
        node: &NodeName,
        incarnation: Incarnation,
        log: u64,
        reconciled: Incarnation,
    ) {
        if log > 0 {
            let mut sights = locked(&self.sights);
            let sight = sights.entry(node.clone()).or_default();
            sight.note(incarnation, log, reconciled);
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// In its first lives its log was short.
    fn me(incarnation: u64, found_to: u64, reconciled: u64) -> Identity {
        Identity {
            node: NodeName::new("store-1").unwrap(),
            incarnation: Incarnation(incarnation),
            start: Start(9),
            lives: [(Incarnation(2), 10), (Incarnation(incarnation), found_to)].into(),
            reconciled: Incarnation(reconciled),
        }
    }

    fn sight(incarnation: u64, log: u64, log_in: u64) -> Sight {
        Sight {
            incarnation: Incarnation(incarnation),
            log,
            log_in: Incarnation(log_in),
        }
    }

    #[test]
    fn an_older_copy_is_known_by_its_incarnation_or_by_its_shorter_log() {
        let (restored, now) = (me(4, 100, 0), 500);
        for later in [
            sight(5, 0, 0),
            sight(3, 101, 3),
            sight(1, 11, 1),
            sight(4, 501, 4),
        ] {
            assert!(restored.is_outlived_by(later, now), "{later:?}");
        }
        for honest in [
            sight(0, 0, 0),
            sight(4, 0, 0),
            sight(3, 100, 3),
            sight(1, 10, 1),
            // What it said in this very life.
            sight(4, 500, 4),
        ] {
            assert!(!restored.is_outlived_by(honest, now), "{honest:?}");
        }
        assert!(
            !me(4, 100, 3).is_outlived_by(sight(3, 101, 3), now),
            "reconciled"
        );
    }

    #[test]
    fn what_was_seen_of_a_log_is_not_forgotten_until_it_is_reconciled() {
        let (seen, node) = (Seen::default(), NodeName::new("cam").unwrap());
        seen.note_log(&node, Incarnation(3), 900, Incarnation(0));
        seen.note_log(&node, Incarnation(4), 100, Incarnation(0));
        assert_eq!(seen.sight(&node), sight(4, 900, 3));
        seen.note_log(&node, Incarnation(5), 200, Incarnation(4));
        assert_eq!(seen.sight(&node), sight(5, 200, 5));
        seen.note_log(&node, Incarnation(6), 0, Incarnation(0));
        assert_eq!(seen.sight(&node), sight(5, 200, 5), "it does not say");
    }

    #[test]
    fn nobody_is_believed_who_has_seen_absurdly_many_lives() {
        let told = Sight::told(&me(4, 0, 0), u64::MAX, 0, 0);
        assert_eq!(told.incarnation, Incarnation(4 + (1 << 32)));
    }
}
