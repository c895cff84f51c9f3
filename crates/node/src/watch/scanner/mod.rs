//! The watcher's thread: one owner of all its state, one input at a time.

mod files;
mod scan;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use consign_core::spec::Stamp;
use tokio::sync::{mpsc, watch};

use super::hints::{Events, Flow, Hint};
use super::names::Judged;
use super::problems::{ProblemList, Problems, Whole};
use super::waiting::{Wait, Waiting, Why};
use super::walk::{Found, Walk, look_at};
use super::{Input, Ready, WatchConfig};
use crate::os_disk::Root;
use crate::outbox::Kept;
use crate::watch::bounds::{
    DEGRADED_SCAN_EVERY, DIRS_MAX, INPUTS_PER_TURN, PAUSE_MAX, RESUBSCRIBE_EVERY, SECOND_LOOK,
    STEP_ENTRIES,
};

const OVERFLOWED: &str = "the kernel dropped events, the directory is being scanned; hint: if this happens often, raise fs.inotify.max_queued_events";

/// A file on offer.
#[derive(Debug)]
struct Offer {
    stamp: Stamp,
    /// Whether an event said since that it is whole: another file may have its name.
    whole_again: bool,
}

/// The watched directory, as it was last opened.
#[derive(Debug)]
struct Opened {
    root: Root,
    dev: u64,
    ino: u64,
    /// Held for as long as hints are wanted.
    _events: Option<Events>,
    /// When to subscribe again, where the events are incomplete.
    resubscribe_at: Option<Instant>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Scanner {
    config: WatchConfig,
    kept: Arc<Kept>,
    flow: Flow,
    ready: mpsc::Sender<Ready>,
    problems: Problems,
    opened: Option<Opened>,
    on_offer: HashMap<String, Offer>,
    waiting: Waiting,
    walk: Option<Walk>,
    walk_began: Instant,
    /// New directories, with the times from which they are to be looked through.
    dirs: VecDeque<(Instant, PathBuf)>,
    /// Whether something was passed by for want of room: the whole must be scanned again.
    missed: bool,
    overflowed: bool,
    next_scan: Instant,
    /// No scan begins before, except at its time: as long after the last as that one took.
    rest_until: Instant,
    forget_at: Instant,
}

impl Scanner {
    pub(super) fn new(
        config: WatchConfig,
        kept: Arc<Kept>,
        inputs: Sender<Input>,
        ready: mpsc::Sender<Ready>,
        problems: watch::Sender<Arc<ProblemList>>,
    ) -> Self {
        let now = Instant::now();
        Self {
            problems: Problems::new(config.feed.as_str(), problems),
            config,
            kept,
            flow: Flow::new(inputs),
            ready,
            opened: None,
            on_offer: HashMap::new(),
            waiting: Waiting::default(),
            walk: None,
            walk_began: now,
            dirs: VecDeque::new(),
            missed: false,
            overflowed: false,
            next_scan: now,
            rest_until: now,
            forget_at: now,
        }
    }

    /// Runs until told to stop.
    pub(super) fn run(mut self, inputs: &Receiver<Input>) {
        loop {
            let first = match inputs.recv_timeout(self.pause(Instant::now())) {
                Ok(input) => Some(input),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return,
            };
            let now = Instant::now();
            let more = inputs.try_iter().take(INPUTS_PER_TURN);
            for input in first.into_iter().chain(more) {
                if matches!(input, Input::Stop) {
                    return;
                }
                self.apply(input, now);
            }
            self.turn(now);
        }
    }

    /// Everything that is due at `now`.
    fn turn(&mut self, now: Instant) {
        if self.flow.take_dropped() {
            self.missed = true;
        }
        self.offer_due(now);
        if self.walk.is_none() {
            self.begin_walk(now);
        }
        self.step(now);
        self.problems.publish();
    }

