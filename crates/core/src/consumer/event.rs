//! What happens to a consumer, and what it wants done.

use bytes::Bytes;

use crate::disk::Attributes;
use crate::ids::{
    Attempt, Digest, FeedName, Incarnation, NodeName, Slot, SlotId, Start, TransferId,
};
use crate::journal::Ticket;
use crate::log::{Payload, Position};
use crate::producer::{Session, Token};
use crate::record::Record;
use crate::spec::{ConsumePolicy, FileSpec};
use crate::view::MemberState;
use crate::wire::{Leg, Message};

/// Something that happened.
#[derive(Debug, Clone)]
pub enum Event {
    /// The log is synced through a ticket; where the records since the last such event lie.
    Synced {
        /// Everything up to it is durable.
        through: Ticket,
        /// The records' places, in the order of their tickets.
        positions: Vec<Position>,
    },
    /// A producer opened a control connection. It is answered only after
    /// [`Effect::Admit`].
    PeerUp {
        /// The producer.
        node: NodeName,
        /// The connection.
        session: Session,
        /// The producer's incarnation.
        incarnation: Incarnation,
    },
    /// A control connection broke.
    PeerDown {
        /// The producer.
        node: NodeName,
        /// The connection.
        session: Session,
    },
    /// A producer said something.
    Message {
        /// The producer.
        from: NodeName,
        /// On which connection.
        session: Session,
        /// What.
        message: Message,
    },
    /// Small files arrived, each verified against its digest.
    Smalls {
        /// Whose they are.
        producer: NodeName,
        /// The producer's incarnation that sent them.
        incarnation: Incarnation,
        /// The files.
        files: Vec<SmallArrival>,
    },
    /// Small files could not be passed on.
    SmallsNotForwarded {
        /// Whose they are.
        producer: NodeName,
        /// The next consumer of the route.
        to: NodeName,
        /// The next consumer's slots.
        slots: Vec<(Start, Slot)>,
        /// Why, for a person.
        reason: String,
    },
    /// What came of [`Effect::OpenInflow`]: how much of the file is there, verified and written.
    InflowReady {
        /// Which.
        slot: SlotId,
        /// Under which attempt it was opened.
        attempt: Attempt,
        /// The first byte that is not there.
        from: u64,
    },
    /// Bytes are verified and written; reported a few times a second.
    InflowProgress {
        /// Which.
        slot: SlotId,
        /// Under which attempt.
        attempt: Attempt,
        /// The first byte that is not there.
        bytes: u64,
    },
    /// The staging file is synced below an offset.
    InflowSynced {
        /// Which.
        slot: SlotId,
        /// Everything below is synced.
        offset: u64,
        /// Index of the first chunk in `hashes`.
        first_chunk: u64,
        /// 32 bytes a chunk, joined.
        hashes: Vec<u8>,
    },
    /// Every byte is verified and written.
    InflowComplete {
        /// Which.
        slot: SlotId,
        /// Under which attempt.
        attempt: Attempt,
        /// BLAKE3 of the whole file.
        digest: Digest,
    },
    /// The staging file cannot be written.
    InflowFailed {
        /// Which.
        slot: SlotId,
        /// Under which attempt.
        attempt: Attempt,
        /// Why.
        fault: InflowFault,
    },
    /// The next in the chain was lost.
    ForwardLost {
        /// Which.
        slot: SlotId,
        /// Under which attempt.
        attempt: Attempt,
        /// The next in the chain.
        to: NodeName,
        /// Why, for a person.
        reason: String,
    },
    /// What came of [`Effect::Seal`].
    Sealed {
        /// Which.
        slot: SlotId,
        /// Whether the wished path is free; or why the staging file could not be sealed.
        outcome: Result<bool, InflowFault>,
    },
    /// What came of [`Effect::Look`]: whether each file's wished path is free.
    Looked(Vec<(SlotId, bool)>),
    /// What came of [`Effect::Stage`]: which staging files are there and synced.
    Staged {
        /// The files, each with whether its wished path is free.
        files: Vec<(SlotId, bool)>,
        /// Which could not be written, and why: tried again later.
        failed: Vec<(SlotId, String)>,
    },
    /// What came of [`Effect::Publish`].
    Published {
        /// Visible now, the directories synced.
        done: Vec<SlotId>,
        /// The path is taken by something else.
        conflicts: Vec<SlotId>,
        /// Tried again later, and why.
        failed: Vec<(SlotId, String)>,
    },
    /// Free space under a feed's inbox, in bytes.
    Space {
        /// The feed.
        feed: FeedName,
        /// Bytes.
        free: u64,
    },
    /// The feeds' policies, at start and when the configuration is read again.
    Policies(Vec<ConsumePolicy>),
    /// The log has room for new work, or not.
    LogRoom(bool),
    /// A person declares a producer gone for good. Answered by [`Effect::Forgotten`].
    Forget {
        /// Handed back with the answer.
        token: Token,
        /// The producer.
        node: NodeName,
    },
    /// How far this node takes part from here on. The producer's machine has synced it.
    Standing(MemberState),
    /// Carry what is live in the segments up to `through` forward, so that they can be dropped.
    Carry {
        /// The newest segment that is to be emptied.
        through: u32,
    },
    /// Time has passed.
    Tick,
}

