//! Files' bytes and lengths: which are cached, which are durable, and what a power cut makes of the
//! rest.

use std::io;
use std::sync::MutexGuard;

use consign_core::disk::{Attributes, File};

use super::{Fate, SECTOR_BYTES, SimDisk, State, crashed, injected, is_due, missing};
use crate::rng::Rng;

#[derive(Debug, Clone)]
enum Change {
    Write { at: usize, bytes: Vec<u8> },
    Len(usize),
}

#[derive(Debug, Clone, Default)]
pub(super) struct Inode {
    pub(super) cached: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
    /// How far from its beginning the file has space on the disk, in bytes.
    pub(super) allocated: u64,
}

/// Writes what lies within the file, which is all of it once the length is durable too.
fn write_within(file: &mut [u8], at: usize, bytes: &[u8]) {
    let end = file.len().min(at + bytes.len());
    if at < end {
        file[at..end].copy_from_slice(&bytes[..end - at]);
    }
}

impl Inode {
    fn write(&mut self, at: usize, bytes: &[u8]) {
        if bytes.is_empty() {
            return;
        }
        let end = at + bytes.len();
        if end > self.cached.len() {
            self.set_len(end);
        }
        self.allocated = self.allocated.max(end as u64);
        write_within(&mut self.cached, at, bytes);
        let bytes = bytes.to_vec();
        self.pending.push(Change::Write { at, bytes });
    }

    fn set_len(&mut self, len: usize) {
        self.cached.resize(len, 0);
        self.allocated = self.allocated.min(len as u64);
        self.pending.push(Change::Len(len));
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { at, bytes } => write_within(&mut self.durable, at, &bytes),
                Change::Len(len) => self.durable.resize(len, 0),
            }
        }
    }

    /// A sync that failed: what is pending is as good as lost, though the cache still shows it.
    fn fail_sync(&mut self, rng: &mut Rng) {
        self.lose_pending(Fate::EachSector, rng);
    }

    pub(super) fn power_cut(&mut self, fate: Fate, rng: &mut Rng) {
        self.lose_pending(fate, rng);
        self.cached = self.durable.clone();
        self.allocated = self.allocated.min(self.cached.len() as u64);
    }

    fn lose_pending(&mut self, fate: Fate, rng: &mut Rng) {
        for change in self.pending.drain(..) {
            match change {
                Change::Write { at, bytes } if fate == Fate::EachSector => {
                    for (at, sector) in sectors(at, &bytes) {
                        if rng.one_in(2) {
                            write_within(&mut self.durable, at, sector);
                        }
                    }
                }
                Change::Write { at, bytes } => {
                    if fate.keeps(rng) {
                        write_within(&mut self.durable, at, &bytes);
                    }
                }
                Change::Len(len) => {
                    if fate.keeps(rng) {
                        self.durable.resize(len, 0);
                    }
                }
            }
        }
    }

    pub(super) fn rot(&mut self, at: usize) {
        for bytes in [&mut self.cached, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(at) {
                *byte ^= 1;
            }
        }
    }

    pub(super) fn tamper(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        self.pending.clear();
        change(&mut self.cached);
        self.durable = self.cached.clone();
    }
}

/// The pieces of a write that lie in one sector each.
fn sectors(at: usize, bytes: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut from = 0;
    std::iter::from_fn(move || {
        let to_next = SECTOR_BYTES - (at + from) % SECTOR_BYTES;
        let piece = &bytes[from..bytes.len().min(from + to_next)];
        let piece_at = at + from;
        from += piece.len();
        (!piece.is_empty()).then_some((piece_at, piece))
    })
}

/// An open file of one life.
#[derive(Debug)]
pub(super) struct SimFile {
    pub(super) disk: SimDisk,
    pub(super) life: u64,
    pub(super) inode: u64,
}

impl SimFile {
    fn look<T>(&self, f: impl FnOnce(&Inode) -> io::Result<T>) -> io::Result<T> {
        let state = self.disk.look(self.life)?;
        f(state.inodes.get(&self.inode).ok_or_else(missing)?)
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        self.disk.change(self.life)
    }
}

impl State {
    fn inode(&mut self, inode: u64) -> io::Result<&mut Inode> {
        self.inodes.get_mut(&inode).ok_or_else(missing)
    }

    /// How many of the bytes up to `end` of an inode have, or find, space.
    fn room_up_to(&self, inode: u64, end: u64) -> io::Result<u64> {
        let inode = self.inodes.get(&inode).ok_or_else(missing)?;
        Ok(end.min(self.reach_bytes(inode)))
    }
}

impl File for SimFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.look(self.life)?;
        if is_due(&mut state.planned.read) {
            return Err(injected(super::READ));
        }
        drop(state);
        self.look(|inode| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX);
            let bytes = inode.cached.get(from..from.saturating_add(buf.len()));
            buf.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.look(self.life)?;
        let (result, written) = if !state.begin_change() {
            // A process that dies in the middle of a write has written some of it.
            let sectors = (buf.len() / SECTOR_BYTES) as u64;
            let written = state.rng.below(sectors + 1) as usize * SECTOR_BYTES;
            (Err(crashed()), written)
        } else if is_due(&mut state.planned.write) {
            let written = state.rng.below(buf.len() as u64 + 1) as usize;
            (Err(injected("write")), written)
        } else {
            (Ok(()), buf.len())
        };
        let mut room = state.room_up_to(self.inode, offset + written as u64)?;
        let allocated = state.inode(self.inode)?.allocated;
        if room > allocated && state.growth_fails() {
            room = allocated;
        }
        let fitting = room.saturating_sub(offset) as usize;
        state
            .inode(self.inode)?
            .write(offset as usize, &buf[..fitting]);
        if fitting < written {
            return result.and(Err(io::ErrorKind::StorageFull.into()));
        }
        result
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.change()?;
        state.sync_retried |= state.failed_syncs.contains(&self.inode);
        if is_due(&mut state.planned.sync) {
            state.failed_syncs.insert(self.inode);
            let mut rng = state.rng.fork();
            state.inode(self.inode)?.fail_sync(&mut rng);
            return Err(injected("sync"));
        }
        state.inode(self.inode)?.sync();
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.change()?;
        state.inode(self.inode)?.set_len(len as usize);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.look(|inode| Ok(inode.cached.len() as u64))
    }

    fn identity(&self) -> io::Result<u64> {
        self.look(|_| Ok(self.inode))
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let mut state = self.change()?;
        let grows = len > state.inode(self.inode)?.allocated;
        let no_space = grows && state.growth_fails();
        if no_space || state.room_up_to(self.inode, len)? < len {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.inode(self.inode)?;
        if inode.cached.len() < len as usize {
            inode.set_len(len as usize);
        }
        inode.allocated = inode.allocated.max(len);
        Ok(())
    }

    fn write_behind(&self, _offset: u64, _len: u64) {}

    fn set_attributes(&self, _attributes: &Attributes) -> io::Result<()> {
        self.change().map(drop)
    }
}
