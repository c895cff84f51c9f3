//! The producer's records: transfers, their legs and their events.

use consign_core::ranges::SlotRange;
use consign_core::record::{
    AttemptStarted, DigestKnown, LegRecord, LegRung, LegsSettled, Placed, Submitted, Transfers,
};
use rusqlite::{Connection, OptionalExtension as _, ToSql, params};

use super::super::packed::{Interned, pack, pack_range};
use super::super::row::{LegState, TransferState};
use super::{ApplyError, digest_or_null, or_null};

const SUBMITTED: i64 = TransferState::Submitted as i64;
const PLACED: i64 = TransferState::Placed as i64;
const DONE: i64 = TransferState::Done as i64;
const FAILED: i64 = TransferState::Failed as i64;
const CANCELLED: i64 = TransferState::Cancelled as i64;
const SAVED: i64 = LegState::Saved as i64;

pub(super) fn submitted(
    db: &Connection,
    names: &mut Interned,
    body: &Submitted,
) -> Result<(), ApplyError> {
    let id = pack(names.start(db, body.start)?, body.seq)?;
    let spec = &body.spec;
    db.prepare_cached(
        "INSERT INTO transfers
             (id, feed, name, key, size, digest, state, attempt, priority, origin, submitted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, ?9, ?10)
         ON CONFLICT DO NOTHING",
    )?
    .execute(params![
        id,
        spec.feed,
        spec.name,
        (spec.key != spec.name).then_some(&spec.key),
        spec.size.cast_signed(),
        digest_or_null(&body.digest),
        SUBMITTED,
        spec.priority,
        or_null(&body.source.origin),
        spec.submitted_at.cast_signed(),
    ])?;
    Ok(())
}

pub(super) fn placed(
    db: &Connection,
    names: &mut Interned,
    body: &Placed,
) -> Result<(), ApplyError> {
    let id = pack(names.start(db, body.start)?, body.seq)?;
    let known = db
        .prepare_cached("SELECT placed_at FROM transfers WHERE id = ?1")?
        .query_row([id], |row| row.get::<_, Option<i64>>(0))
        .optional()?;
    let at = body.at.cast_signed();
    match known {
        // Ended and pruned: only its slots still live in the log.
        None => return Ok(()),
        Some(None) => first_placement(db, id, body)?,
        Some(Some(first)) => {
            if first != at && !body.carried {
                enter_placement(db, id, body)?;
            }
            later_placement(db, id, body)?;
            db.prepare_cached("UPDATE legs SET place = -1 WHERE transfer = ?1")?
                .execute([id])?;
        }
    }
    for (place, leg) in body.legs.iter().enumerate() {
        place_leg(db, names, id, place, leg, at)?;
    }
    if known != Some(None) {
        // The record is whole: who is not in it is not a consumer of this transfer any more.
        db.prepare_cached("DELETE FROM legs WHERE transfer = ?1 AND place = -1")?
            .execute([id])?;
    }
    Ok(())
}

fn first_placement(db: &Connection, id: i64, body: &Placed) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE transfers SET attempt = ?2, placed_at = ?3, placement = ?4,
             state = CASE state WHEN ?5 THEN ?6 ELSE state END
         WHERE id = ?1",
    )?
    .execute(params![
        id,
        body.attempt,
        body.at.cast_signed(),
        placement_text(body),
        SUBMITTED,
        PLACED
    ])?;
    Ok(())
}

fn later_placement(db: &Connection, id: i64, body: &Placed) -> rusqlite::Result<()> {
    db.prepare_cached(
        "UPDATE transfers SET attempt = ?2, state = CASE state WHEN ?3 THEN ?4 ELSE state END
         WHERE id = ?1",
    )?
    .execute(params![id, body.attempt, SUBMITTED, PLACED])?;
    Ok(())
}

fn enter_placement(db: &Connection, id: i64, body: &Placed) -> rusqlite::Result<()> {
    let mark = format!("{}/{}", body.at, body.attempt);
    enter_event(
        db,
        id,
        "placed",
        &mark,
        body.at,
        None,
        &placement_text(body),
    )
}

/// `on store-1 → store-2: first placement (view epoch 7)`.
fn placement_text(body: &Placed) -> String {
    let rung = |leg: &LegRecord| LegRung::try_from(leg.rung);
    let told_off = |leg: &&LegRecord| {
        matches!(
            rung(leg),
            Ok(LegRung::Abandoning | LegRung::Abandoned | LegRung::Refused)
        )
    };
    let chain: Vec<&str> = body
        .legs
        .iter()
        .filter(|leg| !told_off(leg))
        .map(|leg| leg.node.as_str())
        .collect();
    let reason = or_null(&body.reason).unwrap_or("placed");
    let short = if body.short {
        ", and more when members come"
    } else {
        ""
    };
    format!(
        "on {}{short}: {reason} (view epoch {})",
        chain.join(" → "),
        body.epoch
    )
}

