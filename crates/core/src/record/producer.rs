//! Records of a producer: from the claim of a file to its release.

use crate::ranges::SlotRange;
use crate::record::Receipt;
use crate::spec::{FileSpec, Source};

/// Producer: a file is about to be taken from its place. Logged before the rename or link, so
/// that a crash between the two leaves nothing in the spool that nobody knows.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Claiming {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// What will be submitted.
    #[prost(message, required, tag = "3")]
    pub spec: FileSpec,
    /// From where, and its name in the spool.
    #[prost(message, required, tag = "4")]
    pub source: Source,
    /// As in [`Submitted`]: the feed may leave the configuration before the file is taken.
    #[prost(uint32, tag = "5")]
    pub replicas: u32,
}

/// Producer: a claim came to nothing (the file vanished, or could not be read).
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Unclaimed {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
}

/// Producer: the file will be delivered. A small file's bytes are this record's payload.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Submitted {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// The file.
    #[prost(message, required, tag = "3")]
    pub spec: FileSpec,
    /// Its bytes' place.
    #[prost(message, required, tag = "4")]
    pub source: Source,
    /// BLAKE3 of the whole file, 32 bytes, for a small file; empty for a large one.
    #[prost(bytes = "vec", tag = "5")]
    pub digest: Vec<u8>,
    /// How many consumers its feed wanted for it, `u32::MAX` for all: what holds when the
    /// configuration does not have the feed any more.
    #[prost(uint32, tag = "6")]
    pub replicas: u32,
}

/// Rung of one consumer of one transfer, as a number in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum LegRung {
    /// It has not answered for good.
    Owed = 0,
    /// It holds the file, synced.
    Saved = 1,
    /// It answered that it will never publish it.
    Abandoned = 2,
    /// It refused for good; a person must act.
    Refused = 3,
    /// It is to be told that the transfer was placed elsewhere.
    Abandoning = 4,
}

/// One consumer of a placement.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LegRecord {
    /// The consumer.
    #[prost(string, tag = "1")]
    pub node: String,
    /// The start under which its slot was drawn.
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    /// The slot.
    #[prost(uint64, tag = "3")]
    pub slot: u64,
    /// Where it stands.
    #[prost(enumeration = "LegRung", tag = "4")]
    pub rung: i32,
    /// Whether bytes may have been sent to it: it must be asked before it is sent them again.
    #[prost(bool, tag = "5")]
    pub tried: bool,
    /// Why it was refused; empty otherwise.
    #[prost(string, tag = "6")]
    pub refusal: String,
}

/// Producer: consumers, slots and chain order of a transfer, whole. Every later one replaces it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Placed {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// The attempt that this placement begins or continues.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// Epoch of the view that it was computed from.
    #[prost(uint64, tag = "4")]
    pub epoch: u64,
    /// Why: "first placement", "store-1 was forgotten", …; of one that is only carried, what went
    /// wrong with the attempt before, if anything.
    #[prost(string, tag = "5")]
    pub reason: String,
    /// The consumers in chain order, and those to be told off.
    #[prost(message, repeated, tag = "6")]
    pub legs: Vec<LegRecord>,
    /// When, in ms since the Unix epoch.
    #[prost(uint64, tag = "7")]
    pub at: u64,
    /// Whether this is only a state carried out of memory, no decision.
    #[prost(bool, tag = "8")]
    pub carried: bool,
    /// Whether too few members were there, so that the rest is owed to whoever comes.
    #[prost(bool, tag = "9")]
    pub short: bool,
    /// The whole file's BLAKE3, 32 bytes, once it is known; empty before.
    #[prost(bytes = "vec", tag = "10")]
    pub digest: Vec<u8>,
}

/// Producer: a chain is about to be opened.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct AttemptStarted {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// Its consumers, in chain order, with the byte from which each still needs data.
    #[prost(message, repeated, tag = "4")]
    pub chain: Vec<ChainMember>,
    /// Why it was needed.
    #[prost(string, tag = "5")]
    pub reason: String,
    /// When, in ms since the Unix epoch.
    #[prost(uint64, tag = "6")]
    pub at: u64,
}

/// One member of a chain.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ChainMember {
    /// The consumer.
    #[prost(string, tag = "1")]
    pub node: String,
    /// The first byte that it does not hold.
    #[prost(uint64, tag = "2")]
    pub from: u64,
}

/// Producer: chunks have been hashed, so that a restart need not hash them again.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hashed {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// Index of the first chunk in `hashes`.
    #[prost(uint64, tag = "3")]
    pub first_chunk: u64,
    /// 32 bytes a chunk, joined.
    #[prost(bytes = "vec", tag = "4")]
    pub hashes: Vec<u8>,
}

/// Producer: the whole file's digest, before the first commit. Every later attempt must match it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct DigestKnown {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// BLAKE3 of the whole file, 32 bytes.
    #[prost(bytes = "vec", tag = "3")]
    pub digest: Vec<u8>,
}

/// Producer: a consumer answered for good, for ranges of its slots.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LegsSettled {
    /// The consumer.
    #[prost(string, tag = "1")]
    pub node: String,
    /// The start under which the slots were drawn.
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    /// The slots.
    #[prost(message, repeated, tag = "3")]
    pub slots: Vec<SlotRange>,
    /// What it answered: `Saved`, `Abandoned` or `Refused`.
    #[prost(enumeration = "LegRung", tag = "4")]
    pub rung: i32,
    /// Its receipt, for `Saved`.
    #[prost(message, optional, tag = "5")]
    pub receipt: Option<Receipt>,
    /// Why, for `Refused`.
    #[prost(string, tag = "6")]
    pub refusal: String,
    /// When this node heard it, in ms since the Unix epoch.
    #[prost(uint64, tag = "7")]
    pub at: u64,
    /// The slots that the leaves of the receipt are of, in their order; empty when they are `slots`,
    /// or when there are no leaves.
    #[prost(message, repeated, tag = "8")]
    pub covered: Vec<SlotRange>,
}

impl LegsSettled {
    /// The slots that the leaves of the receipt are of, in their order.
    #[must_use]
    pub fn covered(&self) -> &[SlotRange] {
        match self.covered.is_empty() {
            true => &self.slots,
            false => &self.covered,
        }
    }
}

/// Transfers of this producer that reached a common state together.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Transfers {
    /// The start that they were submitted under.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Their sequences, as ranges.
    #[prost(message, repeated, tag = "2")]
    pub seqs: Vec<SlotRange>,
    /// When, in ms since the Unix epoch.
    #[prost(uint64, tag = "3")]
    pub at: u64,
    /// Why, for `Failed`.
    #[prost(string, tag = "4")]
    pub reason: String,
}
