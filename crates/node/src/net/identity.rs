//! Who we are, which lives of others we have heard of, and how far their logs were.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use consign_core::ids::{Incarnation, NodeName, Start};
use consign_core::log::Position;

/// The most by which a peer may have seen a later incarnation of ours and be believed: what is beyond
/// was never a number of starts.
const LIVES_MISSED_MAX: u64 = 1 << 32;

/// Peers of which it is remembered how far they were seen; where nothing is encrypted, anybody may
/// make names up.
const SIGHTS_MAX: usize = 1 << 17;

/// This node as it introduces itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Its name.
    pub(crate) node: NodeName,
    /// Its boot counter.
    pub(crate) incarnation: Incarnation,
    /// Its start.
    pub(crate) start: Start,
    /// Its lives, as far back as its log tells; this one is the last.
    pub(crate) lives: Vec<PastLife>,
    /// What others have seen of its lives up to this one does not count.
    pub(crate) reconciled: Incarnation,
}

/// A life of this node that its log tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PastLife {
    /// Its boot counter.
    pub(crate) incarnation: Incarnation,
    /// Its start.
    pub(crate) start: Start,
    /// How far the log was found when it began, packed; `None` where that was not logged.
    pub(crate) found_to: Option<u64>,
}

impl Identity {
    /// Whether a peer has seen this node further on than it is: the data directory is an older copy,
    /// or another node has this name. A life finds all that the one before it had told of, and none
    /// is another's.
    pub(super) fn is_outlived_by(&self, seen: Sight) -> bool {
        if seen.incarnation > self.incarnation {
            return true;
        }
        if seen.start == Start(0) || seen.log_in <= self.reconciled {
            return false;
        }
        match self.lives.iter().position(|life| life.start == seen.start) {
            Some(at) => {
                let next = self.lives.get(at + 1).and_then(|life| life.found_to);
                next.is_some_and(|found_to| seen.log > found_to)
            }
            // Of a life that is not in the log, and would be if it had been this node's.
            None => {
                let oldest = self.lives.first().map(|life| life.incarnation);
                oldest.is_some_and(|oldest| seen.log_in >= oldest)
            }
        }
    }

    /// How far the log was found when this life began; 0 for not at all.
    pub(super) fn found_to(&self) -> u64 {
        let this = self.lives.last().and_then(|life| life.found_to);
        this.unwrap_or_default()
    }

    /// How far it was when this life began, as others see it.
    pub(super) fn at_start(&self) -> Sight {
        Sight {
            incarnation: self.incarnation,
            start: self.start,
            log: self.found_to(),
            log_in: self.incarnation,
        }
    }
}

/// How far somebody has seen a node come.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    /// Its highest incarnation; 0 for none.
    pub(crate) incarnation: Incarnation,
    /// The start that has said how far its log is; 0 for none.
    pub(crate) start: Start,
    /// How far that was synced, packed.
    pub(crate) log: u64,
    /// The incarnation of that start.
    pub(crate) log_in: Incarnation,
}

/// What a node says of itself as it introduces itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::net) struct OwnWord {
    /// Its boot counter.
    pub(in crate::net) incarnation: Incarnation,
    /// Its start.
    pub(in crate::net) start: Start,
    /// How far its log is synced, packed; 0 when it does not say.
    pub(in crate::net) log: u64,
    /// How far its log was found when this life of it began.
    pub(in crate::net) found_to: u64,
    /// Up to which of its lives what was seen does not count.
    pub(in crate::net) reconciled: Incarnation,
}

/// How far a peer says that it has seen a node, as it was read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Told {
    pub(super) incarnation: u64,
    pub(super) start: u64,
    pub(super) log: u64,
    pub(super) log_in: u64,
}

impl Sight {
    /// Of a node that calls itself `me`, as it was told. What is absurd says nothing.
    pub(super) fn told(me: &Identity, told: Told) -> Self {
        let (incarnation, log_in) = (told.incarnation, told.log_in);
        if incarnation > me.incarnation.0.saturating_add(LIVES_MISSED_MAX) || log_in > incarnation {
            return Self::default();
        }
        Self {
            incarnation: Incarnation(incarnation),
            start: Start(told.start),
            log: told.log,
            log_in: Incarnation(log_in),
        }
    }

    /// Whether a node that introduces itself so was seen further on in another life: it is an older
    /// copy, and must not take the place of the one that was seen.
    pub(super) fn outlives(&self, word: &OwnWord) -> bool {
        let is_another = self.start != word.start && self.start != Start(0);
        let counts = self.log_in > word.reconciled;
        // It knows nothing of logs when it does not say how far its own is.
        word.log > 0 && is_another && counts && self.log > word.found_to
    }

    /// Takes in what the node itself says.
    fn note(&mut self, word: &OwnWord) {
        self.incarnation = self.incarnation.max(word.incarnation);
        if word.log > self.log || self.log_in <= word.reconciled {
            (self.log, self.start) = (word.log, word.start);
            self.log_in = word.incarnation;
        }
    }
}

