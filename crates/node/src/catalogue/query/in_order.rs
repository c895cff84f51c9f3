//! Walks over tables in the order of the transfers: rows are numbered by when their start was first
//! heard of, and two nodes heard of the same starts in different orders.

use consign_core::ids::TransferKey;
use rusqlite::Connection;

use super::super::packed::{NUMBER_MAX, pack, start_text};
use super::start_of;

/// Transfers of one start that are wanted.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stretch {
    /// The start.
    pub(super) start: u64,
    /// Whether it is the one that the walk begins with.
    pub(super) is_first: bool,
    /// Their lowest row number.
    pub(super) from: i64,
    /// Their highest.
    pub(super) to: i64,
}

/// The transfers from `first` to `last`, start by start, as far as `page` has not given `rows` of them
/// yet; it is told how many are still wanted.
pub(super) fn in_order<T>(
    db: &Connection,
    (first, last): (TransferKey, TransferKey),
    rows: usize,
    mut page: impl FnMut(Stretch, usize) -> rusqlite::Result<Vec<T>>,
) -> rusqlite::Result<Vec<T>> {
    let mut starts = db.prepare_cached(
        "SELECT ordinal, start FROM starts WHERE start >= ?1 AND start <= ?2 ORDER BY start",
    )?;
    let mut starts = starts.query([start_text(first.start.0), start_text(last.start.0)])?;
    let mut found = Vec::new();
    while found.len() < rows
        && let Some(row) = starts.next()?
    {
        let (ordinal, start): (i64, u64) = (row.get(0)?, start_of(row, 1)?);
        let is_first = start == first.start.0;
        // A number that is no row's has nothing behind it.
        let Ok(from) = pack(ordinal, if is_first { first.seq.0 } else { 0 }) else {
            continue;
        };
        let highest = ordinal << 40 | NUMBER_MAX;
        let to = match start == last.start.0 {
            true => pack(ordinal, last.seq.0).unwrap_or(highest),
            false => highest,
        };
        let stretch = Stretch {
            start,
            is_first,
            from,
            to,
        };
        found.extend(page(stretch, rows - found.len())?);
    }
    Ok(found)
}
