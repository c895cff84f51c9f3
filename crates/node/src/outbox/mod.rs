//! The producer's side of a file on disk: taking it, holding it, letting it go.
//!
//! ```text
//!   origin ──take──▶ spool/NAME        renamed (delete, archive) or linked (keep, large)
//!                    spool/NAME.copy   copied, where neither is possible; whole if it is there
//!                    spool/NAME.part   a copy that was cut short
//!   spool ──release─▶ gone, or the archive        at `done`
//!   spool ──restore─▶ origin, or failed/          when the transfer came to nothing
//! ```
//!
//! Who calls this logs first: *claiming* before [`Outbox::take_batch`], *submitted* after it and
//! before [`Outbox::remove_origins`], *done* before [`Outbox::release_batch`] and *released* after.
//! Each step can be repeated after a crash, and completes what was begun.
//!
//! Calls block. They belong on the node's worker threads.

mod archive;
mod content;
mod copy;
mod error;
mod kept;
mod origin;
mod release;
mod remove;
mod restore;
mod spool;
mod stamp;
mod syncs;
mod take;
mod taken;
#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_core::disk::Disk;

use crate::os_disk::OsDisk;

pub(crate) use content::Content;
pub(crate) use error::{OpenError, OutboxSyncFailed, RestoreError, TakeError};
pub(crate) use kept::{Kept, KeptError, RootId};
pub(crate) use origin::Origin;
pub(crate) use release::Release;
#[cfg(test)]
pub(crate) use release::Released;
#[cfg(test)]
pub(crate) use remove::OriginRemoval;
pub(crate) use remove::{OwedRemoval, Stays, owes_removal};
pub(crate) use restore::Restored;
#[cfg(test)]
pub(crate) use spool::Orphan;
pub(crate) use spool::OrphanKind;
pub(crate) use stamp::{Look, look, stamp_of};
pub(crate) use taken::{TakeRequest, Taken};

/// Where taken files are held, under the data directory.
const SPOOL_DIR: &str = "spool";
/// Where files go that could not be put back, under the data directory.
const FAILED_DIR: &str = "failed";
/// Where archived files go unless the feed says otherwise, under the data directory.
const ARCHIVE_DIR: &str = "archive";
/// What `keep` already took, under the data directory.
const KEPT_FILE: &str = "kept.db";

/// The spool of a data directory.
pub(crate) fn spool_dir(data_dir: &Path) -> PathBuf {
    data_dir.join(SPOOL_DIR)
}

/// The spool of one data directory, and what belongs to it.
#[derive(Debug)]
pub(crate) struct Outbox {
    data_dir: PathBuf,
    spool: OsDisk,
    failed: OsDisk,
    kept: Arc<Kept>,
}

impl Outbox {
    /// Opens the outbox of a data directory, and makes what is missing. Its directories are synced
    /// on return.
    ///
    /// # Errors
    /// [`OpenError`].
    pub(crate) fn open(data_dir: &Path) -> Result<Self, OpenError> {
        let kept = Kept::open(&data_dir.join(KEPT_FILE))?;
        let (spool, failed) = open_dirs(data_dir).map_err(|source| OpenError::Spool {
            data_dir: data_dir.to_owned(),
            source,
        })?;
        Ok(Self {
            data_dir: data_dir.to_owned(),
            spool,
            failed,
            kept: Arc::new(kept),
        })
    }

    /// The synced set of what `keep` already took.
    pub(crate) fn kept(&self) -> &Arc<Kept> {
        &self.kept
    }

    /// The default archive of a feed.
    pub(crate) fn archive_of(&self, feed: &str) -> PathBuf {
        self.data_dir.join(ARCHIVE_DIR).join(feed)
    }
}

/// Makes the spool and the directory of what could not be put back, and opens both.
fn open_dirs(data_dir: &Path) -> io::Result<(OsDisk, OsDisk)> {
    let data = OsDisk::private(data_dir)?;
    for dir in [SPOOL_DIR, FAILED_DIR] {
        data.create_dir(Path::new(dir))?;
    }
    // A crash before this loses empty directories, and an empty kept set beside them.
    data.sync_dir(Path::new(""))?;
    let open = |dir| OsDisk::private(&data_dir.join(dir));
    Ok((open(SPOOL_DIR)?, open(FAILED_DIR)?))
}
