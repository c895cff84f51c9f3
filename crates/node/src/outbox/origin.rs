//! Where a file was handed over, and how it is looked up there.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::error::TakeError;
use super::stamp::stamp_of;
use crate::os_disk::{Root, fault};

/// The place a file is taken from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Origin {
    /// The file's absolute path.
    pub(crate) path: PathBuf,
    /// The watched directory that it was found in. Others may write there, so no symbolic link
    /// below it is followed. `None` for a path from a command, whose directories are its caller's.
    pub(crate) beneath: Option<PathBuf>,
}

/// The directory of an origin, held open, so that every step is about the same one.
#[derive(Debug)]
pub(super) struct OriginDir {
    pub(super) fd: OwnedFd,
    pub(super) name: OsString,
}

impl Origin {
    /// Opens the directory that holds the file.
    pub(super) fn dir(&self) -> io::Result<OriginDir> {
        let (Some(parent), Some(name)) = (self.path.parent(), self.path.file_name()) else {
            return Err(fault("take", &self.path)(Errno::INVAL));
        };
        let fd = match &self.beneath {
            None => open_directory(parent)?,
            Some(root) => self.dir_beneath(root)?,
        };
        Ok(OriginDir {
            fd,
            name: name.to_owned(),
        })
    }

    fn dir_beneath(&self, root: &Path) -> io::Result<OwnedFd> {
        let relative = self.path.strip_prefix(root).map_err(|_| {
            fault("take from outside its watched directory", &self.path)(Errno::INVAL)
        })?;
        let root = Root::open(root)?;
        let (dir, _) = root.parent(relative)?;
        dir.to_owned()
    }
}

fn open_directory(path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(fault("open the directory", path))
}

/// An entry of a directory by name, without following a symbolic link; `None` when there is none.
pub(super) fn entry(dir: &OwnedFd, name: &OsStr) -> Result<Option<Stat>, Errno> {
    match rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Opens a regular file for reading, and nothing else: a symbolic link is not followed, a FIFO is
/// not waited for, a device is not touched.
pub(super) fn open_regular(
    dir: &OwnedFd,
    name: &OsStr,
    path: &Path,
) -> Result<(OwnedFd, Stat), TakeError> {
    let vanished = || TakeError::Vanished {
        path: path.to_owned(),
    };
    let seen = entry(dir, name)
        .map_err(|errno| TakeError::from_errno("look at", path, errno))?
        .ok_or_else(vanished)?;
    check_regular(&seen, path)?;
    let flags =
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let fd = rustix::fs::openat(dir, name, flags, Mode::empty())
        .map_err(|errno| TakeError::from_errno("open", path, errno))?;
    let stat =
        rustix::fs::fstat(&fd).map_err(|errno| TakeError::from_errno("look at", path, errno))?;
    check_regular(&stat, path)?;
    if (stat.st_dev, stat.st_ino) != (seen.st_dev, seen.st_ino) {
        return Err(TakeError::Changed {
            path: path.to_owned(),
            before: stamp_of(&seen),
            after: stamp_of(&stat),
        });
    }
    Ok((fd, stat))
}

pub(super) fn check_regular(stat: &Stat, path: &Path) -> Result<(), TakeError> {
    let what = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => return Ok(()),
        FileType::Symlink => "a symbolic link",
        FileType::Directory => "a directory",
        FileType::Fifo => "a named pipe",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Unknown => "of unknown kind",
    };
    Err(TakeError::NotRegular {
        path: path.to_owned(),
        what,
    })
}
