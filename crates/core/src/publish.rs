//! Publishing: from the staging directory into the inbox, over the [`Disk`] seam.
//!
//! Every path here is relative to the inbox, which is the disk's root; the operating system's
//! implementation resolves it beneath that root and follows no symbolic link. Files are staged in
//! [`STAGING_DIR`], so on the inbox's own filesystem, and become visible by one rename.
//!
//! The order of the whole, of which the steps marked `here` are in this module:
//!
//! 1. staging file written (`here`, [`stage_small`], for small ones);
//! 2. its bytes and the staging directory synced ([`sync_staged`]);
//! 3. *publishing* logged and synced, with the final path: this is `saved`;
//! 4. the directories that it needs made and synced, then renamed into the inbox, refusing to replace
//!    anything (`here`, [`publish`]);
//! 5. every directory touched synced, then the staging directory (`here`, [`publish`]);
//! 6. *published* logged.
//!
//! A crash between any two of them is repaired by doing 4 to 6 again: staging there means that
//! the rename did not happen, staging gone means that it did, provided that the [`marker`] shows
//! the staging directory to be the one that the file was staged in.

use std::collections::BTreeSet;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::disk::{Attributes, Disk, EntryKind, OpenMode};
use crate::planted::{Planted, planted};

/// The staging directory, relative to the inbox. Everything whose name begins so is ours.
pub const STAGING_DIR: &str = ".consign";

/// Length of a staging directory's marker, in bytes.
pub const MARKER_BYTES: usize = 16;

/// The marker's name in the staging directory.
const MARKER: &str = "marker";
/// Its name until it is whole.
const MARKER_NEW: &str = "marker.new";

/// How often the directories of one file are made again when somebody removes them between our
/// making them and the rename. An application that tidies up empty directories loses this race
/// seldom; one that always wins it is a fault for people to see.
const MAKE_DIRS_TRIES: usize = 3;

/// One file that is to become visible.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishFile<'a> {
    /// Name in the staging directory.
    pub staging: &'a str,
    /// Clean path under the inbox.
    pub path: &'a str,
}

/// What became of one file.
#[derive(Debug)]
pub enum PublishOutcome {
    /// It is in the inbox under its path.
    Published,
    /// Something else has its path, or is where a directory of it has to be. It is still in
    /// staging.
    Conflict,
    /// It is not in staging: an earlier run published it, and the application may have taken it.
    AlreadyGone,
    /// It could not be renamed, for a reason that concerns only it: its directory cannot be made,
    /// or is another filesystem. It is still in staging. Or it was renamed and its directory may not
    /// be opened to be synced: publishing it again syncs that.
    Failed(io::Error),
}

/// A sync failed. Nothing of the batch may be reported as published; the node stops.
#[derive(Debug, Error)]
#[error(
    "syncing {what:?} under the inbox failed: {source}; hint: check the disk and its kernel messages, then start the node again: it repeats what was not synced"
)]
pub struct SyncFailed {
    /// The directory or file, relative to the inbox.
    pub what: PathBuf,
    /// What the filesystem said.
    pub source: io::Error,
}

/// Path of a staging file, relative to the inbox.
#[must_use]
pub fn staging_path(staging: &str) -> PathBuf {
    Path::new(STAGING_DIR).join(staging)
}

/// Makes the staging directory and its marker where they are missing, and returns the marker:
/// `fresh` where it is new. Both are synced on return.
///
/// # Errors
/// Whatever the filesystem says; `InvalidData` when the marker is not 16 bytes long. Nothing is
/// half made that calling again does not complete.
pub fn prepare(disk: &dyn Disk, fresh: [u8; MARKER_BYTES]) -> io::Result<[u8; MARKER_BYTES]> {
    disk.create_dir(Path::new(STAGING_DIR))?;
    let found = match marker(disk)? {
        Some(found) => {
            remove_unnamed_marker(disk)?;
            found
        }
        None => {
            write_marker(disk, fresh)?;
            fresh
        }
    };
    // A crash before these syncs can lose the directory or the marker. Nothing was staged under
    // this marker yet, since the log has not heard of it.
    disk.sync_dir(Path::new(STAGING_DIR))?;
    disk.sync_dir(Path::new(""))?;
    Ok(found)
}

