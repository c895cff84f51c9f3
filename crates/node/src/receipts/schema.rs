//! The database file: opening it, and setting it aside when it is damaged.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension as _, params};

use super::bounds::{BUSY_DEADLINE, CACHE_KIB, CHECKPOINT_PAGES};
use crate::database::{is_corruption, set_aside};
use crate::problems::Problems;

/// "cnsr": tells this database from any other.
const APPLICATION_ID: i32 = 0x636e_7372;
/// Version of [`TABLES`].
const SCHEMA_VERSION: i32 = 1;
const TABLES: &str = include_str!("tables.sql");

/// Why a database file cannot be used. It is as it was.
#[derive(Debug, thiserror::Error)]
pub(super) enum Unusable {
    #[error("it belongs to another program (application id {0:#x})")]
    Foreign(i32),
    #[error("its schema is version {0}, this program writes {SCHEMA_VERSION}")]
    Version(i32),
    #[error("{0}")]
    Database(#[from] rusqlite::Error),
    #[error("another program is at it")]
    Busy,
    #[error("it cannot be set aside: {0}")]
    Aside(#[from] std::io::Error),
}

impl Unusable {
    /// Whether a new file in its place would do better. A full disk or a missing right would strike
    /// again, and the old file is innocent.
    fn is_the_files_fault(&self) -> bool {
        match self {
            Self::Foreign(_) | Self::Version(_) => true,
            Self::Database(error) => is_corruption(error),
            Self::Busy | Self::Aside(_) => false,
        }
    }
}

/// Opens the database for writing. One that is of no use is set aside and named, and a new one begun:
/// receipts are evidence, not promises, and no file waits for them.
///
/// # Errors
/// Why there is none to be had now; it may be tried again.
pub(super) fn open_or_begin_anew(path: &Path, problems: &Problems) -> Result<Connection, Unusable> {
    match open(path) {
        Err(unusable) if unusable.is_the_files_fault() => {
            begin_anew(path, &unusable.to_string(), problems)?;
            open(path)
        }
        opened => opened,
    }
}

/// Sets a damaged database aside, and says so.
///
/// # Errors
/// What the system says; it is still there.
pub(super) fn begin_anew(path: &Path, why: &str, problems: &Problems) -> std::io::Result<()> {
    // None of them is ever replaced: nobody can make them again.
    let kept_as = set_aside(path, u32::MAX)?;
    tracing::error!(why, kept_as = %kept_as.display(), "the archive of receipts was set aside and is begun anew");
    problems.add(
        format!("the archive of receipts could not be used and was begun anew: {why}"),
        format!(
            "files are delivered all the same; receipts of files that were done before are in {} only: keep it, look at the disk, and bring back a copy if there is one",
            kept_as.display()
        ),
    );
    Ok(())
}

fn open(path: &Path) -> Result<Connection, Unusable> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_DEADLINE)?;
    db.set_prepared_statement_cache_capacity(64);
    db.pragma_update(None, "journal_mode", "WAL")?;
    // Every commit is synced: once it returns, the log may drop what it was read from.
    db.pragma_update(None, "synchronous", "FULL")?;
    db.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
    db.pragma_update(None, "cache_size", -i64::from(CACHE_KIB))?;
    db.pragma_update(None, "temp_store", "MEMORY")?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    if tables == 0 {
        db.execute_batch(&format!(
            "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; \
             PRAGMA user_version = {SCHEMA_VERSION}; COMMIT;"
        ))?;
    }
    check(&db)?;
    sync(&db)?;
    Ok(db)
}

/// Writes and syncs what lies in the write-ahead log into the database. A kill, or a sync that failed,
/// may have left a commit there that is in the page cache alone; believed, it would let the log drop what
/// a power cut then takes from here.
fn sync(db: &Connection) -> Result<(), Unusable> {
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    let is_busy: bool = db.query_row(checkpoint, [], |row| row.get(0))?;
    match is_busy {
        true => Err(Unusable::Busy),
        false => Ok(()),
    }
}

/// Opens the database for reading.
///
/// # Errors
/// [`Unusable`].
pub(super) fn open_to_read(path: &Path) -> Result<Connection, Unusable> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags)?;
    db.busy_timeout(BUSY_DEADLINE)?;
    check(&db)?;
    Ok(db)
}

fn check(db: &Connection) -> Result<(), Unusable> {
    let id = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    if id != APPLICATION_ID {
        return Err(Unusable::Foreign(id));
    }
    match db.pragma_query_value(None, "user_version", |row| row.get(0))? {
        SCHEMA_VERSION => Ok(()),
        version => Err(Unusable::Version(version)),
    }
}

/// The last log position that is in the database; 0 when there is none.
pub(super) fn applied(db: &Connection) -> rusqlite::Result<u64> {
    let mut statement = db.prepare_cached("SELECT applied FROM position")?;
    let bits: Option<i64> = statement.query_row([], |row| row.get(0)).optional()?;
    Ok(bits.unwrap_or_default().cast_unsigned())
}

/// Stores the last log position, in the transaction that brought its record.
pub(super) fn set_applied(db: &Connection, position: u64) -> rusqlite::Result<()> {
    db.prepare_cached(
        "INSERT INTO position VALUES (1, ?1) ON CONFLICT DO UPDATE SET applied = excluded.applied",
    )?
    .execute(params![position.cast_signed()])?;
    Ok(())
}
