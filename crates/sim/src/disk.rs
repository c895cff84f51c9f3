//! A filesystem in memory that keeps only what it promised to keep.
//!
//! Each file and directory has two states: what is *cached*, which every read sees, and what is
//! *durable*. Syncs move changes from one to the other. [`SimDisk::kill`] ends a process: the cache
//! stays. [`SimDisk::power_cut`] ends the machine: of each change that was not synced, chance decides
//! whether it is durable, sector by sector, in any combination that a filesystem may leave behind;
//! only renames are atomic. [`SimDisk::crash_after`] puts such an end before any single operation.
//!
//! Deliberately absent: hard links, permissions, time, and directories that are renamed or removed.

mod beneath;
mod file;
mod mount;
mod names;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign_core::disk::Disk;

use crate::rng::Rng;
pub use beneath::Beneath;
use file::Inode;
use mount::Mount;
use names::Names;

/// The unit that a disk writes whole or not at all, in bytes.
pub const SECTOR_BYTES: usize = 512;

/// The error of every operation at and after a planned crash, and of those of a life that is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Crashed;

impl fmt::Display for Crashed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("this life of the simulated machine is over")
    }
}

impl std::error::Error for Crashed {}

/// Whether an error is the simulated crash, and no fault of the disk.
#[must_use]
pub fn is_crash(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Crashed>())
}

fn crashed() -> io::Error {
    io::Error::other(Crashed)
}

fn missing() -> io::Error {
    io::ErrorKind::NotFound.into()
}

/// A simulated disk. Clones are the same disk; [`Self::fork`] makes another one.
#[derive(Debug, Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Clone)]
struct State {
    names: Names,
    inodes: BTreeMap<u64, Inode>,
    next_inode: u64,
    /// Counts the lives of the machine's process: handles of an earlier one are dead.
    life: u64,
    /// Operations that change something, over all lives.
    ops: u64,
    crash_at: Option<u64>,
    has_crashed: bool,
    capacity_bytes: Option<u64>,
    /// Faults that are planned, each after so many more calls of its kind.
    planned: Planned,
    /// Files of which a sync has failed in this life.
    failed_syncs: BTreeSet<u64>,
    sync_retried: bool,
    /// Calls that found no space by plan.
    growths_failed: u64,
    rng: Rng,
}

/// Faults of single calls that are planned: how many calls of their kind still succeed before.
#[derive(Debug, Clone, Copy, Default)]
struct Planned {
    write: Option<u64>,
    sync: Option<u64>,
    read: Option<u64>,
    growth: Option<u64>,
}

/// The error of a call that was planned to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injected(&'static str);

impl fmt::Display for Injected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "simulated {} error", self.0)
    }
}

impl std::error::Error for Injected {}

/// Whether an error was planned as that of a single call.
#[must_use]
pub fn is_injected(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Injected>())
}

/// Whether an error was planned as that of a single read.
#[must_use]
pub fn is_injected_read(error: &io::Error) -> bool {
    let planned = error.get_ref().and_then(|inner| inner.downcast_ref());
    planned == Some(&Injected(READ))
}

/// What reads are called among planned errors.
const READ: &str = "read";

fn injected(what: &'static str) -> io::Error {
    io::Error::other(Injected(what))
}

