//! Putting a file back where it came from, when its transfer came to nothing.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use consign_core::disk::Disk;
use consign_core::publish::STAGING_DIR;
use consign_core::spec::{After, Source, Stamp};
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::archive::with_id;
use super::copy::copy_into;
use super::origin::{OriginDir, entry, open_regular};
use super::spool::{COPY, claimed_name};
use super::stamp::{same_content, stamp_of};
use super::{FAILED_DIR, Origin, Outbox, RestoreError};
use crate::os_disk::{fault, sync_directory};

/// Where a file is after it was given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Restored {
    /// Where it came from.
    InPlace,
    /// The spool holds nothing of it: it was never moved, or an earlier run gave it back.
    NotInSpool,
    /// Here, since its old path is taken or cannot be written: for a person to deal with.
    SetAside(PathBuf),
}

/// What is to be put back.
pub(super) struct PutBack<'a> {
    pub(super) origin: &'a Origin,
    /// The entry's name in the spool.
    pub(super) spool: &'a str,
    pub(super) after: After,
    /// The origin's stamp, where the entry is a copy of it.
    pub(super) copied_from: Option<Stamp>,
    /// Feed and relative name under which the kept set is told to leave the file alone.
    pub(super) remember: Option<(&'a str, &'a str)>,
}

impl Outbox {
    /// Puts the file of a failed or cancelled transfer back into its place, without replacing
    /// anything there. A file from a watched directory is put into the kept set first, or the
    /// watcher would submit it again at once. Synced on return, and safe to repeat.
    ///
    /// # Errors
    /// [`RestoreError`]: it is still in the spool.
    pub(crate) fn restore(
        &self,
        source: &Source,
        feed: &str,
        name: &str,
        beneath: Option<&Path>,
    ) -> Result<Restored, RestoreError> {
        if source.spool.is_empty() {
            return Ok(Restored::NotInSpool);
        }
        let origin = Origin {
            path: PathBuf::from(&source.origin),
            beneath: beneath.map(Path::to_owned),
        };
        self.put_back(&PutBack {
            origin: &origin,
            spool: &source.spool,
            after: source.after(),
            copied_from: source.stamp.filter(|_| source.spool.ends_with(COPY)),
            remember: source.watched.then_some((feed, name)),
        })
    }

    pub(super) fn put_back(&self, back: &PutBack<'_>) -> Result<Restored, RestoreError> {
        self.try_put_back(back).map_err(|source| RestoreError {
            origin: back.origin.path.clone(),
            spool: back.spool.to_owned(),
            source,
        })
    }

    fn try_put_back(&self, back: &PutBack<'_>) -> io::Result<Restored> {
        let spool = self.spool.root().handle().to_owned()?;
        let Some(held) = entry(&spool, back.spool.as_ref())? else {
            self.sync_moved(back)?;
            return Ok(Restored::NotInSpool);
        };
        let held = stamp_of(&held);
        // What was submitted over the API has no place to go back to.
        let Ok(dir) = back.origin.dir() else {
            return self.set_aside_as(back);
        };
        let there = entry(&dir.fd, &dir.name)?.map(|stat| stamp_of(&stat));
        let is_there = there.is_some_and(|now| match back.copied_from {
            Some(copied) => same_content(&copied, &now),
            None => (now.dev, now.ino) == (held.dev, held.ino),
        });
        match there {
            Some(now) if is_there => {
                self.remember(back, &now)?;
                self.drop_entry(back.spool)
            }
            // Its owner removed it, or put another into its place, while a link to it was here.
            _ if back.after == After::Keep => self.set_aside_as(back),
            Some(_) => self.set_aside_as(back),
            None => self.move_back(back, &spool, &dir, &held),
        }
    }

