//! What the driver publishes about itself several times a second: the whole of `status`, `nodes`
//! and `feeds`, and the transfers that move right now. It is plain data, complete in itself, and
//! bounded: the queue is in it only as sums.

use serde::{Deserialize, Serialize};

use crate::membership::Standing;
use crate::problems::Problem;
use crate::timestamp::Timestamp;

/// A node as it sees itself.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Snapshot {
    /// This node's name.
    pub(crate) node: String,
    /// Its zone, where it has one.
    pub(crate) zone: Option<String>,
    /// The program's version.
    pub(crate) version: String,
    /// Its boot counter.
    pub(crate) incarnation: u64,
    /// The start that its transfers are named by now, in 16 hexadecimal digits.
    pub(crate) start: String,
    /// When it started.
    pub(crate) started_at: Timestamp,
    /// Whether it accepts new files and connections.
    pub(crate) ready: bool,
    /// What a person should look at; the node is degraded while there is anything.
    pub(crate) problems: Vec<Problem>,
    /// How far it is out of service, while it drains.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) drain: Option<Drain>,
    /// Whether nodes speak without TLS although an address is not loopback.
    pub(crate) plaintext: bool,
    /// Where the members are learned from, and how that is.
    #[serde(default)]
    pub(crate) membership: Standing,
    /// Where it listens for other nodes.
    pub(crate) listen: String,
    /// Its intent log.
    pub(crate) log: LogState,
    /// The members of the cluster, this node included, sorted by name; after them, producers that
    /// are connected to this node and that its list of members does not have.
    pub(crate) members: Vec<Member>,
    /// The feeds that it produces.
    pub(crate) produces: Vec<ProducedFeed>,
    /// The feeds that it consumes.
    pub(crate) consumes: Vec<ConsumedFeed>,
    /// Transfers that move right now, at most [`super::bounds::ACTIVE_SHOWN_MAX`].
    pub(crate) active: Vec<ActiveTransfer>,
    /// Large files that arrive right now and everything that is stuck on its way into an inbox, at
    /// most [`super::bounds::ACTIVE_SHOWN_MAX`].
    pub(crate) arriving: Vec<Arriving>,
}

/// A node on its way out of service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Drain {
    /// Whether it has no duty left: it may be switched off once the applications have taken what lies
    /// in its inboxes.
    pub(crate) is_done: bool,
    /// What it still waits for, each with its hint.
    pub(crate) waits_for: Vec<String>,
}

/// The intent log.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LogState {
    /// Segments on disk.
    pub(crate) segments: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// Whether it can take new files; completions are logged out of a reserve in any case.
    pub(crate) has_room: bool,
}

/// A member of the cluster, as this node sees it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Member {
    /// Its name.
    pub(crate) name: String,
    /// `host:port`.
    pub(crate) addr: String,
    /// Its zone, where it has one.
    pub(crate) zone: Option<String>,
    /// Its share of the keys.
    pub(crate) weight: u32,
    /// The feeds that it consumes.
    pub(crate) feeds: Vec<String>,
    /// `active`, `draining`, `left`, `forgotten`, or `not listed` for a producer that is no member.
    pub(crate) state: String,
    /// Whether the source of members hears of it now; absent when that cannot tell.
    #[serde(default)]
    pub(crate) heard: Option<bool>,
    /// Whether there is a connection to it now, over which this node sends to it.
    pub(crate) connected: bool,
    /// Whether it has a connection to this node now, over which it sends here.
    pub(crate) sends_here: bool,
    /// Its boot counter as last heard; 0 when never.
    pub(crate) incarnation: u64,
    /// Why the last connection failed or broke.
    pub(crate) last_error: Option<String>,
    /// Files that this node owes it.
    pub(crate) owed_files: u64,
}

/// A feed that this node produces.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProducedFeed {
    /// Its name.
    pub(crate) feed: String,
    /// Consumers for each file: a number or `all`.
    pub(crate) replicas: String,
    /// Larger goes first.
    pub(crate) priority: i32,
    /// What happens to the source: `keep`, `delete` or `archive`.
    pub(crate) after: String,
    /// The directory that is watched, if one is.
    pub(crate) watch: Option<String>,
    /// Files that are submitted and not done.
    pub(crate) queued_files: u64,
    /// Their bytes.
    pub(crate) queued_bytes: u64,
    /// Those of them that move right now.
    pub(crate) active: u64,
    /// Files done: in `/status` and `/feeds` as far as the history goes, else since this agent
    /// started.
    pub(crate) done_total: u64,
    /// Their bytes.
    pub(crate) done_bytes_total: u64,
    /// Files that need a person.
    pub(crate) failed: u64,
    /// Why the queue waits, when it does: "no member consumes this feed", …
    pub(crate) waiting_reason: Option<String>,
    /// Whether it waits because nobody can take anything of it now.
    #[serde(default)]
    pub(crate) stuck: bool,
}

/// A feed that this node consumes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ConsumedFeed {
    /// Its name.
    pub(crate) feed: String,
    /// The inbox directory.
    pub(crate) inbox: String,
    /// Bytes free on its filesystem.
    pub(crate) free_bytes: u64,
    /// Files that are on their way into it.
    pub(crate) staged_files: u64,
    /// Bytes that they hold in staging.
    pub(crate) staged_bytes: u64,
    /// Files published: in `/status` and `/feeds` as far as the history goes, else since this agent
    /// started.
    pub(crate) published_total: u64,
    /// Their bytes.
    pub(crate) published_bytes_total: u64,
}

/// A file that is on its way into an inbox of this node.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Arriving {
    /// The transfer's id.
    pub(crate) id: String,
    /// Its producer.
    pub(crate) producer: String,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// `receiving`, `received`, `saving`, `saved` or `abandoned`.
    pub(crate) state: String,
    /// Bytes that are here, verified; perhaps not synced yet.
    pub(crate) bytes: u64,
    /// What is the matter with it, when something is.
    pub(crate) problem: Option<String>,
}

/// A transfer that moves right now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActiveTransfer {
    /// Its id.
    pub(crate) id: String,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// The try.
    pub(crate) attempt: u32,
    /// What it is doing: `opening`, `sending`, `committing`, …
    pub(crate) phase: String,
    /// Its consumers, in chain order.
    pub(crate) consumers: Vec<ActiveConsumer>,
}

/// One consumer of an [`ActiveTransfer`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ActiveConsumer {
    /// The consumer.
    pub(crate) node: String,
    /// Its state: `owed`, `opening`, `receiving`, `received`, `saved`, …
    pub(crate) state: String,
    /// Bytes that it has acknowledged.
    pub(crate) bytes: u64,
}
