//! What a producer asks a consumer about the copies that it holds, and the answers.

/// Producer: which of my transfers in this range do you know, and how do they stand? Both ends of the
/// range are in it; transfers are ordered by start, then by sequence.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuditAsk {
    /// Chosen by who asks; every answer carries it.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// First transfer of the range: start.
    #[prost(fixed64, tag = "2")]
    pub first_start: u64,
    /// First transfer of the range: sequence.
    #[prost(uint64, tag = "3")]
    pub first_seq: u64,
    /// Last transfer of the range: start.
    #[prost(fixed64, tag = "4")]
    pub last_start: u64,
    /// Last transfer of the range: sequence.
    #[prost(uint64, tag = "5")]
    pub last_seq: u64,
    /// Only of this feed; empty for all.
    #[prost(string, tag = "6")]
    pub feed: String,
    /// Only what was submitted then or later, by the producer's clock, in ms since the Unix epoch.
    #[prost(uint64, tag = "7")]
    pub since: u64,
    /// Whether the published copies are to be hashed again where they still lie in the inbox.
    #[prost(bool, tag = "8")]
    pub read: bool,
}

/// Consumer: a part of the answer to [`AuditAsk`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuditAnswer {
    /// Of the question.
    #[prost(uint64, tag = "1")]
    pub number: u64,
    /// What it knows, in the order of the transfers.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<AuditEntry>,
    /// Whether further answers to the same question follow.
    #[prost(bool, tag = "3")]
    pub more: bool,
    /// What it saved earlier than this, by its own clock, in ms since the Unix epoch, it may not
    /// know any more.
    #[prost(uint64, tag = "4")]
    pub known_from: u64,
    /// Bytes that it has hashed since its last answer.
    #[prost(uint64, tag = "5")]
    pub read_bytes: u64,
    /// Why it cannot answer; ends in a hint. Empty when it can.
    #[prost(string, tag = "6")]
    pub trouble: String,
}

/// Where a consumer says that a file stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AuditState {
    /// Bytes of it are on their way.
    Receiving = 0,
    /// Every byte is there.
    Received = 1,
    /// Synced, and not yet in the inbox.
    Saved = 2,
    /// It was put into the inbox.
    Published = 3,
    /// Given up; it will never be in the inbox.
    Abandoned = 4,
}

/// What a consumer found when it looked for a published copy again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum AuditCopy {
    /// It did not look.
    NotLooked = 0,
    /// It is there, and its bytes have the digest.
    Intact = 1,
    /// It is not there any more: the application has taken it.
    Taken = 2,
    /// Another length or modification time: the application has changed it.
    Changed = 3,
    /// The same length and modification time, and other bytes: the disk has.
    Rotten = 4,
    /// It is there and this node may not read it.
    Unread = 5,
}

/// One file at one consumer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AuditEntry {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// Where it stands.
    #[prost(enumeration = "AuditState", tag = "3")]
    pub state: i32,
    /// Length in bytes.
    #[prost(uint64, tag = "4")]
    pub size: u64,
    /// BLAKE3 of the whole file, 32 bytes; empty while it is not known.
    #[prost(bytes = "vec", tag = "5")]
    pub digest: Vec<u8>,
    /// Its feed.
    #[prost(string, tag = "6")]
    pub feed: String,
    /// Its name.
    #[prost(string, tag = "7")]
    pub name: String,
    /// Its path under the inbox; empty while it is not chosen.
    #[prost(string, tag = "8")]
    pub path: String,
    /// When it was submitted, by the producer's clock, in ms since the Unix epoch.
    #[prost(uint64, tag = "9")]
    pub submitted_at: u64,
    /// What became of the published copy.
    #[prost(enumeration = "AuditCopy", tag = "10")]
    pub copy: i32,
    /// What was found there, for a person; may be empty.
    #[prost(string, tag = "11")]
    pub note: String,
}
