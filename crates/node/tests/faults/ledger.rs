//! What was handed over, what each consumer's applications saw, and the promises between the two.
//! It stands outside of all machines, so no fault touches it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use crate::fleet::{FEEDS, REPLICAS, inbox};
use crate::machine::files_in;
use crate::rng::Rng;

/// Feeds whose files are synced before they are handed over, or are never a file of the user's.
const SYNCED_BEFORE: [&str; 3] = ["put", "watched", "staying"];

#[derive(Debug, Clone)]
pub(crate) struct Handed {
    pub(crate) feed: &'static str,
    pub(crate) digest: blake3::Hash,
    /// What the producer said, or what is true of a watched file that is synced.
    pub(crate) is_accepted: bool,
}

/// A file that was seen in an inbox and removed from it.
#[derive(Debug, Clone)]
struct Taken {
    path: String,
    /// The directory was synced after the removal, so not even a power cut brings it back.
    for_good: bool,
    /// How many times this consumer had lost power before.
    cuts: u64,
}

#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) handed: BTreeMap<String, Handed>,
    taken: BTreeMap<(String, String), Taken>,
    cuts: BTreeMap<String, u64>,
    /// Removals of the applications that a power cut has undone.
    pub(crate) undone: u64,
    /// Files that nobody had synced and nobody was answered for, and that came as a power cut left
    /// them: the documented exception.
    pub(crate) remnants: BTreeSet<String>,
    pub(crate) violations: Vec<String>,
}

impl Ledger {
    pub(crate) fn hand(&mut self, name: &str, feed: &'static str, bytes: &[u8]) {
        let handed = Handed {
            feed,
            digest: blake3::hash(bytes),
            is_accepted: false,
        };
        assert!(self.handed.insert(name.to_owned(), handed).is_none());
    }

    pub(crate) fn accepted(&mut self, name: &str) {
        self.handed.get_mut(name).expect(name).is_accepted = true;
    }

    /// The same files, of which only these are accepted, and nothing was seen of them yet.
    pub(crate) fn with_accepted(&self, names: &[String]) -> Self {
        let mut handed = self.handed.clone();
        for (name, handed) in &mut handed {
            handed.is_accepted = names.contains(name);
        }
        Self {
            handed,
            ..Self::default()
        }
    }

    pub(crate) fn accepted_files(&self) -> usize {
        let accepted = self.handed.values().filter(|handed| handed.is_accepted);
        accepted.count()
    }

    pub(crate) fn lost_power(&mut self, consumer: &str) {
        *self.cuts.entry(consumer.to_owned()).or_default() += 1;
    }

    fn violation(&mut self, text: String) {
        eprintln!("VIOLATION: {text}");
        self.violations.push(text);
    }

    /// A path in an inbox is there: is it a whole file that belongs there?
    fn check_visible(&mut self, consumer: &str, feed: &str, path: &str, bytes: &[u8]) {
        let name = base(path);
        let wrong = match self.handed.get(name) {
            None => "it was never handed over",
            Some(handed) if handed.feed != feed => "it is of another feed",
            Some(handed) if handed.digest == blake3::hash(bytes) => return,
            Some(handed) if !handed.is_accepted && !SYNCED_BEFORE.contains(&feed) => {
                self.remnants.insert(name.to_owned());
                return;
            }
            Some(_) => "it has other bytes",
        };
        let accepted = self.handed.get(name).map(|handed| handed.is_accepted);
        let (length, zeros) = (bytes.len(), bytes.iter().filter(|&&byte| byte == 0).count());
        self.violation(format!(
            "{consumer} shows {path} of {feed} ({length} bytes, {zeros} of them zero): {wrong}; \
             accepted: {accepted:?}"
        ));
    }

    /// An application takes what is visible, some of it so that no power cut undoes it.
    pub(crate) fn take(&mut self, consumer: &str, disk: &Path, rng: &mut Rng) {
        for feed in FEEDS {
            let inbox = inbox(disk, feed);
            for path in files_in(&inbox) {
                let Ok(bytes) = fs::read(&path) else {
                    continue;
                };
                let relative = path.strip_prefix(&inbox).unwrap().to_str().unwrap();
                self.check_visible(consumer, feed, relative, &bytes);
                if fs::remove_file(&path).is_err() {
                    continue;
                }
                let directory = fs::File::open(path.parent().unwrap());
                let for_good =
                    rng.one_in(2) && directory.is_ok_and(|directory| directory.sync_all().is_ok());
                self.took(consumer, relative, for_good);
            }
        }
    }