fn place_leg(
    db: &Connection,
    names: &mut Interned,
    id: i64,
    place: usize,
    leg: &LegRecord,
    at: i64,
) -> Result<(), ApplyError> {
    let rung = rung_number(leg.rung)?;
    let slot = pack(names.start(db, leg.start)?, leg.slot)?;
    // A leg that keeps its rung keeps since when and with what receipt it has it.
    db.prepare_cached(
        "INSERT INTO legs (transfer, node, place, slot, rung, bytes, since, error)
         VALUES (?1, ?2, ?3, ?4, ?5, 0, ?6, ?7)
         ON CONFLICT DO UPDATE SET place = excluded.place, slot = excluded.slot,
             error = excluded.error,
             since = CASE WHEN rung = excluded.rung THEN since ELSE excluded.since END,
             rung = excluded.rung",
    )?
    .execute(params![
        id,
        names.node(db, &leg.node)?,
        place.cast_signed(),
        slot,
        rung,
        at,
        or_null(&leg.refusal)
    ])?;
    Ok(())
}

fn rung_number(rung: i32) -> Result<i64, ApplyError> {
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

pub(super) fn attempt_started(
    db: &Connection,
    names: &mut Interned,
    body: &AttemptStarted,
) -> Result<(), ApplyError> {
    let id = pack(names.start(db, body.start)?, body.seq)?;
    let known = db
        .prepare_cached("UPDATE transfers SET attempt = max(attempt, ?2) WHERE id = ?1")?
        .execute(params![id, body.attempt])?;
    if known == 0 {
        return Ok(());
    }
    let mut chain = String::new();
    for member in &body.chain {
        db.prepare_cached("UPDATE legs SET bytes = ?3 WHERE transfer = ?1 AND node = ?2")?
            .execute(params![
                id,
                names.node(db, &member.node)?,
                member.from.cast_signed()
            ])?;
        let arrow = if chain.is_empty() { "" } else { " → " };
        chain.push_str(arrow);
        chain.push_str(&member.node);
        if member.from > 0 {
            chain.push_str(&format!(" from byte {}", member.from));
        }
    }
    let reason = match body.reason.as_str() {
        "" => String::new(),
        reason => format!(": {reason}"),
    };
    let text = format!("attempt {} along {chain}{reason}", body.attempt);
    let mark = format!("{}/{}", body.attempt, body.at);
    enter_event(db, id, "attempt", &mark, body.at, None, &text)?;
    Ok(())
}

pub(super) fn digest_known(
    db: &Connection,
    names: &mut Interned,
    body: &DigestKnown,
) -> Result<(), ApplyError> {
    let id = pack(names.start(db, body.start)?, body.seq)?;
    db.prepare_cached("UPDATE transfers SET digest = ?2 WHERE id = ?1")?
        .execute(params![id, digest_or_null(&body.digest)])?;
    // The record has no time of its own: it came after the last attempt.
    db.prepare_cached(
        "INSERT INTO events (transfer, kind, mark, at, node, text)
         SELECT id, 'digest', '',
             coalesce((SELECT max(at) FROM events WHERE transfer = id), placed_at, submitted_at),
             NULL, lower(hex(digest))
         FROM transfers WHERE id = ?1 AND digest IS NOT NULL
         ON CONFLICT DO NOTHING",
    )?
    .execute([id])?;
    Ok(())
}

pub(super) fn legs_settled(
    db: &Connection,
    names: &mut Interned,
    body: &LegsSettled,
) -> Result<(), ApplyError> {
    let rung = rung_number(body.rung)?;
    let node = names.node(db, &body.node)?;
    let ordinal = names.start(db, body.start)?;
    for &range in &body.slots {
        let rows = pack_range(ordinal, range)?;
        db.prepare_cached(
            "UPDATE legs SET rung = ?4, since = ?5, error = ?6,
                 receipt_incarnation = ?7, receipt_at = ?8
             WHERE node = ?1 AND slot >= ?2 AND slot < ?3 AND rung <> ?4",
        )?
        .execute(params![
            node,
            rows.start,
            rows.end,
            rung,
            body.at.cast_signed(),
            or_null(&body.refusal),
            body.receipt.as_ref().map(|r| r.incarnation.cast_signed()),
            body.receipt.as_ref().map(|r| r.at.cast_signed()),
        ])?;
        if rung != SAVED {
            // A saved leg is its own event; others may be placed again, and would be forgotten.
            let kind = if rung == LegState::Refused as i64 {
                "refused"
            } else {
                "abandoned"
            };
            db.prepare_cached(
                "INSERT INTO events (transfer, kind, mark, at, node, text)
                 SELECT transfer, ?4, ?5 || '/' || node, ?5, node, ?6
                 FROM legs WHERE node = ?1 AND slot >= ?2 AND slot < ?3
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                node,
                rows.start,
                rows.end,
                kind,
                body.at.cast_signed(),
                body.refusal
            ])?;
        }
    }
    Ok(())
}

