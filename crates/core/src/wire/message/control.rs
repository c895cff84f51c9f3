//! What producers and consumers say of transfers.

use crate::limits;
use crate::ranges::SlotRange;
use crate::record::Receipt;
use crate::spec::FileSpec;

use super::Message;

/// Names a transfer at one consumer: the producer is the session's.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Message)]
pub struct Leg {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// The start under which the slot was drawn.
    #[prost(fixed64, tag = "3")]
    pub slot_start: u64,
    /// The slot.
    #[prost(uint64, tag = "4")]
    pub slot: u64,
    /// The producer's attempt.
    #[prost(uint32, tag = "5")]
    pub attempt: u32,
}

/// Producer: reserve room for a large transfer, or say what you have of it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Open {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
    /// The file.
    #[prost(message, required, tag = "2")]
    pub spec: FileSpec,
    /// Chunk size in bytes, a power of two.
    #[prost(uint64, tag = "3")]
    pub chunk_bytes: u64,
}

/// What a consumer holds of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum Holding {
    /// The bytes below an offset, verified and written.
    Part = 0,
    /// Every byte, and their hash is right.
    Received = 1,
    /// It is `saved`.
    Saved = 2,
    /// Nothing, and it never will: abandoned.
    Abandoned = 3,
}

/// Consumer: answer to [`Open`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OpenAnswer {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
    /// What it holds.
    #[prost(enumeration = "Holding", tag = "2")]
    pub holding: i32,
    /// For `Part`: the first byte that it does not hold.
    #[prost(uint64, tag = "3")]
    pub from: u64,
    /// For `Received` and `Saved`: BLAKE3 of the whole file, 32 bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub digest: Vec<u8>,
    /// For `Saved`.
    #[prost(message, optional, tag = "5")]
    pub receipt: Option<Receipt>,
}

/// Producer: send what you have and get of this transfer on to the next in the chain.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Forward {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
    /// The next consumer.
    #[prost(string, tag = "2")]
    pub to: String,
    /// Its address.
    #[prost(string, tag = "3")]
    pub addr: String,
    /// The first byte that it does not hold.
    #[prost(uint64, tag = "4")]
    pub from: u64,
    /// Its slot of this transfer, with which chunks to it are labelled.
    #[prost(message, required, tag = "5")]
    pub to_leg: Leg,
}

/// Consumer: so many bytes of a transfer are verified and written.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Progress {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
    /// The first byte that it does not hold.
    #[prost(uint64, tag = "2")]
    pub bytes: u64,
}

/// Consumer: every byte is here and their hash is right.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Received {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
    /// BLAKE3 of the whole file, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

/// Producer: publish, if this is the digest.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Commit {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
    /// BLAKE3 of the whole file, 32 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub digest: Vec<u8>,
}

/// Consumer: these slots are `saved`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Saved {
    /// The start under which the slots were drawn.
    #[prost(fixed64, tag = "1")]
    pub slot_start: u64,
    /// The slots.
    #[prost(message, repeated, tag = "2")]
    pub slots: Vec<SlotRange>,
    /// The consumer's word for all of them.
    #[prost(message, required, tag = "3")]
    pub receipt: Receipt,
}

impl Saved {
    /// How many slots it is of; `None` when they are more than one message may have, or not in order,
    /// so that nobody could say which leaf is whose.
    #[must_use]
    pub fn slot_count(&self) -> Option<usize> {
        let (mut count, mut last) = (0_u64, 0);
        for range in &self.slots {
            if range.from >= range.to || (count > 0 && range.from <= last) {
                return None;
            }
            count = count.saturating_add(range.to - range.from);
            last = range.to;
        }
        let count = usize::try_from(count).ok()?;
        (count <= limits::RECEIPT_SLOTS_MAX).then_some(count)
    }
}

impl Message {
    /// The receipt in it, if there is one, and of how many slots it has to be: `None` when nobody can
    /// say.
    pub fn receipt_mut(&mut self) -> Option<(&mut Receipt, Option<usize>)> {
        match self {
            Self::Saved(saved) => {
                let slots = saved.slot_count();
                Some((&mut saved.receipt, slots))
            }
            Self::OpenAnswer(answer) => Some((answer.receipt.as_mut()?, Some(1))),
            _ => None,
        }
    }
}

/// Producer: never publish this, or say that you already hold it for good.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Abandon {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
}

/// Consumer: this will never be published here.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Abandoned {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
}

/// Why a consumer does not take a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, prost::Enumeration)]
#[repr(i32)]
pub enum RefusalCode {
    /// Not now: its disk is full.
    NoSpace = 0,
    /// Not now: it is stopping, or cannot take more.
    Busy = 1,
    /// It does not consume the feed, at present.
    NotConsumed = 2,
    /// The bytes do not have the digest of the commit; it has thrown its copy away.
    Mismatch = 3,
    /// For good: the feed does not accept this producer.
    NotAllowed = 4,
    /// For good: the name cannot be published.
    BadName = 5,
    /// For good: the path is taken, and the feed rejects conflicts.
    Conflict = 6,
    /// Not now: its disk failed it.
    Disk = 7,
}

