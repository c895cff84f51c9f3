//! Listings of transfers, a page at a time.

use consign_core::ids::{Digest, NodeName, TransferId};
use rusqlite::{Connection, Row, ToSql};

use super::super::row::{LegState, TransferState};
use super::{digest, optional_time, row_of, time, transfer_id, unsigned};
use crate::timestamp::Timestamp;

/// Transfers in one page: about 200 KiB of memory.
const PAGE_ROWS: u64 = 500;

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

/// Which transfers to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Filter {
    /// Only these.
    pub(crate) state: Option<TransferState>,
    /// Only of this feed.
    pub(crate) feed: Option<String>,
    /// Only those with this consumer.
    pub(crate) to: Option<String>,
    /// At most so many.
    pub(crate) limit: Option<u64>,
    /// The latest first; else in the order of their submission, roughly.
    pub(crate) newest_first: bool,
}

/// A listing under way. It holds no transaction between pages: what changes meanwhile is seen or
/// not, what does not is seen once.
#[derive(Debug, Clone)]
pub(crate) struct Pages {
    filter: Filter,
    last: Option<i64>,
    left: u64,
}

impl Pages {
    /// A listing from its begin.
    pub(crate) fn new(filter: Filter) -> Self {
        let left = filter.limit.unwrap_or(u64::MAX);
        Self {
            filter,
            last: None,
            left,
        }
    }

    /// The next page; empty at the end.
    pub(in super::super) fn next(
        &mut self,
        db: &Connection,
        node: &NodeName,
    ) -> rusqlite::Result<Vec<TransferRow>> {
        let rows = self.left.min(PAGE_ROWS);
        if rows == 0 {
            return Ok(Vec::new());
        }
        let from = self.last.unwrap_or(if self.filter.newest_first {
            i64::MAX
        } else {
            -1
        });
        let rows = rows.cast_signed();
        let mut values: Vec<(&str, &dyn ToSql)> = vec![(":from", &from), (":rows", &rows)];
        if let Some(feed) = &self.filter.feed {
            values.push((":feed", feed));
        }
        if let Some(to) = &self.filter.to {
            values.push((":to", to));
        }
        let mut statement = db.prepare_cached(&self.sql())?;
        let mut found = statement.query(values.as_slice())?;
        let mut page = Vec::new();
        while let Some(row) = found.next()? {
            let (number, mut transfer) = read(row, node)?;
            transfer.legs = legs(db, number, transfer.size)?;
            self.last = Some(number);
            page.push(transfer);
        }
        self.left -= page.len() as u64;
        Ok(page)
    }

    fn sql(&self) -> String {
        let filter = &self.filter;
        let (after, order) = if filter.newest_first {
            ("<", "DESC")
        } else {
            (">", "ASC")
        };
        let mut sql = format!("SELECT {COLUMNS} FROM transfers WHERE id {after} :from");
        if let Some(state) = filter.state {
            // As a literal, so that the partial index over failed ones can serve.
            sql += &format!(" AND state = {}", state as i64);
        }
        if filter.feed.is_some() {
            sql += " AND feed = :feed";
        }
        if filter.to.is_some() {
            sql += " AND EXISTS (SELECT 1 FROM legs WHERE legs.transfer = transfers.id
                AND legs.node = (SELECT nodes.id FROM nodes WHERE nodes.name = :to))";
        }
        sql + &format!(" ORDER BY id {order} LIMIT :rows")
    }
}

const COLUMNS: &str = "id, (SELECT start FROM starts WHERE ordinal = id >> 40), feed, name, key, \
    size, digest, state, attempt, submitted_at, placed_at, ended_at, error";

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
