//! Every bound of a watcher, with its unit and its reason.

use std::time::Duration;

/// Problems that are listed; of more only their number is kept.
pub(crate) const PROBLEMS_MAX: usize = 1000;

/// Hints that may wait for the scanner. More are dropped, and a scan finds what they were about.
pub(crate) const HINTS_MAX: usize = 8192;

/// Files that may wait at once. What has no room is found again by a later scan.
pub(crate) const WAITING_FILES_MAX: usize = 64 << 10;

/// Of these, refused ones: many that can never be taken must not keep the others from settling.
pub(crate) const REFUSED_FILES_MAX: usize = WAITING_FILES_MAX / 2;

/// Bytes of names that may wait at once.
pub(crate) const WAITING_NAME_BYTES_MAX: usize = 8 << 20;

/// Entries that a walk goes through before inputs are looked at again.
pub(crate) const STEP_ENTRIES: usize = 256;

/// Inputs that are applied before the walk goes on.
pub(crate) const INPUTS_PER_TURN: usize = 1024;

/// New directories that may wait to be looked through; more make the whole be scanned.
pub(crate) const DIRS_MAX: usize = 1024;

/// How long after a directory appeared it is looked through a second time: files that entered it
/// before the kernel was asked to watch it raised no event.
pub(crate) const SECOND_LOOK: Duration = Duration::from_millis(250);

/// How long incomplete events are made do with before the subscription is tried again.
pub(crate) const RESUBSCRIBE_EVERY: Duration = Duration::from_secs(60);

/// Shortest time between two scans that make up for incomplete events.
pub(crate) const DEGRADED_SCAN_EVERY: Duration = Duration::from_secs(1);

/// Longest time without a look at the clock.
pub(crate) const PAUSE_MAX: Duration = Duration::from_secs(60);
