//! Files that this node produces.

use consign_core::ids::{Digest, NodeName, TransferId};
use rusqlite::{Connection, Row};

use super::super::row::{LegState, TransferState};
use super::listing::Page;
use super::{digest, optional_time, row_of, time, transfer_id, unsigned};
use crate::timestamp::Timestamp;

/// A transfer as the catalogue has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransferRow {
    /// Its id.
    pub(crate) id: TransferId,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name.
    pub(crate) name: String,
    /// Its key.
    pub(crate) key: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its BLAKE3, once it is known.
    pub(crate) digest: Option<Digest>,
    /// Where it stands.
    pub(crate) state: TransferState,
    /// The last try; 0 before the first.
    pub(crate) attempt: u32,
    /// Its consumers, in chain order.
    pub(crate) legs: Vec<LegRow>,
    /// When it was submitted.
    pub(crate) submitted_at: Timestamp,
    /// When it was first placed.
    pub(crate) placed_at: Option<Timestamp>,
    /// When it was done or cancelled.
    pub(crate) ended_at: Option<Timestamp>,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// What becomes of its file when it is cancelled.
    pub(crate) given_back: String,
}

/// One consumer of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LegRow {
    /// The consumer.
    pub(crate) node: String,
    /// Where it stands.
    pub(crate) state: LegState,
    /// What it was known to hold when it was last asked, in bytes.
    pub(crate) bytes: u64,
    /// Since when it stands there.
    pub(crate) since: Timestamp,
    /// Why it refused.
    pub(crate) error: Option<String>,
}

/// The next transfers of a listing, with their rows' numbers.
pub(super) fn page(
    db: &Connection,
    node: &NodeName,
    page: &Page<'_>,
) -> rusqlite::Result<Vec<(i64, TransferRow)>> {
    let mut sql = page.select(COLUMNS, "transfers");
    if page.to.is_some() {
        sql += " AND EXISTS (SELECT 1 FROM legs WHERE legs.transfer = transfers.id
            AND legs.node = (SELECT nodes.id FROM nodes WHERE nodes.name = :to))";
    }
    let mut statement = db.prepare_cached(&page.ordered(sql))?;
    let mut found = statement.query(page.values(&[(":to", page.to)]).as_slice())?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        let (number, mut transfer) = read(row, node)?;
        transfer.legs = legs(db, number, transfer.size)?;
        rows.push((number, transfer));
    }
    Ok(rows)
}

const COLUMNS: &str = "id, (SELECT start FROM starts WHERE ordinal = id >> 40), feed, name, key, \
    size, digest, state, attempt, submitted_at, placed_at, ended_at, error, given_back";

/// One transfer, if it is there.
pub(in super::super) fn one(
    db: &Connection,
    node: &NodeName,
    id: &TransferId,
) -> rusqlite::Result<Option<TransferRow>> {
    let Some(number) = row_of(db, node, id)? else {
        return Ok(None);
    };
    let mut statement =
        db.prepare_cached(&format!("SELECT {COLUMNS} FROM transfers WHERE id = ?1"))?;
    let mut found = statement.query([number])?;
    let Some(row) = found.next()? else {
        return Ok(None);
    };
    let (_, mut transfer) = read(row, node)?;
    transfer.legs = legs(db, number, transfer.size)?;
    Ok(Some(transfer))
}

fn read(row: &Row<'_>, node: &NodeName) -> rusqlite::Result<(i64, TransferRow)> {
    let number: i64 = row.get(0)?;
    let name: String = row.get(3)?;
    let transfer = TransferRow {
        id: transfer_id(node.clone(), number, row, 1)?,
        feed: row.get(2)?,
        key: row.get::<_, Option<String>>(4)?.unwrap_or(name.clone()),
        name,
        size: unsigned(row, 5)?,
        digest: digest(row, 6)?,
        state: TransferState::from_column(7, row.get(7)?)?,
        attempt: row.get(8)?,
        legs: Vec::new(),
        submitted_at: time(row, 9)?,
        placed_at: optional_time(row, 10)?,
        ended_at: optional_time(row, 11)?,
        error: row.get(12)?,
        given_back: row.get(13)?,
    };
    Ok((number, transfer))
}

fn legs(db: &Connection, transfer: i64, size: u64) -> rusqlite::Result<Vec<LegRow>> {
    let mut statement = db.prepare_cached(
        "SELECT nodes.name, rung, bytes, since, error FROM legs JOIN nodes ON nodes.id = node
         WHERE transfer = ?1 ORDER BY place",
    )?;
    let found = statement.query_map([transfer], |row| {
        let state = LegState::from_column(1, row.get(1)?)?;
        let bytes = match state {
            LegState::Saved => size,
            LegState::Owed | LegState::Abandoning => unsigned(row, 2)?,
            LegState::Abandoned | LegState::Refused => 0,
        };
        Ok(LegRow {
            node: row.get(0)?,
            state,
            bytes,
            since: time(row, 3)?,
            error: row.get(4)?,
        })
    })?;
    found.collect()
}
