//! Every bound of the log's thread, with its unit and its reason.

use std::time::Duration;

use consign_core::limits::SEGMENT_BYTES;

/// How long a record that nobody waits for may stay unsynced.
pub(crate) const UNSYNCED_FOR_MAX: Duration = Duration::from_millis(25);

/// After this long without a record the log proves its last sync.
pub(crate) const IDLE_AFTER: Duration = Duration::from_secs(1);

/// Pause before the log tries again to find space for what was accepted.
pub(crate) const FULL_LOG_PAUSE: Duration = Duration::from_millis(500);

/// Records that are synced together at most, so that the first does not wait for the last.
pub(crate) const GROUP_RECORDS_MAX: usize = 4096;

/// Bytes that the log may hold unsynced, as they are counted, before nothing more is let in: half a
/// segment. When the disk fills up, what is under way still fits into the reserve, with room to end
/// it; and so much memory it may take.
pub(crate) const UNSYNCED_BYTES_MAX: u64 = SEGMENT_BYTES / 2;

/// Bytes that are synced although nobody waits for them, so that more is let in.
pub(crate) const GROUP_BYTES_MAX: u64 = UNSYNCED_BYTES_MAX / 2;

/// What a record counts as beside its payload, in bytes: about what its names and places take.
/// Without it, records that have no payload would be let in without end.
pub(crate) const RECORD_OVERHEAD_BYTES: u64 = 512;

/// Payloads that are kept in memory to be sent without reading them back, in bytes.
pub(crate) const RECENT_BYTES: usize = 16 << 20;

/// About what one of them takes beside its bytes.
pub(crate) const RECENT_ENTRY_BYTES: usize = 128;
