//! Files that this node received.

use consign_core::ids::{Digest, NodeName, TransferId};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::super::row::DeliveryState;
use super::listing::Page;
use super::{digest, number_of, optional_time, time, transfer_id, unreadable, unsigned};
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

const COLUMNS: &str = "id, transfer, (SELECT start FROM starts WHERE ordinal = transfer >> 40), \
    (SELECT nodes.name FROM nodes WHERE nodes.id = producer), feed, name, size, digest, state, \
    bytes, path, submitted_at, saved_at, ended_at";

/// The next deliveries of a listing, with their rows' numbers.
pub(super) fn page(db: &Connection, page: &Page<'_>) -> rusqlite::Result<Vec<(i64, DeliveryRow)>> {
    let mut sql = page.select(COLUMNS, "deliveries");
    if page.from.is_some() {
        sql += " AND producer = (SELECT nodes.id FROM nodes WHERE nodes.name = :from)";
    }
    let mut statement = db.prepare_cached(&page.ordered(sql))?;
    let found = statement.query_map(page.values(&[(":from", page.from)]).as_slice(), read)?;
    found.collect()
}

/// What this node received of one transfer: one file, unless it was placed here again after it was
/// taken away; then the latest. It may be of any producer.
pub(in super::super) fn latest(
    db: &Connection,
    id: &TransferId,
) -> rusqlite::Result<Option<DeliveryRow>> {
    let Some(number) = numbers(db, id)?.pop() else {
        return Ok(None);
    };
    let sql = format!("SELECT {COLUMNS} FROM deliveries WHERE id = ?1");
    let mut statement = db.prepare_cached(&sql)?;
    let found = statement.query_row([number], read).optional()?;
    Ok(found.map(|(_, delivery)| delivery))
}

/// The rows of what this node received of one transfer, the latest last.
pub(super) fn numbers(db: &Connection, id: &TransferId) -> rusqlite::Result<Vec<i64>> {
    let Some(transfer) = number_of(db, &id.key)? else {
        return Ok(Vec::new());
    };
    let mut statement = db.prepare_cached(SELECT_NUMBERS)?;
    let found = statement.query_map(params![transfer, id.producer.as_str()], |row| row.get(0))?;
    found.collect()
}

/// A start's number alone would do, were it not drawn at random.
pub(super) const SELECT_NUMBERS: &str = "SELECT id FROM deliveries WHERE transfer = ?1
    AND producer = (SELECT nodes.id FROM nodes WHERE nodes.name = ?2) ORDER BY id";

fn read(row: &Row<'_>) -> rusqlite::Result<(i64, DeliveryRow)> {
    let producer: String = row.get(3)?;
    let producer = NodeName::new(&producer).map_err(|bad| unreadable(3, Type::Text, bad))?;
    let delivery = DeliveryRow {
        id: transfer_id(producer, row.get(1)?, row, 2)?,
        feed: row.get(4)?,
        name: row.get(5)?,
        size: unsigned(row, 6)?,
        digest: digest(row, 7)?,
        state: DeliveryState::from_column(8, row.get(8)?)?,
        bytes: unsigned(row, 9)?,
        path: row.get(10)?,
        submitted_at: time(row, 11)?,
        saved_at: optional_time(row, 12)?,
        ended_at: optional_time(row, 13)?,
    };
    Ok((row.get(0)?, delivery))
}
