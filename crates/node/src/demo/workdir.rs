//! The directory in which everything happens: one with room, and gone afterwards unless it is
//! wanted.

use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use crate::cli::human;

/// Room for logs and catalogues of one node, in bytes.
pub(super) const NODE_BYTES: u64 = 256 << 20;
/// A socket lies below the directory, and the system limits the length of its path to 107 bytes.
const PATH_BYTES_MAX: usize = 70;

/// A directory of its own for one demonstration.
#[derive(Debug)]
pub(super) struct Workdir {
    path: PathBuf,
    kept: bool,
}

impl Workdir {
    /// Makes a directory that can hold `bytes`: `keep`, or a temporary one.
    ///
    /// # Errors
    /// When there is none with so much room, or `keep` holds something already.
    pub(super) fn make(keep: Option<&Path>, bytes: u64) -> anyhow::Result<Self> {
        let path = match keep {
            Some(keep) => make_kept(keep, bytes)?,
            None => make_temporary(bytes)?,
        };
        let path = fs::canonicalize(&path).with_context(|| path.display().to_string())?;
        let text = path.as_os_str();
        ensure!(
            text.len() <= PATH_BYTES_MAX,
            "{} is too long a path for the agents' sockets; hint: choose one of at most {PATH_BYTES_MAX} bytes with --keep",
            path.display()
        );
        ensure!(
            text.to_str().is_some(),
            "{} is not UTF-8, and paths in a config are; hint: choose another with --keep",
            path.display()
        );
        Ok(Self {
            path,
            kept: keep.is_some(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves the directory there whatever was asked for: it holds evidence.
    pub(super) fn keep(&mut self) {
        self.kept = true;
    }

    /// Whether it stays.
    pub(super) fn is_kept(&self) -> bool {
        self.kept
    }
}

impl Drop for Workdir {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            eprintln!("consign: cannot remove {}: {error}", self.path.display());
        }
    }
}

fn make_kept(keep: &Path, bytes: u64) -> anyhow::Result<PathBuf> {
    let what = || format!("cannot use {}", keep.display());
    fs::create_dir_all(keep).with_context(what)?;
    let is_empty = fs::read_dir(keep).with_context(what)?.next().is_none();
    ensure!(
        is_empty,
        "{} is not empty; hint: name a new directory, nothing of yours is ever touched",
        keep.display()
    );
    let free = free_bytes(keep).with_context(what)?;
    ensure!(
        free >= bytes,
        "{} has {} free, and {} are needed; hint: name a directory with more room, or a smaller --size",
        keep.display(),
        human::bytes(free),
        human::bytes(bytes)
    );
    Ok(keep.to_owned())
}

/// `/var/tmp` comes before `/tmp`, which on many machines is memory.
fn make_temporary(bytes: u64) -> anyhow::Result<PathBuf> {
    let chosen = std::env::var_os("TMPDIR").map(PathBuf::from);
    let usual = ["/var/tmp", "/tmp", "."].map(PathBuf::from);
    let mut looked = Vec::new();
    for parent in chosen.into_iter().chain(usual) {
        match free_bytes(&parent) {
            Ok(free) if free >= bytes => match make_in(&parent) {
                Ok(path) => return Ok(path),
                Err(error) => looked.push(format!("{}: {error}", parent.display())),
            },
            Ok(free) => looked.push(format!("{} has {}", parent.display(), human::bytes(free))),
            Err(error) => looked.push(format!("{}: {error}", parent.display())),
        }
    }
    anyhow::bail!(
        "no temporary directory has {} free ({}); hint: name a directory with more room by --keep, or a smaller --size",
        human::bytes(bytes),
        looked.join(", ")
    )
}

fn make_in(parent: &Path) -> io::Result<PathBuf> {
    let mut at = 0;
    loop {
        let path = parent.join(format!("consign-demo-{}-{at}", std::process::id()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => return Ok(path),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => at += 1,
            Err(error) => return Err(error),
        }
    }
}

fn free_bytes(path: &Path) -> io::Result<u64> {
    let free = rustix::fs::statvfs(path)?;
    Ok(free.f_bavail.saturating_mul(free.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_temporary_directory_goes_and_a_kept_one_stays() {
        let temporary = Workdir::make(None, 1).unwrap();
        let path = temporary.path().to_owned();
        drop(temporary);
        assert!(!path.exists());

        let dir = tempfile::tempdir().unwrap();
        let kept = dir.path().join("kept");
        drop(Workdir::make(Some(&kept), 1).unwrap());
        assert!(kept.exists());
    }

    #[test]
    fn a_directory_with_something_in_it_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "x").unwrap();
        let error = Workdir::make(Some(dir.path()), 1).unwrap_err().to_string();
        assert!(
            error.contains("not empty") && error.contains("hint: "),
            "{error}"
        );
    }

    #[test]
    fn a_directory_without_room_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let error = Workdir::make(Some(&dir.path().join("d")), u64::MAX).unwrap_err();
        assert!(error.to_string().contains("are needed"), "{error}");
    }
}
