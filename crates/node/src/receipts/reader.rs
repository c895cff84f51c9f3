//! The side that asks: documents out of the archive.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use consign_core::ids::TransferId;
use consign_core::receipt::{self, HASH_BYTES};
use rusqlite::{Connection, OptionalExtension as _};
use tokio::sync::Semaphore;

use super::bounds::{CATCH_UP_DEADLINE, QUERIES_AT_ONCE_MAX};
use super::document::{Document, FORMAT, Receipt, hex};
use super::progress::Progress;
use super::schema::{Unusable, open_to_read};
use crate::identity::to_pem;

/// Why the archive has no answer. Asking again is right.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// It has not followed the log yet.
    #[error(
        "the archive of receipts is behind the intent log; hint: ask again; if it goes on, `consign status` says what keeps it"
    )]
    Behind,
    /// It cannot be read.
    #[error("the archive of receipts cannot be read: {0}; hint: `consign status` says more")]
    Unusable(String),
}

impl From<Unusable> for ReadError {
    fn from(unusable: Unusable) -> Self {
        Self::Unusable(unusable.to_string())
    }
}

impl From<rusqlite::Error> for ReadError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Unusable(error.to_string())
    }
}

/// Questions to the archive. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reader {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    path: PathBuf,
    progress: Arc<Progress>,
    permits: Arc<Semaphore>,
}

impl Reader {
    pub(super) fn new(path: PathBuf, progress: Arc<Progress>) -> Self {
        let permits = Arc::new(Semaphore::new(QUERIES_AT_ONCE_MAX));
        Self {
            inner: Some(Arc::new(Inner {
                path,
                progress,
                permits,
            })),
        }
    }

    /// Whether an archive is kept.
    pub(crate) fn is_kept(&self) -> bool {
        self.inner.is_some()
    }

    /// What was signed of a transfer of this node, in the order of its consumers' names; `None` when
    /// nothing was. Waits until the archive has what is synced by now.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(crate) async fn document(&self, id: TransferId) -> Result<Option<Document>, ReadError> {
        self.ask(CATCH_UP_DEADLINE, move |db| document(db, &id))
            .await
            .map(Option::flatten)
    }

    /// The consumers that have signed for a transfer; `None` where no archive is kept.
    ///
    /// # Errors
    /// [`ReadError`], also when the archive is behind for `patience`.
    pub(crate) async fn signers(
        &self,
        id: TransferId,
        patience: Duration,
    ) -> Result<Option<Vec<String>>, ReadError> {
        self.ask(patience, move |db| signers(db, &id)).await
    }

    async fn ask<T: Send + 'static>(
        &self,
        patience: Duration,
        query: impl FnOnce(&Connection) -> Result<T, ReadError> + Send + 'static,
    ) -> Result<Option<T>, ReadError> {
        let Some(inner) = self.inner.clone() else {
            return Ok(None);
        };
        // It is made with the first step.
        if !inner.progress.is_caught_up(patience).await || !inner.path.exists() {
            return Err(ReadError::Behind);
        }
        let stopping = |_| ReadError::Unusable("the agent is stopping".to_owned());
        let permit = Arc::clone(&inner.permits).acquire_owned().await;
        let permit = permit.map_err(|_closed| ReadError::Behind)?;
        let answer = tokio::task::spawn_blocking(move || {
            // Whoever asked may be gone before the query ends.
            let _permit = permit;
            query(&open_to_read(&inner.path)?)
        });
        answer.await.map_err(stopping)?.map(Some)
    }
}

fn signers(db: &Connection, id: &TransferId) -> Result<Vec<String>, ReadError> {
    let mut statement = db.prepare(
        "SELECT name FROM receipts JOIN nodes ON nodes.id = receipts.consumer
         WHERE start = ?1 AND seq = ?2",
    )?;
    let names = statement.query_map(key(id), |row| row.get(0))?;
    Ok(names.collect::<rusqlite::Result<_>>()?)
}

fn key(id: &TransferId) -> [i64; 2] {
    [id.key.start.0.cast_signed(), id.key.seq.0.cast_signed()]
}

fn document(db: &Connection, id: &TransferId) -> Result<Option<Document>, ReadError> {
    // One view of all of it, whatever is written meanwhile.
    let db = db.unchecked_transaction()?;
    let Some(mut document) = file(&db, id)? else {
        return Ok(None);
    };
    let mut statement = db.prepare(
        "SELECT name, incarnation, at, leaves, place, cluster, scheme, signature, chain
         FROM receipts JOIN batches ON batches.id = batch JOIN nodes ON nodes.id = receipts.consumer
         WHERE start = ?1 AND seq = ?2 ORDER BY name",
    )?;
    let mut rows = statement.query(key(id))?;
    while let Some(row) = rows.next()? {
        let (receipt, chain) = receipt(row)?;
        let certificates = certificates(&db, chain)?;
        document.receipts.push(Receipt {
            certificates,
            ..receipt
        });
    }
    Ok(Some(document).filter(|document| !document.receipts.is_empty()))
}

/// A transfer's file, without any receipt.
fn file(db: &Connection, id: &TransferId) -> rusqlite::Result<Option<Document>> {
    db.query_row(
        "SELECT feed, name, size, digest FROM transfers WHERE start = ?1 AND seq = ?2",
        key(id),
        |row| {
            let size: i64 = row.get(2)?;
            let digest: Option<Vec<u8>> = row.get(3)?;
            Ok(Document {
                format: FORMAT.to_owned(),
                transfer: id.to_string(),
                feed: row.get(0)?,
                name: row.get(1)?,
                size: size.cast_unsigned(),
                digest: hex(&digest.unwrap_or_default()),
                receipts: Vec::new(),
            })
        },
    )
    .optional()
}

/// A receipt without its certificates, and the chain of these.
fn receipt(row: &rusqlite::Row<'_>) -> rusqlite::Result<(Receipt, i64)> {
    let leaves: Vec<u8> = row.get(3)?;
    let (leaves, _) = leaves.as_chunks::<HASH_BYTES>();
    let index = row.get::<_, i64>(4)?.cast_unsigned();
    let path = usize::try_from(index)
        .ok()
        .and_then(|index| receipt::path(leaves, index));
    // A place without a leaf is a damaged row: a document of it would prove nothing.
    let path = path.ok_or(rusqlite::Error::IntegralValueOutOfRange(
        4,
        index.cast_signed(),
    ))?;
    let receipt = Receipt {
        consumer: row.get(0)?,
        incarnation: row.get::<_, i64>(1)?.cast_unsigned(),
        at: row.get::<_, i64>(2)?.cast_unsigned(),
        count: leaves.len() as u64,
        index,
        path: path.iter().map(|hash| hex(hash)).collect(),
        cluster: hex(&row.get::<_, Vec<u8>>(5)?),
        scheme: row.get(6)?,
        signature: hex(&row.get::<_, Vec<u8>>(7)?),
        certificates: Vec::new(),
    };
    Ok((receipt, row.get(8)?))
}

fn certificates(db: &Connection, chain: i64) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached(
        "SELECT der FROM links JOIN certificates ON certificates.id = certificate
         WHERE chain = ?1 ORDER BY place",
    )?
    .query_map([chain], |row| Ok(to_pem(&row.get::<_, Vec<u8>>(0)?)))?
    .collect()
}
