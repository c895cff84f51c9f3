//! Taking files.

use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;

use consign_core::disk::Disk;
use consign_core::limits::SMALL_FILE_BYTES_MAX;
use consign_core::planted::{Planted, planted};
use consign_core::spec::After;
use rustix::fs::{Access, AtFlags, RenameFlags, Stat};
use rustix::io::Errno;

use super::content::{check_still, content_of, read_small};
use super::copy::copy_into;
use super::origin::{OriginDir, entry, open_regular};
use super::restore::PutBack;
use super::spool::{COPY, PART};
use super::stamp::stamp_of;
use super::syncs::Syncs;
use super::{Origin, Outbox, OutboxSyncFailed, Restored, TakeError, TakeRequest, Taken};
use crate::filesystem::free_space;

/// Files that share one round of syncs. Each in the spool holds a descriptor until then.
const TAKE_BATCH_MAX: usize = 256;

impl Outbox {
    /// Takes files, with the syncs grouped. What is `Ok` and in the spool is synced on return; the
    /// bytes of a small file that stays in its place become durable with the log record that
    /// carries them. After a crash the same requests continue from what was done.
    ///
    /// # Errors
    /// The outer one is final: the node stops, and restarts by taking the same files. The inner
    /// ones concern one file each, which is in its place again, unless its error says where it is.
    pub(crate) fn take_batch(
        &self,
        requests: &[TakeRequest],
    ) -> Result<Vec<Result<Taken, TakeError>>, OutboxSyncFailed> {
        let mut outcomes = Vec::with_capacity(requests.len());
        for some in requests.chunks(TAKE_BATCH_MAX) {
            let mut syncs = Syncs::default();
            let mut taken: Vec<_> = some
                .iter()
                .map(|request| self.take_one(request, &mut syncs))
                .collect();
            // A crash before this loses bytes that nobody was told of; the claim is repeated.
            if !planted(Planted::SpoolNotSynced) {
                syncs.sync_files(self.spool.root())?;
            }
            for (request, taken) in some.iter().zip(&mut taken) {
                self.name_copy(request, taken);
            }
            // A crash before this can undo a move or a link: the claim is repeated.
            syncs.sync_dirs()?;
            outcomes.append(&mut taken);
        }
        Ok(outcomes)
    }

    fn take_one(&self, request: &TakeRequest, syncs: &mut Syncs) -> Result<Taken, TakeError> {
        let path = &request.origin.path;
        let io = |source| TakeError::on_the_way(path, source);
        if path.to_str().is_none() {
            return Err(TakeError::NotUtf8 { path: path.clone() });
        }
        if self.is_spooled(&request.spool).map_err(io)? {
            return self.adopt(request, syncs);
        }
        let copy = format!("{}{COPY}", request.spool);
        if self.is_spooled(&copy).map_err(io)? {
            if self.is_origin_gone(&request.origin).map_err(io)? {
                return self.adopt_copy(request, &copy, syncs);
            }
            // Not submitted yet, so the origin is whole, and may have changed since.
            self.spool.remove(Path::new(&copy)).map_err(io)?;
        }
        self.take_fresh(request, syncs)
    }

    fn take_fresh(&self, request: &TakeRequest, syncs: &mut Syncs) -> Result<Taken, TakeError> {
        let path = &request.origin.path;
        let dir = request
            .origin
            .dir()
            .map_err(|source| TakeError::on_the_way(path, source))?;
        let (file, stat) = open_regular(&dir.fd, &dir.name, path)?;
        request.check(&stamp_of(&stat))?;
        if request.after == After::Keep && stamp_of(&stat).size <= SMALL_FILE_BYTES_MAX {
            let content = read_small(&file, &stat, path)?;
            return Ok(Taken::new(request, String::new(), false, &stat, content));
        }
        match self.bring_in(request, &dir)? {
            Entered::Itself => {
                if request.after != After::Keep {
                    // Where it arrives is owed first, where it went away second.
                    self.owe_spool(path, syncs)?;
                    syncs
                        .dir(&dir.fd, path.parent().unwrap_or(path))
                        .map_err(|source| TakeError::on_the_way(path, source))?;
                }
                self.adopt(request, syncs)
            }
            Entered::Not => self.copy(request, &dir, &file, &stat, syncs),
        }
    }