impl RefusalCode {
    /// Whether trying again without a person's help is pointless.
    #[must_use]
    pub fn is_final(self) -> bool {
        match self {
            Self::NotAllowed | Self::BadName | Self::Conflict => true,
            Self::NoSpace | Self::Busy | Self::NotConsumed | Self::Mismatch | Self::Disk => false,
        }
    }

    /// Whether only the feed's inbox is the cause, so that other feeds may go on.
    #[must_use]
    pub fn concerns_feed(self) -> bool {
        match self {
            Self::NoSpace | Self::NotConsumed | Self::Disk | Self::NotAllowed => true,
            Self::Busy | Self::Mismatch | Self::BadName | Self::Conflict => false,
        }
    }
}

/// Consumer: not this transfer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Refused {
    /// Which.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
    /// Why.
    #[prost(enumeration = "RefusalCode", tag = "2")]
    pub code: i32,
    /// Why, for a person; ends in a hint.
    #[prost(string, tag = "3")]
    pub reason: String,
    /// When to try again, in ms; 0 leaves it to the producer.
    #[prost(uint64, tag = "4")]
    pub retry_after_ms: u64,
}

/// Consumer: the next in the chain cannot be reached, or broke off.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct LinkLost {
    /// Which; the reporter's own slot.
    #[prost(message, required, tag = "1")]
    pub leg: Leg,
    /// The next consumer.
    #[prost(string, tag = "2")]
    pub to: String,
    /// Why, for a person.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// Producer: say where these slots of small files stand; nothing of them is on its way to you.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SmallQuery {
    /// The start under which the slots were drawn.
    #[prost(fixed64, tag = "1")]
    pub slot_start: u64,
    /// The slots.
    #[prost(message, repeated, tag = "2")]
    pub slots: Vec<SlotRange>,
}

/// Consumer: these small files' bytes are here and their hashes are right.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SmallReceived {
    /// The start under which the slots were drawn.
    #[prost(fixed64, tag = "1")]
    pub slot_start: u64,
    /// The slots.
    #[prost(message, repeated, tag = "2")]
    pub slots: Vec<SlotRange>,
}

/// Consumer: of these it has nothing.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SmallMissing {
    /// The start under which the slots were drawn.
    #[prost(fixed64, tag = "1")]
    pub slot_start: u64,
    /// The slots.
    #[prost(message, repeated, tag = "2")]
    pub slots: Vec<SlotRange>,
}

/// Producer: publish these small files.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SmallCommit {
    /// The start under which the slots were drawn.
    #[prost(fixed64, tag = "1")]
    pub slot_start: u64,
    /// The slots.
    #[prost(message, repeated, tag = "2")]
    pub slots: Vec<SlotRange>,
}

/// Consumer: small files could not be passed on to the next in the chain.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SmallLinkLost {
    /// The next consumer.
    #[prost(string, tag = "1")]
    pub to: String,
    /// The start under which the next consumer's slots were drawn.
    #[prost(fixed64, tag = "2")]
    pub slot_start: u64,
    /// The next consumer's slots.
    #[prost(message, repeated, tag = "3")]
    pub slots: Vec<SlotRange>,
    /// Why, for a person.
    #[prost(string, tag = "4")]
    pub reason: String,
}

/// Producer: these slots are closed; their records may be forgotten.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Closed {
    /// The start under which the slots were drawn.
    #[prost(fixed64, tag = "1")]
    pub slot_start: u64,
    /// Every slot below is closed: the low watermark.
    #[prost(uint64, tag = "2")]
    pub low: u64,
    /// Slots above it that were closed since the last such message of this session.
    #[prost(message, repeated, tag = "3")]
    pub slots: Vec<SlotRange>,
}

/// Consumer, first on a new connection and whenever it changes: how far it takes part, in its own
/// word, so that a drain is heard of whatever tells the members. Since version 3.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Standing {
    /// As in [`MemberRecord`](crate::record::MemberRecord).
    #[prost(uint32, tag = "1")]
    pub state: u32,
    /// Counts the orders of this life, so that an answer to an earlier one is not taken for one to this.
    #[prost(uint64, tag = "2")]
    pub number: u64,
}

/// Producer, to a consumer that is draining: what it still owes it. Since version 3.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Duties {
    /// Slots that are open there. While the consumer drains no more are drawn, so once it is 0 it
    /// stays so.
    #[prost(uint64, tag = "1")]
    pub slots: u64,
    /// Of the [`Standing`] that it answers.
    #[prost(uint64, tag = "2")]
    pub number: u64,
}

/// Producer, first on a new connection: the starts in which it has slots open at this consumer, or
/// may still draw some. Every slot of any other start is closed for ever.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OpenStarts {
    /// The starts.
    #[prost(fixed64, repeated, tag = "1")]
    pub starts: Vec<u64>,
}