/// Whether an entry of the staging directory may be a staging file, and not the marker.
#[must_use]
pub fn is_staging_name(name: &str) -> bool {
    name != MARKER && name != MARKER_NEW && !name.starts_with('.')
}

/// The staging directory's marker, or `None` when the directory or the marker is missing: then
/// nothing can be concluded from a staging file being gone.
///
/// # Errors
/// Whatever the filesystem says; `InvalidData` when the marker is not 16 bytes long.
pub fn marker(disk: &dyn Disk) -> io::Result<Option<[u8; MARKER_BYTES]>> {
    let file = match disk.open(&staging_path(MARKER), OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if file.len()? != MARKER_BYTES as u64 {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "the marker of the staging directory is damaged",
        ));
    }
    let mut bytes = [0; MARKER_BYTES];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(Some(bytes))
}

/// Removes the marker of a staging directory in which nothing is staged, so that the next
/// [`prepare`] gives it a new one. Not synced: a crash may bring it back.
///
/// # Errors
/// Whatever the filesystem says.
pub fn remove_marker(disk: &dyn Disk) -> io::Result<()> {
    match disk.remove(&staging_path(MARKER)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        outcome => outcome,
    }
}

/// A power cut may keep the entry of a marker that was never named, beside the one that was.
fn remove_unnamed_marker(disk: &dyn Disk) -> io::Result<()> {
    let unnamed = staging_path(MARKER_NEW);
    match disk.stat(&unnamed)? {
        Some(_) => disk.remove(&unnamed),
        None => Ok(()),
    }
}

/// Writes the marker aside, syncs it and renames it, so that it is whole or not there.
fn write_marker(disk: &dyn Disk, bytes: [u8; MARKER_BYTES]) -> io::Result<()> {
    let aside = staging_path(MARKER_NEW);
    let file = create_anew(disk, &aside)?;
    file.write_all_at(&bytes, 0)?;
    file.sync()?;
    disk.rename(&aside, &staging_path(MARKER))
}

/// Writes a small file into staging. It is *written*, not synced: a crash may leave nothing, a
/// part or the whole of it, and the log still has its bytes. What an earlier try left under the
/// same name is thrown away.
///
/// # Errors
/// `StorageFull`, or whatever the filesystem says; a part of the file may be in staging.
pub fn stage_small(
    disk: &dyn Disk,
    staging: &str,
    bytes: &[u8],
    attributes: &Attributes,
) -> io::Result<()> {
    let file = create_anew(disk, &staging_path(staging))?;
    file.write_all_at(bytes, 0)?;
    file.set_attributes(attributes)
}

/// Makes everything in staging durable with one sync of the filesystem: for a batch of small
/// files. A large one is synced by who wrote it, followed by `sync_dir` of [`STAGING_DIR`].
///
/// # Errors
/// [`SyncFailed`]: final; nothing staged since the last success may be logged as *publishing*.
pub fn sync_staged(disk: &dyn Disk) -> Result<(), SyncFailed> {
    // A crash before this loses staged files; their bytes are in the log and are staged again.
    let staging = Path::new(STAGING_DIR);
    if planted(Planted::RenameBeforeSync) {
        return Ok(());
    }
    disk.sync_fs(staging).map_err(|source| SyncFailed {
        what: staging.to_owned(),
        source,
    })
}

