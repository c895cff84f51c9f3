//! The calls of the seam, as one life of the machine makes them.

use std::io;
use std::path::Path;
use std::sync::Arc;

use consign_core::disk::{Disk, Entry, EntryKind, File, OpenMode};

use super::file::{Inode, SimFile};
use super::names::NameChange;
use super::{SimDisk, State, missing};

/// The disk as one life of the machine sees it.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) disk: SimDisk,
    pub(super) life: u64,
}

impl Mount {
    fn handle(&self, inode: u64) -> Arc<dyn File> {
        Arc::new(SimFile {
            disk: self.disk.clone(),
            life: self.life,
            inode,
        })
    }
}

impl Disk for Mount {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let found = self
            .disk
            .look(self.life)?
            .names
            .cached
            .files
            .get(path)
            .copied();
        match (mode, found) {
            (OpenMode::Read | OpenMode::Write, Some(inode)) => Ok(self.handle(inode)),
            (OpenMode::Read | OpenMode::Write, None) => Err(missing()),
            (OpenMode::CreateNew, Some(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::CreateNew, None) => {
                let mut state = self.disk.change(self.life)?;
                state.parent_must_exist(path)?;
                if state.growth_fails() {
                    return Err(io::ErrorKind::StorageFull.into());
                }
                let inode = state.next_inode;
                state.next_inode += 1;
                state.inodes.insert(inode, Inode::default());
                let path = path.to_owned();
                state.names.change(NameChange::File { path, inode });
                Ok(self.handle(inode))
            }
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>> {
        let state = self.disk.look(self.life)?;
        if !state.names.cached.has_dir(dir) {
            return Err(missing());
        }
        let files = state
            .names
            .cached
            .files
            .keys()
            .chain(&state.names.cached.dirs);
        let inside = files.filter(|path| path.parent() == Some(dir));
        let mut entries: Vec<Entry> = inside.filter_map(|path| state.entry(path)).collect();
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn stat(&self, path: &Path) -> io::Result<Option<Entry>> {
        Ok(self.disk.look(self.life)?.entry(path))
    }

    fn create_dir(&self, path: &Path) -> io::Result<bool> {
        let mut state = self.disk.change(self.life)?;
        if state.names.cached.has_dir(path) {
            return Ok(false);
        }
        state.parent_must_exist(path)?;
        state.names.change(NameChange::Dir {
            path: path.to_owned(),
        });
        Ok(true)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.disk.change(self.life)?;
        let inode = *state.names.cached.files.get(from).ok_or_else(missing)?;
        state.parent_must_exist(to)?;
        if state.entry(to).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let (from, to) = (from.to_owned(), to.to_owned());
        state.names.change(NameChange::Rename { from, to, inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.disk.change(self.life)?;
        let inode = *state.names.cached.files.get(path).ok_or_else(missing)?;
        let path = path.to_owned();
        state.names.change(NameChange::Remove { path, inode });
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.disk.change(self.life)?;
        if !state.names.cached.has_dir(dir) {
            return Err(missing());
        }
        state.names.sync_dir(dir);
        Ok(())
    }

    fn sync_fs(&self, _path: &Path) -> io::Result<()> {
        let mut state = self.disk.change(self.life)?;
        state.names.sync_all();
        state.inodes.values_mut().for_each(Inode::sync);
        Ok(())
    }
}

impl State {
    fn entry(&self, path: &Path) -> Option<Entry> {
        let name = path.file_name()?.to_str()?.to_owned();
        if let Some(inode) = self.names.cached.files.get(path) {
            let len = self.inodes.get(inode)?.cached.len() as u64;
            return Some(Entry {
                name,
                kind: EntryKind::File,
                len,
            });
        }
        let dir = Entry {
            name,
            kind: EntryKind::Dir,
            len: 0,
        };
        self.names.cached.dirs.contains(path).then_some(dir)
    }
}
