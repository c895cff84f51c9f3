//! Letting sources go, when every consumer has the file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use consign_core::disk::{Disk, OpenMode};
use consign_core::limits::SMALL_FILE_BYTES_MAX;
use consign_core::spec::{After, Source};
use thiserror::Error;

use super::archive::Archive;
use super::remove::remove_origin;
use super::spool::COPY;
use super::syncs::Syncs;
use super::{KeptError, Outbox, OutboxSyncFailed};

/// A source that is to be let go. *Done* is logged and synced already.
#[derive(Debug, Clone)]
pub(crate) struct Release {
    /// What the log says of it.
    pub(crate) source: Source,
    /// Its feed.
    pub(crate) feed: String,
    /// Its relative name: its path in the archive.
    pub(crate) name: String,
    /// Its transfer, for the archive's name when `name` is taken there.
    pub(crate) id: String,
    /// The watched directory that it came from.
    pub(crate) beneath: Option<PathBuf>,
    /// The feed's archive; `None` for the default.
    pub(crate) archive: Option<PathBuf>,
}

/// What became of a source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Released {
    /// It is deleted.
    Deleted,
    /// It stays where it is.
    Kept,
    /// It is in the archive, here.
    Archived(PathBuf),
    /// The spool held nothing of it: it never did, or an earlier run let it go.
    NotInSpool,
}

/// Why a source could not be let go. It is still held; trying again is safe.
#[derive(Debug, Error)]
pub(crate) enum ReleaseError {
    /// The filesystem says no.
    #[error(
        "the source of {name:?} could not be released: {source}; hint: free space or fix permissions, it is tried again"
    )]
    Io {
        /// The file's relative name.
        name: String,
        /// What the system says.
        source: io::Error,
    },
    /// The kept set could not be written.
    #[error("{name:?} could not be remembered as taken: {why}")]
    Kept {
        /// The file's relative name.
        name: String,
        /// What the database says, with its own hint.
        why: String,
    },
}

impl Outbox {
    /// Lets sources go as their feeds say. What is `Ok` is synced on return: *released* may be
    /// logged. Repeating it after a crash completes what was begun.
    ///
    /// # Errors
    /// The outer one is final. The inner ones concern one source each.
    pub(crate) fn release_batch(
        &self,
        releases: &[Release],
    ) -> Result<Vec<Result<Released, ReleaseError>>, OutboxSyncFailed> {
        let remembered = self.remember_kept(releases);
        self.sync_unsynced(releases)?;
        let mut archives = BTreeMap::new();
        let mut syncs = Syncs::default();
        let outcomes = releases
            .iter()
            .map(|release| {
                if let (After::Keep, Err(error)) = (release.source.after(), &remembered) {
                    return Err(ReleaseError::Kept {
                        name: release.name.clone(),
                        why: error.to_string(),
                    });
                }
                self.release_one(release, &mut archives, &mut syncs)
                    .map_err(|source| ReleaseError::Io {
                        name: release.name.clone(),
                        source,
                    })
            })
            .collect();
        // Where files went is owed already; where they came from is synced last.
        let spool = self.spool.root();
        syncs
            .dir(spool.handle(), spool.path())
            .map_err(|source| OutboxSyncFailed {
                what: spool.path().to_owned(),
                source,
            })?;
        // A crash before this can bring entries back into the spool; releasing is repeated.
        syncs.sync_dirs()?;
        Ok(outcomes)
    }

    /// Before its link goes, a kept file is remembered: it was at *submitted* already, unless a
    /// crash came between.
    fn remember_kept(&self, releases: &[Release]) -> Result<(), KeptError> {
        let kept: Vec<_> = releases
            .iter()
            .filter(|release| release.source.watched && release.source.after() == After::Keep)
            .filter_map(|release| {
                let stamp = release.source.stamp?;
                Some((release.feed.as_str(), release.name.as_str(), stamp))
            })
            .collect();
        if kept.is_empty() {
            return Ok(());
        }
        self.kept.insert_batch(kept)
    }

    /// Syncs small files that are about to be archived: so far only the log has their bytes for
    /// certain. Before the move, or a crash could leave an empty file in the archive that looks
    /// as if it were all.
    fn sync_unsynced(&self, releases: &[Release]) -> Result<(), OutboxSyncFailed> {
        let mut syncs = Syncs::default();
        for release in releases {
            let source = &release.source;
            let small = source
                .stamp
                .is_some_and(|stamp| stamp.size <= SMALL_FILE_BYTES_MAX);
            let synced = !small || source.spool.ends_with(COPY) || source.spool.is_empty();
            if source.after() != After::Archive || synced {
                continue;
            }
            // What cannot be opened is archived already, or fails below.
            let opened = self
                .spool
                .open_file(Path::new(&source.spool), OpenMode::Read);
            if let Ok(fd) = opened.and_then(|file| {
                use std::os::fd::AsFd as _;
                file.as_fd().try_clone_to_owned()
            }) {
                syncs.file(fd, Path::new(&source.spool));
            }
        }
        syncs.sync_files(self.spool.root())
    }

    fn release_one(
        &self,
        release: &Release,
        archives: &mut BTreeMap<PathBuf, Archive>,
        syncs: &mut Syncs,
    ) -> io::Result<Released> {
        let source = &release.source;
        // Done at *submitted*, unless a crash or an error came between.
        remove_origin(source, release.beneath.as_deref(), syncs)?;
        match source.after() {
            After::Keep => {
                self.remove_entry(&source.spool)?;
                Ok(Released::Kept)
            }
            After::Delete => Ok(match self.remove_entry(&source.spool)? {
                true => Released::Deleted,
                false => Released::NotInSpool,
            }),
            After::Archive if source.spool.is_empty() => Ok(Released::NotInSpool),
            After::Archive => {
                let path = match &release.archive {
                    Some(path) => path.clone(),
                    None => self.archive_of(&release.feed),
                };
                let archive = match archives.entry(path) {
                    std::collections::btree_map::Entry::Occupied(open) => open.into_mut(),
                    std::collections::btree_map::Entry::Vacant(vacant) => {
                        let archive = Archive::open(vacant.key())?;
                        vacant.insert(archive)
                    }
                };
                let moved = archive.take_in(
                    &self.spool,
                    &source.spool,
                    &release.name,
                    &release.id,
                    syncs,
                )?;
                Ok(moved.map_or(Released::NotInSpool, Released::Archived))
            }
        }
    }

    /// Removes an entry; whether it was there.
    fn remove_entry(&self, name: &str) -> io::Result<bool> {
        if name.is_empty() {
            return Ok(false);
        }
        match self.spool.remove(Path::new(name)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}
