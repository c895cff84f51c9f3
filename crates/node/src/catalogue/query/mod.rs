//! What can be asked of the catalogue.

pub(super) mod counts;
pub(super) mod deliveries;
pub(super) mod held;
mod in_order;
pub(super) mod ledger;
pub(super) mod listing;
pub(super) mod timeline;
pub(super) mod transfers;

use consign_core::ids::{Digest, NodeName, Sequence, Start, TransferId, TransferKey};
use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::packed::{pack, start_text, unpack};
use crate::timestamp::Timestamp;

/// The row of a transfer of `node`, or `None` when it cannot be here.
fn row_of(db: &Connection, node: &NodeName, id: &TransferId) -> rusqlite::Result<Option<i64>> {
    match &id.producer == node {
        true => number_of(db, &id.key),
        false => Ok(None),
    }
}

/// The number of a transfer of any producer, if its start is known here.
fn number_of(db: &Connection, key: &TransferKey) -> rusqlite::Result<Option<i64>> {
    let ordinal = db
        .prepare_cached("SELECT ordinal FROM starts WHERE start = ?1")?
        .query_row([start_text(key.start.0)], |row| row.get(0))
        .optional()?;
    Ok(ordinal.and_then(|ordinal| pack(ordinal, key.seq.0).ok()))
}

/// The id of a transfer from its row number and its start's text in column `start`.
fn transfer_id(
    producer: NodeName,
    row_number: i64,
    row: &Row<'_>,
    start: usize,
) -> rusqlite::Result<TransferId> {
    Ok(TransferId {
        producer,
        key: key_of(start_of(row, start)?, row_number),
    })
}

/// The start in column `column`.
fn start_of(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let text: String = row.get(column)?;
    u64::from_str_radix(&text, 16).map_err(|bad| unreadable(column, Type::Text, bad))
}

/// The key of a transfer of this start from its row number.
fn key_of(start: u64, row_number: i64) -> TransferKey {
    let (_, seq) = unpack(row_number);
    TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    }
}

fn unreadable(
    column: usize,
    kind: Type,
    error: impl std::error::Error + Send + Sync + 'static,
) -> rusqlite::Error {
    rusqlite::Error::FromSqlConversionFailure(column, kind, Box::new(error))
}

fn digest(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Digest>> {
    let bytes: Option<Vec<u8>> = row.get(column)?;
    Ok(bytes.as_deref().and_then(Digest::from_slice))
}

/// An unsigned number: lengths and times are stored as the bits of an `i64`.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn time(row: &Row<'_>, column: usize) -> rusqlite::Result<Timestamp> {
    unsigned(row, column).map(Timestamp)
}

fn optional_time(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    let ms: Option<i64> = row.get(column)?;
    Ok(ms.map(|ms| Timestamp(ms.cast_unsigned())))
}
