//! The synced set of what `keep` already took from watched directories, so that a file that stays
//! where it is is sent once.
//!
//! A row is a path with the length, time and inode that were taken: when any of them differs, it is
//! a new file. Several rows for one path are fine, and needed: two versions of a file may be on
//! their way at once, and finish in any order. [`Kept::forget_missing`] drops what no longer
//! matches anything on disk, so the set is bounded by the files that are there.
//!
//! When to insert: after *submitted* is synced and before the transfer can leave the log, and at
//! startup, before the watchers, for every watched transfer that the log still holds. Earlier, and
//! a crash would lose the file; later, and it would be sent twice.
//!
//! A full disk ends nothing: rows that find no space are owed, and are written before anything else
//! is asked. Until then every question fails, so watchers stand still; and the log keeps what the
//! next start would need to know them by.

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use consign_core::planted::{Planted, planted};
use consign_core::spec::Stamp;
use rusqlite::{Connection, ErrorCode, OptionalExtension, params};
use thiserror::Error;

/// Paths looked at between two writes of [`Kept::forget_missing`].
const FORGET_PAGE_PATHS: i64 = 512;

/// What SQLite says beside `SQLITE_FULL` when there is no space: of its shared memory, which is a file
/// as long as it must be from the beginning, and of a write under a quota that is spent. Nothing is
/// written then, and no sync has failed.
const NO_SPACE: [i32; 2] = [
    rusqlite::ffi::SQLITE_IOERR_SHMSIZE,
    rusqlite::ffi::SQLITE_IOERR_WRITE,
];

/// Format of the database, in `user_version`.
const FORMAT: i64 = 1;

const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS kept (
        feed     TEXT    NOT NULL,
        path     TEXT    NOT NULL,
        size     INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        ino      INTEGER NOT NULL,
        PRIMARY KEY (feed, path, size, mtime_ns, ino)
    ) WITHOUT ROWID;
    CREATE TABLE IF NOT EXISTS roots (
        feed TEXT    NOT NULL PRIMARY KEY,
        ino  INTEGER NOT NULL
    ) WITHOUT ROWID;";

/// The database failed. What was asked is not known, or not written; the set is as it was.
#[derive(Debug, Error)]
pub(crate) enum KeptError {
    /// The database says no.
    #[error(
        "{path:?}: {source}; hint: check the disk; if the file is damaged, move it away, and every file still in a watched directory with after = \"keep\" is sent again"
    )]
    Database {
        /// The database file.
        path: PathBuf,
        /// What it says.
        source: rusqlite::Error,
    },
    /// Written by another version.
    #[error(
        "{path:?} has format {found}, not {FORMAT}; hint: run the version of consign that wrote it"
    )]
    Format {
        /// The database file.
        path: PathBuf,
        /// Its format.
        found: i64,
    },
}

/// The watched directory as it is now: what tells an unmounted disk from an emptied directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RootId {
    /// Inode of the directory.
    pub(crate) ino: u64,
    /// Whether it holds nothing.
    pub(crate) empty: bool,
}

/// The set, in one SQLite file. Shared by the watchers, who ask, and the outbox, which inserts.
#[derive(Debug)]
pub(crate) struct Kept {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// `None` while the disk is too full to open it.
    connection: Option<Connection>,
    /// Rows that found no space. They are of transfers that the log holds, and as few.
    owed: Vec<(String, String, Stamp)>,
}

impl KeptError {
    /// Whether there was no space, so that the same may go well later.
    pub(crate) fn is_for_want_of_space(&self) -> bool {
        let Self::Database { source, .. } = self else {
            return false;
        };
        source.sqlite_error().is_some_and(|error| {
            error.code == ErrorCode::DiskFull || NO_SPACE.contains(&error.extended_code)
        })
    }
}

