//! Whether a filesystem can keep the promises, found out before anything is promised on it.
//!
//! The kind of filesystem says what cannot be probed: that a sync reaches a disk of this machine.
//! The rest is tried for real in a scratch file.

mod kind;
mod probe;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::os_disk::fault;
pub(crate) use kind::{FsKind, Standing};
pub(crate) use probe::remove_left_over;

/// What a directory is to be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    /// Files are published into it: renames must refuse to replace, syncs must hold.
    Inbox,
    /// The log and the spool are in it.
    DataDir,
    /// Files are taken from it. Nothing durable is written there.
    Watch,
}

/// A filesystem that may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FsReport {
    /// The directory that was checked.
    pub(crate) path: PathBuf,
    /// What it is on.
    pub(crate) kind: FsKind,
    /// Promises that are weaker there, in words for people; empty when none is. Said at every
    /// start and in `status`.
    pub(crate) degraded: Vec<String>,
    /// Bytes that an unprivileged process may still write.
    pub(crate) free_bytes: u64,
}

/// Why a directory cannot be used. Nothing was changed, but for scratch files, which are removed.
#[derive(Debug, Error)]
pub(crate) enum FsError {
    /// It cannot be looked at: it is missing, no directory, or not permitted.
    #[error(
        "{path:?} cannot be used: {source}; hint: create it, and let this user read and write it"
    )]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A kind of filesystem on which the promises cannot be kept.
    #[error(
        "{path:?} is on {kind}, where {why}; hint: use a directory on a local filesystem such as ext4 or xfs"
    )]
    Refused {
        /// The directory.
        path: PathBuf,
        /// The kind.
        kind: FsKind,
        /// What is missing.
        why: &'static str,
    },
    /// Something that every promise rests on was tried and did not work.
    #[error(
        "{path:?} is on {kind}, which does not {what}: {source}; hint: use a directory on a local filesystem such as ext4 or xfs, under Linux 5.6 or newer"
    )]
    Lacks {
        /// The directory.
        path: PathBuf,
        /// The kind.
        kind: FsKind,
        /// What was tried.
        what: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The staging directory is not on the inbox's filesystem, so nothing can be renamed out of it.
    #[error("{staging:?} is on another filesystem than its inbox; hint: unmount it")]
    StagingElsewhere {
        /// The staging directory.
        staging: PathBuf,
    },
}

impl FsError {
    /// Whether nothing was wrong but that there was no space, or a quota was spent.
    fn is_for_want_of_space(&self) -> bool {
        match self {
            Self::Unusable { source, .. } | Self::Lacks { source, .. } => matches!(
                source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            ),
            Self::Refused { .. } | Self::StagingElsewhere { .. } => false,
        }
    }
}

/// Checks the directory at `path` for a use. An inbox gets its staging directory, and scratch
/// files in it for a moment; a data directory gets scratch files; a watched one gets nothing.
///
/// # Errors
/// [`FsError`]; trying again helps only after something was changed.
pub(crate) fn check(path: &Path, used_as: Use) -> Result<FsReport, FsError> {
    let unusable = |source| FsError::Unusable {
        path: path.to_owned(),
        source,
    };
    let statfs =
        rustix::fs::statfs(path).map_err(|errno| unusable(fault("look at", path)(errno)))?;
    let kind = FsKind::of_magic(statfs.f_type);
    let mut degraded = Vec::new();
    match kind.standing(used_as) {
        Standing::Good => {}
        Standing::Degraded(why) => degraded.push(format!("{path:?} is on {kind}: {why}")),
        Standing::Refused(why) => {
            return Err(FsError::Refused {
                path: path.to_owned(),
                kind,
                why,
            });
        }
    }
    match used_as {
        Use::Inbox => degraded.extend(probe::inbox(path, kind)?),
        Use::DataDir => degraded.extend(probe::data_dir(path, kind)?),
        Use::Watch => {
            crate::os_disk::Root::open(path).map_err(unusable)?;
        }
    }
    Ok(FsReport {
        path: path.to_owned(),
        kind,
        degraded,
        free_bytes: free_bytes(&statfs),
    })
}

/// Bytes that an unprivileged process may still write on the filesystem of `path`.
///
/// # Errors
/// Whatever the system says.
pub(crate) fn free_space(path: &Path) -> io::Result<u64> {
    let statfs = rustix::fs::statfs(path).map_err(fault("look at", path))?;
    Ok(free_bytes(&statfs))
}

fn free_bytes(statfs: &rustix::fs::StatFs) -> u64 {
    let block = u64::try_from(statfs.f_frsize)
        .ok()
        .filter(|bytes| *bytes > 0)
        .or_else(|| u64::try_from(statfs.f_bsize).ok())
        .unwrap_or(0);
    statfs.f_bavail.saturating_mul(block)
}