impl SimDisk {
    /// An empty disk with a root directory.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = State {
            names: Names::default(),
            inodes: BTreeMap::new(),
            next_inode: 1,
            life: 0,
            ops: 0,
            crash_at: None,
            has_crashed: false,
            capacity_bytes: None,
            planned: Planned::default(),
            failed_syncs: BTreeSet::new(),
            sync_retried: false,
            growths_failed: 0,
            rng: Rng::new(seed),
        };
        Self {
            state: Arc::new(Mutex::new(state)),
        }
    }

    /// The disk as the present life of the machine sees it. It and every file opened through it are
    /// dead after [`Self::kill`] or [`Self::power_cut`].
    #[must_use]
    pub fn mount(&self) -> Arc<dyn Disk> {
        Arc::new(Mount {
            disk: self.clone(),
            life: self.lock().life,
        })
    }

    /// Another disk with the same contents, faults and chance, and no handles.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self {
            state: Arc::new(Mutex::new(self.lock().clone())),
        }
    }

    /// How many operations have changed something, or tried to.
    #[must_use]
    pub fn ops(&self) -> u64 {
        self.lock().ops
    }

    /// Lets `ops` more operations that change something succeed, and none after them until the next
    /// life. A write that meets the crash may get a part of its bytes into the cache.
    pub fn crash_after(&self, ops: u64) {
        let mut state = self.lock();
        state.crash_at = Some(state.ops + ops);
    }

    /// Whether a planned crash has happened in this life.
    #[must_use]
    pub fn has_crashed(&self) -> bool {
        self.lock().has_crashed
    }

    /// Ends the process: everything written stays written, nothing more is synced.
    pub fn kill(&self) {
        self.lock().next_life();
    }

    /// Ends the machine: what was not synced is kept, lost or torn, as `rng` decides.
    pub fn power_cut(&self, rng: &mut Rng) {
        let mut state = self.lock();
        state.next_life();
        let fate = Fate::draw(rng);
        state.names.power_cut(fate, rng);
        for inode in state.inodes.values_mut() {
            inode.power_cut(fate, rng);
        }
        // A filesystem gives nobody the space of a file whose removal may be undone: what has come
        // back fits.
        let used = state.used_bytes();
        state.capacity_bytes = state.capacity_bytes.map(|capacity| capacity.max(used));
    }

    /// Limits the space for files' bytes; `None` for no limit. What is there already stays.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.lock().capacity_bytes = bytes;
    }

    /// The space that files take, in bytes.
    #[must_use]
    pub fn used_bytes(&self) -> u64 {
        self.lock().used_bytes()
    }

    /// Lets the `nth` write from now on fail with an I/O error, 0 being the next.
    pub fn fail_write(&self, nth: u64) {
        self.lock().planned.write = Some(nth);
    }

    /// Lets the `nth` sync of a file from now on fail, 0 being the next. What it should have synced
    /// can still be read, and is never made durable by a later sync.
    pub fn fail_sync(&self, nth: u64) {
        self.lock().planned.sync = Some(nth);
    }

    /// Lets the `nth` read from now on fail with an I/O error, 0 being the next.
    pub fn fail_read(&self, nth: u64) {
        self.lock().planned.read = Some(nth);
    }

    /// Lets the `nth` call from now on that needs more space find none, 0 being the next.
    pub fn fail_growth(&self, nth: u64) {
        self.lock().planned.growth = Some(nth);
    }

    /// How many calls found no space by plan, whatever there was.
    #[must_use]
    pub fn growths_failed(&self) -> u64 {
        self.lock().growths_failed
    }

    /// Whether a file was ever synced again in the life in which a sync of it had failed.
    #[must_use]
    pub fn has_retried_sync(&self) -> bool {
        self.lock().sync_retried
    }

    /// Flips a bit of a file, in the cache and on the disk, as a failing disk does. Once more gives
    /// the file back.
    pub fn rot(&self, identity: u64, at: u64) {
        if let Some(inode) = self.lock().inodes.get_mut(&identity) {
            inode.rot(at as usize);
        }
    }

    /// The space that is left, in bytes.
    #[must_use]
    pub fn free_bytes(&self) -> u64 {
        let state = self.lock();
        let used = state.used_bytes();
        state
            .capacity_bytes
            .map_or(u64::MAX, |all| all.saturating_sub(used))
    }

    /// Takes back every fault that was planned and has not happened.
    pub fn no_more_faults(&self) {
        let mut state = self.lock();
        state.crash_at = None;
        state.planned = Planned::default();
    }

    /// The paths of all files.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.lock().names.cached.files.keys().cloned().collect()
    }

    /// The bytes of a file as reads see them; `None` when there is none.
    #[must_use]
    pub fn bytes(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.lock();
        let inode = state.names.cached.files.get(path)?;
        Some(state.inodes.get(inode)?.cached.clone())
    }

    /// Which file is at a path: a number that it keeps through renames. `None` when there is none.
    #[must_use]
    pub fn identity(&self, path: &Path) -> Option<u64> {
        self.lock().names.cached.files.get(path).copied()
    }

    /// Whether a file is at `path` and reads as exactly these bytes.
    #[must_use]
    pub fn holds(&self, path: &Path, bytes: &[u8]) -> bool {
        let state = self.lock();
        let inode = state.names.cached.files.get(path);
        inode
            .and_then(|inode| state.inodes.get(inode))
            .is_some_and(|inode| inode.cached == bytes)
    }

    /// Changes a file behind everybody's back, durably, as a failing disk or a stray hand does.
    ///
    /// # Panics
    /// When there is no such file.
    pub fn tamper(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        let inode = state.names.cached.files.get(path).copied();
        let inode = inode.and_then(|inode| state.inodes.get_mut(&inode));
        inode.expect("a file to tamper with").tamper(change);
    }

    /// Makes everything durable, then removes a file.
    pub fn lose(&self, path: &Path) {
        let mut state = self.lock();
        state.names.sync_all();
        state.names.durable.files.remove(path);
        state.names.cached.files.remove(path);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, for a call of `life` that changes nothing.
    fn look(&self, life: u64) -> io::Result<MutexGuard<'_, State>> {
        let state = self.lock();
        if state.life != life || state.has_crashed {
            return Err(crashed());
        }
        Ok(state)
    }

    /// The state, for a call of `life` that changes something.
    fn change(&self, life: u64) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.look(life)?;
        if state.begin_change() {
            Ok(state)
        } else {
            Err(crashed())
        }
    }
}

