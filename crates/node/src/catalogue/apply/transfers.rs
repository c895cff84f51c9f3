//! A producer's transfers: submitted, ended, failed and retried.

use std::ops::Range;

use consign_core::record::{DigestKnown, Submitted, Transfers};
use consign_core::spec::After;
use rusqlite::params;

use super::super::packed::{pack, pack_range};
use super::super::row::TransferState;
use super::super::tally::Counted;
use super::{Applier, ApplyError, digest_or_null, or_null};

const SUBMITTED: i64 = TransferState::Submitted as i64;
const PLACED: i64 = TransferState::Placed as i64;
const DONE: i64 = TransferState::Done as i64;
const FAILED: i64 = TransferState::Failed as i64;
const CANCELLED: i64 = TransferState::Cancelled as i64;

impl Applier<'_> {
    pub(super) fn submitted(&mut self, body: &Submitted) -> Result<(), ApplyError> {
        let id = pack(self.names.start(self.db, body.start)?, body.seq)?;
        let spec = &body.spec;
        let size = spec.size.cast_signed();
        let entered = self
            .db
            .prepare_cached(
                "INSERT INTO transfers
                     (id, feed, name, key, size, digest, state, attempt, priority, origin,
                      kept, submitted_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10, ?11)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                id,
                spec.feed,
                spec.name,
                (spec.key != spec.name).then_some(&spec.key),
                size,
                digest_or_null(&body.digest),
                SUBMITTED,
                spec.priority,
                or_null(&body.source.origin),
                body.source.after() == After::Keep,
                spec.submitted_at.cast_signed(),
            ])?;
        if entered > 0 {
            self.tally
                .add(Counted::Transfers, &spec.feed, SUBMITTED, 1, size);
        }
        Ok(())
    }

    pub(super) fn digest_known(&mut self, body: &DigestKnown) -> Result<(), ApplyError> {
        let id = pack(self.names.start(self.db, body.start)?, body.seq)?;
        self.db
            .prepare_cached("UPDATE transfers SET digest = ?2 WHERE id = ?1")?
            .execute(params![id, digest_or_null(&body.digest)])?;
        // The record has no time of its own: it came after the last thing that is known.
        self.db
            .prepare_cached(
                "INSERT INTO events (transfer, kind, mark, at, text)
                 SELECT id, 'digest', '', coalesce(
                         (SELECT max(at) FROM events WHERE transfer = id), placed_at, submitted_at
                     ), lower(hex(digest))
                 FROM transfers WHERE id = ?1 AND digest IS NOT NULL
                 ON CONFLICT DO NOTHING",
            )?
            .execute([id])?;
        Ok(())
    }

    pub(super) fn done(&mut self, body: &Transfers) -> Result<(), ApplyError> {
        for rows in self.rows(body)? {
            self.move_rows(&rows, "state <> 2", DONE)?;
            self.db
                .prepare_cached(
                    "UPDATE transfers SET state = 2, ended_at = ?3, error = NULL
                     WHERE id >= ?1 AND id < ?2 AND state <> 2",
                )?
                .execute(params![rows.start, rows.end, body.at.cast_signed()])?;
        }
        Ok(())
    }

    pub(super) fn released(&mut self, body: &Transfers) -> Result<(), ApplyError> {
        for rows in self.rows(body)? {
            self.db
                .prepare_cached("UPDATE transfers SET released_at = ?3 WHERE id >= ?1 AND id < ?2")?
                .execute(params![rows.start, rows.end, body.at.cast_signed()])?;
        }
        Ok(())
    }

    pub(super) fn failed(&mut self, body: &Transfers) -> Result<(), ApplyError> {
        for rows in self.rows(body)? {
            self.move_rows(&rows, "state IN (0, 1)", FAILED)?;
            self.db
                .prepare_cached(
                    "UPDATE transfers SET state = 3, error = ?3
                     WHERE id >= ?1 AND id < ?2 AND state IN (0, 1)",
                )?
                .execute(params![rows.start, rows.end, body.reason])?;
            self.enter_events(&rows, "failed", body)?;
        }
        Ok(())
    }

    pub(super) fn retried(&mut self, body: &Transfers) -> Result<(), ApplyError> {
        for rows in self.rows(body)? {
            self.move_rows(&rows, "state = 3 AND placed_at IS NULL", SUBMITTED)?;
            self.move_rows(&rows, "state = 3 AND placed_at IS NOT NULL", PLACED)?;
            self.db
                .prepare_cached(
                    "UPDATE transfers SET state = iif(placed_at IS NULL, 0, 1), error = NULL
                     WHERE id >= ?1 AND id < ?2 AND state = 3",
                )?
                .execute(params![rows.start, rows.end])?;
            self.enter_events(&rows, "retried", body)?;
        }
        Ok(())
    }

    pub(super) fn cancelled(&mut self, body: &Transfers) -> Result<(), ApplyError> {
        for rows in self.rows(body)? {
            self.move_rows(&rows, "state NOT IN (2, 4)", CANCELLED)?;
            self.db
                .prepare_cached(
                    "UPDATE transfers SET state = 4, ended_at = ?3, error = NULL
                     WHERE id >= ?1 AND id < ?2 AND state NOT IN (2, 4)",
                )?
                .execute(params![rows.start, rows.end, body.at.cast_signed()])?;
            self.enter_events(&rows, "cancelled", body)?;
        }
        Ok(())
    }

    fn move_rows(&mut self, rows: &Range<i64>, condition: &str, to: i64) -> Result<(), ApplyError> {
        Ok(self
            .tally
            .moving(self.db, Counted::Transfers, rows, condition, Some(to))?)
    }

    fn enter_events(
        &self,
        rows: &Range<i64>,
        kind: &str,
        body: &Transfers,
    ) -> Result<(), ApplyError> {
        self.db
            .prepare_cached(
                "INSERT INTO events (transfer, kind, mark, at, text)
                 SELECT id, ?3, ?4, ?4, ?5 FROM transfers WHERE id >= ?1 AND id < ?2
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                rows.start,
                rows.end,
                kind,
                body.at.cast_signed(),
                body.reason
            ])?;
        Ok(())
    }

    fn rows(&mut self, body: &Transfers) -> Result<Vec<Range<i64>>, ApplyError> {
        let ordinal = self.names.start(self.db, body.start)?;
        body.seqs
            .iter()
            .map(|&range| pack_range(ordinal, range))
            .collect()
    }
}
