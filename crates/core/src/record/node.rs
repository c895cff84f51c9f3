//! Records of a node itself: its lives, its peers, the members.

/// A member of the cluster as the log and the wire know it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct MemberRecord {
    /// Node name.
    #[prost(string, tag = "1")]
    pub node: String,
    /// `host:port`, resolved at each connection.
    #[prost(string, tag = "2")]
    pub addr: String,
    /// Zone, empty for none.
    #[prost(string, tag = "3")]
    pub zone: String,
    /// Relative share of the keys; 0 takes no new placements.
    #[prost(uint32, tag = "4")]
    pub weight: u32,
    /// Feeds that it consumes.
    #[prost(string, repeated, tag = "5")]
    pub feeds: Vec<String>,
    /// 0 active, 1 draining, 2 left.
    #[prost(uint32, tag = "6")]
    pub state: u32,
}

/// The agent started.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Boot {
    /// This node's name.
    #[prost(string, tag = "1")]
    pub node: String,
    /// The new incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// The new start.
    #[prost(fixed64, tag = "3")]
    pub start: u64,
    /// When, in ms since the Unix epoch.
    #[prost(uint64, tag = "4")]
    pub at: u64,
    /// How far the log was found: a [`Position`](crate::log::Position), packed; 0 when it was empty.
    #[prost(uint64, tag = "5")]
    pub found_to: u64,
}

/// A peer spoke under an incarnation; older ones of it are fenced from here on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PeerSeen {
    /// The peer.
    #[prost(string, tag = "1")]
    pub node: String,
    /// Its incarnation; 0 when it was forgotten, and what was seen of it before does not count.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
}

/// The members, when they have changed and their source is not a list: `all` counts whom it ever
/// saw. A view that is too large for one record is in several of the same epoch.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ViewSeen {
    /// Epoch of the view.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Its members, sorted by name; or some of them.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<MemberRecord>,
    /// How many members the view has; with fewer in its records a crash came between them.
    #[prost(uint32, tag = "3")]
    pub total: u32,
}

/// How far this node takes part, as a person ordered; without one it is active.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct StandingSet {
    /// As in [`MemberRecord`].
    #[prost(uint32, tag = "1")]
    pub state: u32,
    /// When, in ms since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub at: u64,
}

/// A consumer said how far it takes part; without a record it is active. So nothing is placed on it
/// after a restart either, before it can say so again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PeerStanding {
    /// The consumer.
    #[prost(string, tag = "1")]
    pub node: String,
    /// As in [`MemberRecord`].
    #[prost(uint32, tag = "2")]
    pub state: u32,
}

/// An operator declared a node gone for good.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Forgotten {
    /// The node.
    #[prost(string, tag = "1")]
    pub node: String,
    /// When.
    #[prost(uint64, tag = "2")]
    pub at: u64,
}

/// How far a peer had come when it last said so: should it be restored from an older copy of its disk,
/// this node can tell it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PeerLog {
    /// The peer.
    #[prost(string, tag = "1")]
    pub node: String,
    /// Its incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// How far its log was synced: a [`Position`](crate::log::Position), packed.
    #[prost(uint64, tag = "3")]
    pub log: u64,
    /// The start that said so.
    #[prost(fixed64, tag = "4")]
    pub start: u64,
}

/// A peer has seen this node further on than its own log is: the data directory is an older copy, or
/// another node has its name. Until [`Reconciled`] it neither sends nor takes in anything.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Outlived {
    /// Who has seen it.
    #[prost(string, tag = "1")]
    pub peer: String,
    /// In which incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// How far its log was then, packed; 0 when only the incarnation tells.
    #[prost(uint64, tag = "3")]
    pub log: u64,
    /// When this node heard so, in ms since the Unix epoch.
    #[prost(uint64, tag = "4")]
    pub at: u64,
}

/// An operator has had an outlived node compared with its peers: from the next incarnation on, what
/// was seen of earlier ones does not count.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Reconciled {
    /// The highest incarnation that was seen; the next one is above it.
    #[prost(uint64, tag = "1")]
    pub incarnation: u64,
    /// When, in ms since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub at: u64,
}