impl Kept {
    /// Opens the set, or makes an empty one. On a full disk it is opened when there is space.
    ///
    /// # Errors
    /// [`KeptError`].
    pub(crate) fn open(path: &Path) -> Result<Self, KeptError> {
        let connection = match connect(path) {
            Err(error) if error.is_for_want_of_space() => None,
            connection => Some(connection?),
        };
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new(State {
                connection,
                owed: Vec::new(),
            }),
        })
    }

    /// Whether rows wait for space.
    pub(crate) fn owes(&self) -> bool {
        !self.lock().owed.is_empty()
    }

    /// Tries again to write what is owed. Blocks.
    pub(crate) fn pay(&self) {
        // What is still owed is seen by whoever asks next.
        let _ = self.with(|_| Ok(()));
    }

    /// Whether exactly this file, unchanged, was taken.
    ///
    /// # Errors
    /// [`KeptError`].
    pub(crate) fn contains_unchanged(
        &self,
        feed: &str,
        path: &str,
        stamp: &Stamp,
    ) -> Result<bool, KeptError> {
        self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT 1 FROM kept
                     WHERE feed = ? AND path = ? AND size = ? AND mtime_ns = ? AND ino = ?",
                )?
                .query_row(row(feed, path, stamp), |_| Ok(()))
                .optional()
                .map(|found| found.is_some())
        })
    }

    /// Remembers files as taken. All of them are synced on return, or owed, for want of space;
    /// repeating it changes nothing.
    ///
    /// # Errors
    /// [`KeptError`]: none of them is certain to be remembered.
    pub(crate) fn insert_batch<'a>(
        &self,
        files: impl IntoIterator<Item = (&'a str, &'a str, Stamp)>,
    ) -> Result<(), KeptError> {
        let files = files.into_iter();
        let rows = files.map(|(feed, path, stamp)| (feed.to_owned(), path.to_owned(), stamp));
        self.lock().owed.extend(rows);
        match self.with(|_| Ok(())) {
            Err(error) if error.is_for_want_of_space() => {
                tracing::warn!("{error}");
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// Forgets rows of a feed that match nothing on disk: `now` is asked for each path's present
    /// stamp, and where it does not know, the row stays. Returns how many it forgot.
    ///
    /// Forgets nothing while the directory is empty and another than last time: then its disk is
    /// not mounted, and all its files would be sent again when it is.
    ///
    /// # Errors
    /// [`KeptError`]: some may be forgotten.
    pub(crate) fn forget_missing(
        &self,
        feed: &str,
        root: RootId,
        mut now: impl FnMut(&str) -> io::Result<Option<Stamp>>,
    ) -> Result<usize, KeptError> {
        if !self.is_same_root(feed, root)? {
            return Ok(0);
        }
        let mut forgotten = 0;
        let mut after = String::new();
        loop {
            let page = self.page(feed, &after)?;
            let Some((last, _)) = page.last() else {
                return Ok(forgotten);
            };
            after.clone_from(last);
            // Asked outside the lock: it looks at the disk.
            let stale: Vec<_> = page
                .iter()
                .filter(|(path, taken)| match now(path) {
                    Ok(Some(stamp)) => !is_row_of(taken, &stamp),
                    Ok(None) => true,
                    Err(_) => false,
                })
                .collect();
            forgotten += stale.len();
            self.delete(feed, &stale)?;
        }
    }

    /// Whether the directory is the one of last time, or holds something, in which case it is the
    /// one from now on.
    fn is_same_root(&self, feed: &str, root: RootId) -> Result<bool, KeptError> {
        let ino = root.ino.cast_signed();
        self.with(|connection| {
            let before: Option<i64> = connection
                .prepare_cached("SELECT ino FROM roots WHERE feed = ?")?
                .query_row([feed], |row| row.get(0))
                .optional()?;
            if before == Some(ino) {
                return Ok(true);
            }
            if root.empty {
                return Ok(false);
            }
            connection.execute(
                "INSERT OR REPLACE INTO roots VALUES (?, ?)",
                params![feed, ino],
            )?;
            Ok(true)
        })
    }

    /// All rows of the next paths after `after`. A path's rows are never split over two pages.
    fn page(&self, feed: &str, after: &str) -> Result<Vec<(String, Stamp)>, KeptError> {
        self.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT path, size, mtime_ns, ino FROM kept
                     WHERE feed = ?1 AND path IN (
                         SELECT DISTINCT path FROM kept
                         WHERE feed = ?1 AND path > ?2 ORDER BY path LIMIT ?3)
                     ORDER BY path",
                )?
                .query_map(params![feed, after, FORGET_PAGE_PATHS], |row| {
                    let stamp = Stamp {
                        size: row.get::<_, i64>(1)?.cast_unsigned(),
                        mtime_ns: row.get(2)?,
                        ctime_ns: 0,
                        ino: row.get::<_, i64>(3)?.cast_unsigned(),
                        dev: 0,
                    };
                    Ok((row.get(0)?, stamp))
                })?
                .collect()
        })
    }

    fn delete(&self, feed: &str, rows: &[&(String, Stamp)]) -> Result<(), KeptError> {
        if rows.is_empty() {
            return Ok(());
        }
        self.with(|connection| {
            let transaction = connection.transaction()?;
            {
                let mut delete = transaction.prepare_cached(
                    "DELETE FROM kept
                     WHERE feed = ? AND path = ? AND size = ? AND mtime_ns = ? AND ino = ?",
                )?;
                for (path, stamp) in rows {
                    delete.execute(row(feed, path, stamp))?;
                }
            }
            // A crash before this keeps rows of files that are gone, until the next time.
            transaction.commit()
        })
    }

    fn with<T>(
        &self,
        act: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, KeptError> {
        let database = |source| KeptError::Database {
            path: self.path.clone(),
            source,
        };
        let mut state = self.lock();
        let State { connection, owed } = &mut *state;
        let connection = match connection {
            Some(connection) => connection,
            none => none.insert(connect(&self.path)?),
        };
        if !owed.is_empty() {
            insert(connection, owed).map_err(database)?;
            owed.clear();
        }
        act(connection).map_err(database)
    }

    /// A panic inside rolled its transaction back, so the connection is sound.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn insert(connection: &mut Connection, rows: &[(String, String, Stamp)]) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    {
        let mut insert =
            transaction.prepare_cached("INSERT OR IGNORE INTO kept VALUES (?, ?, ?, ?, ?)")?;
        for (feed, path, stamp) in rows {
            insert.execute(row(feed, path, stamp))?;
        }
    }
    // A crash before this forgets the batch; the log still holds its transfers, and startup inserts
    // them again.
    transaction.commit()
}

