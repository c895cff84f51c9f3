//! The one thread that writes: it takes batches of records from a bounded channel, and puts as
//! many of them as are there into one transaction.
//!
//! On a full disk it takes them all the same, and drops them: the log does not wait for it, and has
//! them. Once there is room it reads them there, from the last that the database has.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use consign_core::log::{LogReader, Position};
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::apply::{Applier, ApplyError};
use super::health::Health;
use super::history::Sweep;
use super::lag::Lag;
use super::packed::Interned;
use super::schema;
use super::{Applied, LogSpan};
use crate::catalogue::bounds::{RECORDS_PER_TRANSACTION_AIM, RETRY_EVERY};

/// Where the log is read again, from when it is recovered.
pub(crate) type Source = Arc<OnceLock<LogReader>>;

/// The thread that writes the catalogue.
#[derive(Debug)]
pub(crate) struct Writer {
    thread: JoinHandle<()>,
}

/// What it works with.
pub(super) struct Writing {
    pub(super) path: PathBuf,
    pub(super) batches: mpsc::Receiver<Vec<Applied>>,
    pub(super) history_ms: Option<u64>,
    pub(super) health: Arc<Health>,
    pub(super) source: Source,
    pub(super) lag: Arc<Lag>,
}

impl Writer {
    /// Starts the thread; without a connection it begins with trying to have one.
    pub(super) fn start(db: Option<Connection>, writing: Writing) -> Self {
        let thread = std::thread::Builder::new()
            .name("catalogue".to_owned())
            .spawn(move || run(db, writing))
            .expect("a process that cannot start a thread cannot run at all");
        Self { thread }
    }

    /// Waits until everything that was fed is committed. Blocks until every sender of the feed is
    /// dropped.
    pub(crate) fn join(self) {
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}

/// Writes; and where that fails for want of room, waits for some, reads again what it missed and
/// goes on.
fn run(mut db: Option<Connection>, writing: Writing) {
    let Writing {
        path,
        batches,
        history_ms,
        health,
        source,
        lag,
    } = writing;
    let mut feed = Feed::new(batches);
    loop {
        let mut curable = true;
        if let Some(db) = db.take() {
            match write(&db, &mut feed, history_ms, &lag) {
                Ok(()) => return,
                Err(error) => {
                    curable = is_curable(&error);
                    degrade(&error, &path, &health);
                }
            }
        }
        match wait_for_room(&mut feed, &path, &source, curable) {
            Some(caught_up) => db = Some(caught_up),
            None => return,
        }
        health.recovered();
    }
}

fn degrade(error: &ApplyError, path: &Path, health: &Health) {
    let kept = match error {
        ApplyError::Database(inner) if schema::is_corruption(inner) => {
            // Out of the way, so that the next start fills a new one.
            schema::set_aside(path).ok()
        }
        ApplyError::Database(_)
        | ApplyError::NumberTooLarge { .. }
        | ApplyError::UnknownRung { .. } => None,
    };
    let kept = kept.map_or(String::new(), |to| format!(" (kept as {})", to.display()));
    health.fail(format!("{error}{kept}"));
}

/// Whether the same records may well be written later: the disk is full, or gone for a while. A
/// damaged file is left to the next start, and so is a record that cannot be applied.
fn is_curable(error: &ApplyError) -> bool {
    match error {
        ApplyError::Database(inner) => !schema::is_corruption(inner),
        ApplyError::NumberTooLarge { .. } | ApplyError::UnknownRung { .. } => false,
    }
}

/// Takes what comes, so that nobody waits, and tries now and then to write what was missed. `None`
/// when the feed is closed.
fn wait_for_room(
    feed: &mut Feed,
    path: &Path,
    source: &Source,
    curable: bool,
) -> Option<Connection> {
    let mut next_try = Instant::now() + RETRY_EVERY;
    loop {
        match feed.next(next_try.saturating_duration_since(Instant::now())) {
            Next::Batch(_) => continue,
            Next::Closed => return None,
            Next::Elapsed => next_try = Instant::now() + RETRY_EVERY,
        }
        if let Some(log) = source.get().filter(|_| curable)
            && let Ok(db) = catch_up(feed, path, log)
        {
            return Some(db);
        }
    }
}

/// Opens the database as a start does, and applies what the log holds beyond it, as far as the feed
/// has come. What the log has dropped meanwhile is treated as at a start, too.
///
/// # Errors
/// There is no room yet, or the log dropped what was just to be read: it is tried again.
fn catch_up(feed: &mut Feed, path: &Path, log: &LogReader) -> anyhow::Result<Connection> {
    let first = log.first();
    let span = LogSpan {
        first: first.pack(),
        end: u64::MAX,
    };
    let db = schema::open(path, span)?;
    let applied = schema::applied(&db)?.unwrap_or_default();
    let mut cursor = log.walk(Position::unpack(applied).max(first).segment)?;
    let mut names = Interned::default();
    while let Some(last) = feed.last
        && let Some(records) = cursor.next(Position::unpack(last))?
    {
        let missed = records.into_iter().map(|(position, record)| Applied {
            position: position.pack(),
            record,
        });
        apply_all(&db, &mut names, missed.filter(|one| one.position > applied))?;
        // Nobody waits for the feed meanwhile: this reads what it brings.
        feed.skip_waiting();
    }
    Ok(db)
}

/// What comes from the log, and how far it came.
struct Feed {
    batches: mpsc::Receiver<Vec<Applied>>,
    clock: tokio::runtime::Runtime,
    /// Position of the last record that was taken, whether it was applied or not. Like all that
    /// come, it is synced.
    last: Option<u64>,
}

enum Next {
    Batch(Vec<Applied>),
    Elapsed,
    Closed,
}

impl Feed {
    fn new(batches: mpsc::Receiver<Vec<Applied>>) -> Self {
        let clock = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime without sockets needs nothing that could be missing");
        Self {
            batches,
            clock,
            last: None,
        }
    }

