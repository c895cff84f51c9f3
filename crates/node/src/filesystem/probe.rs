//! Trying for real what every promise rests on.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use consign_core::disk::{Disk, File, OpenMode};
use consign_core::publish::STAGING_DIR;
use rustix::fs::{AtFlags, FallocateFlags, StatxFlags};

use super::{FsError, FsKind};
use crate::os_disk::{OsDisk, fault};

/// Length of a scratch file, in bytes: one block of most filesystems.
const SCRATCH_BYTES: u64 = 4096;

/// Probes an inbox, in its staging directory, where no application looks.
pub(super) fn inbox(path: &Path, kind: FsKind) -> Result<Vec<String>, FsError> {
    let disk = OsDisk::beneath(path).map_err(|source| unusable(path, source))?;
    let staging = Path::new(STAGING_DIR);
    disk.create_dir(staging)
        .map_err(|source| unusable(path, source))?;
    if mount_of(path)? != mount_of(&path.join(staging))? {
        return Err(FsError::StagingElsewhere {
            staging: path.join(staging),
        });
    }
    Probe::new(&disk, path, kind, staging).run()
}

/// Probes a data directory, which is locked by this agent.
pub(super) fn data_dir(path: &Path, kind: FsKind) -> Result<Vec<String>, FsError> {
    let disk = OsDisk::private(path).map_err(|source| unusable(path, source))?;
    // What is in the way of that is in the way of nothing else.
    let _ = remove_left_over(&disk, Path::new(""));
    Probe::new(&disk, path, kind, Path::new("")).run()
}

fn unusable(path: &Path, source: io::Error) -> FsError {
    FsError::Unusable {
        path: path.to_owned(),
        source,
    }
}

/// The mount that a directory is in. A rename does not cross mounts, even of one filesystem.
fn mount_of(path: &Path) -> Result<(u32, u32, u64), FsError> {
    let statx = rustix::fs::statx(
        rustix::fs::CWD,
        path,
        AtFlags::empty(),
        StatxFlags::BASIC_STATS | StatxFlags::MNT_ID,
    )
    .map_err(|errno| unusable(path, fault("stat", path)(errno)))?;
    // Kernels before 5.8 leave the mount's id at zero, and the device alone decides.
    Ok((statx.stx_dev_major, statx.stx_dev_minor, statx.stx_mnt_id))
}

/// Scratch files begin with this.
const SCRATCH: &str = ".consign-probe-";

/// Removes scratch files that an agent left in a directory when it was killed. To be called by whoever
/// has the directory to itself: they may be another's that is probing it now.
///
/// # Errors
/// Whatever the filesystem says; they do no harm.
pub(crate) fn remove_left_over(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    let entries = disk.list(dir)?;
    let mut left = entries
        .iter()
        .filter(|entry| entry.name.starts_with(SCRATCH));
    left.try_for_each(|entry| disk.remove(&dir.join(&entry.name)))
}

/// Three names for scratch files. They are this process's own, so that two agents that probe the
/// same directory do not fail over each other.
struct Probe<'a> {
    disk: &'a OsDisk,
    path: &'a Path,
    kind: FsKind,
    dir: &'a Path,
    names: [PathBuf; 3],
}

impl<'a> Probe<'a> {
    fn new(disk: &'a OsDisk, path: &'a Path, kind: FsKind, dir: &'a Path) -> Self {
        let pid = std::process::id();
        let names = ["a", "b", "c"].map(|which| dir.join(format!("{SCRATCH}{pid}-{which}")));
        Self {
            disk,
            path,
            kind,
            dir,
            names,
        }
    }

    fn run(&self) -> Result<Vec<String>, FsError> {
        self.clean();
        let outcome = self.try_all();
        self.clean();
        match outcome {
            // That tells nothing of the filesystem, and must not keep the agent from starting.
            Err(error) if error.is_for_want_of_space() => Ok(vec![format!(
                "{:?} was full at the start, so what {} can do there could not be tried; hint: free some space, then restart the agent",
                self.path, self.kind
            )]),
            outcome => outcome,
        }
    }

    /// Scratch files that cannot be removed do no harm, and the next start tries again.
    fn clean(&self) {
        for name in &self.names {
            let _ = self.disk.remove(name);
        }
    }

    fn try_all(&self) -> Result<Vec<String>, FsError> {
        let [a, b, c] = &self.names;
        let file = self
            .disk
            .open_file(a, OpenMode::CreateNew)
            .map_err(|source| match source.kind() {
                ErrorKind::Unsupported => {
                    self.lacks("resolve paths beneath a directory (openat2)", source)
                }
                _ => unusable(self.path, source),
            })?;
        self.disk
            .open_file(b, OpenMode::CreateNew)
            .map_err(|source| unusable(self.path, source))?;
        file.write_all_at(&[1; SCRATCH_BYTES as usize], 0)
            .and_then(|()| file.sync())
            .map_err(|source| self.lacks("sync a file", source))?;
        self.try_renames(a, b, c)?;
        self.disk
            .sync_dir(self.dir)
            .map_err(|source| self.lacks("sync a directory", source))?;
        Ok(self.try_reserve(&file))
    }

    fn try_renames(&self, a: &Path, b: &Path, c: &Path) -> Result<(), FsError> {
        let what = "rename without replacing";
        match self.disk.rename(a, b) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(source) => return Err(self.lacks(what, source)),
            Ok(()) => {
                return Err(self.lacks(what, io::Error::other("it replaced another file")));
            }
        }
        self.disk
            .rename(a, c)
            .map_err(|source| self.lacks(what, source))
    }

    fn try_reserve(&self, file: &crate::os_disk::OsFile) -> Vec<String> {
        let reserved = rustix::fs::fallocate(file, FallocateFlags::empty(), 0, 2 * SCRATCH_BYTES);
        match reserved {
            Ok(()) => Vec::new(),
            Err(errno) => vec![format!(
                "{:?} is on {}, which cannot reserve space ({errno}): a full disk is noticed later",
                self.path, self.kind
            )],
        }
    }

    fn lacks(&self, what: &'static str, source: io::Error) -> FsError {
        FsError::Lacks {
            path: self.path.to_owned(),
            kind: self.kind,
            what,
            source,
        }
    }
}