fn connect(path: &Path) -> Result<Connection, KeptError> {
    let database = |source| KeptError::Database {
        path: path.to_owned(),
        source,
    };
    let connection = Connection::open(path).map_err(database)?;
    prepare(&connection).map_err(database)?;
    let found = connection
        .query_row("PRAGMA user_version", [], |row| row.get(0))
        .map_err(database)?;
    match found {
        0 => connection
            .execute_batch(&format!(
                "BEGIN; {SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;"
            ))
            .map_err(database)?,
        FORMAT => {}
        found => {
            return Err(KeptError::Format {
                path: path.to_owned(),
                found,
            });
        }
    }
    Ok(connection)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // A crash before a commit's sync loses rows; the log still holds their transfers.
    let synchronous = match planted(Planted::KeptSetNotSynced) {
        true => "OFF",
        false => "FULL",
    };
    connection.pragma_update(None, "synchronous", synchronous)?;
    // A kill may have left a commit that is in the page cache alone. Believed, a power cut would still
    // take it, when the log holds its transfer no more.
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// The values of a row, in the order of its columns. SQLite's integers are signed.
fn row<'a>(feed: &'a str, path: &'a str, stamp: &Stamp) -> (&'a str, &'a str, i64, i64, i64) {
    (
        feed,
        path,
        stamp.size.cast_signed(),
        stamp.mtime_ns,
        stamp.ino.cast_signed(),
    )
}

fn is_row_of(taken: &Stamp, now: &Stamp) -> bool {
    (taken.size, taken.mtime_ns, taken.ino) == (now.size, now.mtime_ns, now.ino)
}
