//! Retention: what ended longer ago than `history` leaves, a few rows at a time, and a batch goes with
//! its last receipt. Certificates stay: there are few.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension as _, params};

use super::bounds::{ROWS_PER_STEP, SWEEP_EVERY, SWEEP_STEP_EVERY};
use crate::timestamp::Timestamp;

/// A walk over the tables in the order of their rows, again and again.
#[derive(Debug)]
pub(super) struct Sweep {
    history_ms: u64,
    at: Cursor,
    not_before: Instant,
}

#[derive(Debug, Clone, Copy)]
enum Cursor {
    /// After this start and sequence.
    Transfers(i64, i64),
    /// After this consumer, start and slot.
    Placed(i64, i64, i64),
}

const BEGIN: Cursor = Cursor::Transfers(i64::MIN, i64::MIN);

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
        let (next, pause) = match self.at {
            Cursor::Transfers(start, seq) => match last_transfer(db, start, seq)? {
                Some(last) => {
                    // Nobody can make evidence again: a clock that jumped ahead does not end it, as
                    // long as nothing was done by it.
                    let newest = newest_end(db)?.unwrap_or_default();
                    let now = Timestamp::now().0.min(newest);
                    let cutoff = now.saturating_sub(self.history_ms);
                    forget_transfers(db, (start, seq), last, cutoff)?;
                    (Cursor::Transfers(last.0, last.1), SWEEP_STEP_EVERY)
                }
                None => (
                    Cursor::Placed(i64::MIN, i64::MIN, i64::MIN),
                    SWEEP_STEP_EVERY,
                ),
            },
            Cursor::Placed(consumer, start, slot) => {
                match forget_placed(db, (consumer, start, slot))? {
                    Some((consumer, start, slot)) => {
                        (Cursor::Placed(consumer, start, slot), SWEEP_STEP_EVERY)
                    }
                    None => (BEGIN, SWEEP_EVERY),
                }
            }
        };
        self.at = next;
        self.not_before = Instant::now() + pause;
        Ok(())
    }
}

/// When the newest transfer that has ended did.
fn newest_end(db: &Connection) -> rusqlite::Result<Option<u64>> {
    let newest: Option<i64> = db
        .prepare_cached("SELECT max(ended_at) FROM transfers")?
        .query_row([], |row| row.get(0))?;
    Ok(newest.map(i64::cast_unsigned))
}

/// The last of the next rows, or `None` at the end of the table.
fn last_transfer(db: &Connection, start: i64, seq: i64) -> rusqlite::Result<Option<(i64, i64)>> {
    db.prepare_cached(
        "SELECT start, seq FROM
             (SELECT start, seq FROM transfers WHERE (start, seq) > (?1, ?2)
              ORDER BY start, seq LIMIT ?3)
         ORDER BY start DESC, seq DESC LIMIT 1",
    )?
    .query_row(params![start, seq, ROWS_PER_STEP], |row| {
        Ok((row.get(0)?, row.get(1)?))
    })
    .optional()
}

fn forget_transfers(
    db: &Connection,
    after: (i64, i64),
    last: (i64, i64),
    cutoff: u64,
) -> rusqlite::Result<()> {
    let old: Vec<(i64, i64)> = db
        .prepare_cached(
            "SELECT start, seq FROM transfers
             WHERE (start, seq) > (?1, ?2) AND (start, seq) <= (?3, ?4) AND ended_at < ?5",
        )?
        .query_map(
            params![after.0, after.1, last.0, last.1, cutoff.cast_signed()],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )?
        .collect::<rusqlite::Result<_>>()?;
    if old.is_empty() {
        return Ok(());
    }
    let transaction = db.unchecked_transaction()?;
    let mut gone: BTreeMap<i64, i64> = BTreeMap::new();
    for (start, seq) in old {
        let mut delete = transaction
            .prepare_cached("DELETE FROM receipts WHERE start = ?1 AND seq = ?2 RETURNING batch")?;
        for batch in delete.query_map([start, seq], |row| row.get(0))? {
            *gone.entry(batch?).or_default() += 1;
        }
        transaction
            .prepare_cached("DELETE FROM transfers WHERE start = ?1 AND seq = ?2")?
            .execute([start, seq])?;
    }
    forget_batches(&transaction, gone)?;
    // A crash before this forgets nothing; the next sweep comes here again.
    transaction.commit()
}

/// Lets signatures go of which no receipt is left.
fn forget_batches(db: &Connection, gone: BTreeMap<i64, i64>) -> rusqlite::Result<()> {
    for (batch, receipts) in gone {
        db.prepare_cached("UPDATE batches SET held = held - ?2 WHERE id = ?1")?
            .execute([batch, receipts])?;
        db.prepare_cached("DELETE FROM batches WHERE id = ?1 AND held <= 0")?
            .execute([batch])?;
    }
    Ok(())
}

/// Forgets slots of transfers that are gone. Returns the last that was looked at, or `None` at the end.
fn forget_placed(
    db: &Connection,
    after: (i64, i64, i64),
) -> rusqlite::Result<Option<(i64, i64, i64)>> {
    let last = db
        .prepare_cached(
            "SELECT consumer, start, slot FROM
                 (SELECT consumer, start, slot FROM placed
                  WHERE (consumer, start, slot) > (?1, ?2, ?3)
                  ORDER BY consumer, start, slot LIMIT ?4)
             ORDER BY consumer DESC, start DESC, slot DESC LIMIT 1",
        )?
        .query_row(params![after.0, after.1, after.2, ROWS_PER_STEP], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })
        .optional()?;
    let Some((consumer, start, slot)) = last else {
        return Ok(None);
    };
    db.prepare_cached(
        "DELETE FROM placed
         WHERE (consumer, start, slot) > (?1, ?2, ?3) AND (consumer, start, slot) <= (?4, ?5, ?6)
             AND NOT EXISTS (SELECT 1 FROM transfers
                 WHERE transfers.start = placed.of_start AND transfers.seq = placed.of_seq)",
    )?
    .execute(params![after.0, after.1, after.2, consumer, start, slot])?;
    Ok(Some((consumer, start, slot)))
}
