//! Moving a delivered file into the archive.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

use consign_core::disk::Disk;
use consign_core::limits::NAME_COMPONENT_BYTES_MAX;
use consign_core::planted::{Planted, planted};
use consign_core::publish::STAGING_DIR;
use rustix::fs::{AtFlags, RenameFlags};
use rustix::io::Errno;

use super::copy::{copy_into, same_bytes};
use super::origin::open_regular;
use super::syncs::Syncs;
use crate::os_disk::{Handle, OsDisk, fault, sync_directory};

/// One archive directory.
#[derive(Debug)]
pub(super) struct Archive {
    disk: OsDisk,
}

impl Archive {
    /// Opens an archive, and makes its directories where they are missing, synced.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        make_synced(path)?;
        Ok(Self {
            disk: OsDisk::beneath(path)?,
        })
    }

    /// Moves a spooled file to `name` in the archive, or, when that is taken, to `name` with `id`
    /// in it. Returns where it is, or `None` when the spool has nothing of it, because an earlier
    /// run moved it. The syncs are owed.
    ///
    /// # Errors
    /// Whatever the filesystem says; the file is still in the spool.
    pub(super) fn take_in(
        &self,
        spool: &OsDisk,
        entry: &str,
        name: &str,
        id: &str,
        syncs: &mut Syncs,
    ) -> io::Result<Option<PathBuf>> {
        for candidate in [name.to_owned(), with_id(name, id)] {
            let path = Path::new(&candidate);
            self.make_dirs(path, syncs)?;
            let (dir, base) = self.disk.root().parent(path)?;
            let full = self.disk.root().path().join(path);
            let moved = rustix::fs::renameat_with(
                spool.root().handle(),
                entry,
                &dir,
                base,
                RenameFlags::NOREPLACE,
            );
            match moved {
                Ok(()) => return Ok(Some(full)),
                Err(Errno::EXIST) => {}
                Err(Errno::NOENT) if spool.stat(Path::new(entry))?.is_none() => return Ok(None),
                Err(Errno::XDEV) => {
                    if copy_in(spool, entry, &dir, base, &full)? {
                        return Ok(Some(full));
                    }
                }
                Err(errno) => return Err(fault("archive to", &full)(errno)),
            }
        }
        Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{name:?} and {:?} are both taken", with_id(name, id)),
        ))
    }

    /// Makes the directories of `path`, and owes the sync of each from the archive down: one that
    /// exists may be an earlier run's that ended before its sync.
    fn make_dirs(&self, path: &Path, syncs: &mut Syncs) -> io::Result<()> {
        let mut dirs: Vec<_> = path.ancestors().skip(1).collect();
        dirs.reverse();
        for dir in dirs {
            if !dir.as_os_str().is_empty() {
                self.disk.create_dir(dir)?;
            }
            if planted(Planted::ArchiveDirNotSynced) {
                continue;
            }
            let full = self.disk.root().path().join(dir);
            syncs.dir(self.disk.root().dir(dir)?, &full)?;
        }
        Ok(())
    }
}

/// Copies a spooled file to another filesystem and removes it from the spool; synced on return.
/// `false` when the path is taken by a file with other bytes: one with the same is an earlier
/// run's, which ended before it could remove the spool's.
fn copy_in(
    spool: &OsDisk,
    entry: &str,
    dir: &Handle<'_>,
    base: &OsStr,
    full: &Path,
) -> io::Result<bool> {
    let spool_dir = spool.root().handle().to_owned()?;
    let (held, stat) = open_regular(&spool_dir, entry.as_ref(), full).map_err(io::Error::other)?;
    let archive_dir = dir.to_owned()?;
    if let Ok((there, found)) = open_regular(&archive_dir, base, full) {
        if found.st_size != stat.st_size || !same_bytes(&there, &held)? {
            return Ok(false);
        }
        rustix::fs::fsync(&there).map_err(fault("sync", full))?;
    } else {
        let part = format!("{STAGING_DIR}-{entry}");
        let copy = copy_into(&held, &stat, dir, part.as_ref(), full)?;
        rustix::fs::fsync(&copy).map_err(fault("sync", full))?;
        match rustix::fs::renameat_with(dir, part.as_str(), dir, base, RenameFlags::NOREPLACE) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                rustix::fs::unlinkat(dir, part.as_str(), AtFlags::empty())
                    .map_err(fault("remove", full))?;
                return Ok(false);
            }
            Err(errno) => return Err(fault("archive to", full)(errno)),
        }
    }
    // A crash before this can lose the archive's entry: the spool's is still there.
    if !planted(Planted::ArchiveDirNotSynced) {
        sync_directory(dir, full)?;
    }
    spool.remove(Path::new(entry))?;
    Ok(true)
}

/// A name with `id` before its extension: `dir/a.jpg` and `7` make `dir/a.7.jpg`. The stem is cut
/// where the whole would be longer than a filesystem accepts.
pub(super) fn with_id(name: &str, id: &str) -> String {
    let (dir, base) = match name.rsplit_once('/') {
        Some((dir, base)) => (format!("{dir}/"), base),
        None => (String::new(), name),
    };
    let (stem, extension) = match base.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, format!(".{extension}")),
        Some(_) | None => (base, String::new()),
    };
    let room = NAME_COMPONENT_BYTES_MAX.saturating_sub(id.len() + 1);
    let extension = cut(&extension, room);
    let stem = cut(stem, room.saturating_sub(extension.len()));
    format!("{dir}{stem}.{id}{extension}")
}

/// The longest prefix of whole characters that has at most `max` bytes.
fn cut(text: &str, max: usize) -> &str {
    &text[..text.floor_char_boundary(max)]
}

/// Makes a directory and those above it, and syncs the parent of each new one.
fn make_synced(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Ok(());
    }
    if let Some(parent) = path.parent().filter(|p| !p.as_os_str().is_empty()) {
        make_synced(parent)?;
        match std::fs::create_dir(path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
        let parent = OsDisk::beneath(parent)?;
        parent.sync_dir(Path::new(""))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::with_id;

    #[test]
    fn ids_go_before_the_extension_and_names_stay_acceptable() {
        assert_eq!(with_id("a.jpg", "7"), "a.7.jpg");
        assert_eq!(with_id("d.x/a", "7"), "d.x/a.7");
        assert_eq!(with_id("d/.a", "7"), "d/.a.7");
        let long = "ä".repeat(127) + ".jpg";
        let named = with_id(&long, "00c0ffee00c0ffee.42");
        assert!(named.len() <= 255 && named.ends_with("ä.00c0ffee00c0ffee.42.jpg"));
        let odd = "a.".to_owned() + &"x".repeat(253);
        assert!(with_id(&odd, "00c0ffee00c0ffee.42").len() <= 255);
    }
}