/// What becomes of changes that were not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    AllKept,
    AllLost,
    /// Each change for itself, whole.
    Each,
    /// Each sector of each change for itself.
    EachSector,
}

impl Fate {
    fn draw(rng: &mut Rng) -> Self {
        match rng.below(6) {
            0 => Self::AllKept,
            1 => Self::AllLost,
            2 | 3 => Self::Each,
            _ => Self::EachSector,
        }
    }

    fn keeps(self, rng: &mut Rng) -> bool {
        match self {
            Self::AllKept => true,
            Self::AllLost => false,
            Self::Each | Self::EachSector => rng.one_in(2),
        }
    }
}

impl State {
    fn next_life(&mut self) {
        self.life += 1;
        self.has_crashed = false;
        self.crash_at = None;
        self.planned = Planned::default();
        self.failed_syncs.clear();
        // No handle is left, so what no name can lead to any more is gone.
        let named = self.names.inodes();
        self.inodes.retain(|inode, _| named.contains(inode));
    }

    /// Counts an operation; false when it is the one that the crash was planned for.
    fn begin_change(&mut self) -> bool {
        self.has_crashed = self.crash_at.is_some_and(|at| self.ops >= at);
        self.ops += 1;
        !self.has_crashed
    }

    /// Whether the call that now needs more space finds none by plan.
    fn growth_fails(&mut self) -> bool {
        let fails = is_due(&mut self.planned.growth);
        self.growths_failed += u64::from(fails);
        fails
    }

    fn used_bytes(&self) -> u64 {
        let linked = self.names.cached.files.values();
        let inodes = linked.filter_map(|inode| self.inodes.get(inode));
        inodes.map(|inode| inode.allocated).sum()
    }

    /// How far an inode may reach, given that it may grow by what is free.
    fn reach_bytes(&self, inode: &Inode) -> u64 {
        let free = self
            .capacity_bytes
            .map_or(u64::MAX, |all| all.saturating_sub(self.used_bytes()));
        inode.allocated.saturating_add(free)
    }

    fn parent_must_exist(&self, path: &Path) -> io::Result<()> {
        match path.parent() {
            Some(parent) if self.names.cached.has_dir(parent) => Ok(()),
            _ => Err(missing()),
        }
    }
}

/// Whether the fault that is counted down in `nth` is due.
fn is_due(nth: &mut Option<u64>) -> bool {
    match nth {
        None => false,
        Some(0) => {
            *nth = None;
            true
        }
        Some(left) => {
            *left -= 1;
            false
        }
    }
}
