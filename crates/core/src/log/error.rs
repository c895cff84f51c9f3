//! What can go wrong with the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Position;
use crate::record::BadRecord;

/// Why the log refused, failed or stopped.
#[derive(Debug, Clone, thiserror::Error)]
pub enum LogError {
    /// Bytes that were proven synced are not what was written. Nothing was changed, cut or deleted.
    /// Retrying does not help.
    #[error(
        "{} is damaged at byte {offset}: {what}; hint: nothing was cut or deleted; copy the whole data directory away before anything else, then stop the agent, and `consign doctor` says which files are affected",
        path.display()
    )]
    Damaged {
        /// The segment's file.
        path: PathBuf,
        /// Where the damage begins, in bytes.
        offset: u64,
        /// What is wrong there.
        what: &'static str,
    },
    /// A newer version of this program wrote the log. Nothing was changed. Retrying does not help.
    #[error(
        "{} has format {found}, and this version reads up to {supported}; hint: run the version of consign that wrote it, or a newer one",
        path.display()
    )]
    NewerFormat {
        /// The segment's file.
        path: PathBuf,
        /// The format of the segment, or of a record in it.
        found: u32,
        /// The newest one that is understood.
        supported: u32,
    },
    /// A record's checksum is right, and still it cannot be decoded. Nothing was changed. Retrying
    /// does not help.
    #[error("{} at byte {offset}: {source}", path.display())]
    Unreadable {
        /// The segment's file.
        path: PathBuf,
        /// The record's place, in bytes.
        offset: u32,
        /// What the decoder says.
        source: BadRecord,
    },
    /// A file operation failed. From reading a record, making the reserve or removing a dropped
    /// segment, the log is as it was and it may be tried again. From anything else the log is
    /// poisoned: what was not committed may or may not be in it, every later call fails with this
    /// same error, and only opening it again helps.
    #[error("cannot {what} {}: {source}; hint: check the disk and its mount, then restart the agent", path.display())]
    Io {
        /// What was being done.
        what: &'static str,
        /// To which file or directory.
        path: PathBuf,
        /// What the filesystem says.
        source: Arc<io::Error>,
    },
    /// There is no room for another segment. Nothing was changed, and what was appended before can
    /// still be committed. Try again when there is space.
    #[error(
        "no space for another log segment of {needed_bytes} bytes in {}; hint: free disk space there",
        path.display()
    )]
    Full {
        /// The log's directory.
        path: PathBuf,
        /// The size of the segment that could not be made, in bytes.
        needed_bytes: u64,
    },
    /// A sync failed: what was written since the last one may be lost although it can still be read.
    /// The log is poisoned: every later call fails with this same error, and the sync is never tried
    /// again. Open the log again in a new process.
    #[error(
        "sync of {} failed: {source}; hint: nothing that was not synced has been acknowledged; check the disk, then restart the agent",
        path.display()
    )]
    SyncFailed {
        /// The file or directory.
        path: PathBuf,
        /// What the filesystem says.
        source: Arc<io::Error>,
    },
    /// A record is larger than a batch or a segment can hold. Nothing was changed. Retrying does not
    /// help.
    #[error(
        "a {kind} record of {bytes} bytes with its payload is over the limit of {max} bytes; hint: larger files do not belong into the log, report this as a bug"
    )]
    RecordTooLarge {
        /// The record's name.
        kind: &'static str,
        /// Its size with its payload, in bytes.
        bytes: u64,
        /// The largest that fits, in bytes.
        max: u64,
    },
    /// The record is still in memory. Nothing was changed. Flush or commit the log, then read again.
    #[error("log position {position} is not written yet; hint: flush the log first")]
    NotWritten {
        /// The position that was asked for.
        position: Position,
    },
    /// The record should have a payload, and has none: when it was carried forward, its payload could
    /// not be read any more. Nothing was changed. Retrying does not help.
    #[error(
        "the bytes of log position {position} were damaged on this disk; hint: check the disk and its kernel messages"
    )]
    NoPayload {
        /// The position that was asked for.
        position: Position,
    },
    /// The record's segment has been dropped. Nothing was changed. Retrying does not help.
    #[error("log position {position} was dropped; hint: report this as a bug")]
    Gone {
        /// The position that was asked for.
        position: Position,
    },
}

impl LogError {
    pub(super) fn io(what: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io {
            what,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(super) fn sync(path: &Path, source: io::Error) -> Self {
        Self::SyncFailed {
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    pub(super) fn damaged(path: &Path, offset: impl Into<u64>, what: &'static str) -> Self {
        Self::Damaged {
            path: path.to_owned(),
            offset: offset.into(),
            what,
        }
    }
}

/// Why bytes of a segment were not accepted. What it means depends on the place: damage below what
/// is proven synced, a torn tail above.
#[derive(Debug)]
pub(super) enum Unsound {
    /// The bytes are not what was written.
    Flaw { at: u32, what: &'static str },
    /// They could not be read, or not be understood.
    Error(LogError),
}

impl Unsound {
    pub(super) fn flaw(at: u32, what: &'static str) -> Self {
        Self::Flaw { at, what }
    }

    /// The error for a place where only sound bytes can be.
    pub(super) fn into_damage(self, path: &Path) -> LogError {
        match self {
            Self::Flaw { at, what } => LogError::damaged(path, at, what),
            Self::Error(error) => error,
        }
    }
}

impl From<LogError> for Unsound {
    fn from(error: LogError) -> Self {
        Self::Error(error)
    }
}
