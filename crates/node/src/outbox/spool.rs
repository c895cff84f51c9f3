//! Names in the spool, and entries that nobody knows.

use std::io;
use std::path::{Path, PathBuf};

#[cfg(test)]
use consign_core::disk::OpenMode;
use consign_core::disk::{Disk, EntryKind};

use super::{FAILED_DIR, Outbox};
#[cfg(test)]
use crate::os_disk::OsFile;

/// Ends the name of an entry that is a copy of its origin, whole and synced. The origin is still to
/// be removed, unless the feed keeps it.
pub(super) const COPY: &str = ".copy";
/// Ends the name of a copy that was cut short.
pub(super) const PART: &str = ".part";

/// An entry of the spool that the log does not know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Orphan {
    /// Its name in the spool.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// What it is.
    pub(crate) kind: OrphanKind,
}

/// What an unknown entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrphanKind {
    /// Part of a copy whose origin is in place: [`Outbox::discard_partial`].
    Partial,
    /// Perhaps the only copy of somebody's file: [`Outbox::set_aside`], and say so.
    Whole,
}

/// The name under which a claim was logged, of an entry in whichever form.
pub(super) fn claimed_name(entry: &str) -> &str {
    entry
        .strip_suffix(COPY)
        .or_else(|| entry.strip_suffix(PART))
        .unwrap_or(entry)
}

impl Outbox {
    /// Opens a spooled file for reading.
    #[cfg(test)]
    pub(crate) fn open_spooled(&self, name: &str) -> io::Result<OsFile> {
        self.spool.open_file(Path::new(name), OpenMode::Read)
    }

    /// The entries of the spool that belong to no transfer: `known` is asked for the name under
    /// which each was claimed. For startup, when the log has been read.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn orphans(&self, known: impl Fn(&str) -> bool) -> io::Result<Vec<Orphan>> {
        let unknown = |name: &str| !known(claimed_name(name));
        let entries = self.spool.list_where(Path::new(""), unknown)?;
        Ok(entries
            .into_iter()
            .filter(|entry| entry.kind == EntryKind::File)
            .map(|entry| Orphan {
                kind: if entry.name.ends_with(PART) {
                    OrphanKind::Partial
                } else {
                    OrphanKind::Whole
                },
                name: entry.name,
                size: entry.len,
            })
            .collect())
    }

    /// Removes what a cut-short copy left. Not synced: if the entry comes back, it is found again.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn discard_partial(&self, name: &str) -> io::Result<()> {
        assert!(name.ends_with(PART), "{name} may be the only copy");
        self.spool.remove(Path::new(name))
    }

    /// Moves an entry out of the spool to where people find it, and returns its path there. Both
    /// directories are synced on return.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn set_aside(&self, name: &str) -> io::Result<PathBuf> {
        let to = self.data_dir.join(FAILED_DIR).join(name);
        rustix::fs::renameat_with(
            self.spool.root().handle(),
            name,
            self.failed.root().handle(),
            name,
            rustix::fs::RenameFlags::NOREPLACE,
        )
        .map_err(crate::os_disk::fault("move a spooled file to", &to))?;
        self.failed.sync_dir(Path::new(""))?;
        self.spool.sync_dir(Path::new(""))?;
        Ok(to)
    }
}
