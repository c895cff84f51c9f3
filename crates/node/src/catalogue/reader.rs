//! The side that asks: read-only connections, a few at a time, each query on a blocking thread.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use consign_core::audit::Scope;
use consign_core::ids::{Digest, NodeName, TransferId, TransferKey};
use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::bounds::{CATCH_UP_DEADLINE, QUERIES_AT_ONCE_MAX};
use super::health::Health;
use super::lag::Lag;
use super::query::counts::{self, DeliveryCount, TransferCount};
use super::query::deliveries;
#[cfg(test)]
use super::query::deliveries::DeliveryRow;
use super::query::held::{self, HeldRow, HeldSpan};
use super::query::ledger::{self, LedgerRow};
#[cfg(test)]
use super::query::listing::Filter;
use super::query::listing::{FileRow, Pages};
use super::query::timeline::{self, Event};
use super::query::transfers;
#[cfg(test)]
use super::query::transfers::TransferRow;
use super::schema;

/// Memory for the pages of one connection, in KiB.
const CACHE_KIB: i64 = 4 << 10;

/// Why a query has no answer. Asking again is right for the first, useless for the second until
/// somebody has looked at `status`.
#[derive(Debug, thiserror::Error)]
pub(crate) enum QueryError {
    /// There is no database to ask.
    #[error("the catalogue is not available: {why}; hint: {hint}")]
    Unavailable {
        /// Why.
        why: String,
        /// What to do.
        hint: String,
    },
    /// The database failed.
    #[error(
        "the catalogue failed: {0}; hint: if it goes on, stop the agent, delete catalogue.db in its data directory and start it: only history is lost"
    )]
    Database(#[from] rusqlite::Error),
}

/// Queries over the catalogue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reader {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    path: PathBuf,
    node: NodeName,
    health: Arc<Health>,
    lag: Arc<Lag>,
    idle: Mutex<Vec<Connection>>,
    permits: Arc<Semaphore>,
}

