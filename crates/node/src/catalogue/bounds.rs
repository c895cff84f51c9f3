//! Every bound of the catalogue, with its unit and its reason.

use std::time::Duration;

/// Starts and nodes that are remembered at most; past it the maps are cleared and fill again from
/// the database.
pub(crate) const INTERNED_MAX: usize = 100_000;

/// Least time between two steps while a sweep is under way.
pub(crate) const STEP_EVERY: Duration = Duration::from_millis(50);

/// Time between the end of one sweep over everything and the begin of the next.
pub(crate) const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// Queries that run at once. More would only take the disk from the transfers.
pub(crate) const QUERIES_AT_ONCE_MAX: usize = 4;

/// Files in one page: about 200 KiB of memory.
pub(crate) const PAGE_ROWS: u64 = 500;

/// Records in one transaction, unless a single batch has more. Larger ones are no faster, and this
/// keeps a query's view at most some tens of milliseconds behind.
pub(crate) const RECORDS_PER_TRANSACTION_AIM: usize = 8192;

/// How often a database that had no room is tried again.
pub(crate) const RETRY_EVERY: Duration = Duration::from_secs(5);

/// Pages of the write-ahead log after which it is folded back into the database: 32 MiB, so that
/// a busy catalogue syncs twice per 32 MiB and not twice per 4.
pub(crate) const CHECKPOINT_PAGES: u32 = 8192;

/// Memory for the writer's pages, in KiB.
pub(crate) const CACHE_KIB: u32 = 16 << 10;

/// Databases that are kept aside; the eldest numbers are used first and later ones replace the
/// last.
pub(crate) const BROKEN_KEPT_MAX: u32 = 9;

/// How long the catalogue may take to follow the log before an audit gives up: it is some tens of
/// milliseconds behind under load.
pub(crate) const CATCH_UP_DEADLINE: Duration = Duration::from_secs(10);

/// How long reading what was missed may take before `status` says so.
pub(crate) const FILLING_TOLD_AFTER: Duration = Duration::from_secs(1);