    /// The next batch and whatever else is waiting already.
    fn next(&mut self, wait: Duration) -> Next {
        let batches = &mut self.batches;
        // Made inside, since a timer belongs to the runtime that it is made in.
        let next = self
            .clock
            .block_on(async { tokio::time::timeout(wait, batches.recv()).await });
        match next {
            Ok(Some(batch)) => {
                let all = gathered(batch, &mut self.batches);
                self.note(&all);
                Next::Batch(all)
            }
            Ok(None) => Next::Closed,
            Err(_elapsed) => Next::Elapsed,
        }
    }

    fn skip_waiting(&mut self) {
        while let Ok(batch) = self.batches.try_recv() {
            self.note(&batch);
        }
    }

    fn note(&mut self, batch: &[Applied]) {
        self.last = batch.last().map(|entry| entry.position).or(self.last);
    }
}

/// Applies batches until the feed is closed or the database fails.
fn write(
    db: &Connection,
    feed: &mut Feed,
    history_ms: Option<u64>,
    lag: &Lag,
) -> Result<(), ApplyError> {
    let mut names = Interned::default();
    let mut applied = schema::applied(db)?;
    lag.note_applied(applied.unwrap_or_default());
    let mut sweep = history_ms.map(Sweep::new);
    loop {
        let wait = sweep.as_ref().map_or(Duration::MAX, Sweep::due_in);
        match feed.next(wait) {
            Next::Batch(batch) => {
                let fresh = batch
                    .into_iter()
                    .filter(|entry| applied.is_none_or(|applied| entry.position > applied));
                applied = apply_all(db, &mut names, fresh)?.or(applied);
                lag.note_applied(applied.unwrap_or_default());
            }
            Next::Closed => return Ok(()),
            Next::Elapsed => {}
        }
        // History is in the way of what happens now for no longer than one small step.
        if let Some(sweep) = &mut sweep {
            sweep.step(db)?;
        }
    }
}

/// The batch and whatever else is waiting already.
fn gathered(first: Vec<Applied>, batches: &mut mpsc::Receiver<Vec<Applied>>) -> Vec<Applied> {
    let mut all = first;
    while all.len() < RECORDS_PER_TRANSACTION_AIM
        && let Ok(more) = batches.try_recv()
    {
        all.extend(more);
    }
    all
}

/// One transaction over `entries`; returns the last position.
fn apply_all(
    db: &Connection,
    names: &mut Interned,
    entries: impl Iterator<Item = Applied>,
) -> Result<Option<u64>, ApplyError> {
    let mut entries = entries.peekable();
    if entries.peek().is_none() {
        return Ok(None);
    }
    let transaction = db.unchecked_transaction()?;
    let mut applier = Applier::new(&transaction, names);
    let mut last = None;
    for Applied { position, record } in entries {
        applier.apply(&record)?;
        last = Some(position);
    }
    applier.finish()?;
    if let Some(last) = last {
        schema::set_applied(&transaction, last)?;
    }
    // A crash just before the commit, or a power cut before the next checkpoint, loses this
    // transaction whole, with its position: the log supplies it again.
    transaction.commit()?;
    Ok(last)
}
