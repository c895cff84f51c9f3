//! An inbox as its own disk.

use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use consign_core::disk::{Disk, Entry, File, OpenMode};

/// A disk whose root is a directory of another one.
#[derive(Debug)]
pub struct Beneath {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl Beneath {
    /// `root` is a path on `disk`.
    #[must_use]
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        Self { disk, root }
    }

    /// The path on the whole disk. What leads out of the root would be found there.
    fn path(&self, path: &Path) -> PathBuf {
        let mut whole = self.root.clone();
        for part in path.components() {
            match part {
                Component::ParentDir => {
                    whole.pop();
                }
                Component::CurDir => {}
                other => whole.push(other),
            }
        }
        whole
    }
}

impl Disk for Beneath {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        self.disk.open(&self.path(path), mode)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        self.disk.list(&self.path(dir))
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        self.disk.stat(&self.path(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        self.disk.create_dir(&self.path(path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(&self.path(from), &self.path(to))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.disk.remove(&self.path(path))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.disk.sync_dir(&self.path(dir))
    }

    fn sync_fs(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_fs(&self.path(path))
    }
}