    /// Moves or links the origin into the spool.
    fn bring_in(&self, request: &TakeRequest, dir: &OriginDir) -> Result<Entered, TakeError> {
        let path = &request.origin.path;
        let spool = self.spool.root().handle();
        let name = request.spool.as_str();
        if request.after == After::Keep {
            return match rustix::fs::linkat(&dir.fd, &dir.name, spool, name, AtFlags::empty()) {
                Ok(()) => Ok(Entered::Itself),
                Err(
                    Errno::XDEV | Errno::PERM | Errno::ACCESS | Errno::MLINK | Errno::OPNOTSUPP,
                ) => Ok(Entered::Not),
                Err(errno) => Err(TakeError::from_errno("link", path, errno)),
            };
        }
        match rustix::fs::renameat_with(&dir.fd, &dir.name, spool, name, RenameFlags::NOREPLACE) {
            Ok(()) => Ok(Entered::Itself),
            Err(Errno::XDEV) => Ok(Entered::Not),
            Err(errno) => Err(TakeError::of_move(path, errno)),
        }
    }

    /// Takes what is in the spool under the claimed name: the origin itself, moved or linked. It
    /// is judged anew, since another file may have been put in its place just before.
    fn adopt(&self, request: &TakeRequest, syncs: &mut Syncs) -> Result<Taken, TakeError> {
        self.try_adopt(request, syncs)
            .map_err(|error| self.give_back(request, error))
    }

    fn try_adopt(&self, request: &TakeRequest, syncs: &mut Syncs) -> Result<Taken, TakeError> {
        let path = &request.origin.path;
        let (file, stat) = self.open_entry(&request.spool, path)?;
        request.check(&stamp_of(&stat))?;
        let content = content_of(file, &stat, path, syncs)?;
        self.owe_spool(path, syncs)?;
        Ok(Taken::new(
            request,
            request.spool.clone(),
            true,
            &stat,
            content,
        ))
    }

    /// Takes a whole copy whose origin has gone since: it is all there is.
    fn adopt_copy(
        &self,
        request: &TakeRequest,
        copy: &str,
        syncs: &mut Syncs,
    ) -> Result<Taken, TakeError> {
        let path = &request.origin.path;
        let (file, stat) = self.open_entry(copy, path)?;
        let content = content_of(file, &stat, path, syncs)?;
        self.owe_spool(path, syncs)?;
        Ok(Taken::new(request, copy.to_owned(), false, &stat, content))
    }

    /// Copies the origin into the spool under a name that says that it is not whole yet.
    fn copy(
        &self,
        request: &TakeRequest,
        dir: &OriginDir,
        file: &OwnedFd,
        stat: &Stat,
        syncs: &mut Syncs,
    ) -> Result<Taken, TakeError> {
        let path = &request.origin.path;
        if request.after != After::Keep {
            // Found out now, and not when the file is on its way and cannot be removed.
            rustix::fs::accessat(
                &dir.fd,
                ".",
                Access::WRITE_OK | Access::EXEC_OK,
                AtFlags::EACCESS,
            )
            .map_err(|errno| TakeError::of_move(path, errno))?;
        }
        self.room_for(stat, path)?;
        let part = format!("{}{PART}", request.spool);
        self.copy_as(&part, request, file, stat, syncs)
            .inspect_err(|_| self.throw_away(&part))
    }

    /// Refuses before the copy fills the disk: a copy that fails at its end has taken the room of
    /// everything that goes through the same disk meanwhile.
    fn room_for(&self, stat: &Stat, path: &Path) -> Result<(), TakeError> {
        let free = free_space(self.spool.root().path())
            .map_err(|source| TakeError::in_spool(path, source))?;
        let needed = stamp_of(stat).size;
        if needed <= free {
            return Ok(());
        }
        Err(TakeError::NoSpace {
            path: path.to_owned(),
            source: io::Error::new(
                io::ErrorKind::StorageFull,
                format!("it has {needed} bytes, and {free} are free"),
            ),
        })
    }

