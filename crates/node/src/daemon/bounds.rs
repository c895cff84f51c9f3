//! Every bound of starting and supervising the parts of an agent, with its unit and its reason.

use std::time::Duration;

/// Causes that are told for one directory: the most frequent ones, so that `status` fits a screen.
pub(crate) const CAUSES_SHOWN_MAX: usize = 8;

/// Ready files that may wait for the driver. More wait in their directory.
pub(crate) const FOUND_WAITING_MAX: usize = 1024;

/// Files of one directory that may be on their way into the log at once: as many as one group
/// commit takes.
pub(crate) const IN_FLIGHT_MAX: usize = 4096;

/// How often rows of the kept set are compared with the directory: it looks at each file.
pub(crate) const FORGET_EVERY: Duration = Duration::from_secs(600);

/// When a refused file is tried again: soon after a person has mended what was refused.
pub(crate) const REFUSED_RETRY: Duration = Duration::from_secs(10);

/// Pause before a watcher that failed is started again, the first time.
pub(crate) const RESTART_MIN: Duration = Duration::from_secs(1);

/// The same after many failures in a row. Files are found so much later at worst.
pub(crate) const RESTART_MAX: Duration = Duration::from_secs(60);

/// Threads for blocking work: file operations of the outbox and the inboxes. Syncs of so many
/// files at once are about as fast as one sync of the filesystem.
pub(crate) const BLOCKING_THREADS: usize = 16;

/// Events of the network that may wait for the driver. A full queue lets connections wait.
pub(crate) const NET_EVENTS_WAITING_MAX: usize = 4096;
