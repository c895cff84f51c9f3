//! How many files are in which state. The sums are kept up to date as rows move, so this reads a
//! few rows however long the history is.

use rusqlite::Connection;

use super::super::row::{DeliveryState, TransferState};
use super::unsigned;

/// Transfers of one feed in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TransferCount {
    /// The feed.
    pub(crate) feed: String,
    /// The state.
    pub(crate) state: TransferState,
    /// How many.
    pub(crate) files: u64,
    /// Their lengths together, in bytes.
    pub(crate) bytes: u64,
}

/// Deliveries of one feed in one state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryCount {
    /// The feed.
    pub(crate) feed: String,
    /// The state.
    pub(crate) state: DeliveryState,
    /// How many.
    pub(crate) files: u64,
    /// Their lengths together, in bytes.
    pub(crate) bytes: u64,
}

/// Transfers by feed and state; nothing for what has none.
pub(in super::super) fn transfers(db: &Connection) -> rusqlite::Result<Vec<TransferCount>> {
    let mut statement = db.prepare_cached(
        "SELECT feed, state, files, bytes FROM transfer_counts WHERE files > 0
         ORDER BY feed, state",
    )?;
    let found = statement.query_map([], |row| {
        Ok(TransferCount {
            feed: row.get(0)?,
            state: TransferState::from_column(1, row.get(1)?)?,
            files: unsigned(row, 2)?,
            bytes: unsigned(row, 3)?,
        })
    })?;
    found.collect()
}

/// Deliveries by feed and state; nothing for what has none.
pub(in super::super) fn deliveries(db: &Connection) -> rusqlite::Result<Vec<DeliveryCount>> {
    let mut statement = db.prepare_cached(
        "SELECT feed, state, files, bytes FROM delivery_counts WHERE files > 0
         ORDER BY feed, state",
    )?;
    let found = statement.query_map([], |row| {
        Ok(DeliveryCount {
            feed: row.get(0)?,
            state: DeliveryState::from_column(1, row.get(1)?)?,
            files: unsigned(row, 2)?,
            bytes: unsigned(row, 3)?,
        })
    })?;
    found.collect()
}
