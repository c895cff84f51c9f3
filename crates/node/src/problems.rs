//! What a person should look at: noted from anywhere in the process, read by `status`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign_core::ids::FeedName;
use serde::{Deserialize, Serialize};

use crate::hint;
use crate::outbox::Stays;
use crate::timestamp::Timestamp;

/// Problems of the node that are listed at most, in each of its parts: more tell a person no more.
pub(crate) const LISTED_MAX: usize = 100;

/// Something that a person should look at.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Problem {
    /// What is wrong.
    pub(crate) what: String,
    /// What to do about it.
    pub(crate) hint: String,
    /// Since when.
    pub(crate) since: Timestamp,
}

/// What a person should look at, from anywhere in the process.
#[derive(Debug, Clone, Default)]
pub(crate) struct Problems(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    of_node: BTreeMap<String, Problem>,
    /// What each feed's watched directory holds that is not taken.
    of_feeds: BTreeMap<FeedName, Vec<Problem>>,
}

impl Problems {
    /// Adds one; the same one again keeps its time.
    pub(crate) fn add(&self, what: String, hint: String) {
        let problems = &mut self.known().of_node;
        if problems.len() < LISTED_MAX {
            let since = Timestamp::now();
            problems
                .entry(what.clone())
                .or_insert(Problem { what, hint, since });
        }
    }

    /// Adds one whose text ends in its hint.
    pub(crate) fn add_text(&self, text: &str) {
        let (what, hint) = hint::split_or(text, "look at the agent's log");
        self.add(what.to_owned(), hint.to_owned());
    }

    /// Adds, and logs, promises that are weaker on a filesystem that is in use.
    pub(crate) fn add_degraded(&self, texts: &[String]) {
        for text in texts {
            tracing::warn!("{text}");
            let hint = "see docs/guarantees.md for what is weaker there";
            let (what, hint) = hint::split_or(text, hint);
            self.add(what.to_owned(), hint.to_owned());
        }
    }

    /// Adds, and logs, that a file stays where it was taken from.
    pub(crate) fn add_staying(&self, stays: &Stays) {
        tracing::warn!(transfer = %stays.transfer, "{}", stays.why);
        self.add_text(&stays.why);
    }

    /// Those that begin like this are over.
    pub(crate) fn remove_starting(&self, what: &str) {
        let problems = &mut self.known().of_node;
        problems.retain(|problem, _| !problem.starts_with(what));
    }

    /// What a feed's watched directory holds that is not taken, instead of what was said before.
    pub(crate) fn set_of_feed(&self, feed: &FeedName, problems: Vec<Problem>) {
        let of_feeds = &mut self.known().of_feeds;
        match problems.is_empty() {
            true => of_feeds.remove(feed),
            false => of_feeds.insert(feed.clone(), problems),
        };
    }

    /// Those of the node as a whole.
    pub(crate) fn list(&self) -> Vec<Problem> {
        self.known().of_node.values().cloned().collect()
    }

    /// Those of single feeds.
    pub(crate) fn of_feeds(&self) -> Vec<Problem> {
        self.known().of_feeds.values().flatten().cloned().collect()
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_directory_does_not_take_hides_nothing_of_another() {
        let problems = Problems::default();
        let problem = |what: &str| Problem {
            what: what.to_owned(),
            ..Problem::default()
        };
        let [a, b] = ["a", "b"].map(|name| FeedName::new(name).unwrap());
        problems.set_of_feed(&a, vec![problem("of a")]);
        problems.set_of_feed(&b, vec![problem("of b")]);
        assert_eq!(problems.of_feeds(), [problem("of a"), problem("of b")]);
        problems.set_of_feed(&a, Vec::new());
        assert_eq!(problems.of_feeds(), [problem("of b")]);
    }
}