impl Reader {
    pub(super) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Lets no further query begin, waits for those that run, and closes their connections, for the
    /// end of an agent: the last connection to a database folds its write-ahead log back into it and
    /// removes it, and that is the writer's to be.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(QUERIES_AT_ONCE_MAX).expect("it is small");
        let _all = self.inner.permits.acquire_many(all).await;
        self.inner.permits.close();
        let mut idle = self
            .inner
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        idle.clear();
    }

    /// Whether the catalogue works.
    pub(crate) fn health(&self) -> &Health {
        &self.inner.health
    }

    /// The next page of a listing, and where to go on; an empty page ends it. Each page is one
    /// short read, so a slow listener holds up neither the writer's checkpoints nor other queries.
    ///
    /// # Errors
    /// [`QueryError`]; the listing is then incomplete.
    pub(crate) async fn page(&self, mut pages: Pages) -> Result<(Vec<FileRow>, Pages), QueryError> {
        self.ask(move |db, node| {
            let rows = pages.next(db, node)?;
            Ok((rows, pages))
        })
        .await
    }

    /// What matches, all at once: for callers with a small limit.
    ///
    /// # Errors
    /// [`QueryError`].
    #[cfg(test)]
    pub(crate) async fn files(&self, filter: Filter) -> Result<Vec<FileRow>, QueryError> {
        let mut all = Vec::new();
        let mut pages = Pages::new(filter);
        loop {
            let (rows, rest) = self.page(pages).await?;
            if rows.is_empty() {
                return Ok(all);
            }
            all.extend(rows);
            pages = rest;
        }
    }

    /// The transfers among them.
    #[cfg(test)]
    pub(crate) async fn transfers(&self, filter: Filter) -> Result<Vec<TransferRow>, QueryError> {
        let produced = |file| match file {
            FileRow::Produced(row) => Some(row),
            FileRow::Received(_) => None,
        };
        let files = self.files(filter).await?;
        Ok(files.into_iter().filter_map(produced).collect())
    }

    /// The deliveries among them.
    #[cfg(test)]
    pub(crate) async fn deliveries(&self, filter: Filter) -> Result<Vec<DeliveryRow>, QueryError> {
        let received = |file| match file {
            FileRow::Produced(_) => None,
            FileRow::Received(row) => Some(row),
        };
        let files = self.files(filter).await?;
        Ok(files.into_iter().filter_map(received).collect())
    }

    /// One transfer of this node, or `None` when it is not, or no longer, or not yet in the
    /// catalogue.
    ///
    /// # Errors
    /// [`QueryError`].
    #[cfg(test)]
    pub(crate) async fn transfer(&self, id: TransferId) -> Result<Option<TransferRow>, QueryError> {
        self.ask(move |db, node| transfers::one(db, node, &id))
            .await
    }

    /// One file: as its producer knows it if that is this node, else as it was received here.
    /// `None` when it is not, or no longer, or not yet in the catalogue.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn file(&self, id: TransferId) -> Result<Option<FileRow>, QueryError> {
        self.ask(move |db, node| one(db, node, &id)).await
    }

    /// The files of these ids that are in the catalogue, in the order of the ids.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn some(&self, ids: Vec<TransferId>) -> Result<Vec<FileRow>, QueryError> {
        self.ask(move |db, node| {
            let found = ids.iter().map(|id| one(db, node, id));
            found.filter_map(Result::transpose).collect()
        })
        .await
    }

    /// The story of one transfer, the earliest event first; empty when it is not there.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn timeline(&self, id: TransferId) -> Result<Vec<Event>, QueryError> {
        self.ask(move |db, node| timeline::of(db, node, &id)).await
    }

    /// Transfers by feed and state.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn transfer_counts(&self) -> Result<Vec<TransferCount>, QueryError> {
        self.ask(|db, _| counts::transfers(db)).await
    }

    /// Deliveries by feed and state.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn delivery_counts(&self) -> Result<Vec<DeliveryCount>, QueryError> {
        self.ask(|db, _| counts::deliveries(db)).await
    }

    /// Waits until the catalogue has everything that this node may have told anybody by now. Cancel
    /// safe.
    ///
    /// # Errors
    /// [`QueryError::Unavailable`] when it is degraded, or too far behind.
    pub(crate) async fn caught_up(&self) -> Result<(), QueryError> {
        let unavailable = |why, hint| Err(QueryError::Unavailable { why, hint });
        if let Some(problem) = self.inner.health.failure() {
            return unavailable(problem.what, problem.hint);
        }
        match self.inner.lag.is_caught_up(CATCH_UP_DEADLINE).await {
            true => Ok(()),
            false => unavailable(
                "it is behind the intent log".to_owned(),
                "ask again when the node is less busy".to_owned(),
            ),
        }
    }

    /// Since when all that ended is known here, in ms since the Unix epoch; 0 for since ever. What
    /// ended before may have expired, or have been in a catalogue that is gone.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn known_from(&self) -> Result<u64, QueryError> {
        self.ask(|db, _| schema::complete_since(db)).await
    }

    /// The next files of this node that `node` has or is to have, from `first` on in the order of the
    /// transfers; at most `rows`.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn ledger(
        &self,
        node: NodeName,
        scope: Scope,
        first: TransferKey,
        rows: usize,
    ) -> Result<Vec<LedgerRow>, QueryError> {
        self.ask(move |db, _| ledger::page(db, &node, &scope, first, rows))
            .await
    }

    /// These files, in the order of the keys, with what is believed of `node`; `None` for those that
    /// are not, or no longer, in the catalogue. Also since when it was complete then.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn ledger_of(
        &self,
        node: NodeName,
        keys: Vec<TransferKey>,
    ) -> Result<(Vec<Option<LedgerRow>>, u64), QueryError> {
        self.ask(move |db, _| {
            let rows = ledger::some(db, &node, &keys)?;
            // Afterwards: what expired meanwhile is counted as lost.
            Ok((rows, schema::complete_since(db)?))
        })
        .await
    }

    /// How many files `node` has or is to have.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn ledger_count(
        &self,
        node: NodeName,
        scope: Scope,
    ) -> Result<u64, QueryError> {
        self.ask(move |db, _| ledger::count(db, &node, &scope))
            .await
    }

    /// Every consumer that the ledger names, sorted.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn ledger_consumers(&self) -> Result<Vec<String>, QueryError> {
        self.ask(|db, _| ledger::consumers(db)).await
    }

    /// The next files of `producer` that this node received, in the order of the transfers; at most
    /// `rows`. Also since when the catalogue was complete then.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn held(
        &self,
        producer: NodeName,
        scope: Scope,
        span: HeldSpan,
        rows: usize,
    ) -> Result<(Vec<HeldRow>, u64), QueryError> {
        self.ask(move |db, _| {
            let rows = held::page(db, &producer, &scope, &span, rows)?;
            // Afterwards: what expired meanwhile is counted as lost.
            Ok((rows, schema::complete_since(db)?))
        })
        .await
    }

    /// Every producer that this node has received something of, sorted.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn held_producers(&self) -> Result<Vec<String>, QueryError> {
        self.ask(|db, _| held::producers(db)).await
    }

    /// Whether it is another file, with this digest, that was published at the path of `row`.
    ///
    /// # Errors
    /// [`QueryError`].
    pub(crate) async fn is_of_another(
        &self,
        row: HeldRow,
        digest: Digest,
    ) -> Result<bool, QueryError> {
        self.ask(move |db, _| held::is_of_another(db, &row, &digest.0))
            .await
    }

    /// Runs one query. When the caller goes away, it still ends, and its answer is dropped.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        query: impl FnOnce(&Connection, &NodeName) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, QueryError> {
        let Ok(permit) = Arc::clone(&self.inner.permits).acquire_owned().await else {
            return Err(stopping());
        };
        let inner = Arc::clone(&self.inner);
        let query = move || {
            // Whoever asked may be gone before the query ends.
            let _permit = permit;
            inner.run(query)
        };
        let answer = tokio::task::spawn_blocking(query).await;
        answer.unwrap_or_else(|failed| match failed.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(stopping()),
        })
    }
}