    fn move_back(
        &self,
        back: &PutBack<'_>,
        spool: &OwnedFd,
        dir: &OriginDir,
        held: &Stamp,
    ) -> io::Result<Restored> {
        self.remember(back, held)?;
        match rustix::fs::renameat_with(
            spool,
            back.spool,
            &dir.fd,
            &dir.name,
            RenameFlags::NOREPLACE,
        ) {
            // A crash before these syncs can undo the move, and it is repeated.
            Ok(()) => {
                self.sync_origin(back, dir)?;
                self.spool.sync_dir(Path::new(""))?;
                Ok(Restored::InPlace)
            }
            Err(Errno::XDEV) => self.copy_back(back, spool, dir),
            Err(errno @ (Errno::NOSPC | Errno::DQUOT | Errno::IO)) => {
                Err(fault("put back", &back.origin.path)(errno))
            }
            // Taken in this moment, or not writable.
            Err(_) => self.set_aside_as(back),
        }
    }

    /// An earlier run may have moved it and have been killed before its syncs. A power cut could then
    /// still undo the move, when nobody looks for it in the spool any more.
    fn sync_moved(&self, back: &PutBack<'_>) -> io::Result<()> {
        if let Ok(dir) = back.origin.dir() {
            self.sync_origin(back, &dir)?;
        }
        self.failed.sync_dir(Path::new(""))?;
        self.spool.sync_dir(Path::new(""))
    }

    /// Copies the file back aside, and shows it when it is whole and synced.
    fn copy_back(
        &self,
        back: &PutBack<'_>,
        spool: &OwnedFd,
        dir: &OriginDir,
    ) -> io::Result<Restored> {
        let path = &back.origin.path;
        let (held, stat) =
            open_regular(spool, back.spool.as_ref(), path).map_err(io::Error::other)?;
        let aside = format!("{STAGING_DIR}-back-{}", claimed_name(back.spool));
        let shown_as = path.with_file_name(&aside);
        let copy = match copy_into(&held, &stat, &dir.fd, aside.as_ref(), &shown_as) {
            Ok(copy) => copy,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return self.set_aside_as(back);
            }
            Err(error) => return Err(error),
        };
        rustix::fs::fsync(&copy).map_err(fault("sync", &shown_as))?;
        let copied = rustix::fs::fstat(&copy).map_err(fault("look at", &shown_as))?;
        self.remember(back, &stamp_of(&copied))?;
        match rustix::fs::renameat_with(
            &dir.fd,
            aside.as_str(),
            &dir.fd,
            &dir.name,
            RenameFlags::NOREPLACE,
        ) {
            Ok(()) => {
                self.sync_origin(back, dir)?;
                self.drop_entry(back.spool)
            }
            Err(_) => {
                rustix::fs::unlinkat(&dir.fd, aside.as_str(), AtFlags::empty())
                    .map_err(fault("remove", &shown_as))?;
                self.set_aside_as(back)
            }
        }
    }

    fn sync_origin(&self, back: &PutBack<'_>, dir: &OriginDir) -> io::Result<()> {
        let path = &back.origin.path;
        sync_directory(&dir.fd, path.parent().unwrap_or(path))
    }

    /// Removes an entry whose file is in its place.
    fn drop_entry(&self, name: &str) -> io::Result<Restored> {
        self.spool.remove(Path::new(name))?;
        self.spool.sync_dir(Path::new(""))?;
        Ok(Restored::InPlace)
    }

    fn remember(&self, back: &PutBack<'_>, stamp: &Stamp) -> io::Result<()> {
        match back.remember {
            Some((feed, name)) => self
                .kept
                .insert_batch([(feed, name, *stamp)])
                .map_err(io::Error::other),
            None => Ok(()),
        }
    }

    /// Moves an entry to where people find it, under its file's own name and that of its claim.
    fn set_aside_as(&self, back: &PutBack<'_>) -> io::Result<Restored> {
        let base = back.origin.path.file_name().unwrap_or_default();
        let name = with_id(&base.to_string_lossy(), claimed_name(back.spool));
        let to = self.data_dir.join(FAILED_DIR).join(&name);
        rustix::fs::renameat_with(
            self.spool.root().handle(),
            back.spool,
            self.failed.root().handle(),
            name.as_str(),
            RenameFlags::NOREPLACE,
        )
        .map_err(fault("move a spooled file to", &to))?;
        self.failed.sync_dir(Path::new(""))?;
        self.spool.sync_dir(Path::new(""))?;
        Ok(Restored::SetAside(to))
    }
}
