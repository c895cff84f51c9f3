//! Removing origins that were copied, once their transfer is submitted.

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use consign_core::ids::TransferId;
use consign_core::publish::STAGING_DIR;
use consign_core::spec::{After, Source, Stamp};
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::origin::{OriginDir, entry};
use super::spool::{COPY, claimed_name};
use super::stamp::{same_content, stamp_of};
use super::syncs::Syncs;
use super::{KeptError, Origin, Outbox, OutboxSyncFailed};
use crate::os_disk::fault;

/// What became of an origin that was copied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OriginRemoval {
    /// It is removed.
    Removed,
    /// Nothing is there.
    AlreadyGone,
    /// Another file is there, or it was written since: it stays, and is a new file.
    Replaced,
}

/// Whether a source's origin is to be removed although its bytes are in the spool: it was copied.
/// Readable from the log alone, so that a restart can make up for it.
pub(crate) fn owes_removal(source: &Source) -> bool {
    source.after() != After::Keep && source.spool.ends_with(COPY) && !source.origin.is_empty()
}

/// The origin of a submitted file that was copied, which is to go.
#[derive(Debug)]
pub(crate) struct OwedRemoval {
    /// Its transfer.
    pub(crate) transfer: TransferId,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name in the feed.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) source: Source,
    /// The watched directory, if there is one.
    pub(crate) beneath: Option<PathBuf>,
}

/// An origin that stays, although its transfer is submitted.
#[derive(Debug)]
pub(crate) struct Stays {
    /// The transfer.
    pub(crate) transfer: TransferId,
    /// Why, for a person.
    pub(crate) why: String,
}

/// Why removing origins came to nothing. It is final.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RemovalError {
    /// See [`OutboxSyncFailed`].
    #[error(transparent)]
    Sync(#[from] OutboxSyncFailed),
    /// See [`KeptError`].
    #[error(transparent)]
    Kept(#[from] KeptError),
}

impl Outbox {
    /// Removes origins, as [`Outbox::remove_origins`], and remembers a watched one that stays as
    /// taken, so that it is not found and sent again. Those that stay.
    ///
    /// # Errors
    /// [`RemovalError`].
    pub(crate) fn remove_or_remember(
        &self,
        owed: &[OwedRemoval],
    ) -> Result<Vec<Stays>, RemovalError> {
        let sources: Vec<_> = owed
            .iter()
            .map(|owed| (&owed.source, owed.beneath.as_deref()))
            .collect();
        let outcomes = self.remove_origins(&sources)?;
        let mut stay = Vec::new();
        let mut remember = Vec::new();
        for (owed, outcome) in owed.iter().zip(outcomes) {
            let Err(error) = outcome else {
                continue;
            };
            let why = format!(
                "{} is in the queue as transfer {} and could not be removed: {error}; hint: let this user write there, and remove it by hand",
                owed.source.origin, owed.transfer
            );
            let transfer = owed.transfer.clone();
            stay.push(Stays { transfer, why });
            if let Some(stamp) = owed.source.stamp.filter(|_| owed.source.watched) {
                remember.push((owed.feed.as_str(), owed.name.as_str(), stamp));
            }
        }
        self.kept().insert_batch(remember)?;
        Ok(stay)
    }

    /// Removes the origins of submitted transfers that were copied; others are left alone. Call it
    /// after *submitted* is synced, and at startup, before the watchers, for every transfer of the
    /// log that [`owes_removal`]. `beneath` is the watched directory, if there is one.
    ///
    /// An origin that cannot be removed stays and would be found again: put it into the kept set.
    ///
    /// # Errors
    /// The outer one is final. The inner ones concern one file each; trying again is safe.
    pub(crate) fn remove_origins(
        &self,
        sources: &[(&Source, Option<&Path>)],
    ) -> Result<Vec<io::Result<OriginRemoval>>, OutboxSyncFailed> {
        let mut syncs = Syncs::default();
        let outcomes = sources
            .iter()
            .map(|(source, beneath)| remove_origin(source, *beneath, &mut syncs))
            .collect();
        // A crash before this can bring origins back; startup removes them again.
        syncs.sync_dirs()?;
        Ok(outcomes)
    }
}

pub(super) fn remove_origin(
    source: &Source,
    beneath: Option<&Path>,
    syncs: &mut Syncs,
) -> io::Result<OriginRemoval> {
    let Some(taken) = source.stamp.filter(|_| owes_removal(source)) else {
        return Ok(OriginRemoval::AlreadyGone);
    };
    let origin = Origin {
        path: PathBuf::from(&source.origin),
        beneath: beneath.map(Path::to_owned),
    };
    let dir = match origin.dir() {
        Ok(dir) => dir,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(OriginRemoval::AlreadyGone);
        }
        Err(error) => return Err(error),
    };
    syncs.dir(&dir.fd, origin.path.parent().unwrap_or(&origin.path))?;
    let aside = OsString::from(format!(
        "{STAGING_DIR}-taken-{}",
        claimed_name(&source.spool)
    ));
    // An earlier run may have ended in the middle of this.
    let before = settle_aside(&dir, &aside, &taken, &origin.path)?;
    if before != OriginRemoval::AlreadyGone || !is_taken_file(&dir, &taken, &origin.path)? {
        return Ok(match entry(&dir.fd, &dir.name)? {
            Some(_) => OriginRemoval::Replaced,
            None => before,
        });
    }
    // Another file may take the path between the look and the removal, and must not be removed
    // for it. So the entry is moved to a name that nobody else uses, and looked at there.
    match rustix::fs::renameat_with(&dir.fd, &dir.name, &dir.fd, &aside, RenameFlags::NOREPLACE) {
        Ok(()) => settle_aside(&dir, &aside, &taken, &origin.path),
        Err(Errno::NOENT) => Ok(OriginRemoval::AlreadyGone),
        Err(errno) => Err(fault("remove", &origin.path)(errno)),
    }
}

fn is_taken_file(dir: &OriginDir, taken: &Stamp, path: &Path) -> io::Result<bool> {
    let now = entry(&dir.fd, &dir.name).map_err(fault("look at", path))?;
    Ok(now.is_some_and(|stat| same_content(taken, &stamp_of(&stat))))
}

/// Removes what was moved aside if it is what was taken, and moves it back if not.
fn settle_aside(
    dir: &OriginDir,
    aside: &OsString,
    taken: &Stamp,
    path: &Path,
) -> io::Result<OriginRemoval> {
    let Some(stat) = entry(&dir.fd, aside).map_err(fault("look at", path))? else {
        return Ok(OriginRemoval::AlreadyGone);
    };
    if same_content(taken, &stamp_of(&stat)) {
        rustix::fs::unlinkat(&dir.fd, aside, AtFlags::empty()).map_err(fault("remove", path))?;
        return Ok(OriginRemoval::Removed);
    }
    rustix::fs::renameat_with(&dir.fd, aside, &dir.fd, &dir.name, RenameFlags::NOREPLACE)
        .map_err(fault("put back what took the place of", path))?;
    Ok(OriginRemoval::Replaced)
}
