//! Every bound of the archive and of what is read as a receipt, with its unit and its reason.

use std::time::Duration;

/// Least time between two transactions while records keep coming. Each costs a sync of its own, and a
/// file whose story fits into one is written once and not three times.
pub(super) const STEP_EVERY: Duration = Duration::from_millis(500);

/// Bytes of encoded records in one transaction, about.
pub(super) const BYTES_PER_STEP_AIM: usize = 8 << 20;

/// Records of the log in one transaction, about: a few megabytes of memory, when they are small.
pub(super) const RECORDS_PER_STEP_AIM: usize = 32_768;

/// How long until an archive that could not be written is tried again.
pub(super) const RETRY_EVERY: Duration = Duration::from_secs(5);

/// How long another program may hold the database before it is noted as a problem.
pub(super) const BUSY_DEADLINE: Duration = Duration::from_secs(1);

/// Memory for the writer's pages, in KiB.
pub(super) const CACHE_KIB: u32 = 4 << 10;

/// Pages of the write-ahead log after which it is folded back: 16 MiB.
pub(super) const CHECKPOINT_PAGES: u32 = 4096;

/// Names of nodes that are remembered at most; past it they are looked up again.
pub(super) const NODES_MAX: usize = 10_000;

/// How long who asks waits for the archive to follow the log.
pub(super) const CATCH_UP_DEADLINE: Duration = Duration::from_secs(10);

/// Questions that are answered at once.
pub(super) const QUERIES_AT_ONCE_MAX: usize = 2;

/// Rows that one step of retention looks at; it takes some milliseconds.
pub(super) const ROWS_PER_STEP: i64 = 1000;

/// Least time between two such steps.
pub(super) const SWEEP_STEP_EVERY: Duration = Duration::from_millis(100);

/// Time between the end of one sweep over everything and the begin of the next.
pub(super) const SWEEP_EVERY: Duration = Duration::from_secs(600);

/// An exported document, in bytes: a thousand receipts with long chains of certificates fit.
pub(crate) const DOCUMENT_BYTES_MAX: u64 = 16 << 20;

/// Receipts in one document: one for each consumer that a file may have.
pub(super) const RECEIPTS_MAX: usize = 1024;

/// Steps of a path. A tree of 2^64 leaves has no longer one.
pub(super) const PATH_MAX: usize = 64;

/// Certificates with one receipt: the consumer's own, and those above it.
pub(super) const CERTIFICATES_MAX: usize = 5;

/// Damaged batches that `doctor` names one by one.
pub(super) const DAMAGED_TOLD_MAX: usize = 20;
