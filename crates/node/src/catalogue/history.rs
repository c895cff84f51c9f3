//! Retention: what ended longer ago than `history` leaves, a few rows at a time.

use std::ops::Range;
use std::time::{Duration, Instant};

use rusqlite::{Connection, params};

use super::tally::{Counted, Tally};
use crate::catalogue::bounds::{STEP_EVERY, SWEEP_EVERY};
use crate::timestamp::Timestamp;

/// Rows that one step looks at; it takes a few milliseconds.
const ROWS_PER_STEP: i64 = 1000;
/// A walk over the tables in the order of their rows, again and again. It needs no index over the
/// ends of transfers, which would cost every one of them a write.
#[derive(Debug)]
pub(super) struct Sweep {
    history_ms: u64,
    at: Cursor,
    not_before: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Cursor {
    Transfers { after: i64 },
    Deliveries { after: i64 },
}

const BEGIN: Cursor = Cursor::Transfers { after: -1 };

impl Sweep {
    pub(super) fn new(history_ms: u64) -> Self {
        Self {
            history_ms,
            at: BEGIN,
            not_before: Instant::now(),
        }
    }

    /// How long until the next step.
    pub(super) fn due_in(&self) -> Duration {
        self.not_before.saturating_duration_since(Instant::now())
    }

    /// Looks at the next rows, if it is time.
    pub(super) fn step(&mut self, db: &Connection) -> rusqlite::Result<()> {
        if !self.due_in().is_zero() {
            return Ok(());
        }
        let cutoff = Timestamp::now().0.saturating_sub(self.history_ms);
        let (next, pause) = match self.at {
            Cursor::Transfers { after } => match last_row(db, "transfers", after)? {
                Some(last) => {
                    delete_transfers(db, after, last, cutoff)?;
                    (Cursor::Transfers { after: last }, STEP_EVERY)
                }
                None => (Cursor::Deliveries { after: -1 }, STEP_EVERY),
            },
            Cursor::Deliveries { after } => match last_row(db, "deliveries", after)? {
                Some(last) => {
                    delete_deliveries(db, after, last, cutoff)?;
                    (Cursor::Deliveries { after: last }, STEP_EVERY)
                }
                None => (BEGIN, SWEEP_EVERY),
            },
        };
        self.at = next;
        self.not_before = Instant::now() + pause;
        Ok(())
    }
}

/// The last of the next rows after `after`, or `None` at the end of the table.
fn last_row(db: &Connection, table: &'static str, after: i64) -> rusqlite::Result<Option<i64>> {
    let sql =
        format!("SELECT max(id) FROM (SELECT id FROM {table} WHERE id > ?1 ORDER BY id LIMIT ?2)");
    db.prepare_cached(&sql)?
        .query_row(params![after, ROWS_PER_STEP], |row| row.get(0))
}

fn delete_transfers(db: &Connection, after: i64, last: i64, cutoff: u64) -> rusqlite::Result<()> {
    let (rows, old) = (after + 1..last + 1, older_than(cutoff));
    let transaction = db.unchecked_transaction()?;
    for table in ["legs", "events"] {
        transaction.execute(
            &format!(
                "DELETE FROM {table} WHERE transfer IN
                     (SELECT id FROM transfers WHERE id >= ?1 AND id < ?2 AND {old})"
            ),
            params![rows.start, rows.end],
        )?;
    }
    let left = delete_counted(&transaction, Counted::Transfers, "transfers", &rows, &old)?;
    note_lost(&transaction, left, cutoff)?;
    transaction.commit()
}

fn delete_deliveries(db: &Connection, after: i64, last: i64, cutoff: u64) -> rusqlite::Result<()> {
    let (rows, old) = (after + 1..last + 1, older_than(cutoff));
    let transaction = db.unchecked_transaction()?;
    transaction.execute(
        &format!(
            "DELETE FROM openings WHERE delivery IN
                 (SELECT id FROM deliveries WHERE id >= ?1 AND id < ?2 AND {old})"
        ),
        params![rows.start, rows.end],
    )?;
    let left = delete_counted(&transaction, Counted::Deliveries, "deliveries", &rows, &old)?;
    note_lost(&transaction, left, cutoff)?;
    transaction.commit()
}

fn older_than(cutoff: u64) -> String {
    format!("ended_at < {}", cutoff.cast_signed())
}

fn delete_counted(
    db: &Connection,
    counted: Counted,
    table: &str,
    rows: &Range<i64>,
    condition: &str,
) -> rusqlite::Result<usize> {
    let mut tally = Tally::default();
    tally.moving(db, counted, rows, condition, None)?;
    let left = db.execute(
        &format!("DELETE FROM {table} WHERE id >= ?1 AND id < ?2 AND {condition}"),
        params![rows.start, rows.end],
    )?;
    tally.write(db)?;
    Ok(left)
}

/// Notes that not everything that ended before `cutoff` is known any more. The clock may be set back
/// later, so this is not told from the clock.
fn note_lost(db: &Connection, rows: usize, cutoff: u64) -> rusqlite::Result<()> {
    if rows > 0 {
        db.prepare_cached("UPDATE completeness SET since = max(since, ?1)")?
            .execute([cutoff.cast_signed()])?;
    }
    Ok(())
}
