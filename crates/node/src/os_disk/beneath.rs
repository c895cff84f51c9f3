//! Resolution of paths beneath one directory, without following symbolic links.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::fault::fault;

/// A directory that stays the one that was opened, whatever happens to its path.
#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
    fd: OwnedFd,
}

/// A directory under a [`Root`], or the root itself.
#[derive(Debug)]
pub(crate) enum Handle<'root> {
    /// The root.
    Root(BorrowedFd<'root>),
    /// One below it.
    Below(OwnedFd),
}

impl AsFd for Handle<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Root(fd) => *fd,
            Self::Below(fd) => fd.as_fd(),
        }
    }
}

impl Handle<'_> {
    /// A descriptor of its own, to be kept.
    pub(crate) fn to_owned(&self) -> io::Result<OwnedFd> {
        self.as_fd().try_clone_to_owned()
    }
}

impl Root {
    /// Opens an existing directory; symbolic links on the way to it are followed.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, or whatever the filesystem says.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty())
            .map_err(fault("open the directory", path))?;
        Ok(Self {
            path: path.to_owned(),
            fd,
        })
    }

    /// The path that it was opened by.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The root as a directory.
    pub(crate) fn handle(&self) -> Handle<'_> {
        Handle::Root(self.fd.as_fd())
    }

    /// A directory beneath, for looking up names in it.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, an error when a symbolic link is on the way, or whatever the
    /// filesystem says.
    pub(crate) fn dir(&self, path: &Path) -> io::Result<Handle<'_>> {
        self.resolve(path, OFlags::PATH)
    }

    /// A directory beneath, for listing it.
    ///
    /// # Errors
    /// As [`Root::dir`], and `PermissionDenied`.
    pub(crate) fn readable_dir(&self, path: &Path) -> io::Result<Handle<'_>> {
        self.resolve(path, OFlags::RDONLY)
    }

    /// The directory that holds `path`, and the name of `path` in it.
    ///
    /// # Errors
    /// As [`Root::dir`]; `InvalidInput` when `path` is not a clean relative path to something
    /// below the root.
    pub(crate) fn parent<'path>(
        &self,
        path: &'path Path,
    ) -> io::Result<(Handle<'_>, &'path OsStr)> {
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return Err(unclean(path));
        };
        Ok((self.dir(parent)?, name))
    }

    /// Makes one directory; an existing one is fine. Returns whether it is new.
    ///
    /// # Errors
    /// As [`Root::parent`]; `NotADirectory` when something else is there.
    pub(crate) fn create_dir(&self, path: &Path, mode: u32) -> io::Result<bool> {
        let full = self.path.join(path);
        let (dir, name) = self.parent(checked(path)?)?;
        match rustix::fs::mkdirat(&dir, name, Mode::from_raw_mode(mode)) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(fault("stat", &full))?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => Ok(false),
                    _ => Err(fault("make the directory", &full)(Errno::NOTDIR)),
                }
            }
            Err(errno) => Err(fault("make the directory", &full)(errno)),
        }
    }

    fn resolve(&self, path: &Path, flags: OFlags) -> io::Result<Handle<'_>> {
        let clean = checked(path)?;
        if clean.as_os_str().is_empty() {
            return Ok(self.handle());
        }
        rustix::fs::openat2(
            &self.fd,
            clean,
            flags | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        )
        .map(Handle::Below)
        .map_err(fault("open the directory", &self.path.join(path)))
    }
}

/// Syncs the entries of a directory.
///
/// # Errors
/// An error is final: the caller acknowledges nothing and stops.
pub(crate) fn sync_directory(dir: impl AsFd, path: &Path) -> io::Result<()> {
    // A descriptor for lookups cannot be synced, so the directory is opened anew through it.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let readable = rustix::fs::openat(dir, ".", flags, Mode::empty())
        .map_err(fault("open the directory", path))?;
    rustix::fs::fsync(readable).map_err(fault("sync the directory", path))
}

/// `path` when it is relative and has only ordinary components. The kernel refuses the others as
/// well; this names the fault, and covers the last component, which is not always resolved.
pub(super) fn checked(path: &Path) -> io::Result<&Path> {
    let clean = path
        .components()
        .all(|part| matches!(part, Component::Normal(_)));
    if clean { Ok(path) } else { Err(unclean(path)) }
}

fn unclean(path: &Path) -> io::Error {
    io::Error::new(
        ErrorKind::InvalidInput,
        format!("{path:?} is not a clean path below a directory"),
    )
}
