//! SQLite files of ours: whether one is damaged, and where it goes then.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

/// Whether SQLite says that the file itself is damaged.
pub(crate) fn is_corruption(error: &rusqlite::Error) -> bool {
    use rusqlite::ErrorCode::{DatabaseCorrupt, NotADatabase};
    match error {
        rusqlite::Error::SqliteFailure(inner, _) => {
            matches!(inner.code, DatabaseCorrupt | NotADatabase)
        }
        // Tables or values that this program never wrote, in a file that claims to be ours.
        rusqlite::Error::SqlInputError { .. }
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::QueryReturnedNoRows => true,
        _ => false,
    }
}

/// Renames the database and its companions to the first free `….broken-N`; when the first `kept_max`
/// are taken, the last of them is replaced. A rename, so that what is in it can still be looked at; its
/// write-ahead log goes with it, or the new database would take it for its own.
///
/// # Errors
/// What the system says; some of the files may be renamed.
pub(crate) fn set_aside(path: &Path, kept_max: u32) -> io::Result<PathBuf> {
    let free = (1..kept_max).find(|n| !kept_as(path, *n).exists());
    let kept_as = kept_as(path, free.unwrap_or(kept_max));
    for companion in ["-wal", "-shm"] {
        let from = with_suffix(path, companion);
        if from.exists() {
            std::fs::rename(from, with_suffix(&kept_as, companion))?;
        }
    }
    std::fs::rename(path, &kept_as)?;
    Ok(kept_as)
}

/// Where the `n`th that was set aside is.
pub(crate) fn kept_as(path: &Path, n: u32) -> PathBuf {
    with_suffix(path, &format!(".broken-{n}"))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    PathBuf::from(name)
}
