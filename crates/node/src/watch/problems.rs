//! What keeps files of a watched directory from being sent, for people to see.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use tokio::sync::watch;

use crate::watch::bounds::PROBLEMS_MAX;

/// Something that is left in place, or does not work as it should.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    /// The file or directory.
    pub(crate) path: PathBuf,
    /// What is wrong, and what to do.
    pub(crate) why: String,
    /// Since when it is known.
    pub(crate) since: SystemTime,
}

/// The problems of one watched directory, as they are now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct ProblemList {
    /// The first of them, by path.
    pub(crate) listed: Vec<Problem>,
    /// How many more there are.
    pub(crate) more: usize,
}

/// What a problem of the directory as a whole is about: there is one of each at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whole {
    /// The directory cannot be read.
    Root,
    /// There are no events, or not all.
    Events,
    /// Events were lost.
    Overflow,
    /// What `keep` took is not known.
    Kept,
}

/// The problems, as they come and go.
#[derive(Debug)]
pub(super) struct Problems {
    feed: String,
    whole: BTreeMap<Whole, Problem>,
    /// With the number of the scan that last came by each.
    entries: BTreeMap<PathBuf, (Problem, u64)>,
    more: usize,
    more_of_this_scan: usize,
    scan: u64,
    changed: bool,
    out: watch::Sender<Arc<ProblemList>>,
}

impl Problems {
    pub(super) fn new(feed: &str, out: watch::Sender<Arc<ProblemList>>) -> Self {
        Self {
            feed: feed.to_owned(),
            whole: BTreeMap::new(),
            entries: BTreeMap::new(),
            more: 0,
            more_of_this_scan: 0,
            scan: 0,
            changed: false,
            out,
        }
    }

    /// A problem of the directory as a whole. Said once, until it changes.
    pub(super) fn set(&mut self, about: Whole, path: &Path, why: &str) {
        if self.whole.get(&about).is_some_and(|known| known.why == why) {
            return;
        }
        self.whole.insert(about, self.say(path, why));
        self.changed = true;
    }

    /// A problem of the whole is over.
    pub(super) fn clear(&mut self, about: Whole) {
        self.changed |= self.whole.remove(&about).is_some();
    }

    /// A problem of one entry. Said once, until it changes.
    pub(super) fn found(&mut self, path: &Path, why: &str) {
        if let Some((known, seen)) = self.entries.get_mut(path) {
            *seen = self.scan;
            if known.why == why {
                return;
            }
        } else if self.entries.len() >= PROBLEMS_MAX {
            self.more_of_this_scan += 1;
            return;
        }
        let problem = self.say(path, why);
        self.entries.insert(path.to_owned(), (problem, self.scan));
        self.changed = true;
    }

    /// An entry was come by that keeps its problem, if it has one.
    pub(super) fn still(&mut self, path: &Path) {
        if let Some((_, seen)) = self.entries.get_mut(path) {
            *seen = self.scan;
        }
    }

    /// An entry has no problem, or is gone.
    pub(super) fn gone(&mut self, path: &Path) {
        self.changed |= self.entries.remove(path).is_some();
    }

    /// A full scan begins.
    pub(super) fn begin_scan(&mut self) {
        self.scan += 1;
        self.more_of_this_scan = 0;
    }

    /// A full scan has ended: what it did not come by is gone.
    pub(super) fn end_scan(&mut self) {
        let (before, scan) = (self.entries.len(), self.scan);
        self.entries.retain(|_, (_, seen)| *seen == scan);
        self.changed |= self.entries.len() != before || self.more != self.more_of_this_scan;
        self.more = self.more_of_this_scan;
    }

    /// Hands out the list, if it changed.
    pub(super) fn publish(&mut self) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let entries = self.entries.values().map(|(problem, _)| problem);
        let list = ProblemList {
            listed: self.whole.values().chain(entries).cloned().collect(),
            more: self.more,
        };
        self.out.send_replace(Arc::new(list));
    }

    fn say(&self, path: &Path, why: &str) -> Problem {
        tracing::warn!(feed = self.feed, path = %path.display(), "{why}");
        Problem {
            path: path.to_owned(),
            why: why.to_owned(),
            since: SystemTime::now(),
        }
    }
}
