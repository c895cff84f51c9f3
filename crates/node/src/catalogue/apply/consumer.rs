//! The consumer's records: deliveries, one row for each slot.
//!
//! A row's state only ever rises, whatever comes in which order.

use consign_core::ranges::SlotRange;
use consign_core::record::{
    Forgotten, Opened, Publishing, PublishingFile, SlotAbandoned, SlotCarried, SlotRecord, Slots,
    SlotsClosed, SmallReceived, Watermark,
};
use consign_core::spec::FileSpec;
use rusqlite::{Connection, params};

use super::super::packed::{Interned, pack, pack_range};
use super::super::row::DeliveryState;
use super::{ApplyError, digest_or_null};

/// A file that begins to arrive.
struct Arrival<'a> {
    slot: &'a SlotRecord,
    start: u64,
    seq: u64,
    spec: &'a FileSpec,
    digest: &'a [u8],
    state: DeliveryState,
}

pub(super) fn opened(
    db: &Connection,
    names: &mut Interned,
    body: &Opened,
) -> Result<(), ApplyError> {
    arrive(
        db,
        names,
        &Arrival {
            slot: &body.slot,
            start: body.start,
            seq: body.seq,
            spec: &body.spec,
            digest: &[],
            state: DeliveryState::Opened,
        },
    )
}

pub(super) fn small_received(
    db: &Connection,
    names: &mut Interned,
    body: &SmallReceived,
) -> Result<(), ApplyError> {
    arrive(
        db,
        names,
        &Arrival {
            slot: &body.slot,
            start: body.start,
            seq: body.seq,
            spec: &body.spec,
            digest: &body.digest,
            state: DeliveryState::Received,
        },
    )
}

