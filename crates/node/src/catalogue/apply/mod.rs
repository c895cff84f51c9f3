//! Applying one record of the log to the tables.
//!
//! Applying the log's records from any earlier point again, in order, ends in the same rows: a row
//! is entered once, an event is known by its content, and a later record has the last word, as it
//! had the first time.

mod consumer;
mod producer;

use consign_core::record::Record;
use rusqlite::Connection;

use super::packed::Interned;

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

/// Applies records, and remembers which numbers starts and nodes have.
#[derive(Debug, Default)]
pub(super) struct Applier {
    names: Interned,
}

impl Applier {
    /// Applies one record within the caller's transaction.
    pub(super) fn apply(&mut self, db: &Connection, record: &Record) -> Result<(), ApplyError> {
        let names = &mut self.names;
        match record {
            // Interned at once, so that starts are numbered in the order of boots.
            Record::Boot(boot) => names.start(db, boot.start).map(drop),
            Record::Submitted(body) => producer::submitted(db, names, body),
            Record::Placed(body) => producer::placed(db, names, body),
            Record::AttemptStarted(body) => producer::attempt_started(db, names, body),
            Record::DigestKnown(body) => producer::digest_known(db, names, body),
            Record::LegsSettled(body) => producer::legs_settled(db, names, body),
            Record::Done(body) => producer::done(db, names, body),
            Record::Released(body) => producer::released(db, names, body),
            Record::Failed(body) => producer::failed(db, names, body),
            Record::Retried(body) => producer::retried(db, names, body),
            Record::Cancelled(body) => producer::cancelled(db, names, body),
            Record::Opened(body) => consumer::opened(db, names, body),
            Record::Watermark(body) => consumer::watermark(db, names, body),
            Record::SmallReceived(body) => consumer::small_received(db, names, body),
            Record::SmallSaved(body) => consumer::small_saved(db, names, body),
            Record::Publishing(body) => consumer::publishing(db, names, body),
            Record::Published(body) => consumer::published(db, names, body),
            Record::SlotAbandoned(body) => consumer::slot_abandoned(db, names, body),
            Record::SlotsClosed(body) => consumer::slots_closed(db, names, body),
            Record::SlotCarried(body) => consumer::slot_carried(db, names, body),
            Record::Forgotten(body) => consumer::producer_forgotten(db, names, body),
            Record::PeerSeen(_)
            | Record::ViewSeen(_)
            | Record::Claiming(_)
            | Record::Unclaimed(_)
            | Record::Hashed(_)
            | Record::InboxMarked(_) => Ok(()),
        }
    }
}

/// An optional text column: empty in the log, NULL in the database.
fn or_null(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// Digests are 32 bytes or not known.
fn digest_or_null(digest: &[u8]) -> Option<&[u8]> {
    (digest.len() == 32).then_some(digest)
}
