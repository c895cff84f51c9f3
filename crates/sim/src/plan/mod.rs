//! What one seed does: its cluster, its files, and its faults with their rates.

mod cut;
mod draw;
mod faults;

use consign_core::log::Shortening;
use consign_core::spec::{OnConflict, Replicas};

pub use cut::Cut;
pub use faults::{Fault, Faults, Rate};

/// One feed.
#[derive(Debug, Clone)]
pub struct FeedPlan {
    /// Its name.
    pub name: String,
    /// Consumers for each file.
    pub replicas: Replicas,
    /// How long an unreachable consumer is waited for, in ms.
    pub replace_after_ms: Option<u64>,
    /// What consumers do about taken paths.
    pub on_conflict: OnConflict,
    /// Bytes that a producer may have queued.
    pub max_queue_bytes: u64,
    /// Bytes that consumers leave free.
    pub min_free_bytes: u64,
    /// Producers that consumers admit, until all is healed; empty for all.
    pub from: Vec<String>,
    /// The path under an inbox, until all is healed; then that of a name.
    pub layout: String,
}

/// One node.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Its share of the keys.
    pub weight: u32,
    /// Whether files are handed to it.
    pub produces: bool,
    /// The feeds that it consumes, by number.
    pub consumes: Vec<usize>,
    /// Whether it joins only in the middle of the run.
    pub joins_late: bool,
    /// How many times slower than others it is.
    pub slowness: u64,
}

/// How a file is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handing {
    /// Over the API.
    Api,
    /// Through a watched directory; deleted when it is done.
    WatchedDelete,
    /// Through a watched directory; archived when it is done.
    WatchedArchive,
    /// Through a watched directory; it stays there.
    WatchedKeep,
}

/// One file.
#[derive(Debug, Clone)]
pub struct FilePlan {
    /// When, in ms.
    pub at_ms: u64,
    /// At which node.
    pub producer: usize,
    /// Of which feed, by number.
    pub feed: usize,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// How it is handed over.
    pub handing: Handing,
    /// Larger goes first.
    pub priority: i32,
    /// Whether it is left out, so that a failure is told with fewer files.
    pub left_out: bool,
}

/// The whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// Feeds.
    pub feeds: Vec<FeedPlan>,
    /// Nodes.
    pub nodes: Vec<NodePlan>,
    /// Files.
    pub files: Vec<FilePlan>,
    /// Faults.
    pub faults: Faults,
    /// When everything is healed, in ms.
    pub heal_at_ms: u64,
    /// Size of log segments, in bytes.
    pub segment_bytes: u64,
    /// Segments of what is dead from which on what is live is carried forward.
    pub spare_segments: u64,
    /// How long a segment may stay before it is asked to be emptied again, in ms.
    pub carry_again_ms: u64,
    /// Longest ordinary delay of a message, in µs.
    pub latency_us: u64,
    /// Longest ordinary time that a disk takes, in µs.
    pub disk_us: u64,
}

/// What a live record is counted as, in bytes.
const RECORD_BYTES_COUNTED: u64 = 128;

/// Largest of the files that travel in the logs, in bytes.
pub const SMALL_BYTES_MAX: u64 = 2_500;

impl Plan {
    /// A node's policy of shortening its log. Names are short here, and so are records.
    #[must_use]
    pub fn shortening(&self) -> Shortening {
        let spare_bytes = self.spare_segments * self.segment_bytes;
        Shortening::new(spare_bytes, RECORD_BYTES_COUNTED, self.carry_again_ms)
    }

    /// Whether healing gives nobody another configuration.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.is_calm() || self.faults.is_scarcity()
    }

    /// Whether nobody is so slow that deadlines pass.
    #[must_use]
    pub fn is_swift(&self) -> bool {
        self.nodes.iter().all(|node| node.slowness == 1)
    }

    /// Whether nothing goes wrong in this run.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.faults.is_calm() && self.feeds.iter().all(|feed| feed.from.is_empty())
    }
}