fn arrive(db: &Connection, names: &mut Interned, file: &Arrival<'_>) -> Result<(), ApplyError> {
    let bytes = match file.state {
        DeliveryState::Opened => 0,
        _ => file.spec.size,
    };
    db.prepare_cached(
        "INSERT INTO deliveries
             (id, producer, transfer, feed, name, size, digest, state, bytes, submitted_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
         ON CONFLICT DO UPDATE SET state = max(state, excluded.state)",
    )?
    .execute(params![
        row(db, names, file.slot)?,
        names.node(db, &file.slot.producer)?,
        pack(names.start(db, file.start)?, file.seq)?,
        file.spec.feed,
        file.spec.name,
        file.spec.size.cast_signed(),
        digest_or_null(file.digest),
        file.state as i64,
        bytes.cast_signed(),
        file.spec.submitted_at.cast_signed(),
    ])?;
    Ok(())
}

pub(super) fn watermark(
    db: &Connection,
    names: &mut Interned,
    body: &Watermark,
) -> Result<(), ApplyError> {
    db.prepare_cached("UPDATE deliveries SET bytes = max(bytes, ?2) WHERE id = ?1")?
        .execute(params![
            row(db, names, &body.slot)?,
            body.offset.cast_signed()
        ])?;
    Ok(())
}

pub(super) fn small_saved(
    db: &Connection,
    names: &mut Interned,
    body: &Slots,
) -> Result<(), ApplyError> {
    let ordinal = names.start(db, body.start)?;
    for &range in &body.slots {
        let rows = pack_range(ordinal, range)?;
        db.prepare_cached(
            "UPDATE deliveries SET state = max(state, ?3), saved_at = coalesce(saved_at, ?4)
             WHERE id >= ?1 AND id < ?2",
        )?
        .execute(params![
            rows.start,
            rows.end,
            DeliveryState::Saved as i64,
            body.at.cast_signed()
        ])?;
    }
    Ok(())
}

pub(super) fn publishing(
    db: &Connection,
    names: &mut Interned,
    body: &Publishing,
) -> Result<(), ApplyError> {
    body.files
        .iter()
        .try_for_each(|file| publish(db, names, file, body.at))
}

fn publish(
    db: &Connection,
    names: &mut Interned,
    file: &PublishingFile,
    at: u64,
) -> Result<(), ApplyError> {
    db.prepare_cached(
        "UPDATE deliveries SET state = max(state, ?2), path = ?3, bytes = size,
             digest = coalesce(digest, ?4), saved_at = coalesce(saved_at, ?5)
         WHERE id = ?1",
    )?
    .execute(params![
        row(db, names, &file.slot)?,
        DeliveryState::Publishing as i64,
        file.path,
        digest_or_null(&file.digest),
        at.cast_signed()
    ])?;
    Ok(())
}

pub(super) fn published(
    db: &Connection,
    names: &mut Interned,
    body: &Slots,
) -> Result<(), ApplyError> {
    let ordinal = names.start(db, body.start)?;
    for &range in &body.slots {
        end(db, ordinal, range, DeliveryState::Published, body.at)?;
    }
    Ok(())
}

pub(super) fn slot_abandoned(
    db: &Connection,
    names: &mut Interned,
    body: &SlotAbandoned,
) -> Result<(), ApplyError> {
    let ordinal = names.start(db, body.slot.start)?;
    let range = SlotRange {
        from: body.slot.slot,
        to: body.slot.slot.saturating_add(1),
    };
    end(db, ordinal, range, DeliveryState::Abandoned, body.at)
}

fn end(
    db: &Connection,
    ordinal: i64,
    range: SlotRange,
    state: DeliveryState,
    at: u64,
) -> Result<(), ApplyError> {
    let rows = pack_range(ordinal, range)?;
    db.prepare_cached(
        "UPDATE deliveries SET state = ?3, ended_at = ?4
         WHERE id >= ?1 AND id < ?2 AND ended_at IS NULL",
    )?
    .execute(params![
        rows.start,
        rows.end,
        state as i64,
        at.cast_signed()
    ])?;
    Ok(())
}

/// Closed slots are `saved` or abandoned already, and keep their rows as history. Only a start
/// that will never speak again leaves some that are neither.
pub(super) fn slots_closed(
    db: &Connection,
    names: &mut Interned,
    body: &SlotsClosed,
) -> Result<(), ApplyError> {
    if !body.gone {
        return Ok(());
    }
    let all = SlotRange {
        from: 0,
        to: u64::MAX,
    };
    let rows = pack_range(names.start(db, body.start)?, all)?;
    // The record has no time; what came last from this producer is the nearest.
    db.prepare_cached(
        "UPDATE deliveries SET state = ?3, ended_at = submitted_at
         WHERE id >= ?1 AND id < ?2 AND state < ?4",
    )?
    .execute(params![
        rows.start,
        rows.end,
        DeliveryState::Abandoned as i64,
        DeliveryState::Saved as i64
    ])?;
    Ok(())
}

/// What a forgotten producer had not brought to `saved` will never come.
pub(super) fn producer_forgotten(
    db: &Connection,
    names: &mut Interned,
    body: &Forgotten,
) -> Result<(), ApplyError> {
    db.prepare_cached(
        "UPDATE deliveries SET state = ?2, ended_at = ?4 WHERE producer = ?1 AND state < ?3",
    )?
    .execute(params![
        names.node(db, &body.node)?,
        DeliveryState::Abandoned as i64,
        DeliveryState::Saved as i64,
        body.at.cast_signed()
    ])?;
    Ok(())
}

pub(super) fn slot_carried(
    db: &Connection,
    names: &mut Interned,
    body: &SlotCarried,
) -> Result<(), ApplyError> {
    if let Some(body) = &body.opened {
        opened(db, names, body)?;
    }
    if let Some(body) = &body.small {
        small_received(db, names, body)?;
    }
    if let Some(body) = &body.watermark {
        watermark(db, names, body)?;
    }
    let range = SlotRange {
        from: body.slot.slot,
        to: body.slot.slot.saturating_add(1),
    };
    if body.saved_at > 0 {
        let saved = Slots {
            producer: body.slot.producer.clone(),
            start: body.slot.start,
            slots: vec![range],
            at: body.saved_at,
        };
        small_saved(db, names, &saved)?;
    }
    if let Some(file) = &body.publishing {
        publish(db, names, file, body.saved_at)?;
    }
    if body.published {
        let ordinal = names.start(db, body.slot.start)?;
        end(db, ordinal, range, DeliveryState::Published, body.saved_at)?;
    }
    match &body.abandoned {
        Some(abandoned) => slot_abandoned(db, names, abandoned),
        None => Ok(()),
    }
}

fn row(db: &Connection, names: &mut Interned, slot: &SlotRecord) -> Result<i64, ApplyError> {
    pack(names.start(db, slot.start)?, slot.slot)
}