    /// How long there is nothing to do but wait for input.
    fn pause(&self, now: Instant) -> Duration {
        if !self.has_room() {
            return PAUSE_MAX;
        }
        if self.walk.is_some() {
            return Duration::ZERO;
        }
        let dir = self.dirs.front().map(|(at, _)| *at);
        [Some(self.scan_at()), self.waiting.next_due(), dir]
            .into_iter()
            .flatten()
            .map(|at| at.saturating_duration_since(now))
            .fold(PAUSE_MAX, Duration::min)
    }

    /// When the whole is scanned next. What was missed is scanned for soon, but no more than half
    /// of the time is spent on that.
    fn scan_at(&self) -> Instant {
        if self.missed {
            self.next_scan.min(self.rest_until)
        } else {
            self.next_scan
        }
    }

    /// How often the whole is scanned: more often while that is the only way to find files.
    fn scan_every(&self) -> Duration {
        let complete = self
            .opened
            .as_ref()
            .is_some_and(|opened| opened.resubscribe_at.is_none());
        if complete {
            self.config.scan_every
        } else {
            let degraded = self.config.settle.max(DEGRADED_SCAN_EVERY);
            self.config.scan_every.min(degraded)
        }
    }

    fn has_room(&self) -> bool {
        self.on_offer.len() < self.config.in_flight_max
    }

    fn apply(&mut self, input: Input, now: Instant) {
        match input {
            Input::Hint(hint) => {
                self.flow.arrived();
                self.look(&hint, now);
            }
            Input::Overflow => {
                self.flow.overflow_arrived();
                self.overflowed = true;
                self.missed = true;
                let root = self.config.root.clone();
                self.problems.set(Whole::Overflow, &root, OVERFLOWED);
            }
            Input::Degraded(why) => {
                self.flow.degraded_arrived();
                self.degrade(&why, now);
            }
            Input::Taken(name) => self.taken(&name, now),
            Input::Refused {
                name,
                retry_at,
                why,
            } => self.refused(&name, retry_at, why.as_deref()),
            Input::Stop => {}
        }
    }

    fn taken(&mut self, name: &str, now: Instant) {
        let Some(offer) = self.on_offer.remove(name) else {
            return;
        };
        self.problems.gone(&self.config.root.join(name));
        // Another file may have its name by now, or the same one be written on.
        self.look(
            &Hint {
                path: name.into(),
                whole: offer.whole_again,
            },
            now,
        );
    }

    fn refused(&mut self, name: &str, retry_at: Instant, why: Option<&str>) {
        let Some(offer) = self.on_offer.remove(name) else {
            return;
        };
        if let Some(why) = why {
            self.problems.found(&self.config.root.join(name), why);
        }
        // Where there is no room for it to wait, the next scan offers it again: no sooner than a
        // scan takes, and never lost.
        self.waiting.put(
            name,
            Wait {
                stamp: offer.stamp,
                due: retry_at,
                why: Why::Refused,
            },
        );
    }

    /// Looks where a hint points to.
    fn look(&mut self, hint: &Hint, now: Instant) {
        let Some(opened) = &self.opened else { return };
        match look_at(&opened.root, &hint.path, &self.config.include) {
            Some(Judged::Dir) => self.appeared(&hint.path, now),
            Some(judged) => {
                let found = Found {
                    path: hint.path.clone(),
                    judged,
                };
                self.consider(found, hint.whole, now);
            }
            None => self.vanished(&hint.path),
        }
    }

    /// A new directory is looked through now, and once more when it is being watched.
    fn appeared(&mut self, path: &Path, now: Instant) {
        if self.dirs.len() + 2 > DIRS_MAX {
            self.missed = true;
            return;
        }
        self.dirs.push_front((now, path.to_owned()));
        self.dirs.push_back((now + SECOND_LOOK, path.to_owned()));
    }

    fn vanished(&mut self, path: &Path) {
        self.problems.gone(&self.config.root.join(path));
        if let Some(name) = path.to_str() {
            self.waiting.remove(name);
        }
    }
}