/// A small file that arrived.
#[derive(Debug, Clone)]
pub struct SmallArrival {
    /// Its slot here, and its transfer.
    pub leg: Leg,
    /// The file.
    pub spec: FileSpec,
    /// Its digest, verified.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Bytes,
}

/// Why a staging file could not be written, read or synced.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InflowFault {
    /// No space.
    Full,
    /// The staging file is not there.
    Missing,
    /// Anything else, for a person.
    Disk(String),
}

/// What the driver needs to receive a large file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InflowOrder {
    /// Which.
    pub slot: SlotId,
    /// The producer's incarnation; with the attempt, the fence of the chunks that are taken.
    pub incarnation: Incarnation,
    /// The attempt.
    pub attempt: Attempt,
    /// Its feed, and so its inbox.
    pub feed: FeedName,
    /// Name in the staging directory.
    pub staging: String,
    /// Length of the file in bytes.
    pub size: u64,
    /// Chunk size in bytes.
    pub chunk_bytes: u64,
    /// Synced watermark: on the first opening after a start the staging file is cut back to it.
    pub synced: u64,
    /// The chunk hashes below the watermark, 32 bytes each.
    pub hashes: Vec<u8>,
}

/// A small file to be written into staging.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageOrder {
    /// Which.
    pub slot: SlotId,
    /// Where its bytes lie in the log.
    pub bytes_at: Position,
    /// Its feed, and so its inbox.
    pub feed: FeedName,
    /// Name in the staging directory.
    pub staging: String,
    /// The path that it should get, to look whether it is free.
    pub path: String,
    /// What is set on it.
    pub attributes: Attributes,
}

/// A file to be renamed from staging into its inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOrder {
    /// Which.
    pub slot: SlotId,
    /// Its name for people.
    pub id: TransferId,
    /// Its feed, and so its inbox.
    pub feed: FeedName,
    /// Name in the staging directory.
    pub staging: String,
    /// Path under the inbox.
    pub path: String,
    /// The path that its feed gives it now, where that is another one: something else had it, or the
    /// layout was changed since this one was decided.
    pub instead_of: Option<String>,
}

/// Something that the consumer wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "an effect is moved once, and most of them append a record"
)]
pub enum Effect {
    /// Append a record to the log; [`Event::Synced`] reports it. Records are appended in order.
    Append(Ticket, Record, Payload),
    /// The producer's connection may be answered: its incarnation is noted and synced.
    Admit {
        /// The producer.
        node: NodeName,
        /// The connection.
        session: Session,
    },
    /// The producer's connection is of a life that is over; it must be refused.
    Reject {
        /// The producer.
        node: NodeName,
        /// The connection.
        session: Session,
        /// The highest incarnation that was seen.
        seen: Incarnation,
    },
    /// Say something to a producer; dropped when that connection is gone.
    Send {
        /// The producer.
        to: NodeName,
        /// On which connection.
        session: Session,
        /// What.
        message: Message,
    },
    /// Open, or open again under a higher fence, the staging file of a large transfer, and take
    /// chunks of it. Answered by [`Event::InflowReady`] or [`Event::InflowFailed`]. Chunks and
    /// forwards of a lower fence stop before it is answered.
    OpenInflow(InflowOrder),
    /// Take no more chunks of it, stop forwarding it, and let go of its file: the next opening cuts
    /// it back to its watermark.
    CloseInflow(SlotId),
    /// Forward what is there and what arrives to the next in the chain.
    Forward {
        /// Which.
        slot: SlotId,
        /// Under which attempt.
        attempt: Attempt,
        /// The next in the chain.
        to: NodeName,
        /// Its address.
        addr: String,
        /// The first byte that it does not hold.
        from: u64,
        /// Its slot, with which chunks are labelled.
        to_leg: Leg,
    },
    /// Set attributes, sync the staging file and the staging directory, and look whether the
    /// wished path is free. Answered by [`Event::Sealed`].
    Seal {
        /// Which.
        slot: SlotId,
        /// Its feed.
        feed: FeedName,
        /// Name in the staging directory.
        staging: String,
        /// The path that it should get.
        path: String,
        /// What is set on it.
        attributes: Attributes,
    },
    /// Look whether these paths are free. Answered by [`Event::Looked`].
    Look(Vec<(SlotId, FeedName, String)>),
    /// Write small files into staging and sync them all. Answered by [`Event::Staged`].
    Stage(Vec<StageOrder>),
    /// Rename files into their inboxes and sync the directories. Answered by [`Event::Published`].
    Publish(Vec<PublishOrder>),
    /// Close the inflow, forget what is known of it, and remove the staging file. Not answered, and
    /// a failure only leaves an orphan that the next start removes. It may happen late: a slot that
    /// is discarded is never opened again, so nothing else gets that name.
    Discard {
        /// Which.
        slot: SlotId,
        /// Its feed.
        feed: FeedName,
        /// Name in the staging directory.
        staging: String,
    },
    /// A forgotten producer stays forgotten: that is synced. Before that a crash may bring back what
    /// was held for it, so a person has to be told only now.
    Forgotten {
        /// Of the event.
        token: Token,
        /// Whether anything was known of it here.
        known: bool,
    },
    /// No live record of this consumer lies in a segment below this one.
    NeedsFrom {
        /// The lowest segment that is needed.
        segment: u32,
    },
}