/// Whether something is at `path` already, or in the way to it. A conflict is decided by this
/// before `saved`; one that arises later is a [`PublishOutcome::Conflict`].
///
/// # Errors
/// Whatever the filesystem says.
pub fn is_taken(disk: &dyn Disk, path: &str) -> io::Result<bool> {
    match disk.stat(Path::new(path)) {
        Ok(Some(_)) => Ok(true),
        Ok(None) => is_blocked(disk, path),
        // A symbolic link on the way is an error as well.
        Err(_) if is_blocked(disk, path).unwrap_or(false) => Ok(true),
        Err(error) => Err(error),
    }
}

/// Whether something that is no directory is where a directory of `path` has to be: a file, or a
/// symbolic link, which is not followed.
fn is_blocked(disk: &dyn Disk, path: &str) -> io::Result<bool> {
    let mut unknown = None;
    for dir in Path::new(path).ancestors().skip(1) {
        if dir.as_os_str().is_empty() {
            break;
        }
        match disk.stat(dir) {
            Ok(Some(entry)) if entry.kind == EntryKind::Dir => break,
            Ok(Some(_)) => return Ok(true),
            Ok(None) => {}
            // What is further up may say more.
            Err(error) => unknown = Some(error),
        }
    }
    unknown.map_or(Ok(false), Err)
}

