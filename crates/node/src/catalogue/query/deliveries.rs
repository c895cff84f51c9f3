//! Files that this node received.

use consign_core::ids::{Digest, NodeName, TransferId};
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use super::super::row::DeliveryState;
use super::{digest, optional_time, time, transfer_id, unreadable, unsigned};
use crate::timestamp::Timestamp;

/// A file that this node receives or received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryRow {
    /// The transfer, by its producer's name for it.
    pub(crate) id: TransferId,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its BLAKE3, once it is known.
    pub(crate) digest: Option<Digest>,
    /// Where it stands.
    pub(crate) state: DeliveryState,
    /// Bytes that are here, synced.
    pub(crate) bytes: u64,
    /// Its path under the inbox, once it is chosen.
    pub(crate) path: Option<String>,
    /// When it was submitted, by the producer's clock.
    pub(crate) submitted_at: Timestamp,
    /// When it was saved.
    pub(crate) saved_at: Option<Timestamp>,
    /// When it was published or abandoned.
    pub(crate) ended_at: Option<Timestamp>,
}

/// The latest deliveries, of one feed or of all.
pub(in super::super) fn latest(
    db: &Connection,
    feed: Option<&str>,
    limit: u32,
) -> rusqlite::Result<Vec<DeliveryRow>> {
    let mut statement = db.prepare_cached(
        "SELECT transfer, (SELECT start FROM starts WHERE ordinal = transfer >> 40),
             (SELECT nodes.name FROM nodes WHERE nodes.id = producer), feed, name, size, digest,
             state, bytes, path, submitted_at, saved_at, ended_at
         FROM deliveries WHERE ?1 IS NULL OR feed = ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let found = statement.query_map(params![feed, limit], read)?;
    found.collect()
}

fn read(row: &Row<'_>) -> rusqlite::Result<DeliveryRow> {
    let producer: String = row.get(2)?;
    let producer = NodeName::new(&producer).map_err(|bad| unreadable(2, Type::Text, bad))?;
    Ok(DeliveryRow {
        id: transfer_id(producer, row.get(0)?, row, 1)?,
        feed: row.get(3)?,
        name: row.get(4)?,
        size: unsigned(row, 5)?,
        digest: digest(row, 6)?,
        state: DeliveryState::from_column(7, row.get(7)?)?,
        bytes: unsigned(row, 8)?,
        path: row.get(9)?,
        submitted_at: time(row, 10)?,
        saved_at: optional_time(row, 11)?,
        ended_at: optional_time(row, 12)?,
    })
}
