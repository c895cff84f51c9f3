//! Walking a watched directory, in steps that may be far apart.
//!
//! A walk holds one open directory for each level it is in, so it goes on from where it stood, and
//! takes no more memory for a million files than for one. It follows no symbolic link: every level
//! is opened in the one above it.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use globset::GlobSet;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, statat};
use rustix::io::Errno;

use super::names::{Judged, is_temporary, judge};
use crate::os_disk::{Root, fault};

/// One entry that a walk came by.
#[derive(Debug)]
pub(super) struct Found {
    /// Its path relative to the watched directory.
    pub(super) path: PathBuf,
    /// What it is.
    pub(super) judged: Judged,
}

/// A walk under way.
#[derive(Debug)]
pub(super) struct Walk {
    levels: Vec<Level>,
    /// Whether this is the whole of the watched directory.
    pub(super) full: bool,
    /// Whether the walk came by any entry, even one that it ignores.
    pub(super) saw_any: bool,
}

#[derive(Debug)]
struct Level {
    path: PathBuf,
    dir: Dir,
}

impl Walk {
    /// A walk of everything under `path`, which is relative to the root.
    ///
    /// # Errors
    /// `NotFound`, `PermissionDenied`, or whatever the filesystem says.
    pub(super) fn begin(root: &Root, path: &Path) -> io::Result<Self> {
        let full = root.path().join(path);
        // Opened anew from the handle: two walks of the root must not share their place in it.
        let dir = Dir::read_from(root.readable_dir(path)?).map_err(fault("list", &full))?;
        Ok(Self {
            levels: vec![Level {
                path: path.to_owned(),
                dir,
            }],
            full: path.as_os_str().is_empty(),
            saw_any: false,
        })
    }

    /// The next entry; `None` at the end. Directories are entered and not returned, except when
    /// they cannot be.
    pub(super) fn next(&mut self, include: &GlobSet) -> Option<Found> {
        loop {
            let level = self.levels.last_mut()?;
            let entry = match level.dir.read() {
                Some(Ok(entry)) => entry,
                // A directory that cannot be read further is read again by the next scan.
                Some(Err(_)) | None => {
                    self.levels.pop();
                    continue;
                }
            };
            let name = OsStr::from_bytes(entry.file_name().to_bytes());
            if matches!(name.as_bytes(), b"." | b"..") {
                continue;
            }
            self.saw_any = true;
            if is_temporary(name) {
                continue;
            }
            let path = level.path.join(name);
            // What vanished since it was listed is no fault.
            let Some(stat) = level
                .dir
                .fd()
                .and_then(|fd| statat(fd, name, AtFlags::SYMLINK_NOFOLLOW))
                .ok()
            else {
                continue;
            };
            match judge(&path, &stat, include) {
                Judged::Ignored => {}
                Judged::Dir => {
                    if let Err(why) = self.enter(path.clone(), name) {
                        return Some(Found {
                            path,
                            judged: Judged::Odd(why),
                        });
                    }
                }
                judged @ (Judged::File { .. } | Judged::Odd(_)) => {
                    return Some(Found { path, judged });
                }
            }
        }
    }

    /// Goes down into a directory.
    fn enter(&mut self, path: PathBuf, name: &OsStr) -> Result<(), String> {
        let Some(level) = self.levels.last() else {
            return Ok(());
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let opened = level
            .dir
            .fd()
            .and_then(|fd| rustix::fs::openat(fd, name, flags, Mode::empty()))
            .and_then(|fd: OwnedFd| Dir::new(fd));
        match opened {
            Ok(dir) => {
                self.levels.push(Level { path, dir });
                Ok(())
            }
            // It was removed, or replaced by something else, since it was looked at.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(errno) => Err(format!(
                "cannot be read ({errno}), what is in it is not sent; hint: let the agent's user read and enter it"
            )),
        }
    }
}

/// Looks at one path; `None` when nothing is there, or nothing that may be reached without a
/// symbolic link.
pub(super) fn look_at(root: &Root, path: &Path, include: &GlobSet) -> Option<Judged> {
    let (dir, name) = root.parent(path).ok()?;
    let stat = statat(&dir, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
    Some(judge(path, &stat, include))
}
