//! Every bound of the driver, with its unit and its reason.

use std::time::Duration;

/// Files that may be on their way into the log at once. More wait with whoever hands them over.
pub(crate) const FILES_UNDER_WAY_MAX: usize = 16 << 10;

/// Files that one worker looks at in one go.
pub(crate) const FILES_PER_LOOK_JOB: usize = 128;

/// Jobs that look at files at the same time: the others of the worker threads stay free.
pub(crate) const LOOK_JOBS_MAX: usize = 4;

/// Bytes of small files that one worker reads in one go, unless a single one is larger. Together
/// with the jobs at one time it bounds what is in memory on its way to the log.
pub(crate) const READ_PER_LOOK_JOB_BYTES: u64 = 2 << 20;

/// Transfers in [`Snapshot::active`]; the rest of them are only counted.
pub(crate) const ACTIVE_SHOWN_MAX: usize = 256;

/// How often time is told to the state machines.
pub(crate) const TICK_EVERY: Duration = Duration::from_millis(100);

/// How often the snapshot is published.
pub(crate) const SNAPSHOT_EVERY: Duration = Duration::from_millis(250);

/// How often free space is measured.
pub(crate) const SPACE_EVERY: Duration = Duration::from_secs(1);

/// Events that are applied before anybody else gets a turn on this thread.
pub(crate) const EVENTS_AT_ONCE: usize = 256;

/// Jobs that take files at the same time: the others of the worker threads stay free.
pub(crate) const TAKE_JOBS_MAX: usize = 4;

/// Files that one such job takes at most.
pub(crate) const FILES_PER_TAKE_JOB: usize = 256;

/// Bytes of large files that one such job syncs, unless a single one is larger, so that those that
/// are done with soon need not wait for all of a long burst.
pub(crate) const SYNCED_PER_TAKE_JOB_BYTES: u64 = 64 << 20;

/// Sources that could not be released and are named one by one. Whatever the disk lacks is lacking
/// for all the others too, and a list of thousands tells a person no more.
pub(crate) const UNRELEASED_NAMED_MAX: usize = 16;

/// Commands that may wait for the driver before callers have to wait as well. Each holds at most
/// one request of [`FILES_PER_SUBMIT_MAX`] files, so this also bounds their memory.
pub(crate) const COMMANDS_WAITING_MAX: usize = 64;

/// Endings that wait for a slow listener before it misses some and is told so: each is a record's, a
/// few hundred bytes.
pub(crate) const ENDINGS_WAITING_MAX: usize = 4096;

/// Listeners to endings: each holds a connection of the API for as long as it likes, and those are for
/// all that people and scripts ask. More have to look now and then.
pub(crate) const ENDINGS_LISTENERS_MAX: usize = 64;

/// Files in one [`Command::Submit`].
pub(crate) const FILES_PER_SUBMIT_MAX: usize = 10_000;
