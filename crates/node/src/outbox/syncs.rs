//! The syncs that a batch owes: each file and each directory once.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use super::OutboxSyncFailed;
use crate::os_disk::{Root, fault, sync_directory};

/// Files up to which each is synced by itself. Beyond, one sync of their filesystem is cheaper,
/// though it writes strangers' data as well.
const SYNC_EACH_MAX: usize = 16;

/// Files and directories that are still to be synced.
#[derive(Debug, Default)]
pub(super) struct Syncs {
    files: Vec<(OwnedFd, PathBuf)>,
    dirs: Vec<(OwnedFd, PathBuf)>,
    seen: BTreeSet<(u64, u64)>,
}

impl Syncs {
    /// Owes the sync of a file.
    pub(super) fn file(&mut self, fd: OwnedFd, path: &Path) {
        self.files.push((fd, path.to_owned()));
    }

    /// Whether the sync of a file is owed.
    #[cfg(test)]
    pub(super) fn owes_file(&self, path: &Path) -> bool {
        self.files.iter().any(|(_, owed)| owed == path)
    }

    /// Owes the sync of a directory. They are synced in the order in which they were first named:
    /// where files arrive before where they went away, so that no crash finds them nowhere.
    pub(super) fn dir(&mut self, dir: impl AsFd, path: &Path) -> io::Result<()> {
        let stat = rustix::fs::fstat(&dir).map_err(fault("stat", path))?;
        if self.seen.insert((stat.st_dev, stat.st_ino)) {
            let fd = dir.as_fd().try_clone_to_owned()?;
            self.dirs.push((fd, path.to_owned()));
        }
        Ok(())
    }

    /// Syncs the files, all of which are on the filesystem of `root`.
    pub(super) fn sync_files(&mut self, root: &Root) -> Result<(), OutboxSyncFailed> {
        let files = std::mem::take(&mut self.files);
        if files.len() > SYNC_EACH_MAX {
            return rustix::fs::syncfs(root.handle())
                .map_err(|errno| failed(root.path(), errno.into()));
        }
        files.iter().try_for_each(|(fd, path)| {
            rustix::fs::fsync(fd).map_err(|errno| failed(path, errno.into()))
        })
    }

    /// Syncs the directories.
    pub(super) fn sync_dirs(&mut self) -> Result<(), OutboxSyncFailed> {
        self.seen.clear();
        std::mem::take(&mut self.dirs)
            .iter()
            .try_for_each(|(fd, path)| {
                sync_directory(fd, path).or_else(|source| match source.kind() {
                    // It was removed, with all that was in it.
                    io::ErrorKind::NotFound => Ok(()),
                    _ => Err(failed(path, source)),
                })
            })
    }
}

fn failed(what: &Path, source: io::Error) -> OutboxSyncFailed {
    OutboxSyncFailed {
        what: what.to_owned(),
        source,
    }
}
