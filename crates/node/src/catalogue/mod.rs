//! The catalogue: an index of the transfers that are live and the history of those that are not,
//! those that this node sends and those that it receives, in SQLite, for listings, timelines and
//! counts.
//!
//! It holds no promise. Everything in it comes from the intent log, in the log's order, and it may
//! be deleted at any time: then history is lost and nothing else. Each transaction stores the
//! position of the last record in it, so a replay of the whole log skips what is there; applying
//! the log's end again, under whatever positions, changes nothing either.
//!
//! One thread writes ([`writer`]), fed through a bounded channel; queries ([`reader`]) run over
//! connections of their own and see the last committed transaction. When the database fails, the
//! catalogue says so ([`health`]) and drains its channel: it never stops the node. When that was for
//! want of room, it makes up for it once there is some.
//!
//! Absent on purpose: payloads, chunk hashes, claims that were not submitted yet.

mod apply;
mod bounds;
mod health;
mod history;
mod lag;
mod packed;
mod query;
mod reader;
mod row;
mod schema;
mod tally;
#[cfg(test)]
mod tests;
mod writer;

use std::path::Path;
use std::sync::Arc;

use consign_core::ids::NodeName;
use consign_core::record::Record;
use tokio::sync::mpsc;

pub(crate) use health::Health;
pub(crate) use lag::Lag;
pub(crate) use query::counts::{DeliveryCount, TransferCount};
pub(crate) use query::deliveries::DeliveryRow;
pub(crate) use query::held::{HeldRow, HeldSpan};
pub(crate) use query::ledger::LedgerRow;
pub(crate) use query::listing::{FileRow, Filter, Pages, Part};
pub(crate) use query::timeline::Event;
pub(crate) use query::transfers::{LegRow, TransferRow};
pub(crate) use reader::{QueryError, Reader};
pub(crate) use row::{DeliveryState, FileState, TransferState};
use writer::Writing;
pub(crate) use writer::{Source, Writer};

/// Batches that may wait for the catalogue before the driver has to wait as well. A record takes
/// about 1 KiB here, so with batches of a thousand this is 16 MiB.
pub(crate) const BATCHES_WAITING_MAX: usize = 16;

/// A record of the log that is synced, without its payload.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Applied {
    /// Where it stands in the log; larger is later.
    pub(crate) position: u64,
    /// The record.
    pub(crate) record: Record,
}

/// What the log holds when the catalogue is opened: it tells whether the two still fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogSpan {
    /// Position of the first record that is still there.
    pub(crate) first: u64,
    /// A position that no record has reached yet.
    pub(crate) end: u64,
}

/// The catalogue's name in the data directory.
pub(crate) const FILE: &str = "catalogue.db";

/// Whether a catalogue that nobody has open is whole; `None` when there is none.
///
/// # Errors
/// When it cannot be opened or read.
pub(crate) fn is_sound(path: &Path) -> rusqlite::Result<Option<bool>> {
    if !path.exists() {
        return Ok(None);
    }
    let flags =
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = rusqlite::Connection::open_with_flags(path, flags)?;
    let answer: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    Ok(Some(answer == "ok"))
}

/// Whether a catalogue that nobody has open knows of any transfer. One that cannot be read says
/// nothing.
pub(crate) fn knows_any(path: &Path) -> bool {
    let flags =
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY | rusqlite::OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let query = "SELECT EXISTS(SELECT 1 FROM transfers) OR EXISTS(SELECT 1 FROM deliveries)";
    rusqlite::Connection::open_with_flags(path, flags)
        .and_then(|db| db.query_row(query, [], |row| row.get(0)))
        .unwrap_or(false)
}

/// An open catalogue.
pub(crate) struct Catalogue {
    /// Where the driver puts the log's records, in the log's order.
    pub(crate) feed: mpsc::Sender<Vec<Applied>>,
    /// Where the log's writer notes how far it is synced.
    pub(crate) lag: Arc<Lag>,
    /// For queries.
    pub(crate) reader: Reader,
    /// Whether it works.
    #[cfg(test)]
    pub(crate) health: Arc<Health>,
    /// To be given the log once it is recovered: what a full disk kept out of here is read there.
    pub(crate) source: Source,
    /// The thread that writes; it ends, with everything committed, once `feed` and its clones are
    /// dropped.
    pub(crate) writer: Writer,
}

/// Opens `<data_dir>/catalogue.db`. A database that is corrupt, of another version or of another
/// log is set aside as `catalogue.db.broken-N` and begun anew; when not even that works, the
/// catalogue is degraded from the start. Afterwards the whole log is to be fed into it.
///
/// `history_ms` is how long finished transfers stay; `None` keeps them for ever.
pub(crate) fn open(
    data_dir: &Path,
    node: &NodeName,
    log: LogSpan,
    history_ms: Option<u64>,
) -> Catalogue {
    let path = data_dir.join(FILE);
    let health = Arc::new(Health::default());
    let connection = schema::open_or_rebuild(&path, log, &health);
    let (feed, batches) = mpsc::channel(BATCHES_WAITING_MAX);
    let (source, lag) = (Source::default(), Arc::new(Lag::default()));
    let writing = Writing {
        path: path.clone(),
        batches,
        history_ms,
        health: Arc::clone(&health),
        source: Arc::clone(&source),
        lag: Arc::clone(&lag),
    };
    let writer = Writer::start(connection, writing);
    Catalogue {
        feed,
        reader: Reader::new(reader::Inner::new(
            path,
            node.clone(),
            Arc::clone(&health),
            Arc::clone(&lag),
        )),
        lag,
        #[cfg(test)]
        health,
        source,
        writer,
    }
}
