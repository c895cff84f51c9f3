//! The one thread that writes: it takes batches of records from a bounded channel, and puts as
//! many of them as are there into one transaction.
//!
//! What the database lacks at a start it reads in the log, in the background: a node is ready without
//! it. On a full disk it takes them all the same, and drops them: the log does not wait for it, and has
//! them. Once there is room it reads them there, from the last that the database has.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use consign_core::log::{LogCursor, LogReader, Position};
use rusqlite::Connection;
use tokio::sync::mpsc;

use super::apply::{Applier, ApplyError};
use super::health::Health;
use super::history::Sweep;
use super::lag::Lag;
use super::packed::Interned;
use super::schema;
use super::{Applied, LogSpan};
use crate::catalogue::bounds::{
    BROKEN_KEPT_MAX, FILLING_TOLD_AFTER, RECORDS_PER_TRANSACTION_AIM, RETRY_EVERY,
};
use crate::database::{is_corruption, set_aside};

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
    let Some(mut first) = begin(&mut db, &mut feed, &source, &health) else {
        return;
    };
    loop {
        let mut curable = true;
        if let Some(db) = db.take() {
            match write(&db, std::mem::take(&mut first), &mut feed, history_ms, &lag) {
                Ok(()) => return,
                Err(error) => {
                    curable = is_curable(&error);
                    degrade(&error, &path, &health);
                }
            }
        }
        match wait_for_room(&mut feed, &path, &source, curable, &health) {
            Some(caught_up) => db = Some(caught_up),
            None => return,
        }
        health.recovered();
    }
}

/// Waits for the first batch, before which the log is recovered, and reads what the database does
/// not have from the log: a start does not wait until a million records are in here. Returns what of
/// the batch is still to be applied, or `None` when none ever comes.
fn begin(
    db: &mut Option<Connection>,
    feed: &mut Feed,
    source: &Source,
    health: &Health,
) -> Option<Vec<Applied>> {
    let first = loop {
        match feed.next(Duration::MAX) {
            Next::Batch(batch) => break batch,
            Next::Elapsed => {}
            Next::Closed => return None,
        }
    };
    let (Some(there), Some(log)) = (&*db, source.get()) else {
        return Some(first);
    };
    if let Err(error) = read_missed(there, feed, log, health) {
        health.fail(format!("it cannot be filled from the log: {error:#}"));
        *db = None;
    }
    Some(Vec::new())
}

fn degrade(error: &ApplyError, path: &Path, health: &Health) {
    let kept = match error {
        ApplyError::Database(inner) if is_corruption(inner) => {
            // Out of the way, so that the next start fills a new one.
            set_aside(path, BROKEN_KEPT_MAX).ok()
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
        ApplyError::Database(inner) => !is_corruption(inner),
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
    health: &Health,
) -> Option<Connection> {
    let mut next_try = Instant::now() + RETRY_EVERY;
    loop {
        match feed.next(next_try.saturating_duration_since(Instant::now())) {
            Next::Batch(_) => continue,
            Next::Closed => return None,
            Next::Elapsed => next_try = Instant::now() + RETRY_EVERY,
        }
        if let Some(log) = source.get().filter(|_| curable)
            && let Ok(db) = catch_up(feed, path, log, health)
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
fn catch_up(
    feed: &mut Feed,
    path: &Path,
    log: &LogReader,
    health: &Health,
) -> anyhow::Result<Connection> {
    let first = log.first();
    let span = LogSpan {
        first: first.pack(),
        end: u64::MAX,
    };
    let db = schema::open(path, span)?;
    read_missed(&db, feed, log, health)?;
    Ok(db)
}

/// Applies what the log holds beyond the database, as far as the feed has come.
fn read_missed(
    db: &Connection,
    feed: &mut Feed,
    log: &LogReader,
    health: &Health,
) -> anyhow::Result<()> {
    let began = Instant::now();
    let applied = schema::applied(db)?.unwrap_or_default();
    let first = Position::unpack(applied).max(log.first());
    let mut cursor = log.walk(first.segment)?;
    let mut names = Interned::default();
    loop {
        let missed = next_missed(&mut cursor, feed, applied)?;
        if missed.is_empty() {
            health.filled();
            return Ok(());
        }
        apply_all(db, &mut names, missed.into_iter())?;
        if began.elapsed() > FILLING_TOLD_AFTER {
            health.filling();
        }
        // Nobody waits for the feed meanwhile: this reads what it brings.
        feed.skip_waiting();
    }
}

/// The next records of the log beyond `applied`, about as many as go into one transaction; none at
/// the end.
fn next_missed(cursor: &mut LogCursor, feed: &Feed, applied: u64) -> anyhow::Result<Vec<Applied>> {
    let mut missed = Vec::new();
    while missed.len() < RECORDS_PER_TRANSACTION_AIM
        && let Some(last) = feed.last
        && let Some(records) = cursor.next(Position::unpack(last))?
    {
        let records = records.into_iter().map(|(position, record)| Applied {
            position: position.pack(),
            record,
        });
        missed.extend(records.filter(|one| one.position > applied));
    }
    Ok(missed)
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
    first: Vec<Applied>,
    feed: &mut Feed,
    history_ms: Option<u64>,
    lag: &Lag,
) -> Result<(), ApplyError> {
    let mut names = Interned::default();
    let mut applied = schema::applied(db)?;
    lag.note_applied(applied.unwrap_or_default());
    let mut sweep = history_ms.map(Sweep::new);
    let mut next = Next::Batch(first);
    loop {
        match next {
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
        next = feed.next(sweep.as_ref().map_or(Duration::MAX, Sweep::due_in));
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
