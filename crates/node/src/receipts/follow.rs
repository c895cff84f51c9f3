//! The one thread that writes: it reads in the log what was synced since it last did, and puts it into
//! one transaction.
//!
//! Nothing is handed to it but how far the log is synced, so nobody waits for it, and what it lacks
//! after a crash it reads the same way. Until it has a segment, synced, the log does not drop that.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use consign_core::log::{LogCursor, LogError, LogReader, Position};
use consign_core::record::Record;
use rusqlite::Connection;

use super::apply::{Applier, Nodes, concerns};
use super::bounds::{BYTES_PER_STEP_AIM, RECORDS_PER_STEP_AIM, RETRY_EVERY};
use super::history::Sweep;
use super::progress::{Next, Progress};
use super::schema::{self, Unusable};
use crate::database::is_corruption;
use crate::problems::Problems;

/// How the problem begins that stands while it cannot be written.
const STANDS_STILL: &str = "receipts cannot be archived";

/// Why a step came to nothing. What it would have written is not written, and is read again.
#[derive(Debug, thiserror::Error)]
enum StepError {
    #[error("{0}")]
    Unusable(#[from] Unusable),
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    #[error("{0}")]
    Log(#[from] LogError),
}

/// See the module.
pub(super) struct Follower {
    path: PathBuf,
    history_ms: Option<u64>,
    problems: Problems,
    progress: Arc<Progress>,
    open: Option<Open>,
    /// Whether it has said that it stands still.
    is_troubled: bool,
}

/// The database, and the place in the log that it has come to.
struct Open {
    db: Connection,
    nodes: Nodes,
    cursor: LogCursor,
    applied: u64,
    sweep: Option<Sweep>,
}

impl Follower {
    pub(super) fn new(
        path: PathBuf,
        history_ms: Option<u64>,
        problems: Problems,
        progress: Arc<Progress>,
    ) -> Self {
        Self {
            path,
            history_ms,
            problems,
            progress,
            open: None,
            is_troubled: false,
        }
    }

    /// Follows until it is told to end.
    pub(super) fn run(mut self) {
        let (mut rest, mut pause) = (Duration::ZERO, Duration::ZERO);
        while let Next::Step { log, through } = self.progress.next(rest, pause) {
            (rest, pause) = match self.step(&log, through) {
                Ok(pause) => {
                    self.progress.note_standing(false);
                    self.recovered();
                    (Duration::ZERO, pause)
                }
                Err(error) => {
                    self.progress.note_standing(true);
                    self.failed(&error);
                    (RETRY_EVERY, RETRY_EVERY)
                }
            };
        }
    }

    /// Applies what the log holds up to `through`, and a little of what retention asks for. Returns
    /// how long there is nothing to do when no records come.
    fn step(&mut self, log: &LogReader, through: u64) -> Result<Duration, StepError> {
        match self.advance(log, through) {
            // While it lacked nothing, the log could drop what it was about to read from.
            Err(StepError::Log(LogError::Gone { .. })) => {
                self.open = None;
                self.advance(log, through)
            }
            outcome => outcome,
        }
    }

    fn advance(&mut self, log: &LogReader, through: u64) -> Result<Duration, StepError> {
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let begun = Open::begin(&self.path, log, through, self.history_ms, &self.problems)?;
                // It may be an older one, or a new one: what it lacks must stay.
                self.progress.reopened(begun.applied);
                none.insert(begun)
            }
        };
        while open.apply_next(through)? {
            self.progress.note_applied(open.applied);
        }
        // All of it is there, whatever the positions of the last records were.
        self.progress.note_applied(open.applied.max(through));
        let Some(sweep) = &mut open.sweep else {
            return Ok(Duration::MAX);
        };
        sweep.step(&open.db)?;
        Ok(sweep.due_in())
    }

