//! The one thread that writes: it takes batches of records from a bounded channel, and puts as
//! many of them as are there into one transaction.

use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::mpsc;

use super::Applied;
use super::apply::{Applier, ApplyError};
use super::health::Health;
use super::history::Sweep;
use super::packed::Interned;
use super::schema;

/// Records in one transaction, unless a single batch has more. Larger ones are no faster, and this
/// keeps a query's view at most some tens of milliseconds behind.
const RECORDS_PER_TRANSACTION_AIM: usize = 8192;

/// The thread that writes the catalogue.
#[derive(Debug)]
pub(crate) struct Writer {
    thread: JoinHandle<()>,
}

impl Writer {
    /// Starts the thread; without a connection it only drains the channel.
    pub(super) fn start(
        db: Option<Connection>,
        path: PathBuf,
        batches: mpsc::Receiver<Vec<Applied>>,
        history_ms: Option<u64>,
        health: Arc<Health>,
    ) -> Self {
        let thread = std::thread::Builder::new()
            .name("catalogue".to_owned())
            .spawn(move || run(db, path, batches, history_ms, &health))
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

fn run(
    db: Option<Connection>,
    path: PathBuf,
    mut batches: mpsc::Receiver<Vec<Applied>>,
    history_ms: Option<u64>,
    health: &Health,
) {
    if let Some(db) = db
        && let Err(error) = write(&db, &mut batches, history_ms)
    {
        let kept = match &error {
            ApplyError::Database(inner) if schema::is_corruption(inner) => {
                // Out of the way, so that the next start fills a new one.
                schema::set_aside(&path).ok()
            }
            _ => None,
        };
        let kept = kept.map_or(String::new(), |to| format!(" (kept as {})", to.display()));
        health.fail(format!("{error}{kept}"));
    }
    // Degraded, or the feed is closed and this ends at once.
    while batches.blocking_recv().is_some() {}
}

/// Applies batches until the feed is closed or the database fails.
fn write(
    db: &Connection,
    batches: &mut mpsc::Receiver<Vec<Applied>>,
    history_ms: Option<u64>,
) -> Result<(), ApplyError> {
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without sockets needs nothing that could be missing");
    let mut names = Interned::default();
    let mut applied = schema::applied(db)?;
    let mut sweep = history_ms.map(Sweep::new);
    loop {
        let wait = sweep.as_ref().map_or(Duration::MAX, Sweep::due_in);
        // Made inside, since a timer belongs to the runtime that it is made in.
        let next = clock.block_on(async { tokio::time::timeout(wait, batches.recv()).await });
        match next {
            Ok(Some(batch)) => {
                let batch = gathered(batch, batches);
                let fresh = batch
                    .into_iter()
                    .filter(|entry| applied.is_none_or(|applied| entry.position > applied));
                applied = apply_all(db, &mut names, fresh)?.or(applied);
            }
            Ok(None) => return Ok(()),
            Err(_elapsed) => {}
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
