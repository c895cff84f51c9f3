//! Copying a file where it can be neither renamed nor linked.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags, Stat, Timespec, Timestamps};
use rustix::io::Errno;

use crate::os_disk::fault;

/// Compared at once, in bytes.
const COMPARE_BYTES: usize = 256 << 10;

/// Copies an open file's bytes, permissions and modification time into a new file, in the place of
/// whatever an earlier try left there. *Written* on return: its caller syncs the file returned,
/// and only then gives it a name that says it is whole.
///
/// # Errors
/// `StorageFull`, or whatever the filesystem says; a part of the copy may be there.
pub(super) fn copy_into(
    from: &OwnedFd,
    stat: &Stat,
    dir: impl AsFd,
    name: &OsStr,
    shown_as: &Path,
) -> io::Result<OwnedFd> {
    match rustix::fs::unlinkat(&dir, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(errno) => return Err(fault("remove", shown_as)(errno)),
    }
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = rustix::fs::openat(&dir, name, flags, Mode::from_raw_mode(0o600))
        .map_err(fault("create", shown_as))?;
    // The kernel copies: shared blocks where the filesystem can, else within the page cache.
    let mut reader = File::from(from.try_clone()?);
    reader.rewind()?;
    io::copy(&mut reader, &mut File::from(to.try_clone()?))?;
    rustix::fs::fchmod(&to, Mode::from_raw_mode(stat.st_mode & 0o777))
        .map_err(fault("change the permissions of", shown_as))?;
    rustix::fs::futimens(&to, &times_of(stat))
        .map_err(fault("set the modification time of", shown_as))?;
    Ok(to)
}

fn times_of(stat: &Stat) -> Timestamps {
    Timestamps {
        last_access: Timespec {
            tv_sec: stat.st_atime,
            tv_nsec: stat.st_atime_nsec as _,
        },
        last_modification: Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        },
    }
}

/// Whether two open files hold the same bytes.
///
/// # Errors
/// Whatever the filesystem says.
pub(super) fn same_bytes(a: &OwnedFd, b: &OwnedFd) -> io::Result<bool> {
    let mut readers = [File::from(a.try_clone()?), File::from(b.try_clone()?)];
    let mut buffers = [vec![0; COMPARE_BYTES], vec![0; COMPARE_BYTES]];
    for reader in &mut readers {
        reader.rewind()?;
    }
    loop {
        let first = fill(&mut readers[0], &mut buffers[0])?;
        let second = fill(&mut readers[1], &mut buffers[1])?;
        if buffers[0][..first] != buffers[1][..second] {
            return Ok(false);
        }
        if first == 0 {
            return Ok(true);
        }
    }
}

fn fill(reader: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match reader.read(&mut buffer[done..]) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