impl fmt::Display for Sight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { segment, offset } = Position::unpack(self.log);
        write!(f, "incarnation {}", self.incarnation)?;
        match self.log {
            0 => Ok(()),
            _ => write!(f, ", and its log up to segment {segment}, byte {offset}"),
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
        self.change(node, |sight| {
            sight.incarnation = sight.incarnation.max(incarnation);
        });
    }

    /// Notes what a node says of itself.
    pub(super) fn note_word(&self, node: &NodeName, word: &OwnWord) {
        if word.log > 0 {
            self.change(node, |sight| sight.note(word));
        }
    }

    fn change(&self, node: &NodeName, change: impl FnOnce(&mut Sight)) {
        let mut sights = locked(&self.sights);
        if sights.len() < SIGHTS_MAX || sights.contains_key(node) {
            change(sights.entry(node.clone()).or_default());
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

    /// Its lives have the starts 2, 3, …, and found the log at 20, 30, …
    fn me(incarnation: u64, reconciled: u64) -> Identity {
        let life = |number: u64| PastLife {
            incarnation: Incarnation(number),
            start: Start(number),
            found_to: (number > 2).then_some(10 * number),
        };
        Identity {
            node: NodeName::new("store-1").unwrap(),
            incarnation: Incarnation(incarnation),
            start: Start(incarnation),
            lives: (2..=incarnation).map(life).collect(),
            reconciled: Incarnation(reconciled),
        }
    }

    /// Its starts are numbered like its lives.
    fn sight(incarnation: u64, start: u64, log: u64) -> Sight {
        Sight {
            incarnation: Incarnation(incarnation),
            start: Start(start),
            log,
            log_in: Incarnation(start.min(incarnation)),
        }
    }

    fn word(incarnation: u64, start: u64, log: u64, found_to: u64) -> OwnWord {
        OwnWord {
            incarnation: Incarnation(incarnation),
            start: Start(start),
            log,
            found_to,
            reconciled: Incarnation(0),
        }
    }

    #[test]
    fn an_older_copy_is_known_by_its_lives_or_by_its_shorter_log() {
        let later_life = sight(5, 5, 1);
        let longer_log = sight(4, 3, 41);
        let before_the_last = sight(4, 2, 31);
        // However long its log has grown since.
        let other_of_this_number = sight(4, 99, 1);
        for later in [
            later_life,
            longer_log,
            before_the_last,
            other_of_this_number,
        ] {
            assert!(me(4, 0).is_outlived_by(later), "{later:?}");
        }
        let never_seen = sight(0, 0, 0);
        let by_an_older_version = sight(4, 0, 0);
        let all_was_found = sight(4, 3, 40);
        let this_very_life = sight(4, 4, 900);
        let before_the_log_begins = sight(1, 1, 900);
        for honest in [
            never_seen,
            by_an_older_version,
            all_was_found,
            this_very_life,
            before_the_log_begins,
        ] {
            assert!(!me(4, 0).is_outlived_by(honest), "{honest:?}");
        }
        assert!(!me(5, 4).is_outlived_by(longer_log), "reconciled");
        assert!(!me(5, 4).is_outlived_by(other_of_this_number), "reconciled");
    }

    #[test]
    fn what_a_life_was_not_found_to_have_logged_does_not_count() {
        let mut me = me(4, 0);
        me.lives[2].found_to = None;
        assert!(!me.is_outlived_by(sight(4, 3, 900)));
    }

    #[test]
    fn a_copy_takes_nobodys_place() {
        let seen = sight(3, 3, 900);
        assert!(seen.outlives(&word(4, 4, 120, 100)), "it found less");
        assert!(!seen.outlives(&word(4, 4, 1000, 900)));
        assert!(!seen.outlives(&word(3, 3, 950, 100)), "this very life");
        assert!(
            !seen.outlives(&word(4, 4, 0, 0)),
            "it knows nothing of logs"
        );
        assert!(!sight(3, 0, 0).outlives(&word(4, 4, 1, 0)));
        let reconciled = OwnWord {
            reconciled: Incarnation(3),
            ..word(4, 4, 120, 100)
        };
        assert!(!seen.outlives(&reconciled));
    }

    #[test]
    fn what_was_seen_of_a_log_is_not_forgotten_until_it_is_reconciled() {
        let (seen, node) = (Seen::default(), NodeName::new("cam").unwrap());
        seen.note_word(&node, &word(3, 3, 900, 0));
        seen.note_word(&node, &word(4, 4, 100, 50));
        assert_eq!(seen.sight(&node), sight(4, 3, 900));
        let reconciled = OwnWord {
            reconciled: Incarnation(5),
            ..word(5, 5, 200, 100)
        };
        seen.note_word(&node, &reconciled);
        assert_eq!(seen.sight(&node), sight(5, 5, 200));
        seen.note_word(&node, &word(6, 6, 0, 0));
        assert_eq!(seen.sight(&node), sight(5, 5, 200), "it does not say");
    }

    #[test]
    fn nobody_is_believed_who_has_seen_absurdly_many_lives() {
        let told = |incarnation, log_in| {
            let (start, log) = (7, 1);
            let told = Told {
                incarnation,
                start,
                log,
                log_in,
            };
            Sight::told(&me(4, 0), told)
        };
        for absurd in [(u64::MAX, 7), (5 + (1 << 32), 7), (9, 10), (9, u64::MAX)] {
            assert_eq!(told(absurd.0, absurd.1), Sight::default());
        }
        assert_eq!(told(9, 7), sight(9, 7, 1));
    }
}
