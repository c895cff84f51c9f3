//! Whose staging directory it is: one agent's at a time, and what another left in it is not ours to
//! remove.
//!
//! What an agent finds in staging and not in its log is an orphan, and goes. So files that another
//! node staged must not lie there: to that node, a file that is gone from staging was published.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use consign_core::disk::{Disk, EntryKind};
use consign_core::publish::{self, STAGING_DIR};
use rustix::fs::{FlockOperation, OFlags};

use super::InboxError;

/// A staging directory that no other agent uses while this is held, also by another path.
#[derive(Debug)]
pub(super) struct Claim {
    inbox: PathBuf,
    _staging: File,
}

impl Claim {
    /// Takes the staging directory of an inbox.
    ///
    /// # Errors
    /// [`InboxError::InUse`] when another agent has it.
    pub(super) fn take(inbox: &Path) -> Result<Self, InboxError> {
        let path = inbox.join(STAGING_DIR);
        let io = |source| InboxError::Staging {
            path: inbox.to_owned(),
            source,
        };
        let flags = (OFlags::DIRECTORY | OFlags::NOFOLLOW).bits().cast_signed();
        let mut options = OpenOptions::new();
        options.read(true).custom_flags(flags);
        let staging = options.open(&path).map_err(io)?;
        let in_use = || InboxError::InUse {
            path: inbox.to_owned(),
        };
        rustix::fs::flock(&staging, FlockOperation::NonBlockingLockExclusive)
            .map_err(|_| in_use())?;
        // Another agent may have moved it away since it was opened.
        let (held, there) = (
            staging.metadata().map_err(io)?,
            fs::metadata(&path).map_err(io)?,
        );
        match (held.dev(), held.ino()) == (there.dev(), there.ino()) {
            true => Ok(Self {
                inbox: inbox.to_owned(),
                _staging: staging,
            }),
            false => Err(in_use()),
        }
    }

    /// Makes room for a staging directory of our own in an inbox where another node had its: its
    /// marker goes, so that it finds its inbox lost should it return, and when it has files there the
    /// whole directory is moved aside. Returns where to.
    ///
    /// # Errors
    /// Whatever the filesystem says; done again, it goes on.
    pub(super) fn vacate(&self, disk: &dyn Disk) -> io::Result<Option<PathBuf>> {
        let entries = disk.list(Path::new(STAGING_DIR))?;
        let is_staged =
            |kind, name: &str| kind == EntryKind::File && publish::is_staging_name(name);
        if !entries
            .iter()
            .any(|entry| is_staged(entry.kind, &entry.name))
        {
            publish::remove_marker(disk)?;
            return Ok(None);
        }
        let to = (1..)
            .map(|number| self.inbox.join(format!("{STAGING_DIR}.left-{number}")))
            .find(|path| fs::symlink_metadata(path).is_err())
            .expect("some number is free");
        // Synced with the directory that takes its place, before anything is logged of that. A crash
        // before can bring it back, and it is moved aside again.
        fs::rename(self.inbox.join(STAGING_DIR), &to)?;
        Ok(Some(to))
    }
}
