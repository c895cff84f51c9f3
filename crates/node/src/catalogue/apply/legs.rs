//! What consumers answered for good.

use std::ops::Range;

use consign_core::record::{LegRung, LegsSettled};
use rusqlite::params;

use super::super::packed::pack_range;
use super::super::row::LegState;
use super::{Applier, ApplyError, or_null};

impl Applier<'_> {
    pub(super) fn legs_settled(&mut self, body: &LegsSettled) -> Result<(), ApplyError> {
        let rung = rung_number(body.rung)?;
        let node = self.names.node(self.db, &body.node)?;
        let ordinal = self.names.start(self.db, body.start)?;
        let receipt = body.receipt.as_ref();
        for &range in &body.slots {
            let slots = pack_range(ordinal, range)?;
            self.db
                .prepare_cached(
                    "UPDATE legs SET rung = ?4, since = ?5, error = ?6,
                         receipt_incarnation = ?7, receipt_at = ?8
                     WHERE node = ?1 AND slot >= ?2 AND slot < ?3 AND rung <> ?4",
                )?
                .execute(params![
                    node,
                    slots.start,
                    slots.end,
                    rung,
                    body.at.cast_signed(),
                    or_null(&body.refusal),
                    receipt.map(|receipt| receipt.incarnation.cast_signed()),
                    receipt.map(|receipt| receipt.at.cast_signed()),
                ])?;
            // A saved leg is its own event; the others may be placed again, and be forgotten.
            match LegRung::try_from(body.rung) {
                Ok(LegRung::Refused) => self.enter_answers(node, &slots, "refused", body)?,
                Ok(LegRung::Abandoned) => self.enter_answers(node, &slots, "abandoned", body)?,
                Ok(LegRung::Saved | LegRung::Owed | LegRung::Abandoning) | Err(_) => {}
            }
        }
        Ok(())
    }

    fn enter_answers(
        &self,
        node: i64,
        slots: &Range<i64>,
        kind: &str,
        body: &LegsSettled,
    ) -> Result<(), ApplyError> {
        self.db
            .prepare_cached(
                "INSERT INTO events (transfer, kind, mark, at, node, text)
                 SELECT transfer, ?4, ?5 || '/' || node, ?5, node, ?6
                 FROM legs WHERE node = ?1 AND slot >= ?2 AND slot < ?3
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                node,
                slots.start,
                slots.end,
                kind,
                body.at.cast_signed(),
                body.refusal
            ])?;
        Ok(())
    }
}

/// A rung of the log as the database numbers it.
pub(super) fn rung_number(rung: i32) -> Result<i64, ApplyError> {
    let state = match LegRung::try_from(rung) {
        Ok(LegRung::Owed) => LegState::Owed,
        Ok(LegRung::Saved) => LegState::Saved,
        Ok(LegRung::Abandoned) => LegState::Abandoned,
        Ok(LegRung::Refused) => LegState::Refused,
        Ok(LegRung::Abandoning) => LegState::Abandoning,
        Err(_) => return Err(ApplyError::UnknownRung { rung }),
    };
    Ok(state as i64)
}
