//! The storage seam: what the core needs of a filesystem, and nothing else.
//!
//! The intent log, recovery, staging and publishing are written against these two traits, so that
//! the very code that ships runs over the operating system's filesystem and over the simulator's,
//! which forgets, tears, fills up and fails. Calls block; the node makes them on its own threads,
//! the simulator when it performs an effect.
//!
//! What an implementation promises:
//! * a write is *written* when the call returns (other readers see it), and *synced* only after
//!   [`File::sync`], or [`Disk::sync_fs`];
//! * a directory entry (create, rename, remove) is synced only after [`Disk::sync_dir`] of the
//!   directory it is in, or [`Disk::sync_fs`];
//! * a rename is atomic: after a crash the old or the new name is there, or both are gone only if
//!   neither directory was ever synced with the file in it;
//! * after a failed sync the file's unsynced bytes may be lost although they can still be read.
//!   Callers never sync that file again and stop instead.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

/// How [`Disk::open`] opens a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A new file, for reading and writing; fails with `AlreadyExists` when there is one.
    CreateNew,
}

/// What kind of thing a directory entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Dir,
    /// Anything else: a symbolic link, a socket, a device.
    Other,
}

/// One entry of a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name, without the directory.
    pub name: String,
    /// What it is.
    pub kind: EntryKind,
    /// Its length in bytes, for a file.
    pub len: u64,
}

/// What is to be set on a file before it becomes visible.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Attributes {
    /// Modification time in nanoseconds since the Unix epoch.
    pub mtime_ns: Option<i64>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// User and group ids.
    pub owner: Option<(u32, u32)>,
}

/// A filesystem.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `StorageFull`, or whatever the filesystem says.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>>;

    /// The entries of a directory, sorted by name; names that are not UTF-8 are left out.
    ///
    /// # Errors
    /// `NotFound`, or whatever the filesystem says.
    fn list(&self, dir: &Path) -> io::Result<Vec<Entry>>;

    /// What is at `path`, without following symbolic links; `None` when there is nothing.
    ///
    /// # Errors
    /// Whatever the filesystem says, other than that there is nothing.
    fn stat(&self, path: &Path) -> io::Result<Option<Entry>>;

    /// Makes a directory; an existing one is fine. Returns whether it is new. Its parent must exist.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    fn create_dir(&self, path: &Path) -> io::Result<bool>;

    /// Renames a file, refusing to replace anything: `AlreadyExists` when `to` is taken.
    ///
    /// # Errors
    /// `NotFound` when `from` is not there, `AlreadyExists`, or whatever the filesystem says.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`, or whatever the filesystem says.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Syncs a directory's entries.
    ///
    /// # Errors
    /// `NotFound`, `NotADirectory` (a symbolic link is none, either) or `PermissionDenied` when it
    /// cannot be opened, so that no sync has failed. Any other error is final: the caller
    /// acknowledges nothing and stops.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Syncs the whole filesystem that holds `path`: all bytes and all entries on it.
    ///
    /// # Errors
    /// An error is final: the caller acknowledges nothing and stops.
    fn sync_fs(&self, path: &Path) -> io::Result<()>;
}

/// An open file.
#[expect(
    clippy::len_without_is_empty,
    reason = "nobody asks whether a file is empty"
)]
pub trait File: Send + Sync + fmt::Debug {
    /// Fills `buf` from `offset`; `UnexpectedEof` when the file ends before.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `buf` at `offset`. After an error any part of it may be there.
    ///
    /// # Errors
    /// `StorageFull`, or whatever the filesystem says.
    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()>;

    /// Makes everything written, and the file's length, durable.
    ///
    /// # Errors
    /// An error is final: the caller acknowledges nothing and stops.
    fn sync(&self) -> io::Result<()>;

    /// Cuts or extends the file.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The file's length in bytes.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    fn len(&self) -> io::Result<u64>;

    /// What tells this file from every other one on its filesystem for as long as it is open, however
    /// they are named: two handles are of one file when they answer the same.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    fn identity(&self) -> io::Result<u64>;

    /// Reserves the bytes `0..len` on the disk, as zeroes, extending the file: later writes there
    /// do not fail for want of space.
    ///
    /// # Errors
    /// `StorageFull`, or whatever the filesystem says.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Asks for the bytes `offset..offset + len` to be written back soon. A hint that makes a later
    /// sync short; it is no sync and promises nothing.
    fn write_behind(&self, offset: u64, len: u64);

    /// Sets attributes on the open file.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    fn set_attributes(&self, attributes: &Attributes) -> io::Result<()>;
}
