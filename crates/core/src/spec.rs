//! What is known of a file before any of its bytes move, and the policies of its feed.

use std::collections::BTreeMap;

use crate::ids::FeedName;

/// A file as its producer describes it: shared by the log and the wire.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct FileSpec {
    /// The feed's name.
    #[prost(string, tag = "1")]
    pub feed: String,
    /// Relative name: one or more clean components joined by `/`.
    #[prost(string, tag = "2")]
    pub name: String,
    /// The bytes that are hashed to choose consumers.
    #[prost(string, tag = "3")]
    pub key: String,
    /// Length in bytes.
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// Modification time in nanoseconds since the Unix epoch, where the feed preserves it.
    #[prost(int64, optional, tag = "5")]
    pub mtime_ns: Option<i64>,
    /// Permission bits, where the feed preserves them.
    #[prost(uint32, optional, tag = "6")]
    pub mode: Option<u32>,
    /// The user's own entries.
    #[prost(btree_map = "string, string", tag = "7")]
    pub meta: BTreeMap<String, String>,
    /// When it was submitted, in milliseconds since the Unix epoch by the producer's clock.
    #[prost(uint64, tag = "8")]
    pub submitted_at: u64,
    /// Larger goes first.
    #[prost(int32, tag = "9")]
    pub priority: i32,
}

/// What happens to the source once every consumer has the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum After {
    /// The source stays; where it is watched, it is remembered as taken.
    Keep = 0,
    /// The source is deleted.
    Delete = 1,
    /// The source is moved into the archive.
    Archive = 2,
}

/// Where a producer holds the bytes of a file, and where they came from.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Source {
    /// Path of the file as it was handed over; empty when its bytes came over the API.
    #[prost(string, tag = "1")]
    pub origin: String,
    /// Name in the spool; empty when the bytes are only in the log.
    #[prost(string, tag = "2")]
    pub spool: String,
    /// What happens to it at `done`.
    #[prost(enumeration = "After", tag = "3")]
    pub after: i32,
    /// Whether it was found by a watcher (and not handed over by a command).
    #[prost(bool, tag = "4")]
    pub watched: bool,
    /// What the file looked like when it was taken, to notice edits in place.
    #[prost(message, optional, tag = "5")]
    pub stamp: Option<Stamp>,
    /// Whether the spool's entry is a link to, or the very inode of, something that others may
    /// still write: its stamp is compared before and after each read.
    #[prost(bool, tag = "6")]
    pub shared: bool,
}

/// The identity and times of a file on disk.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Stamp {
    /// Length in bytes.
    #[prost(uint64, tag = "1")]
    pub size: u64,
    /// Modification time in nanoseconds since the Unix epoch.
    #[prost(int64, tag = "2")]
    pub mtime_ns: i64,
    /// Inode change time in nanoseconds since the Unix epoch.
    #[prost(int64, tag = "3")]
    pub ctime_ns: i64,
    /// Inode number.
    #[prost(uint64, tag = "4")]
    pub ino: u64,
    /// Device number.
    #[prost(uint64, tag = "5")]
    pub dev: u64,
}

/// How many consumers get each file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replicas {
    /// So many distinct ones.
    Count(usize),
    /// Every accepting member ever seen that neither left nor was forgotten.
    All,
}

impl Replicas {
    /// As the log has it: `u32::MAX` for all.
    #[must_use]
    pub fn to_record(self) -> u32 {
        match self {
            Self::Count(count) => u32::try_from(count).unwrap_or(u32::MAX - 1),
            Self::All => u32::MAX,
        }
    }

    /// As the log has it; `None` for 0, which says nothing.
    #[must_use]
    pub fn from_record(record: u32) -> Option<Self> {
        match record {
            0 => None,
            u32::MAX => Some(Self::All),
            count => Some(Self::Count(count as usize)),
        }
    }
}

/// What a producer does with the files of one feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProducePolicy {
    /// The feed.
    pub feed: FeedName,
    /// Consumers for each file.
    pub replicas: Replicas,
    /// Larger goes first.
    pub priority: i32,
    /// How long a placed consumer may be unreachable before its files are placed elsewhere, in ms;
    /// `None` waits for ever.
    pub replace_after_ms: Option<u64>,
}

/// What a consumer does when another file is already at a transfer's path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnConflict {
    /// The newcomer gets a name of its own, made from its transfer id.
    Rename,
    /// The newcomer is refused for good.
    Reject,
}

/// What a consumer does with the files of one feed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumePolicy {
    /// The feed.
    pub feed: FeedName,
    /// The inbox directory.
    pub inbox: String,
    /// The file's path under the inbox, a template.
    pub layout: String,
    /// What a taken path means.
    pub on_conflict: OnConflict,
    /// Bytes that are left free on the inbox's filesystem.
    pub min_free_bytes: u64,
    /// Producers that may send, as patterns with `*`; empty means all.
    pub from: Vec<String>,
    /// User and group that published files belong to.
    pub owner: Option<(u32, u32)>,
    /// Permission bits of published files; wins over what the producer preserved.
    pub mode: Option<u32>,
}
