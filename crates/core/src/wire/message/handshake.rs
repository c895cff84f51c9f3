//! How a connection begins, and how it is kept.

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Purpose {
    /// Producer to consumer: messages about transfers.
    Control = 0,
    /// Sender to receiver: chunks of large files.
    Chunks = 1,
    /// Sender to receiver: frames of small files. Apart from chunks, so that no chunk is ever in
    /// front of a small file.
    Smalls = 2,
    /// Producer to consumer: questions about the copies that it holds. Apart from control, so that no
    /// audit is ever in front of a transfer, and so that a node that does not know it refuses this
    /// connection and no other. Since version 2.
    Audit = 3,
    /// Between any two nodes: who the members are. Only where membership is by gossip. The hello may
    /// leave open whom it means to reach, since of a seed only the address is known.
    Gossip = 4,
}

/// First frame of a connection, from who dialled it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hello {
    /// Newest protocol version that the sender speaks.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// Oldest one.
    #[prost(uint32, tag = "2")]
    pub version_min: u32,
    /// The sender's name.
    #[prost(string, tag = "3")]
    pub node: String,
    /// Whom it means to reach: a node that has another name refuses.
    #[prost(string, tag = "4")]
    pub to: String,
    /// What the connection is for.
    #[prost(enumeration = "Purpose", tag = "5")]
    pub purpose: i32,
    /// The sender's incarnation.
    #[prost(uint64, tag = "6")]
    pub incarnation: u64,
    /// The sender's start.
    #[prost(fixed64, tag = "7")]
    pub start: u64,
    /// The highest incarnation of the receiver that the sender has seen; 0 for none.
    #[prost(uint64, tag = "8")]
    pub seen: u64,
    /// The lowest number among the revocation lists that the sender has, one of each authority that it
    /// believes; 0 when one is missing. What is news to it has a higher one.
    #[prost(uint64, tag = "9")]
    pub revoked: u64,
    /// How far the sender's own log is synced: a [`Position`](crate::log::Position), packed; 0 when
    /// it does not say.
    #[prost(uint64, tag = "10")]
    pub log: u64,
    /// The furthest that the sender has heard of the receiver's log; 0 for nothing.
    #[prost(uint64, tag = "11")]
    pub seen_log: u64,
    /// The start of the receiver that said so.
    #[prost(fixed64, tag = "12")]
    pub seen_start: u64,
    /// What was heard of the sender's log up to this incarnation does not count.
    #[prost(uint64, tag = "13")]
    pub reconciled: u64,
    /// How far the sender's log was found when this life of it began.
    #[prost(uint64, tag = "14")]
    pub found_to: u64,
    /// The incarnation of that start of the receiver.
    #[prost(uint64, tag = "15")]
    pub seen_log_in: u64,
}

/// Answer to a [`Hello`] that is accepted.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Welcome {
    /// The protocol version that both speak from here on.
    #[prost(uint32, tag = "1")]
    pub version: u32,
    /// The answering node's name.
    #[prost(string, tag = "2")]
    pub node: String,
    /// Its incarnation.
    #[prost(uint64, tag = "3")]
    pub incarnation: u64,
    /// The highest incarnation of the dialling node that it has seen.
    #[prost(uint64, tag = "4")]
    pub seen: u64,
    /// As in [`Hello`].
    #[prost(uint64, tag = "5")]
    pub revoked: u64,
    /// As in [`Hello`].
    #[prost(uint64, tag = "6")]
    pub log: u64,
    /// As in [`Hello`].
    #[prost(uint64, tag = "7")]
    pub seen_log: u64,
    /// As in [`Hello`].
    #[prost(fixed64, tag = "8")]
    pub seen_start: u64,
    /// As in [`Hello`].
    #[prost(uint64, tag = "9")]
    pub reconciled: u64,
    /// Its start.
    #[prost(fixed64, tag = "10")]
    pub start: u64,
    /// As in [`Hello`].
    #[prost(uint64, tag = "11")]
    pub seen_log_in: u64,
}

/// Answer to a [`Hello`] that is not accepted; the connection is closed after it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Rejected {
    /// Why, for a person.
    #[prost(string, tag = "1")]
    pub reason: String,
    /// The highest incarnation of the dialling node that was seen, when that is why.
    #[prost(uint64, tag = "2")]
    pub seen: u64,
    /// As in [`Hello`], when that is why.
    #[prost(uint64, tag = "3")]
    pub seen_log: u64,
    /// As in [`Hello`], when that is why.
    #[prost(fixed64, tag = "4")]
    pub seen_start: u64,
    /// As in [`Hello`], when that is why.
    #[prost(uint64, tag = "5")]
    pub seen_log_in: u64,
}

/// Either side: are you there? Answered by [`Message::Pong`](crate::wire::Message::Pong) with the same number.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Ping {
    /// Chosen by who asks.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// On a control connection: as in [`Hello`].
    #[prost(uint64, tag = "2")]
    pub log: u64,
}

/// Either side of a control connection: a revocation list that may be newer than what the other side has.
/// Only over TLS.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct RevokedList {
    /// The list as its authority signed it, signature included.
    #[prost(bytes = "vec", tag = "1")]
    pub list: Vec<u8>,
}
