//! Why a file could not be taken, let go or put back.

use std::io;
use std::path::{Path, PathBuf};

use consign_core::limits::FILE_BYTES_MAX;
use consign_core::spec::Stamp;
use rustix::io::Errno;
use thiserror::Error;

use super::KeptError;
use crate::os_disk::{fault, kind_of};

/// Why one file could not be taken. It is where it was, unless the variant says otherwise, and
/// taking it may be tried again.
#[derive(Debug, Error)]
pub(crate) enum TakeError {
    /// Neither the file nor anything of it in the spool is there. For a file that a watcher found
    /// this is no fault: its owner removed it.
    #[error("{path:?} is not there; hint: it was moved or deleted before it could be taken")]
    Vanished {
        /// The file.
        path: PathBuf,
    },
    /// It is not a regular file.
    #[error("{path:?} is {what}; hint: hand over the regular file itself")]
    NotRegular {
        /// The thing.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// Its path is not UTF-8, so it can be neither logged nor sent.
    #[error("{path:?} is not UTF-8; hint: rename it")]
    NotUtf8 {
        /// The file.
        path: PathBuf,
    },
    /// It is larger than any file that is accepted.
    #[error("{path:?} has {size} bytes; hint: at most {FILE_BYTES_MAX} are accepted, split it")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its length in bytes.
        size: u64,
    },
    /// This user may not read it.
    #[error("{path:?} may not be read: {source}; hint: let the agent's user read it")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It may be read but not moved away, and its feed says `delete` or `archive`.
    #[error(
        "{path:?} may not be moved: {source}; hint: let the agent's user write its directory, or set after = \"keep\""
    )]
    NotMovable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It was written while it was being taken, or since it was found.
    #[error(
        "{path:?} changed while it was taken: {} bytes before, {} after; hint: write it under a temporary name and rename it when it is whole",
        before.size,
        after.size
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// How it looked before.
        before: Stamp,
        /// How it looked after.
        after: Stamp,
    },
    /// The spool has no room for a copy.
    #[error(
        "no room to copy {path:?} into the spool: {source}; hint: free space on the data directory's filesystem, or take files from a directory on that filesystem: they are then moved or linked"
    )]
    NoSpace {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// It had been moved into the spool, then could not be taken for another reason, and its old
    /// path was no longer free. Nothing of it is lost.
    #[error(
        "{path:?} was not taken ({why}), and another file has its path by now; hint: it is at {now_at:?}"
    )]
    Stranded {
        /// The file's old path.
        path: PathBuf,
        /// Where it is.
        now_at: PathBuf,
        /// Why it was not taken.
        why: String,
    },
    /// Anything else that the system says.
    #[error("cannot take {path:?}: {source}; hint: see the filesystem's state, then retry")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

impl TakeError {
    /// The variant for an error number that concerned the file itself.
    pub(super) fn from_errno(doing: &'static str, path: &Path, errno: Errno) -> Self {
        let path = path.to_owned();
        let source = fault(doing, &path)(errno);
        match errno {
            Errno::NOENT | Errno::STALE => Self::Vanished { path },
            Errno::ACCESS | Errno::PERM => Self::Unreadable { path, source },
            Errno::LOOP => Self::NotRegular {
                path,
                what: "a symbolic link",
            },
            // Opening a socket, or a device without a driver.
            Errno::NXIO => Self::NotRegular {
                path,
                what: "a socket or a device",
            },
            _ => Self::Io { path, source },
        }
    }

    /// The variant for an error that already says its circumstances, met on the way to the file.
    pub(super) fn on_the_way(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Self::Vanished { path },
            io::ErrorKind::PermissionDenied => Self::Unreadable { path, source },
            _ => Self::Io { path, source },
        }
    }

    /// The variant for an error number met while its copy was written.
    pub(super) fn in_spool(path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoSpace { path, source }
            }
            _ => Self::Io { path, source },
        }
    }

    /// The variant for an error number of a move away from the origin.
    pub(super) fn of_move(path: &Path, errno: Errno) -> Self {
        let source = fault("move", path)(errno);
        let path = path.to_owned();
        match kind_of(errno) {
            io::ErrorKind::NotFound => Self::Vanished { path },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                Self::NotMovable { path, source }
            }
            io::ErrorKind::StorageFull => Self::NoSpace { path, source },
            _ => Self::Io { path, source },
        }
    }
}

/// A sync failed: nothing of the batch may be acknowledged, and the node stops. Its restart
/// repeats the step.
#[derive(Debug, Error)]
#[error(
    "syncing {what:?} failed: {source}; hint: check the disk and its kernel messages, then start the node again"
)]
pub(crate) struct OutboxSyncFailed {
    /// The file or directory.
    pub(crate) what: PathBuf,
    /// What the system said.
    pub(crate) source: io::Error,
}

/// Why the outbox cannot be opened. Nothing but empty directories was made.
#[derive(Debug, Error)]
pub(crate) enum OpenError {
    /// Its directories cannot be made or opened.
    #[error(
        "the spool under {data_dir:?} cannot be used: {source}; hint: check that disk, and let this user write there"
    )]
    Spool {
        /// The data directory.
        data_dir: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// See [`KeptError`].
    #[error(transparent)]
    Kept(#[from] KeptError),
}

/// Why a file could not be put back. It is still in the spool; trying again is safe.
#[derive(Debug, Error)]
#[error(
    "{origin:?} could not be put back: {source}; hint: free space or fix permissions, it is tried again; until then it is safe in the spool as {spool:?}"
)]
pub(crate) struct RestoreError {
    /// Where it came from.
    pub(crate) origin: PathBuf,
    /// Its name in the spool.
    pub(crate) spool: String,
    /// What the system says.
    pub(crate) source: io::Error,
}
