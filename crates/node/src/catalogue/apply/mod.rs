//! Applying one record of the log to the tables.
//!
//! Applying the log's records from any earlier point again, in order, ends in the same rows: a row
//! is entered once, an event is known by its content, and a later record has the last word, as it
//! had the first time.

mod deliveries;
mod legs;
mod placements;
mod transfers;

use std::ops::Range;

use consign_core::record::Record;
use rusqlite::{Connection, params};

use super::packed::Interned;
use super::tally::Tally;

/// A record that could not be applied. The transaction is given up with it, and the catalogue is
/// degraded; applying it again would fail again.
#[derive(Debug, thiserror::Error)]
pub(super) enum ApplyError {
    /// SQLite failed.
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    /// A sequence or slot beyond what a row number can carry.
    #[error("the number {number} is beyond what the catalogue can hold")]
    NumberTooLarge {
        /// The sequence or slot.
        number: u64,
    },
    /// A rung of a consumer that this version does not know.
    #[error("the log names a rung {rung} that this version does not know")]
    UnknownRung {
        /// Its number.
        rung: i32,
    },
}

/// A transaction under way: records are applied to it one by one, in the log's order.
pub(super) struct Applier<'a> {
    db: &'a Connection,
    names: &'a mut Interned,
    tally: Tally,
}

impl<'a> Applier<'a> {
    /// Begins within the caller's transaction.
    pub(super) fn new(db: &'a Connection, names: &'a mut Interned) -> Self {
        Self {
            db,
            names,
            tally: Tally::default(),
        }
    }

    /// Writes what was only added up so far. To be called before the transaction's commit.
    pub(super) fn finish(mut self) -> Result<(), ApplyError> {
        Ok(self.tally.write(self.db)?)
    }

    /// Applies one record.
    pub(super) fn apply(&mut self, record: &Record) -> Result<(), ApplyError> {
        match record {
            // Interned at once, so that starts are numbered in the order of boots.
            Record::Boot(boot) => self.names.start(self.db, boot.start).map(drop),
            Record::Submitted(body) => self.submitted(body),
            Record::Placed(body) => self.placed(body),
            Record::AttemptStarted(body) => self.attempt_started(body),
            Record::DigestKnown(body) => self.digest_known(body),
            Record::LegsSettled(body) => self.legs_settled(body),
            Record::Done(body) => self.done(body),
            Record::Released(body) => self.released(body),
            Record::Failed(body) => self.failed(body),
            Record::Retried(body) => self.retried(body),
            Record::Cancelled(body) => self.cancelled(body),
            Record::Opened(body) => self.opened(body),
            Record::Watermark(body) => self.watermark(body),
            Record::SmallReceived(body) => self.small_received(body),
            Record::SmallSaved(body) => self.small_saved(body),
            Record::Publishing(body) => self.publishing(body),
            Record::Published(body) => self.published(body),
            Record::SlotAbandoned(body) => self.slot_abandoned(body),
            Record::SlotsClosed(body) => self.slots_closed(body),
            Record::SlotCarried(body) => self.slot_carried(body),
            Record::Forgotten(body) => self.producer_forgotten(body),
            Record::PeerSeen(_)
            | Record::ViewSeen(_)
            | Record::StandingSet(_)
            | Record::PeerStanding(_)
            | Record::PeerLog(_)
            | Record::Outlived(_)
            | Record::Reconciled(_)
            | Record::Claiming(_)
            | Record::Unclaimed(_)
            | Record::Hashed(_)
            | Record::InboxMarked(_) => Ok(()),
        }
    }

    /// Enters an event of one transfer, unless it is there. `mark` tells it from others of its
    /// kind.
    fn enter_event(
        &self,
        transfer: i64,
        kind: &str,
        mark: &str,
        at: u64,
        text: &str,
    ) -> Result<(), ApplyError> {
        self.db
            .prepare_cached(
                "INSERT INTO events (transfer, kind, mark, at, text) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT DO NOTHING",
            )?
            .execute(params![transfer, kind, mark, at.cast_signed(), text])?;
        Ok(())
    }
}

/// The one row `id`, as a range.
fn only(id: i64) -> Range<i64> {
    id..id + 1
}

/// An optional text column: empty in the log, NULL in the database.
fn or_null(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Digests are 32 bytes or not known.
fn digest_or_null(digest: &[u8]) -> Option<&[u8]> {
    (digest.len() == 32).then_some(digest)
}
