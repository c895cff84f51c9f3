//! The hunt: every planted bug must be found by some seed, or the checks have a hole.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use consign_core::planted::{Hunt, Planted, plant};

use crate::promise::Promise;
use crate::run::{Failure, run_seed};

/// What became of one bug.
#[derive(Debug)]
pub struct Hunted {
    /// Which.
    pub bug: Planted,
    /// The lowest seed that finds it, with what it breaks; `None` when it survived.
    pub found: Option<Box<Failure>>,
    /// How many seeds that took, or were run in vain.
    pub seeds: u64,
    /// How long.
    pub took: Duration,
}

impl Hunted {
    /// By which check it was found.
    #[must_use]
    pub fn check(&self) -> String {
        match self.found.as_ref().map(|failure| failure.violation.promise) {
            None => "**survived**".to_owned(),
            Some(Promise::NoPanic) => "assertion of the code".to_owned(),
            Some(promise) => promise.to_string(),
        }
    }

    /// A row of the table in `docs/testing.md`.
    #[must_use]
    pub fn row(&self) -> String {
        format!(
            "| `{}` | {} | {} | {} | {:.1} |",
            self.bug,
            self.bug.words(),
            self.check(),
            self.seeds,
            self.took.as_secs_f64()
        )
    }
}

/// The head of that table.
pub const HEAD: &str =
    "| bug | what is wrong | found by | seeds | seconds |\n|---|---|---|---|---|";

/// The bugs that are hunted here.
pub fn all() -> impl Iterator<Item = Planted> {
    let all = Planted::ALL.iter().copied();
    all.filter(|bug| bug.hunt() == Hunt::Simulator)
}

/// Plants a bug, and runs seeds from 0 on until one finds it, at most `seeds`. The lowest seed that
/// finds it is the same for any number of threads.
#[must_use]
pub fn hunt(bug: Planted, seeds: u64, jobs: u64) -> Hunted {
    plant(Some(bug));
    let begun = Instant::now();
    let (next, end) = (AtomicU64::new(0), AtomicU64::new(seeds));
    let found: Mutex<Option<Box<Failure>>> = Mutex::new(None);
    std::thread::scope(|scope| {
        for _ in 0..jobs.max(1) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= end.load(Ordering::SeqCst) {
                        return;
                    }
                    if let Err(failure) = run_seed(seed) {
                        let mut found = found.lock().expect("nobody panics with it");
                        if found.as_ref().is_none_or(|other| other.seed > seed) {
                            *found = Some(failure);
                        }
                        end.fetch_min(seed, Ordering::SeqCst);
                    }
                }
            });
        }
    });
    plant(None);
    let found = found.into_inner().expect("nobody panics with it");
    Hunted {
        bug,
        seeds: found.as_ref().map_or(seeds, |failure| failure.seed + 1),
        found,
        took: begun.elapsed(),
    }
}
