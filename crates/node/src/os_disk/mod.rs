//! The operating system's filesystem behind the core's [`Disk`] seam.
//!
//! An [`OsDisk`] is one directory, its root: a data directory or an inbox. Paths are relative to
//! it, and the kernel resolves them beneath it without following any symbolic link, so nothing
//! that others put into an inbox can lead a write out of it.
//!
//! Absent on purpose: caching of directory handles. Looking a directory up costs two microseconds,
//! and a handle kept would go on naming a directory that has been moved away.

mod beneath;
mod fault;
mod file;
#[cfg(test)]
mod tests;

use std::io::{self, ErrorKind};
use std::path::Path;
use std::sync::Arc;

use consign_core::disk::{Disk, Entry, EntryKind, File, OpenMode};
use consign_core::planted::{Planted, planted};
use consign_core::publish::STAGING_DIR;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, Stat};
use rustix::io::Errno;

pub(crate) use beneath::{Handle, Root, sync_directory};
pub(crate) use fault::{fault, kind_of};
pub(crate) use file::OsFile;

/// Permissions of directories and files that only this node may look into.
const PRIVATE_DIR: u32 = 0o700;
const PRIVATE_FILE: u32 = 0o600;
/// Permissions, less the umask, of what is shared with an application.
const SHARED_DIR: u32 = 0o777;
const SHARED_FILE: u32 = 0o666;

/// A directory of the real filesystem, as the core sees it.
#[derive(Debug)]
pub(crate) struct OsDisk {
    root: Root,
    dir_mode: u32,
    file_mode: u32,
}

