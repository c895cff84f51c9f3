//! Row numbers that carry their meaning: a start's ordinal in the upper bits, a sequence or slot
//! in the lower. So ranges of sequences are ranges of rows, rows of one start lie together, and
//! rows are roughly in the order in which they were submitted.

use std::collections::HashMap;
use std::ops::Range;

use consign_core::ranges::SlotRange;
use rusqlite::{Connection, OptionalExtension as _, params};

use super::apply::ApplyError;
use crate::catalogue::bounds::INTERNED_MAX;

/// Bits for the sequence or slot: 10^12 files in one start of an agent.
const NUMBER_BITS: u32 = 40;
/// The largest of them.
pub(super) const NUMBER_MAX: i64 = (1 << NUMBER_BITS) - 1;
/// Starts that are numbered before the catalogue has to be begun anew.
const ORDINAL_MAX: i64 = (1 << (63 - NUMBER_BITS)) - 1;

/// Packs a start's ordinal and a number, which must be below 2^40.
pub(super) fn pack(ordinal: i64, number: u64) -> Result<i64, ApplyError> {
    let fits = number < 1 << NUMBER_BITS && (0..=ORDINAL_MAX).contains(&ordinal);
    match i64::try_from(number) {
        Ok(number) if fits => Ok(ordinal << NUMBER_BITS | number),
        _ => Err(ApplyError::NumberTooLarge { number }),
    }
}

/// The rows of a range of numbers. A range beyond what can exist ends with what can.
pub(super) fn pack_range(ordinal: i64, range: SlotRange) -> Result<Range<i64>, ApplyError> {
    let last = (1 << NUMBER_BITS) - 1;
    let from = pack(ordinal, range.from.min(last))?;
    let to = pack(ordinal, range.to.min(last))?;
    Ok(from..to)
}

/// The ordinal and the number of a row.
pub(super) fn unpack(row: i64) -> (i64, u64) {
    let number = row & ((1 << NUMBER_BITS) - 1);
    (row >> NUMBER_BITS, number.unsigned_abs())
}

/// A start as the database spells it.
pub(super) fn start_text(start: u64) -> String {
    format!("{start:016x}")
}

/// The ordinals of starts and the numbers of nodes, as the database has them.
#[derive(Debug, Default)]
pub(super) struct Interned {
    starts: HashMap<u64, i64>,
    nodes: HashMap<String, i64>,
}

impl Interned {
    /// The ordinal of a start, given out at its first use.
    pub(super) fn start(&mut self, db: &Connection, start: u64) -> Result<i64, ApplyError> {
        if let Some(&ordinal) = self.starts.get(&start) {
            return Ok(ordinal);
        }
        let text = start_text(start);
        let ordinal = numbered(
            db,
            "SELECT ordinal FROM starts WHERE start = ?1",
            "INSERT INTO starts (start) VALUES (?1)",
            &text,
        )?;
        remember(&mut self.starts, start, ordinal);
        Ok(ordinal)
    }

    /// The number of a node, given out at its first use.
    pub(super) fn node(&mut self, db: &Connection, node: &str) -> Result<i64, ApplyError> {
        if let Some(&number) = self.nodes.get(node) {
            return Ok(number);
        }
        let number = numbered(
            db,
            "SELECT id FROM nodes WHERE name = ?1",
            "INSERT INTO nodes (name) VALUES (?1)",
            node,
        )?;
        remember(&mut self.nodes, node.to_owned(), number);
        Ok(number)
    }
}

fn numbered(
    db: &Connection,
    select: &str,
    insert: &str,
    text: &str,
) -> Result<i64, rusqlite::Error> {
    let known = db
        .prepare_cached(select)?
        .query_row(params![text], |row| row.get(0))
        .optional()?;
    match known {
        Some(number) => Ok(number),
        None => {
            db.prepare_cached(insert)?.execute(params![text])?;
            Ok(db.last_insert_rowid())
        }
    }
}

fn remember<K: std::hash::Hash + Eq>(map: &mut HashMap<K, i64>, key: K, number: i64) {
    if map.len() >= INTERNED_MAX {
        map.clear();
    }
    map.insert(key, number);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_carry_start_and_sequence() {
        let row = pack(7, 42).unwrap();
        assert_eq!(unpack(row), (7, 42));
        assert!(pack(7, 1 << 40).is_err());
        assert!(pack(ORDINAL_MAX + 1, 1).is_err());
        let all = SlotRange {
            from: 5,
            to: u64::MAX,
        };
        let rows = pack_range(7, all).unwrap();
        assert!(rows.contains(&row) && !rows.contains(&pack(8, 5).unwrap()));
    }
}
