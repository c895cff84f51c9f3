//! The consumer's records: deliveries, one row for each slot.
//!
//! A row's state only ever rises, whatever comes in which order. The bytes of one that is still
//! receiving fall once, to none: when they were wrong, and it begins anew.

use std::ops::Range;

use consign_core::ranges::SlotRange;
use consign_core::record::{
    Forgotten, Opened, Publishing, PublishingFile, SlotAbandoned, SlotCarried, SlotRecord, Slots,
    SlotsClosed, SmallReceived, Watermark,
};
use consign_core::spec::FileSpec;
use rusqlite::params;

use super::super::packed::{pack, pack_range};
use super::super::row::DeliveryState;
use super::super::tally::Counted;
use super::{Applier, ApplyError, digest_or_null, only};

const RECEIVED: i64 = DeliveryState::Received as i64;
const SAVED: i64 = DeliveryState::Saved as i64;
const ABANDONED: i64 = DeliveryState::Abandoned as i64;

/// A file that begins to arrive.
struct Arrival<'a> {
    slot: &'a SlotRecord,
    start: u64,
    seq: u64,
    spec: &'a FileSpec,
    digest: &'a [u8],
    state: DeliveryState,
    bytes: u64,
}

impl Applier<'_> {
    pub(super) fn opened(&mut self, body: &Opened) -> Result<(), ApplyError> {
        self.arrive(&Arrival {
            slot: &body.slot,
            start: body.start,
            seq: body.seq,
            spec: &body.spec,
            digest: &[],
            state: DeliveryState::Receiving,
            bytes: 0,
        })?;
        match body.at {
            // Carried, when its opening was long ago.
            0 => Ok(()),
            _ => self.enter_opening(body),
        }
    }

    /// Enters with what was here when the producer opened it.
    fn enter_opening(&mut self, body: &Opened) -> Result<(), ApplyError> {
        let id = self.row(&body.slot)?;
        self.db
            .prepare_cached(
                "INSERT INTO openings (delivery, incarnation, attempt, at, bytes)
                 SELECT id, ?2, ?3, ?4, bytes FROM deliveries WHERE id = ?1
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                id,
                body.incarnation.cast_signed(),
                body.attempt,
                body.at.cast_signed()
            ])?;
        Ok(())
    }

    pub(super) fn small_received(&mut self, body: &SmallReceived) -> Result<(), ApplyError> {
        self.arrive(&Arrival {
            slot: &body.slot,
            start: body.start,
            seq: body.seq,
            spec: &body.spec,
            digest: &body.digest,
            state: DeliveryState::Received,
            bytes: body.spec.size,
        })
    }

    fn arrive(&mut self, file: &Arrival<'_>) -> Result<(), ApplyError> {
        let id = self.row(file.slot)?;
        let producer = self.names.node(self.db, &file.slot.producer)?;
        let transfer = pack(self.names.start(self.db, file.start)?, file.seq)?;
        let size = file.spec.size.cast_signed();
        let entered = self
            .db
            .prepare_cached(
                "INSERT INTO deliveries
                     (id, producer, transfer, feed, name, size, digest, state, bytes, submitted_at,
                      mtime_ns)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![
                id,
                producer,
                transfer,
                file.spec.feed,
                file.spec.name,
                size,
                digest_or_null(file.digest),
                file.state as i64,
                file.bytes.cast_signed(),
                file.spec.submitted_at.cast_signed(),
                file.spec.mtime_ns,
            ])?;
        if entered > 0 {
            let (feed, state) = (&file.spec.feed, file.state as i64);
            self.tally.add(Counted::Deliveries, feed, state, 1, size);
        }
        Ok(())
    }

    pub(super) fn watermark(&mut self, body: &Watermark) -> Result<(), ApplyError> {
        let id = self.row(&body.slot)?;
        self.db
            .prepare_cached(
                "UPDATE deliveries SET bytes = iif(?2 = 0 AND state = 0, 0, max(bytes, ?2))
                 WHERE id = ?1",
            )?
            .execute(params![id, body.offset.cast_signed()])?;
        Ok(())
    }

    pub(super) fn small_saved(&mut self, body: &Slots) -> Result<(), ApplyError> {
        for rows in self.slot_rows(body.start, &body.slots)? {
            self.rise(&rows)?;
            self.db
                .prepare_cached(
                    "UPDATE deliveries SET state = max(state, 2),
                         saved_at = coalesce(saved_at, ?3)
                     WHERE id >= ?1 AND id < ?2",
                )?
                .execute(params![rows.start, rows.end, body.at.cast_signed()])?;
        }
        Ok(())
    }

    pub(super) fn publishing(&mut self, body: &Publishing) -> Result<(), ApplyError> {
        let mut files = body.files.iter();
        files.try_for_each(|file| self.publish(file, body.at))
    }

    fn publish(&mut self, file: &PublishingFile, at: u64) -> Result<(), ApplyError> {
        let id = self.row(&file.slot)?;
        self.rise(&only(id))?;
        self.db
            .prepare_cached(
                "UPDATE deliveries SET state = max(state, 2), path = ?2, bytes = size,
                     digest = coalesce(digest, ?3), saved_at = coalesce(saved_at, ?4)
                 WHERE id = ?1",
            )?
            .execute(params![
                id,
                file.path,
                digest_or_null(&file.digest),
                at.cast_signed()
            ])?;
        Ok(())
    }

    pub(super) fn published(&mut self, body: &Slots) -> Result<(), ApplyError> {
        for rows in self.slot_rows(body.start, &body.slots)? {
            self.end(&rows, DeliveryState::Published, body.at)?;
        }
        Ok(())
    }

    pub(super) fn slot_abandoned(&mut self, body: &SlotAbandoned) -> Result<(), ApplyError> {
        let rows = only(self.row(&body.slot)?);
        self.end(&rows, DeliveryState::Abandoned, body.at)
    }

    fn end(&mut self, rows: &Range<i64>, state: DeliveryState, at: u64) -> Result<(), ApplyError> {
        let (table, to) = (Counted::Deliveries, Some(state as i64));
        self.tally
            .moving(self.db, table, rows, "ended_at IS NULL", to)?;
        self.db
            .prepare_cached(
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

    /// Closed slots are saved or abandoned already, and keep their rows as history. Only a start
    /// that will never speak again leaves some that are neither.
    pub(super) fn slots_closed(&mut self, body: &SlotsClosed) -> Result<(), ApplyError> {
        if !body.gone {
            return Ok(());
        }
        let all = SlotRange {
            from: 0,
            to: u64::MAX,
        };
        for rows in self.slot_rows(body.start, &[all])? {
            self.give_up("TRUE", &rows, None)?;
        }
        Ok(())
    }

    /// What a forgotten producer had not brought to `saved` will never come.
    pub(super) fn producer_forgotten(&mut self, body: &Forgotten) -> Result<(), ApplyError> {
        let node = self.names.node(self.db, &body.node)?;
        self.give_up(&format!("producer = {node}"), &(0..i64::MAX), Some(body.at))
    }

    /// Abandons what was not saved; without a time of its own, as of its submission.
    fn give_up(
        &mut self,
        whose: &str,
        rows: &Range<i64>,
        at: Option<u64>,
    ) -> Result<(), ApplyError> {
        let condition = format!("{whose} AND state <= {RECEIVED}");
        let (table, to) = (Counted::Deliveries, Some(ABANDONED));
        self.tally.moving(self.db, table, rows, &condition, to)?;
        self.db.execute(
            &format!(
                "UPDATE deliveries SET state = {ABANDONED}, ended_at = coalesce(?3, submitted_at)
                 WHERE id >= ?1 AND id < ?2 AND {condition}"
            ),
            params![rows.start, rows.end, at.map(u64::cast_signed)],
        )?;
        Ok(())
    }

    pub(super) fn slot_carried(&mut self, body: &SlotCarried) -> Result<(), ApplyError> {
        if let Some(body) = &body.opened {
            self.opened(body)?;
        }
        if let Some(body) = &body.small {
            self.small_received(body)?;
        }
        // One without an offset only says that its chunks follow.
        if let Some(body) = body.watermark.as_ref().filter(|mark| mark.offset > 0) {
            self.watermark(body)?;
        }
        if body.saved_at > 0 {
            let slot = body.slot.slot;
            self.small_saved(&Slots {
                producer: body.slot.producer.clone(),
                start: body.slot.start,
                slots: vec![SlotRange {
                    from: slot,
                    to: slot.saturating_add(1),
                }],
                at: body.saved_at,
            })?;
        }
        if let Some(file) = &body.publishing {
            self.publish(file, body.saved_at)?;
        }
        if body.published {
            // Carried without the time of its publication; it was not long after.
            let rows = only(self.row(&body.slot)?);
            self.end(&rows, DeliveryState::Published, body.saved_at)?;
        }
        match &body.abandoned {
            Some(abandoned) => self.slot_abandoned(abandoned),
            None => Ok(()),
        }
    }

    /// What is not saved yet is about to be.
    fn rise(&mut self, rows: &Range<i64>) -> Result<(), ApplyError> {
        let (table, below) = (Counted::Deliveries, "state < 2");
        Ok(self
            .tally
            .moving(self.db, table, rows, below, Some(SAVED))?)
    }

    fn row(&mut self, slot: &SlotRecord) -> Result<i64, ApplyError> {
        pack(self.names.start(self.db, slot.start)?, slot.slot)
    }

    fn slot_rows(
        &mut self,
        start: u64,
        slots: &[SlotRange],
    ) -> Result<Vec<Range<i64>>, ApplyError> {
        let ordinal = self.names.start(self.db, start)?;
        slots
            .iter()
            .map(|&range| pack_range(ordinal, range))
            .collect()
    }
}