impl OsDisk {
    /// As [`Disk::list`], of the names that are wanted: the others are not even looked at, so that a
    /// directory of a million known files is no work.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(crate) fn list_where(
        &self,
        dir: &Path,
        wanted: impl Fn(&str) -> bool,
    ) -> io::Result<Vec<Entry>> {
        let full = self.root.path().join(dir);
        let handle = self.root.readable_dir(dir)?;
        let stream = rustix::fs::Dir::read_from(&handle).map_err(fault("list", &full))?;
        let mut entries = Vec::new();
        for item in stream {
            let item = item.map_err(fault("list", &full))?;
            let Ok(name) = item.file_name().to_str() else {
                continue;
            };
            if matches!(name, "." | "..") || !wanted(name) {
                continue;
            }
            match rustix::fs::statat(&handle, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => entries.push(entry(name, &stat)),
                // Removed since it was listed.
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(fault("stat", &full.join(name))(errno)),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// An inbox: what is made in it gets the permissions that the umask leaves, except for the
    /// staging directory, which is this node's alone. The root must exist; symbolic links on the
    /// way to it are followed, those below never.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory`, or whatever the filesystem says.
    pub(crate) fn beneath(root: &Path) -> io::Result<Self> {
        Ok(Self {
            root: Root::open(root)?,
            dir_mode: SHARED_DIR,
            file_mode: SHARED_FILE,
        })
    }

    /// A data directory: everything made in it is for this user only.
    ///
    /// # Errors
    /// As [`OsDisk::beneath`].
    pub(crate) fn private(root: &Path) -> io::Result<Self> {
        Ok(Self {
            root: Root::open(root)?,
            dir_mode: PRIVATE_DIR,
            file_mode: PRIVATE_FILE,
        })
    }

    /// The root, as it was opened.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// Opens a file with its own type, for callers that need the descriptor.
    ///
    /// # Errors
    /// As [`Disk::open`].
    pub(crate) fn open_file(&self, path: &Path, mode: OpenMode) -> io::Result<OsFile> {
        let flags = match mode {
            OpenMode::Read => OFlags::RDONLY,
            OpenMode::Write => OFlags::RDWR,
            OpenMode::CreateNew => OFlags::RDWR | OFlags::CREATE | OFlags::EXCL,
        };
        let permissions = match mode {
            OpenMode::Read | OpenMode::Write => Mode::empty(),
            OpenMode::CreateNew => Mode::from_raw_mode(self.file_mode),
        };
        let full = self.root.path().join(path);
        let clean = beneath::checked(path)?;
        let open = || {
            rustix::fs::openat2(
                self.root.handle(),
                clean,
                flags | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY,
                permissions,
                ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
            )
        };
        let opened = match open() {
            Err(Errno::ACCESS) if mode == OpenMode::Write && is_staged(path) => {
                self.take_back(path)?;
                open()
            }
            opened => opened,
        };
        let fd = opened.map_err(fault("open", &full))?;
        let stat = rustix::fs::fstat(&fd).map_err(fault("stat", &full))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(fault("open as a regular file", &full)(Errno::INVAL));
        }
        Ok(OsFile::new(fd, full))
    }

    /// Lets this process write to a staging file again. One that was sealed has the mode and the owner
    /// that it is to be shown with, and must be opened once more if it was not `saved` after all.
    fn take_back(&self, path: &Path) -> io::Result<()> {
        let full = self.root.path().join(path);
        // Nobody else can put a link into the staging directory.
        let (dir, name) = self.root.parent(path)?;
        let stat = rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(fault("stat", &full))?;
        let me = rustix::process::geteuid();
        if stat.st_uid != me.as_raw() {
            rustix::fs::chownat(&dir, name, Some(me), None, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(fault("change the owner of", &full))?;
        }
        rustix::fs::chmodat(
            &dir,
            name,
            Mode::from_raw_mode(stat.st_mode & 0o777 | PRIVATE_FILE),
            AtFlags::empty(),
        )
        .map_err(fault("change the permissions of", &full))
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        Ok(Arc::new(self.open_file(path, mode)?))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.list_where(dir, |_| true)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        let (dir, name) = match self.root.parent(path) {
            Ok(found) => found,
            Err(error) if is_absence(error.kind()) => return Ok(None),
            Err(error) => return Err(error),
        };
        match rustix::fs::statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(entry(&name.to_string_lossy(), &stat))),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(fault("stat", &self.root.path().join(path))(errno)),
        }
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        let mode = if path == Path::new(STAGING_DIR) {
            PRIVATE_DIR
        } else {
            self.dir_mode
        };
        self.root.create_dir(path, mode)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let (from_dir, from_name) = self.root.parent(from)?;
        let (to_dir, to_name) = self.root.parent(to)?;
        rustix::fs::renameat_with(
            &from_dir,
            from_name,
            &to_dir,
            to_name,
            RenameFlags::NOREPLACE,
        )
        .map_err(fault("rename to", &self.root.path().join(to)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let (dir, name) = self.root.parent(path)?;
        rustix::fs::unlinkat(&dir, name, AtFlags::empty())
            .map_err(fault("remove", &self.root.path().join(path)))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let handle = self.root.dir(dir).map_err(link_is_no_directory)?;
        if planted(Planted::OsDirSyncSkipped) {
            return Ok(());
        }
        sync_directory(&handle, &self.root.path().join(dir))
    }

    fn sync_fs(&self, _path: &Path) -> io::Result<()> {
        if planted(Planted::OsFsSyncSkipped) {
            return Ok(());
        }
        // The kernel reports a failed writeback once to every descriptor that was open before it.
        // The root's was, so it is the one to ask; all of a root is one filesystem.
        rustix::fs::syncfs(self.root.handle()).map_err(fault("sync", self.root.path()))
    }
}

/// Nothing can be at a path one of whose directories is missing or is no directory.
fn is_absence(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::NotFound | ErrorKind::NotADirectory)
}

fn is_staged(path: &Path) -> bool {
    path.parent() == Some(Path::new(STAGING_DIR))
}

/// An error that says that a symbolic link was on the way, as the one that a file there gives.
fn link_is_no_directory(error: io::Error) -> io::Error {
    // The kind has a name only in later versions of the standard library.
    match error.kind() == kind_of(Errno::LOOP) {
        true => io::Error::new(ErrorKind::NotADirectory, error),
        false => error,
    }
}

fn entry(name: &str, stat: &Stat) -> Entry {
    let kind = match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Dir,
        _ => EntryKind::Other,
    };
    let len = match kind {
        EntryKind::File => u64::try_from(stat.st_size).unwrap_or(0),
        EntryKind::Dir | EntryKind::Other => 0,
    };
    Entry {
        name: name.to_owned(),
        kind,
        len,
    }
}
