//! Files that are not ready yet: still settling, or refused until later.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Instant;

use consign_core::spec::Stamp;

use crate::watch::bounds::{REFUSED_FILES_MAX, WAITING_FILES_MAX, WAITING_NAME_BYTES_MAX};

/// Why a file waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// It may still be written.
    Settling,
    /// It was refused, and may be offered again later.
    Refused,
}

/// One waiting file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wait {
    /// How it looked when it began to wait.
    pub(super) stamp: Stamp,
    /// When it is to be looked at again.
    pub(super) due: Instant,
    /// Why it waits.
    pub(super) why: Why,
}

/// The waiting files, by name and by time.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_name: HashMap<Arc<str>, Wait>,
    by_due: BTreeSet<(Instant, Arc<str>)>,
    refused: usize,
    name_bytes: usize,
}

impl Waiting {
    /// What is known of a file.
    pub(super) fn get(&self, name: &str) -> Option<&Wait> {
        self.by_name.get(name)
    }

    /// Lets a file wait, instead of what it waited for so far. `false` when there is no room.
    pub(super) fn put(&mut self, name: &str, wait: Wait) -> bool {
        self.remove(name);
        let full = self.by_name.len() >= WAITING_FILES_MAX
            || self.name_bytes + name.len() > WAITING_NAME_BYTES_MAX
            || (wait.why == Why::Refused && self.refused >= REFUSED_FILES_MAX);
        if full {
            return false;
        }
        let name: Arc<str> = name.into();
        self.name_bytes += name.len();
        self.refused += usize::from(wait.why == Why::Refused);
        self.by_due.insert((wait.due, name.clone()));
        self.by_name.insert(name, wait);
        true
    }

    /// Forgets a file.
    pub(super) fn remove(&mut self, name: &str) {
        if let Some((name, wait)) = self.by_name.remove_entry(name) {
            self.name_bytes -= name.len();
            self.refused -= usize::from(wait.why == Why::Refused);
            self.by_due.remove(&(wait.due, name));
        }
    }

    /// When the next file is due.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.by_due.first().map(|(due, _)| *due)
    }

    /// Takes out a file that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Arc<str>, Wait)> {
        let (due, name) = self.by_due.first()?.clone();
        if due > now {
            return None;
        }
        let wait = *self.by_name.get(&name)?;
        self.remove(&name);
        Some((name, wait))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(due: Instant, why: Why) -> Wait {
        Wait {
            stamp: Stamp::default(),
            due,
            why,
        }
    }

    #[test]
    fn files_come_when_they_are_due_and_once() {
        let now = Instant::now();
        let later = now + std::time::Duration::from_secs(1);
        let mut waiting = Waiting::default();
        assert!(waiting.put("b", wait(later, Why::Settling)));
        assert!(waiting.put("a", wait(later, Why::Settling)));
        assert!(waiting.put("a", wait(now, Why::Settling)));
        assert_eq!(waiting.next_due(), Some(now));
        assert_eq!(&*waiting.pop_due(now).unwrap().0, "a");
        assert_eq!(waiting.pop_due(now), None);
        assert_eq!(&*waiting.pop_due(later).unwrap().0, "b");
        assert_eq!(waiting.pop_due(later), None);
    }

    #[test]
    fn refused_files_leave_room_for_others() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        let put: usize = (0..WAITING_FILES_MAX)
            .filter(|n| waiting.put(&n.to_string(), wait(now, Why::Refused)))
            .count();
        assert_eq!(put, REFUSED_FILES_MAX);
        assert!(waiting.put("a", wait(now, Why::Settling)));
        waiting.remove("0");
        assert!(waiting.put("b", wait(now, Why::Refused)));
    }

    #[test]
    fn long_names_are_bounded_by_their_bytes() {
        let now = Instant::now();
        let mut waiting = Waiting::default();
        let name = "x".repeat(WAITING_NAME_BYTES_MAX);
        assert!(waiting.put(&name, wait(now, Why::Settling)));
        assert!(!waiting.put("a", wait(now, Why::Settling)));
        waiting.remove(&name);
        assert!(waiting.put("a", wait(now, Why::Settling)));
    }
}
