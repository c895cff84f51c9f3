//! Who gets a transfer: placements, and the attempts along their chains.

use consign_core::record::{AttemptStarted, LegRecord, LegRung, Placed};
use rusqlite::{OptionalExtension as _, params};

use super::super::packed::pack;
use super::super::row::TransferState;
use super::super::tally::Counted;
use super::legs::rung_number;
use super::{Applier, ApplyError, only, or_null};

const SUBMITTED: i64 = TransferState::Submitted as i64;
const PLACED: i64 = TransferState::Placed as i64;

impl Applier<'_> {
    pub(super) fn placed(&mut self, body: &Placed) -> Result<(), ApplyError> {
        let id = pack(self.names.start(self.db, body.start)?, body.seq)?;
        let first = self.first_placement(id, body)?;
        if !first {
            let known = self.later_placement(id, body)?;
            if !known {
                // Ended and pruned: only its slots still live in the log.
                return Ok(());
            }
            self.db
                .prepare_cached("UPDATE legs SET place = -1 WHERE transfer = ?1")?
                .execute([id])?;
        }
        for (place, leg) in body.legs.iter().enumerate() {
            self.place_leg(id, place, leg, body.at)?;
        }
        if !first {
            // The record is whole: who is not in it is not a consumer of this transfer any more.
            self.db
                .prepare_cached("DELETE FROM legs WHERE transfer = ?1 AND place = -1")?
                .execute([id])?;
        }
        Ok(())
    }

    /// Enters the first placement; false when there is one already, or no such transfer.
    fn first_placement(&mut self, id: i64, body: &Placed) -> Result<bool, ApplyError> {
        let mut statement = self.db.prepare_cached(
            "UPDATE transfers SET attempt = ?2, placed_at = ?3, placement = ?4,
                 state = iif(state = 0, 1, state)
             WHERE id = ?1 AND placed_at IS NULL RETURNING feed, size, state",
        )?;
        let mut entered = statement.query(params![
            id,
            body.attempt,
            body.at.cast_signed(),
            placement_text(body)
        ])?;
        let Some(row) = entered.next()? else {
            return Ok(false);
        };
        if row.get::<_, i64>(2)? == PLACED {
            let feed = row.get_ref(0)?.as_str().map_err(rusqlite::Error::from)?;
            self.tally
                .moved(Counted::Transfers, feed, row.get(1)?, SUBMITTED, PLACED);
        }
        Ok(true)
    }

    /// Notes another placement; false when there is no such transfer.
    fn later_placement(&mut self, id: i64, body: &Placed) -> Result<bool, ApplyError> {
        let first = self
            .db
            .prepare_cached("SELECT placed_at FROM transfers WHERE id = ?1")?
            .query_row([id], |row| row.get::<_, Option<i64>>(0))
            .optional()?
            .flatten();
        let Some(first) = first else {
            return Ok(false);
        };
        if first != body.at.cast_signed() && !body.carried {
            let mark = format!("{}/{}", body.at, body.attempt);
            self.enter_event(id, "placed", &mark, body.at, &placement_text(body))?;
        }
        self.tally.moving(
            self.db,
            Counted::Transfers,
            &only(id),
            "state = 0",
            Some(PLACED),
        )?;
        self.db
            .prepare_cached(
                "UPDATE transfers SET attempt = ?2, state = iif(state = 0, 1, state) WHERE id = ?1",
            )?
            .execute(params![id, body.attempt])?;
        Ok(true)
    }

    fn place_leg(
        &mut self,
        id: i64,
        place: usize,
        leg: &LegRecord,
        at: u64,
    ) -> Result<(), ApplyError> {
        let rung = rung_number(leg.rung)?;
        let slot = pack(self.names.start(self.db, leg.start)?, leg.slot)?;
        let node = self.names.node(self.db, &leg.node)?;
        // A leg that keeps its rung keeps since when and with what receipt it has it.
        self.db
            .prepare_cached(
                "INSERT INTO legs (transfer, node, place, slot, rung, bytes, since, error, replaced)
                 VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7, ?5 = 4)
                 ON CONFLICT DO UPDATE SET place = excluded.place, slot = excluded.slot,
                     error = excluded.error, replaced = excluded.replaced,
                     since = iif(rung = excluded.rung, since, excluded.since),
                     rung = excluded.rung",
            )?
            .execute(params![
                id,
                node,
                place.cast_signed(),
                slot,
                rung,
                at.cast_signed(),
                or_null(&leg.refusal)
            ])?;
        Ok(())
    }

    pub(super) fn attempt_started(&mut self, body: &AttemptStarted) -> Result<(), ApplyError> {
        let id = pack(self.names.start(self.db, body.start)?, body.seq)?;
        let known = self
            .db
            .prepare_cached("UPDATE transfers SET attempt = max(attempt, ?2) WHERE id = ?1")?
            .execute(params![id, body.attempt])?;
        if known == 0 {
            return Ok(());
        }
        for member in &body.chain {
            let node = self.names.node(self.db, &member.node)?;
            self.db
                .prepare_cached("UPDATE legs SET bytes = ?3 WHERE transfer = ?1 AND node = ?2")?
                .execute(params![id, node, member.from.cast_signed()])?;
        }
        let mark = format!("{}/{}", body.attempt, body.at);
        self.enter_event(id, "attempt", &mark, body.at, &attempt_text(body))
    }
}

/// `on store-1 → store-2: first placement (view epoch 7)`.
fn placement_text(body: &Placed) -> String {
    let gets_it = |leg: &&LegRecord| match LegRung::try_from(leg.rung) {
        Ok(LegRung::Abandoning | LegRung::Abandoned | LegRung::Refused) => false,
        Ok(LegRung::Owed | LegRung::Saved) | Err(_) => true,
    };
    let chain = body.legs.iter().filter(gets_it);
    let chain: Vec<&str> = chain.map(|leg| leg.node.as_str()).collect();
    let chain = match chain.as_slice() {
        [] => "nobody".to_owned(),
        chain => chain.join(" → "),
    };
    let more = if body.short {
        ", and more when members come"
    } else {
        ""
    };
    // Of one that is only carried, why it was decided so is not known any more.
    let decided = or_null(&body.reason).filter(|_| !body.carried);
    format!(
        "on {chain}{more}: {} (view epoch {})",
        decided.unwrap_or("placed"),
        body.epoch
    )
}

/// `attempt 2 along store-1 from byte 1048576 → store-2: store-1 was lost`.
fn attempt_text(body: &AttemptStarted) -> String {
    let chain: Vec<String> = body
        .chain
        .iter()
        .map(|member| match member.from {
            0 => member.node.clone(),
            from => format!("{} from byte {from}", member.node),
        })
        .collect();
    let chain = chain.join(" → ");
    match or_null(&body.reason) {
        Some(reason) => format!("attempt {} along {chain}: {reason}", body.attempt),
        None => format!("attempt {} along {chain}", body.attempt),
    }
}
