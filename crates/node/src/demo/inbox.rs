//! Reading inboxes and sources back from the disk, every byte of them.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use consign_core::publish::STAGING_DIR;

use super::compare::{Found, Print};

/// What staging may hold when nothing is under way: it tells one staging directory from another.
const MARKER: &str = "marker";

/// Reads and hashes one file.
///
/// # Errors
/// Whatever the filesystem says.
pub(super) fn print(path: &Path) -> io::Result<Print> {
    let mut hasher = blake3::Hasher::new();
    let file = File::open(path)?;
    let there = file.metadata()?;
    hasher.update_reader(file)?;
    Ok(Print {
        size: hasher.count(),
        digest: hasher.finalize(),
        mtime_ns: mtime_ns(&there),
        mode: there.mode() & 0o7777,
    })
}

/// A file's modification time in nanoseconds since the Unix epoch.
fn mtime_ns(there: &Metadata) -> i128 {
    i128::from(there.mtime()) * 1_000_000_000 + i128::from(there.mtime_nsec())
}

/// Reads a whole inbox.
pub(super) fn read(inbox: &Path) -> Found {
    let mut found = Found::default();
    let mut waiting = vec![String::new()];
    while let Some(dir) = waiting.pop() {
        if let Err(error) = read_dir(inbox, &dir, &mut found, &mut waiting) {
            found.odd.push((dir, format!("cannot be read: {error}")));
        }
    }
    found
}

fn read_dir(
    inbox: &Path,
    dir: &str,
    found: &mut Found,
    waiting: &mut Vec<String>,
) -> io::Result<()> {
    for entry in fs::read_dir(inbox.join(dir))? {
        let entry = entry?;
        let own = entry.file_name();
        let name = match dir {
            "" => own.to_string_lossy().into_owned(),
            dir => format!("{dir}/{}", own.to_string_lossy()),
        };
        let kind = entry.file_type()?;
        let is_staged = dir == STAGING_DIR || dir.starts_with(".consign/");
        if kind.is_dir() {
            waiting.push(name);
        } else if is_staged {
            if name.strip_prefix(".consign/") != Some(MARKER) {
                found.staged.push(name);
            }
        } else if own.to_str().is_none() || !kind.is_file() {
            let why = "is no regular file with a readable name".to_owned();
            found.odd.push((name, why));
        } else {
            match print(&entry.path()) {
                Ok(print) => drop(found.files.insert(name, print)),
                Err(error) => found.odd.push((name, format!("cannot be read: {error}"))),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_in_an_inbox_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let inbox = dir.path();
        fs::create_dir_all(inbox.join("a/b")).unwrap();
        fs::create_dir_all(inbox.join(".consign")).unwrap();
        fs::write(inbox.join("a/b/c"), "hello").unwrap();
        fs::write(inbox.join(".consign/marker"), "m").unwrap();
        fs::write(inbox.join(".consign/left"), "l").unwrap();
        std::os::unix::fs::symlink("a", inbox.join("link")).unwrap();
        let found = read(inbox);
        assert_eq!(found.files["a/b/c"].digest, blake3::hash(b"hello"));
        assert_eq!(found.files.len(), 1);
        assert_eq!(found.staged, [".consign/left"]);
        assert_eq!(found.odd[0].0, "link");
    }
}
