//! Small files that must not be half there, and keys that nobody else may read.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags};

/// Permissions of what is secret.
pub(super) const SECRET: u32 = 0o600;
/// Permissions of what is not.
pub(super) const PUBLIC: u32 = 0o644;

/// Bits of a secret file's permissions that must not be set: others may not read it, and its group
/// may not write it. The group may read it, for an agent that is not its owner.
const EXPOSED: u32 = 0o027;

/// Reads a file of at most so many bytes.
///
/// # Errors
/// What the system says, or that it is longer.
pub(super) fn read(path: &Path, bytes_max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?
        .take(bytes_max + 1)
        .read_to_end(&mut bytes)?;
    match bytes.len() as u64 > bytes_max {
        true => Err(io::Error::other("it is too long for what it should be")),
        false => Ok(bytes),
    }
}

/// The permissions of a secret file, when too many people may read or write it.
///
/// # Errors
/// What the system says.
pub(super) fn exposed(path: &Path) -> io::Result<Option<u32>> {
    let mode = fs::metadata(path)?.permissions().mode() & 0o777;
    Ok((mode & EXPOSED != 0).then_some(mode))
}

/// Writes a file that is not there yet. When this returns it is synced, and so is its name.
///
/// # Errors
/// `AlreadyExists`, or what else the system says; then there is no such file.
pub(super) fn write_new(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(path, bytes, mode, RenameFlags::NOREPLACE)
}

/// Writes a file in the place of another. When this returns it is synced, and so is its name; before
/// that the other is there, whole.
///
/// # Errors
/// What the system says; then the other is there.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    write(path, bytes, mode, RenameFlags::empty())
}

/// Makes a directory that nobody else may look into, and those above it that are missing. When this
/// returns the names of those that were made are synced.
///
/// # Errors
/// What the system says.
pub(super) fn make_dir(path: &Path) -> io::Result<()> {
    let is_missing = |dir: &&Path| !dir.as_os_str().is_empty() && !dir.exists();
    let missing: Vec<_> = path.ancestors().take_while(is_missing).collect();
    DirBuilder::new().mode(0o700).recursive(true).create(path)?;
    for made in missing {
        // A crash before this may take all that is put into it later, synced or not.
        File::open(dir_of(made))?.sync_all()?;
    }
    Ok(())
}

/// Syncs a file that is there, and its name: a process that was killed may have left both in the page
/// cache alone.
///
/// # Errors
/// What the system says.
pub(super) fn sync(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()?;
    File::open(dir_of(path))?.sync_all()
}

fn write(path: &Path, bytes: &[u8], mode: u32, flags: RenameFlags) -> io::Result<()> {
    let (dir, beside) = beside(path)?;
    let written = (|| {
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&beside)?;
        file.write_all(bytes)?;
        // A crash before this leaves a file of another name, of which nothing was said.
        file.sync_all()?;
        rustix::fs::renameat_with(CWD, &beside, CWD, path, flags)?;
        Ok(())
    })();
    if written.is_err() {
        let _ = fs::remove_file(&beside);
        return written;
    }
    // A crash before this may leave the directory as it was: nothing was said yet either.
    File::open(dir)?.sync_all()
}

/// The directory of a file, and a name in it that nobody else uses.
fn beside(path: &Path) -> io::Result<(PathBuf, PathBuf)> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let dir = dir_of(path);
    let random = getrandom::u64()?;
    let beside = dir.join(format!(".{}.{random:016x}", name.to_string_lossy()));
    Ok((dir.to_owned(), beside))
}

/// The directory of a file.
fn dir_of(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_file_never_replaces_one_and_leaves_nothing_beside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        write_new(&path, b"one", SECRET).unwrap();
        let error = write_new(&path, b"two", SECRET).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"one");
        assert_eq!(exposed(&path).unwrap(), None);
        replace(&path, b"three", PUBLIC).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"three");
        assert_eq!(exposed(&path).unwrap(), Some(0o644));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