    fn copy_as(
        &self,
        part: &str,
        request: &TakeRequest,
        file: &OwnedFd,
        stat: &Stat,
        syncs: &mut Syncs,
    ) -> Result<Taken, TakeError> {
        let path = &request.origin.path;
        let shown_as = self.spool.root().path().join(part);
        let copy = copy_into(
            file,
            stat,
            self.spool.root().handle(),
            part.as_ref(),
            &shown_as,
        )
        .map_err(|source| TakeError::in_spool(path, source))?;
        check_still(file, &stamp_of(stat), path)?;
        let copied = rustix::fs::fstat(&copy)
            .map_err(|errno| TakeError::from_errno("look at", &shown_as, errno))?;
        let content = content_of(copy, &copied, path, syncs)?;
        self.owe_spool(path, syncs)?;
        let spool = format!("{}{COPY}", request.spool);
        Ok(Taken::new(request, spool, false, stat, content))
    }

    /// Removes what a copy that failed has left. Each try has a name of its own, so nothing else
    /// would before the next start. What stays all the same is removed then.
    fn throw_away(&self, part: &str) {
        let _ = self.discard_partial(part);
    }

    /// Gives a copy, now synced, the name that says that it is whole.
    fn name_copy(&self, request: &TakeRequest, taken: &mut Result<Taken, TakeError>) {
        let Ok(done) = taken else { return };
        if !done.source.spool.ends_with(COPY) {
            return;
        }
        let part = format!("{}{PART}", request.spool);
        match self
            .spool
            .rename(Path::new(&part), Path::new(&done.source.spool))
        {
            Ok(()) => {}
            // Adopted as it was.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                self.throw_away(&part);
                *taken = Err(TakeError::Io {
                    path: request.origin.path.clone(),
                    source,
                });
            }
        }
    }

    /// Puts a file that entered the spool and cannot be taken back into its place.
    fn give_back(&self, request: &TakeRequest, error: TakeError) -> TakeError {
        let back = PutBack {
            origin: &request.origin,
            spool: &request.spool,
            after: request.after,
            copied_from: None,
            remember: None,
        };
        match self.put_back(&back) {
            Ok(Restored::InPlace | Restored::NotInSpool) => error,
            Ok(Restored::SetAside(now_at)) => TakeError::Stranded {
                path: request.origin.path.clone(),
                now_at,
                why: error.to_string(),
            },
            Err(restore) => TakeError::Io {
                path: request.origin.path.clone(),
                source: io::Error::other(format!("{error}; and then: {restore}")),
            },
        }
    }

    fn open_entry(&self, name: &str, path: &Path) -> Result<(OwnedFd, Stat), TakeError> {
        let spool = self
            .spool
            .root()
            .handle()
            .to_owned()
            .map_err(|source| TakeError::on_the_way(path, source))?;
        open_regular(&spool, name.as_ref(), path)
    }

    fn owe_spool(&self, path: &Path, syncs: &mut Syncs) -> Result<(), TakeError> {
        let root = self.spool.root();
        syncs
            .dir(root.handle(), root.path())
            .map_err(|source| TakeError::on_the_way(path, source))
    }

    fn is_spooled(&self, name: &str) -> io::Result<bool> {
        Ok(self.spool.stat(Path::new(name))?.is_some())
    }

    fn is_origin_gone(&self, origin: &Origin) -> io::Result<bool> {
        match origin.dir() {
            Ok(dir) => Ok(entry(&dir.fd, &dir.name)?.is_none()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
            Err(error) => Err(error),
        }
    }
}

/// How an origin came into the spool.
enum Entered {
    /// Its inode is there.
    Itself,
    /// It must be copied.
    Not,
}
