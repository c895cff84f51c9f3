//! Watching a directory for files to send.
//!
//! One [`Watcher`] is one feed's directory. Its thread offers each file that is ready, once, until
//! it is told what became of it; only so many are on offer at a time, and while they are, the scan
//! stands still where it is. Events are hints and a periodic scan is the truth, so an event that
//! is late, doubled or lost costs time and never a file.
//!
//! A file is ready when it was renamed to its name or closed after writing, or when its size and
//! times have not moved for `settle`. What cannot be sent stays in place, as a problem in its
//! [`ProblemList`].
//!
//! A watcher holds nothing durable. It may be dropped and started again at any time; before that,
//! the kept set must know what the log holds (see [`crate::outbox::Kept`]), and origins that are
//! owed a removal must be removed.

mod bounds;
mod hints;
mod names;
mod problems;
mod scanner;
#[cfg(test)]
mod tests;
mod waiting;
mod walk;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use consign_core::ids::FeedName;
use consign_core::spec::Stamp;
use globset::GlobSet;
use tokio::sync::{mpsc, watch};

use crate::outbox::Kept;
use hints::Hint;
#[cfg(test)]
pub(crate) use names::{BadPattern, include_set};
pub(crate) use problems::{Problem as Untaken, ProblemList};
use scanner::Scanner;

/// What to watch, and how.
#[derive(Debug, Clone)]
pub(crate) struct WatchConfig {
    /// The feed.
    pub(crate) feed: FeedName,
    /// The directory.
    pub(crate) root: PathBuf,
    /// Which files, by relative path.
    pub(crate) include: GlobSet,
    /// How long a file must not have moved, unless an event says that it is whole.
    pub(crate) settle: Duration,
    /// How often the whole directory is scanned.
    pub(crate) scan_every: Duration,
    /// How often the kept set is cleared of files that are gone.
    pub(crate) forget_every: Duration,
    /// Files on offer at once, at least 1.
    pub(crate) in_flight_max: usize,
}

#[cfg(test)]
impl WatchConfig {
    /// A directory with the usual times and limits.
    ///
    /// # Errors
    /// [`BadPattern`].
    pub(crate) fn new(
        feed: FeedName,
        root: PathBuf,
        include: &[String],
    ) -> Result<Self, BadPattern> {
        Ok(Self {
            feed,
            root,
            include: include_set(include)?,
            settle: Duration::from_secs(2),
            scan_every: Duration::from_secs(10),
            forget_every: Duration::from_secs(600),
            in_flight_max: 1024,
        })
    }
}

/// A file that is ready to be taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Ready {
    /// The feed.
    pub(crate) feed: FeedName,
    /// Its absolute path.
    pub(crate) path: PathBuf,
    /// Its path relative to the watched directory.
    pub(crate) relative_name: String,
    /// How it looked: what is taken must look the same.
    pub(crate) stamp: Stamp,
}

/// What the scanner reacts to.
#[derive(Debug)]
enum Input {
    /// Somewhere to look.
    Hint(Hint),
    /// The kernel dropped events.
    Overflow,
    /// Not all of the directory is watched, for this reason.
    Degraded(String),
    /// A file on offer was taken, or is gone.
    Taken(String),
    /// A file on offer was refused for now.
    Refused {
        name: String,
        retry_at: Instant,
        why: Option<String>,
    },
    /// The end.
    Stop,
}

/// Tells a watcher what became of the files that it offered. Never blocks.
#[derive(Debug, Clone)]
pub(crate) struct Verdicts {
    inputs: Sender<Input>,
}

impl Verdicts {
    /// The file is submitted (and, where it stays in place, in the kept set), or it had vanished.
    pub(crate) fn taken(&self, relative_name: &str) {
        self.send(Input::Taken(relative_name.to_owned()));
    }

    /// The file was not taken: offer it again at `retry_at`. With a `why` it is listed as a
    /// problem until it is taken or gone.
    pub(crate) fn refused(&self, relative_name: &str, retry_at: Instant, why: Option<String>) {
        self.send(Input::Refused {
            name: relative_name.to_owned(),
            retry_at,
            why,
        });
    }

    /// A watcher that has ended needs no verdicts: its successor looks for itself.
    fn send(&self, input: Input) {
        let _ = self.inputs.send(input);
    }
}

/// A watched directory. Its thread ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Watcher {
    ready: mpsc::Receiver<Ready>,
    verdicts: Verdicts,
    problems: watch::Receiver<Arc<ProblemList>>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    /// Starts watching. The directory may be missing: that is a problem that is listed, and
    /// watching begins when it appears.
    ///
    /// # Errors
    /// When the directory's path has no absolute form, or no thread can be started.
    ///
    /// # Panics
    /// When `in_flight_max` is 0.
    pub(crate) fn start(mut config: WatchConfig, kept: Arc<Kept>) -> io::Result<Self> {
        assert!(config.in_flight_max > 0, "nothing could ever be offered");
        // Events come with absolute paths.
        config.root = std::path::absolute(&config.root)?;
        // Each file on offer has a place in this channel, so sending into it never waits.
        let (ready_in, ready) = mpsc::channel(config.in_flight_max);
        let (problems_in, problems) = watch::channel(Arc::default());
        // Bounded all the same: hints are counted, and a verdict answers a file on offer.
        let (inputs, inputs_out) = std::sync::mpsc::channel();
        let verdicts = Verdicts {
            inputs: inputs.clone(),
        };
        let name = format!("watch {}", config.feed);
        let scanner = Scanner::new(config, kept, inputs, ready_in, problems_in);
        let thread = std::thread::Builder::new()
            .name(name)
            .spawn(move || scanner.run(&inputs_out))?;
        Ok(Self {
            ready,
            verdicts,
            problems,
            thread: Some(thread),
        })
    }

    /// The next file that is ready; `None` when the watcher's thread has ended, which it does by
    /// itself only by a panic. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Ready> {
        self.ready.recv().await
    }

    /// Where to say what became of the files.
    pub(crate) fn verdicts(&self) -> Verdicts {
        self.verdicts.clone()
    }

    /// The problems, as they are now and become.
    pub(crate) fn problems(&self) -> watch::Receiver<Arc<ProblemList>> {
        self.problems.clone()
    }

    /// Ends the watcher and waits for its thread, at most for one step of its scan. Blocks.
    ///
    /// # Errors
    /// What its thread panicked with.
    pub(crate) fn stop(mut self) -> std::thread::Result<()> {
        self.verdicts.send(Input::Stop);
        self.thread.take().map_or(Ok(()), JoinHandle::join)
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.verdicts.send(Input::Stop);
    }
}
