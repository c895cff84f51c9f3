//! The database file: opening it, and setting it aside when it is of no use.

use std::path::Path;

use consign_core::log::Position;
use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::LogSpan;
use super::health::Health;
use crate::catalogue::bounds::{BROKEN_KEPT_MAX, CACHE_KIB, CHECKPOINT_PAGES};
use crate::database::{is_corruption, set_aside};
use crate::timestamp::Timestamp;

/// "cnsg": tells this database from any other.
const APPLICATION_ID: i32 = 0x636e_7367;
/// Version of [`TABLES`]. There is no migration: what differs is begun anew from the log.
const SCHEMA_VERSION: i32 = 4;
/// Number of the segment that a log begins with.
const FIRST_SEGMENT: u32 = 1;
const TABLES: &str = include_str!("tables.sql");

/// Why a database file cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it belongs to another program (application id {0:#x})")]
    Foreign(i32),
    #[error("its schema is version {0}, this program writes {SCHEMA_VERSION}")]
    Version(i32),
    #[error("it is ahead of the intent log (at {applied}, the log ends at {end})")]
    OtherLog { applied: u64, end: u64 },
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
}

impl Unusable {
    /// Whether a new file in its place would do better. A full disk or a missing right would
    /// strike again, and the old file is innocent.
    fn is_the_files_fault(&self) -> bool {
        match self {
            Self::Foreign(_) | Self::Version(_) | Self::OtherLog { .. } => true,
            Self::Database(error) => is_corruption(error),
        }
    }
}

/// Opens the database for writing, or sets it aside and begins a new one, or gives up and says so.
pub(super) fn open_or_rebuild(path: &Path, log: LogSpan, health: &Health) -> Option<Connection> {
    let first = match open(path, log) {
        Ok(db) => return Some(db),
        Err(unusable) => unusable,
    };
    if !first.is_the_files_fault() {
        health.fail(format!("cannot open {}: {first}", path.display()));
        return None;
    }
    let second = set_aside(path, BROKEN_KEPT_MAX).map_err(|error| error.to_string());
    let second = second.and_then(|kept_as| {
        health.set_aside(&first.to_string(), &kept_as);
        open(path, log).map_err(|unusable| unusable.to_string())
    });
    match second {
        Ok(db) => Some(db),
        Err(why) => {
            health.fail(format!(
                "{} is unusable ({first}) and cannot be begun anew: {why}",
                path.display()
            ));
            None
        }
    }
}

/// Opens the database for writing.
///
/// # Errors
/// Why it cannot be used; it is as it was.
pub(super) fn open(path: &Path, log: LogSpan) -> Result<Connection, Unusable> {
    let db = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_WRITE
            | OpenFlags::SQLITE_OPEN_CREATE
            | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    db.set_prepared_statement_cache_capacity(64);
    db.pragma_update(None, "journal_mode", "WAL")?;
    // NORMAL syncs at checkpoints only. A power cut may then lose the last transactions, which the
    // log supplies again, but cannot damage the file; with OFF it could, perhaps unnoticed, and
    // the catalogue would tell lies.
    db.pragma_update(None, "synchronous", "NORMAL")?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    if is_empty(&db)? {
        create(&db, log)?;
    }
    check(&db, log)?;
    Ok(db)
}

fn is_empty(db: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0)
}

fn create(db: &Connection, log: LogSpan) -> rusqlite::Result<()> {
    // All that ever happened comes from a log that still has its first segment.
    let whole = Position::unpack(log.first).segment <= FIRST_SEGMENT;
    let since = if whole {
        0
    } else {
        Timestamp::now().0.cast_signed()
    };
    db.execute_batch(&format!(
        "BEGIN; {TABLES} INSERT INTO completeness VALUES (1, {since});
         PRAGMA application_id = {APPLICATION_ID}; \
         PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
    ))
}

fn check(db: &Connection, log: LogSpan) -> Result<(), Unusable> {
    let id = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(Unusable::Foreign(id));
    }
    let version = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if version != SCHEMA_VERSION {
        return Err(Unusable::Version(version));
    }
    match applied(db)? {
        Some(applied) if applied >= log.end => Err(Unusable::OtherLog {
            applied,
            end: log.end,
        }),
        Some(applied) if applied < log.first => Ok(drop_the_unfinished(db)?),
        Some(_) | None => Ok(()),
    }
}

/// The log has moved on past what is in here (the catalogue was degraded, or a power cut took its
/// last transactions), so nobody will ever say how these ended. Those that still live are carried
/// in the log and come back from it.
fn drop_the_unfinished(db: &Connection) -> rusqlite::Result<()> {
    let now = Timestamp::now().0.cast_signed();
    db.execute_batch(&format!(
        "BEGIN;
         UPDATE completeness SET since = {now};
         DELETE FROM legs WHERE transfer IN (SELECT id FROM transfers WHERE ended_at IS NULL);
         DELETE FROM events WHERE transfer IN (SELECT id FROM transfers WHERE ended_at IS NULL);
         DELETE FROM transfers WHERE ended_at IS NULL;
         DELETE FROM deliveries WHERE ended_at IS NULL;
         DELETE FROM transfer_counts;
         INSERT INTO transfer_counts
             SELECT feed, state, count(*), sum(size) FROM transfers GROUP BY feed, state;
         DELETE FROM delivery_counts;
         INSERT INTO delivery_counts
             SELECT feed, state, count(*), sum(size) FROM deliveries GROUP BY feed, state;
         COMMIT;"
    ))
}

/// Since when everything that ended is in the database, unless it has expired, in ms; 0 for since
/// ever.
pub(super) fn complete_since(db: &Connection) -> rusqlite::Result<u64> {
    db.query_row("SELECT since FROM completeness", [], |row| {
        row.get(0).map(i64::cast_unsigned)
    })
}

/// The last log position that is in the database.
pub(super) fn applied(db: &Connection) -> rusqlite::Result<Option<u64>> {
    let bits = db
        .query_row("SELECT applied FROM position", [], |row| {
            row.get::<_, i64>(0)
        })
        .optional()?;
    Ok(bits.map(i64::cast_unsigned))
}

/// Stores the last log position, in the transaction that brought its record.
pub(super) fn set_applied(db: &Connection, position: u64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO position VALUES (1, ?1) ON CONFLICT DO UPDATE SET applied = excluded.applied",
    )?
    .execute(params![position.cast_signed()])?;
    Ok(())
}