pub(super) fn done(
    db: &Connection,
    names: &mut Interned,
    body: &Transfers,
) -> Result<(), ApplyError> {
    for_each_range(db, names, body, |rows| {
        db.prepare_cached(
            "UPDATE transfers SET state = ?3, ended_at = ?4, error = NULL
             WHERE id >= ?1 AND id < ?2 AND state <> ?3",
        )?
        .execute(params![rows.start, rows.end, DONE, body.at.cast_signed()])
    })
}

pub(super) fn released(
    db: &Connection,
    names: &mut Interned,
    body: &Transfers,
) -> Result<(), ApplyError> {
    for_each_range(db, names, body, |rows| {
        db.prepare_cached("UPDATE transfers SET released_at = ?3 WHERE id >= ?1 AND id < ?2")?
            .execute(params![rows.start, rows.end, body.at.cast_signed()])
    })
}

pub(super) fn failed(
    db: &Connection,
    names: &mut Interned,
    body: &Transfers,
) -> Result<(), ApplyError> {
    move_with_event(
        db,
        names,
        body,
        "failed",
        "UPDATE transfers SET state = ?3, error = ?4
         WHERE id >= ?1 AND id < ?2 AND state IN (?5, ?6)",
        &[&FAILED as &dyn ToSql, &body.reason, &SUBMITTED, &PLACED],
    )
}

pub(super) fn retried(
    db: &Connection,
    names: &mut Interned,
    body: &Transfers,
) -> Result<(), ApplyError> {
    move_with_event(
        db,
        names,
        body,
        "retried",
        "UPDATE transfers SET state = iif(placed_at IS NULL, ?3, ?4), error = NULL
         WHERE id >= ?1 AND id < ?2 AND state = ?5",
        &[&SUBMITTED as &dyn ToSql, &PLACED, &FAILED],
    )
}

pub(super) fn cancelled(
    db: &Connection,
    names: &mut Interned,
    body: &Transfers,
) -> Result<(), ApplyError> {
    let at = body.at.cast_signed();
    move_with_event(
        db,
        names,
        body,
        "cancelled",
        "UPDATE transfers SET state = ?3, ended_at = ?4, error = NULL
         WHERE id >= ?1 AND id < ?2 AND state NOT IN (?3, ?5)",
        &[&CANCELLED as &dyn ToSql, &at, &DONE],
    )
}

/// Enters an event for every transfer in the record, and moves those that may move: `update` has
/// the rows as `?1` and `?2`, and `values` from `?3` on.
fn move_with_event(
    db: &Connection,
    names: &mut Interned,
    body: &Transfers,
    kind: &str,
    update: &str,
    values: &[&dyn ToSql],
) -> Result<(), ApplyError> {
    for_each_range(db, names, body, |rows| {
        let mut all: Vec<&dyn ToSql> = vec![&rows.start, &rows.end];
        all.extend_from_slice(values);
        db.prepare_cached(update)?.execute(all.as_slice())?;
        db.prepare_cached(
            "INSERT INTO events (transfer, kind, mark, at, node, text)
             SELECT id, ?3, ?4, ?4, NULL, ?5 FROM transfers WHERE id >= ?1 AND id < ?2
             ON CONFLICT DO NOTHING",
        )?
        .execute(params![
            rows.start,
            rows.end,
            kind,
            body.at.cast_signed(),
            body.reason
        ])
    })
}

fn for_each_range(
    db: &Connection,
    names: &mut Interned,
    body: &Transfers,
    mut act: impl FnMut(std::ops::Range<i64>) -> rusqlite::Result<usize>,
) -> Result<(), ApplyError> {
    let ordinal = names.start(db, body.start)?;
    let ranges: &[SlotRange] = &body.seqs;
    for &range in ranges {
        act(pack_range(ordinal, range)?)?;
    }
    Ok(())
}

fn enter_event(
    db: &Connection,
    transfer: i64,
    kind: &str,
    mark: &str,
    at: u64,
    node: Option<i64>,
    text: &str,
) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO events (transfer, kind, mark, at, node, text)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO NOTHING",
    )?
    .execute(params![transfer, kind, mark, at.cast_signed(), node, text])?;
    Ok(())
}
