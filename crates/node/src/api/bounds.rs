//! Every bound of the API, with its unit and its reason.

use std::time::Duration;

/// Largest body of a request that is not a file, in bytes: 10,000 files with long paths.
pub(crate) const REQUEST_BYTES_MAX: usize = 32 << 20;
/// Ids in one `GET /transfers?ids=…`: they have to fit into a request line.
pub(crate) const IDS_PER_REQUEST_MAX: usize = 200;
/// Connections that the system keeps waiting for us: what scripts open at once, and no more.
pub(super) const BACKLOG: i32 = 128;
/// Connections of one listener, so that they leave file descriptors for transfers; more wait in the
/// system's backlog.
pub(super) const CONNECTIONS_MAX: usize = 256;
/// How long the head of a request may take: one who sends none holds no connection for long.
pub(super) const HEAD_DEADLINE: Duration = Duration::from_secs(15);
/// How long the body of a small file may take; a slow link brings 256 KiB in far less.
pub(super) const BODY_DEADLINE: Duration = Duration::from_secs(60);
/// How long running requests may take to end once the agent stops.
pub(super) const STOP_DEADLINE: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted: there are no file descriptors left.
pub(super) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How often a listener of events is sent something when nothing happens, so that either end notices
/// that the other is gone.
pub(super) const EVENTS_KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Pages that wait for a slow listener before the query waits for it too: 200 KiB each.
pub(super) const PAGES_WAITING_MAX: usize = 2;
/// The catalogue follows the log with a small delay; so long a transfer of this very start is
/// waited for before it is said not to exist.
pub(super) const CATALOGUE_LAG_MAX: Duration = Duration::from_secs(2);
/// How often it is looked at meanwhile.
pub(super) const CATALOGUE_LOOK_EVERY: Duration = Duration::from_millis(10);