/// Renames staged and synced files into the inbox, makes the directories that they need, and
/// syncs every directory touched. On success each outcome is durable, in the order of `files`.
/// Calling it again after a crash, with the same files, completes what was begun.
///
/// # Errors
/// [`SyncFailed`]: final. Files may be visible that are not certain to stay so; the node stops,
/// and its recovery calls this again.
pub fn publish(
    disk: &dyn Disk,
    files: &[PublishFile<'_>],
) -> Result<Vec<PublishOutcome>, SyncFailed> {
    let mut made = BTreeSet::new();
    let mut touched = BTreeSet::new();
    let mut outcomes = Vec::with_capacity(files.len());
    for file in files {
        // A crash after this line may show the file or not; the log says *publishing*, and staging
        // tells which.
        let outcome = publish_one(disk, file, &mut made)?;
        if settles_directories(&outcome) {
            touched.extend(directories_of(file.path));
        }
        outcomes.push(outcome);
    }
    // Directories new and old, down from the inbox: an old one may be an earlier run's, which
    // ended before its sync. A crash before these syncs can undo renames: the files are in
    // staging again, and are renamed again.
    if planted(Planted::PublishWithoutDirSync) {
        return Ok(outcomes);
    }
    for dir in &touched {
        if let Some(denied) = sync_directory(disk, dir)? {
            fail_beneath(dir, &denied, files, &mut outcomes);
        }
    }
    // Last, so that no file's absence from staging is durable before its presence in the inbox.
    // A crash before this line may bring back a staging entry on no filesystem whose renames are
    // atomic; the directory is synced all the same, since *published* forgets the entry.
    let staging = Path::new(STAGING_DIR);
    if !touched.is_empty()
        && let Some(source) = sync_directory(disk, staging)?
    {
        return Err(SyncFailed {
            what: staging.to_owned(),
            source,
        });
    }
    Ok(outcomes)
}

/// Whether the outcome claims that the file's directories hold it.
fn settles_directories(outcome: &PublishOutcome) -> bool {
    match outcome {
        PublishOutcome::Published | PublishOutcome::AlreadyGone => true,
        PublishOutcome::Conflict | PublishOutcome::Failed(_) => false,
    }
}

fn publish_one(
    disk: &dyn Disk,
    file: &PublishFile<'_>,
    made: &mut BTreeSet<PathBuf>,
) -> Result<PublishOutcome, SyncFailed> {
    let staging = staging_path(file.staging);
    for _ in 0..MAKE_DIRS_TRIES {
        let there = make_directories(disk, file.path, made)?;
        match there.and_then(|()| disk.rename(&staging, Path::new(file.path))) {
            Ok(()) => return Ok(PublishOutcome::Published),
            Err(error) => match disk.stat(&staging) {
                Err(unknown) => return Ok(PublishOutcome::Failed(unknown)),
                Ok(None) => return Ok(PublishOutcome::AlreadyGone),
                Ok(Some(_)) if error.kind() == ErrorKind::NotFound => made.clear(),
                Ok(Some(_)) => return Ok(conflict_or_failed(disk, file.path, error)),
            },
        }
    }
    let why = format!(
        "the directories of {:?} are removed as fast as they are made",
        file.path
    );
    let error = io::Error::new(ErrorKind::NotFound, why);
    Ok(PublishOutcome::Failed(error))
}

/// Makes the directories that a path needs, durably: a file is renamed only into one that stays.
fn make_directories(
    disk: &dyn Disk,
    path: &str,
    made: &mut BTreeSet<PathBuf>,
) -> Result<io::Result<()>, SyncFailed> {
    for dir in directories_of(path) {
        if dir.as_os_str().is_empty() || made.contains(&dir) {
            continue;
        }
        if let Err(error) = disk.create_dir(&dir) {
            return Ok(Err(error));
        }
        // One that was there may be an earlier run's, which ended before this sync. A crash before
        // it loses an empty directory; without it a crash after the rename could lose the directory
        // with the file, where a filesystem does not keep the order of changes.
        let parent = dir.parent().unwrap_or(Path::new(""));
        if planted(Planted::NewDirWithoutSync) {
            continue;
        }
        if let Some(denied) = sync_directory(disk, parent)? {
            return Ok(Err(denied));
        }
        made.insert(dir);
    }
    Ok(Ok(()))
}

/// `AlreadyExists` is a conflict only if it is about the path itself. Whatever is said about a
/// directory on the way to it is one only if something else is there.
fn conflict_or_failed(disk: &dyn Disk, path: &str, error: io::Error) -> PublishOutcome {
    let exists = error.kind() == ErrorKind::AlreadyExists;
    let there = disk
        .stat(Path::new(path))
        .is_ok_and(|there| there.is_some());
    if (exists && there) || is_blocked(disk, path).unwrap_or(false) {
        PublishOutcome::Conflict
    } else {
        PublishOutcome::Failed(error)
    }
}

/// The directories from the inbox (the empty path) down to the one that holds `path`.
fn directories_of(path: &str) -> Vec<PathBuf> {
    let mut up: Vec<_> = Path::new(path)
        .ancestors()
        .skip(1)
        .map(Path::to_owned)
        .collect();
    up.reverse();
    up
}

/// Syncs a directory, or says why it may not be opened. One that is gone, or has something else in
/// its place, was removed by the application, with what it had taken from it.
fn sync_directory(disk: &dyn Disk, dir: &Path) -> Result<Option<io::Error>, SyncFailed> {
    match disk.sync_dir(dir) {
        Ok(()) => Ok(None),
        Err(source) => match source.kind() {
            ErrorKind::NotFound | ErrorKind::NotADirectory => Ok(None),
            ErrorKind::PermissionDenied => Ok(Some(source)),
            _ => Err(SyncFailed {
                what: dir.to_owned(),
                source,
            }),
        },
    }
}

/// Takes back what was claimed of files below a directory that could not be synced.
fn fail_beneath(
    dir: &Path,
    denied: &io::Error,
    files: &[PublishFile<'_>],
    outcomes: &mut [PublishOutcome],
) {
    for (file, outcome) in files.iter().zip(outcomes) {
        if settles_directories(outcome) && Path::new(file.path).starts_with(dir) {
            let error = io::Error::new(denied.kind(), denied.to_string());
            *outcome = PublishOutcome::Failed(error);
        }
    }
}

/// Opens a new file in the place of whatever an earlier try left there.
fn create_anew(disk: &dyn Disk, path: &Path) -> io::Result<std::sync::Arc<dyn crate::disk::File>> {
    match disk.open(path, OpenMode::CreateNew) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            disk.remove(path)?;
            disk.open(path, OpenMode::CreateNew)
        }
        opened => opened,
    }
}
