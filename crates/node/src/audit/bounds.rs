//! Every bound of audits, with its unit and its reason. Those that both ends of a connection keep are in
//! [`consign_core::limits`].

use std::time::Duration;

/// Questions that may wait to be begun; each connection has one at most.
pub(crate) const ASKED_WAITING_MAX: usize = 16;

/// Lines that may wait for who reads them, before the audit waits too.
pub(super) const LINES_WAITING_MAX: usize = 1024;

/// How often who waits for a large file to be hashed hears that it is.
pub(super) const SIGN_EVERY: Duration = Duration::from_secs(5);

/// Work after which it rests as long as it has worked: it takes half of a disk and half of a core at
/// most. Many small files share a rest, since timers are no finer than a millisecond.
pub(super) const REST_AFTER: Duration = Duration::from_millis(20);

/// How often it is told how far an audit is.
pub(super) const PROGRESS_EVERY: Duration = Duration::from_millis(500);