fn stopping() -> QueryError {
    QueryError::Unavailable {
        why: "the agent is stopping".to_owned(),
        hint: "ask again when it runs".to_owned(),
    }
}

impl Inner {
    pub(super) fn new(path: PathBuf, node: NodeName, health: Arc<Health>, lag: Arc<Lag>) -> Self {
        Self {
            path,
            node,
            health,
            lag,
            idle: Mutex::default(),
            permits: Arc::new(Semaphore::new(QUERIES_AT_ONCE_MAX)),
        }
    }

    fn run<T>(
        &self,
        query: impl FnOnce(&Connection, &NodeName) -> rusqlite::Result<T>,
    ) -> Result<T, QueryError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        let db = match idle {
            Some(db) => db,
            None => self.connect()?,
        };
        let answer = query(&db, &self.node);
        if let Err(rusqlite::Error::SqliteFailure(error, _)) = &answer
            && error.code == rusqlite::ErrorCode::DatabaseCorrupt
        {
            self.health
                .fail(format!("{} is corrupt", self.path.display()));
        }
        if answer.is_ok() {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            if idle.len() < QUERIES_AT_ONCE_MAX {
                idle.push(db);
            }
        }
        Ok(answer?)
    }

    fn connect(&self) -> Result<Connection, QueryError> {
        connect(&self.path).map_err(|error| match self.health.failure() {
            Some(problem) => QueryError::Unavailable {
                why: problem.what,
                hint: problem.hint,
            },
            None => QueryError::Database(error),
        })
    }
}

fn one(db: &Connection, node: &NodeName, id: &TransferId) -> rusqlite::Result<Option<FileRow>> {
    match transfers::one(db, node, id)? {
        Some(row) => Ok(Some(FileRow::Produced(row))),
        None => Ok(deliveries::latest(db, id)?.map(FileRow::Received)),
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.set_prepared_statement_cache_capacity(32);
    db.pragma_update(None, "cache_size", -CACHE_KIB)?;
    // The writer never locks readers out in WAL mode but for moments at opening and recovery.
    db.busy_timeout(Duration::from_secs(5))?;
    Ok(db)
}
