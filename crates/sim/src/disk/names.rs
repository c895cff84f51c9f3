//! Directory entries: which are cached, which are durable, and what a power cut makes of the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Fate;
use crate::rng::Rng;

/// A change to directory entries that a filesystem makes whole or not at all.
#[derive(Debug, Clone)]
pub(super) enum NameChange {
    File {
        path: PathBuf,
        inode: u64,
    },
    Dir {
        path: PathBuf,
    },
    Rename {
        from: PathBuf,
        to: PathBuf,
        inode: u64,
    },
    Remove {
        path: PathBuf,
        inode: u64,
    },
}

impl NameChange {
    fn is_in(&self, dir: &Path) -> bool {
        match self {
            Self::File { path, .. } | Self::Dir { path } | Self::Remove { path, .. } => {
                path.parent() == Some(dir)
            }
            Self::Rename { from, to, .. } => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }
}

/// One state of all directories.
#[derive(Debug, Clone, Default)]
pub(super) struct Tree {
    pub(super) files: BTreeMap<PathBuf, u64>,
    /// All directories but the root, which is always there.
    pub(super) dirs: BTreeSet<PathBuf>,
}

impl Tree {
    pub(super) fn has_dir(&self, path: &Path) -> bool {
        path == Path::new("/") || self.dirs.contains(path)
    }

    fn apply(&mut self, change: &NameChange) {
        match change {
            // A later rename of this file may be durable already.
            NameChange::File { inode, .. } if self.files.values().any(|linked| linked == inode) => {
            }
            NameChange::File { path, inode } => {
                self.files.insert(path.clone(), *inode);
            }
            NameChange::Dir { path } => {
                self.dirs.insert(path.clone());
            }
            NameChange::Rename { to, inode, .. } => {
                self.files.retain(|_, linked| linked != inode);
                self.files.insert(to.clone(), *inode);
            }
            NameChange::Remove { path, inode } => {
                if self.files.get(path) == Some(inode) {
                    self.files.remove(path);
                }
            }
        }
    }

    /// Forgets what is in directories that are not there.
    fn prune(&mut self) {
        let reachable = |path: &Path, dirs: &BTreeSet<PathBuf>| {
            path.ancestors()
                .skip(1)
                .all(|dir| dir == Path::new("/") || dirs.contains(dir))
        };
        let dirs = self.dirs.clone();
        self.dirs.retain(|path| reachable(path, &dirs));
        self.files.retain(|path, _| reachable(path, &dirs));
    }
}

/// All directory entries.
#[derive(Debug, Clone, Default)]
pub(super) struct Names {
    pub(super) cached: Tree,
    pub(super) durable: Tree,
    pending: Vec<NameChange>,
}

impl Names {
    pub(super) fn change(&mut self, change: NameChange) {
        self.cached.apply(&change);
        self.pending.push(change);
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) {
        let (synced, rest) = self.pending.drain(..).partition(|change| change.is_in(dir));
        self.pending = rest;
        let synced: Vec<NameChange> = synced;
        synced.iter().for_each(|change| self.durable.apply(change));
    }

    pub(super) fn sync_all(&mut self) {
        self.pending.clear();
        self.durable = self.cached.clone();
    }

    /// Every file that has a name, had one, or may have one after a power cut.
    pub(super) fn inodes(&self) -> BTreeSet<u64> {
        let pending = self.pending.iter().filter_map(|change| match change {
            NameChange::File { inode, .. }
            | NameChange::Rename { inode, .. }
            | NameChange::Remove { inode, .. } => Some(*inode),
            NameChange::Dir { .. } => None,
        });
        let named = self
            .cached
            .files
            .values()
            .chain(self.durable.files.values());
        named.copied().chain(pending).collect()
    }

    pub(super) fn power_cut(&mut self, fate: Fate, rng: &mut Rng) {
        for change in self.pending.drain(..) {
            if fate.keeps(rng) {
                self.durable.apply(&change);
            }
        }
        self.durable.prune();
        self.cached = self.durable.clone();
    }
}