    fn took(&mut self, consumer: &str, path: &str, for_good: bool) {
        let cuts = self.cuts.get(consumer).copied().unwrap_or_default();
        let key = (consumer.to_owned(), base(path).to_owned());
        let now = Taken {
            path: path.to_owned(),
            for_good,
            cuts,
        };
        let Some(before) = self.taken.insert(key, now) else {
            return;
        };
        if before.path != path {
            self.violation(format!("{consumer} shows {path} again, as {before:?}"));
        } else if before.for_good {
            self.violation(format!("{path} came back to {consumer}"));
        } else if before.cuts == cuts {
            self.violation(format!("{path} came back to {consumer} without a cut"));
        } else {
            self.undone += 1;
        }
    }

    /// Whether a consumer shows a file, or its application has seen it.
    pub(crate) fn has(&self, consumer: &str, name: &str) -> bool {
        let key = (consumer.to_owned(), name.to_owned());
        self.taken.contains_key(&key)
    }

    fn holders(&self) -> BTreeMap<&str, BTreeSet<&str>> {
        let mut holders: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (consumer, name) in self.taken.keys() {
            holders.entry(name).or_default().insert(consumer);
        }
        holders
    }

    /// Accepted files of a feed that all of their consumers have.
    pub(crate) fn delivered(&self, feed: &str) -> Vec<&str> {
        let holders = self.holders();
        let of = |name: &str| holders.get(name).map_or(0, BTreeSet::len);
        let of_feed = self
            .handed
            .iter()
            .filter(|(_, handed)| handed.is_accepted && handed.feed == feed);
        let delivered = of_feed.filter(|(name, _)| of(name) >= REPLICAS);
        delivered.map(|(name, _)| name.as_str()).collect()
    }

    /// Accepted files that are not yet on all of their consumers.
    pub(crate) fn missing(&self) -> Vec<String> {
        let holders = self.holders();
        let of = |name: &str| holders.get(name).map_or(0, BTreeSet::len);
        let accepted = self.handed.iter().filter(|(_, handed)| handed.is_accepted);
        let missing = accepted.filter(|(name, _)| of(name) < REPLICAS);
        missing
            .map(|(name, handed)| format!("{name} ({}) is on {}", handed.feed, of(name)))
            .collect()
    }

    /// Files that are missing, and reported as such, are waited for no longer.
    pub(crate) fn give_up_missing(&mut self) {
        for text in self.missing() {
            let name = text.split(' ').next().unwrap();
            self.handed.get_mut(name).unwrap().is_accepted = false;
        }
    }

    /// What was released although not all of its consumers have it. `released` are names.
    pub(crate) fn check_released(&mut self, released: &[String]) {
        let holders = self.holders();
        let early = released
            .iter()
            .filter(|name| holders.get(name.as_str()).map_or(0, BTreeSet::len) < REPLICAS);
        let early: Vec<_> = early.cloned().collect();
        for name in early {
            self.violation(format!("{name} was released before it was delivered"));
        }
    }

    /// In the end nothing that was accepted, if only afterwards, came with other bytes.
    pub(crate) fn check_remnants(&mut self) {
        for name in std::mem::take(&mut self.remnants) {
            if self.handed[&name].is_accepted {
                self.violation(format!("{name} was accepted, and came with other bytes"));
            }
        }
    }

    /// In the end no file is on more consumers than it was placed on.
    pub(crate) fn check_copies(&mut self) {
        let extra: Vec<_> = self
            .holders()
            .into_iter()
            .filter(|(_, on)| on.len() > REPLICAS)
            .map(|(name, on)| format!("{name} is on {on:?}"))
            .collect();
        extra.into_iter().for_each(|text| self.violation(text));
    }
}

/// The last component of a path: all names are different.
pub(crate) fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap()
}