    fn failed(&mut self, error: &StepError) {
        self.open = None;
        if let StepError::Database(inner) = error
            && is_corruption(inner)
        {
            // It is begun anew from what the log still holds.
            self.progress.begin_anew();
            if schema::begin_anew(&self.path, &error.to_string(), &self.problems).is_ok() {
                return;
            }
        }
        if std::mem::replace(&mut self.is_troubled, true) {
            return;
        }
        let what = format!("{STANDS_STILL} in {}: {error}", self.path.display());
        let hint = "files are delivered all the same, and the intent log keeps what is missing until its disk is full: make sure that there is space, and that this user alone writes there";
        tracing::error!("{what}; hint: {hint}");
        self.problems.add(what, hint.to_owned());
    }

    fn recovered(&mut self) {
        if std::mem::take(&mut self.is_troubled) {
            tracing::info!("the archive of receipts follows the intent log again");
            self.problems.remove_starting(STANDS_STILL);
        }
    }
}

impl Open {
    fn begin(
        path: &Path,
        log: &LogReader,
        through: u64,
        history_ms: Option<u64>,
        problems: &Problems,
    ) -> Result<Self, StepError> {
        let db = schema::open_or_begin_anew(path, problems)?;
        let mut applied = schema::applied(&db)?;
        if applied > through {
            // The log was begun anew beside it: its receipts stand, and its place means nothing.
            applied = 0;
        }
        let first = Position::unpack(applied).max(log.first());
        let mut nodes = Nodes::default();
        // What was dropped before it was read may have placed what is answered for later.
        if applied == 0 || Position::unpack(applied) < log.first() {
            learn(&db, &mut nodes, &mut log.walk(first.segment)?, through)?;
        }
        Ok(Self {
            cursor: log.walk(first.segment)?,
            nodes,
            applied,
            sweep: history_ms.map(Sweep::new),
            db,
        })
    }

    /// One transaction over the next records; false when there are none.
    fn apply_next(&mut self, through: u64) -> Result<bool, StepError> {
        let mut records = Vec::new();
        let is_more = gather(&mut self.cursor, through, &mut records)?;
        records.retain(|(position, _)| position.pack() > self.applied);
        let Some((last, _)) = records.last() else {
            return Ok(is_more);
        };
        let last = last.pack();
        let transaction = self.db.unchecked_transaction()?;
        let mut applier = Applier::new(&transaction, &mut self.nodes);
        for (_, record) in &records {
            applier.apply(record)?;
        }
        applier.finish()?;
        schema::set_applied(&transaction, last)?;
        // A crash just before the sync of this commit loses it whole, with its position: the log has
        // it all still.
        transaction.commit()?;
        self.applied = last;
        Ok(true)
    }
}

/// Reads all that the log says of whose slots are whose.
fn learn(
    db: &Connection,
    nodes: &mut Nodes,
    cursor: &mut LogCursor,
    through: u64,
) -> Result<(), StepError> {
    loop {
        let mut records = Vec::new();
        let is_more = gather(cursor, through, &mut records)?;
        let transaction = db.unchecked_transaction()?;
        let mut applier = Applier::new(&transaction, nodes);
        for (_, record) in &records {
            applier.learn(record)?;
        }
        applier.finish()?;
        transaction.commit()?;
        if !is_more {
            return Ok(());
        }
    }
}

/// The next records that concern the archive, about as many as go into one transaction; false at the end.
fn gather(
    cursor: &mut LogCursor,
    through: u64,
    records: &mut Vec<(Position, Record)>,
) -> Result<bool, LogError> {
    let through = Position::unpack(through);
    let mut bytes = 0;
    while records.len() < RECORDS_PER_STEP_AIM && bytes < BYTES_PER_STEP_AIM {
        let Some(more) = cursor.next(through)? else {
            return Ok(false);
        };
        for (position, record) in more {
            if concerns(&record) {
                bytes += record.encoded_len();
                records.push((position, record));
            }
        }
    }
    Ok(true)
}
