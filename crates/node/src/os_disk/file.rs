//! An open file.

use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use consign_core::disk::{Attributes, File};
use consign_core::limits::SEGMENT_BYTES;
use consign_core::planted::{Planted, planted};
use rustix::fs::{
    Advice, FallocateFlags, Gid, Mode, Timespec, Timestamps, UTIME_OMIT, Uid, fadvise, fallocate,
};
use rustix::io::{Errno, retry_on_intr};

use super::fault::fault;

/// Longest stretch that [`File::allocate`] fills with zeroes, in bytes: a log segment. Syncs of a
/// file whose blocks were written once cost two thirds of those of one whose blocks are only
/// reserved. A larger file is written once anyway, and writing it twice would cost more than that.
const ZEROED_BYTES_MAX: u64 = SEGMENT_BYTES;

/// Zeroes written at once, in bytes.
const ZEROES_BYTES: usize = 1 << 20;

/// Bytes written by one call. The page cache takes memory in pieces of the size of the write, and
/// large pieces come from memory that was not used for long, which on a virtual machine the host may
/// have to find first: a GiB in writes of 1 MiB took three to four times as long as in these.
const WRITE_BYTES: usize = 64 << 10;

const NANOS_PER_SECOND: i64 = 1_000_000_000;

/// Permission bits that a file from elsewhere may bring along: not set-user-id and its like.
const MODE_BITS: u32 = 0o777;

/// An open regular file.
#[derive(Debug)]
pub(crate) struct OsFile {
    fd: OwnedFd,
    path: PathBuf,
    /// Whether attributes were set that a data sync may leave out.
    attributes_changed: AtomicBool,
    /// Whether a sync failed. The kernel may report success the next time, with the bytes lost.
    sync_failed: AtomicBool,
}

impl OsFile {
    /// Wraps a descriptor; `path` is for messages.
    pub(crate) fn new(fd: OwnedFd, path: PathBuf) -> Self {
        Self {
            fd,
            path,
            attributes_changed: AtomicBool::new(false),
            sync_failed: AtomicBool::new(false),
        }
    }

    fn sync_once(&self) -> Result<(), Errno> {
        if planted(Planted::OsSyncSkipped) {
            return Ok(());
        }
        if self.attributes_changed.swap(false, Ordering::AcqRel) {
            rustix::fs::fsync(&self.fd)
        } else {
            rustix::fs::fdatasync(&self.fd)
        }
    }

    /// Makes a file this process's own again that an earlier try may have given away.
    fn take_back(&self) -> io::Result<()> {
        let stat = rustix::fs::fstat(&self.fd).map_err(fault("stat", &self.path))?;
        let me = rustix::process::geteuid();
        match stat.st_uid == me.as_raw() {
            true => Ok(()),
            false => self.chown(me, None),
        }
    }

    fn chown(&self, user: Uid, group: Option<Gid>) -> io::Result<()> {
        rustix::fs::fchown(&self.fd, Some(user), group)
            .map_err(fault("change the owner of", &self.path))
    }

    fn write_zeroes(&self, from: u64, to: u64) -> io::Result<()> {
        let zeroes = vec![0; ZEROES_BYTES];
        let mut at = from;
        while at < to {
            let len = (to - at).min(ZEROES_BYTES as u64);
            self.write_all_at(&zeroes[..len as usize], at)?;
            at += len;
        }
        Ok(())
    }
}

impl AsFd for OsFile {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl File for OsFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let read = retry_on_intr(|| {
                rustix::io::pread(&self.fd, &mut buf[done..], offset + done as u64)
            })
            .map_err(fault("read", &self.path))?;
            if read == 0 {
                return Err(io::Error::new(
                    ErrorKind::UnexpectedEof,
                    format!("{:?} ends at byte {}", self.path, offset + done as u64),
                ));
            }
            done += read;
        }
        Ok(())
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut done = 0;
        while done < buf.len() {
            let piece = &buf[done..buf.len().min(done + WRITE_BYTES)];
            let written =
                retry_on_intr(|| rustix::io::pwrite(&self.fd, piece, offset + done as u64))
                    .map_err(fault("write", &self.path))?;
            if written == 0 {
                return Err(fault("write", &self.path)(Errno::IO));
            }
            done += written;
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        if self.sync_failed.load(Ordering::Acquire) {
            return Err(fault("sync again, after a sync that failed,", &self.path)(
                Errno::IO,
            ));
        }
        self.sync_once().map_err(|errno| {
            self.sync_failed.store(true, Ordering::Release);
            fault("sync", &self.path)(errno)
        })
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        retry_on_intr(|| rustix::fs::ftruncate(&self.fd, len))
            .map_err(fault("change the length of", &self.path))
    }

    fn len(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstat(&self.fd).map_err(fault("stat", &self.path))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    fn identity(&self) -> io::Result<u64> {
        let stat = rustix::fs::fstat(&self.fd).map_err(fault("stat", &self.path))?;
        Ok(stat.st_ino)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let had = self.len()?;
        if len == 0 {
            return Ok(());
        }
        match retry_on_intr(|| fallocate(&self.fd, FallocateFlags::empty(), 0, len)) {
            // Some filesystems cannot reserve; the zeroes below do it, or the length is set and
            // a later write may find the disk full, which every caller expects of any write.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(fault("reserve space for", &self.path)(errno)),
        }
        if len <= had {
            return Ok(());
        }
        if len > ZEROED_BYTES_MAX {
            return self.set_len(len);
        }
        self.write_zeroes(had, len)?;
        self.sync()
    }

    fn write_behind(&self, offset: u64, len: u64) {
        // Of all advice this one starts writeback of the range without waiting for it. Pages still
        // dirty or under way stay in the cache. It is a hint: an error changes nothing.
        let _ = fadvise(
            &self.fd,
            offset,
            std::num::NonZeroU64::new(len),
            Advice::DontNeed,
        );
    }

    fn set_attributes(&self, attributes: &Attributes) -> io::Result<()> {
        // The owner last: only a file of its own may a process change, if all it may beyond that is
        // to give files away. A change of owner clears none of the bits that are set here.
        if attributes.owner.is_some() {
            self.take_back()?;
        }
        if let Some(mode) = attributes.mode {
            rustix::fs::fchmod(&self.fd, Mode::from_raw_mode(mode & MODE_BITS))
                .map_err(fault("change the permissions of", &self.path))?;
        }
        if let Some(mtime_ns) = attributes.mtime_ns {
            rustix::fs::futimens(&self.fd, &modified_at(mtime_ns))
                .map_err(fault("set the modification time of", &self.path))?;
        }
        if let Some((user, group)) = attributes.owner {
            self.chown(Uid::from_raw(user), Some(Gid::from_raw(group)))?;
        }
        if *attributes != Attributes::default() {
            self.attributes_changed.store(true, Ordering::Release);
        }
        Ok(())
    }
}

fn modified_at(mtime_ns: i64) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: 0,
            tv_nsec: UTIME_OMIT,
        },
        last_modification: Timespec {
            tv_sec: mtime_ns.div_euclid(NANOS_PER_SECOND),
            tv_nsec: mtime_ns.rem_euclid(NANOS_PER_SECOND),
        },
    }
}
