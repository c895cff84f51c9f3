//! What happens to a producer, and what it wants done.

use bytes::Bytes;

use crate::ids::{Attempt, Digest, FeedName, Incarnation, NodeName, Slot, Start, TransferKey};
use crate::journal::Ticket;
use crate::log::{Payload, Position};
use crate::record::{Placed, Record, Submitted};
use crate::spec::{FileSpec, ProducePolicy, Source};
use crate::view::{MemberState, View};
use crate::wire::{Hop, Leg, Message};

/// One connection's life, numbered by the driver: what comes from an older one is not heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Session(pub u64);

/// Names who waits for an answer; chosen by the driver.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token(pub u64);

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
    /// A file whose bytes are in hand (`payload`) or synced in the spool is handed over.
    Submit {
        /// Who waits.
        token: Token,
        /// The file.
        spec: FileSpec,
        /// Its place.
        source: Source,
        /// Of a small file: its digest and bytes.
        small: Option<(Digest, Bytes)>,
    },
    /// A file is to be taken into the spool, and handed over.
    Claim {
        /// Who waits.
        token: Token,
        /// The file, as far as it is known.
        spec: FileSpec,
        /// From where; the producer fills in the spool's name.
        source: Source,
    },
    /// What came of [`Effect::Take`].
    Taken {
        /// Which.
        key: TransferKey,
        /// The file as it is in the spool, synced; or why not, for a person.
        outcome: Result<Taken, String>,
    },
    /// A control connection to a consumer is open.
    PeerUp {
        /// The consumer.
        node: NodeName,
        /// The connection.
        session: Session,
        /// The consumer's incarnation.
        incarnation: Incarnation,
    },
    /// A control connection broke.
    PeerDown {
        /// The consumer.
        node: NodeName,
        /// The connection.
        session: Session,
    },
    /// A consumer said something.
    Message {
        /// The consumer.
        from: NodeName,
        /// On which connection.
        session: Session,
        /// What.
        message: Message,
    },
    /// More of the source is hashed; the driver reports it at distances of
    /// [`crate::limits::WATERMARK_EVERY_BYTES`].
    Hashed {
        /// Which.
        key: TransferKey,
        /// Index of the first chunk in `hashes`.
        first_chunk: u64,
        /// 32 bytes a chunk, joined.
        hashes: Vec<u8>,
    },
    /// The whole source is hashed.
    DigestKnown {
        /// Which.
        key: TransferKey,
        /// Its digest.
        digest: Digest,
    },
    /// A stream ended before its last byte was sent.
    StreamFailed {
        /// Which.
        key: TransferKey,
        /// Under which attempt it was started.
        attempt: Attempt,
        /// What failed.
        fault: StreamFault,
    },
    /// A frame of small files could not be handed to the first consumer of its route.
    SmallsNotSent {
        /// The first consumer of the route.
        to: NodeName,
        /// Its slots.
        slots: Vec<(Start, Slot)>,
        /// Why, for a person.
        reason: String,
    },
    /// A small file was not sent, because its bytes could not be read here.
    SmallUnread {
        /// Which.
        key: TransferKey,
        /// Under which attempt it was to be sent.
        attempt: Attempt,
        /// The first consumer of the route.
        to: NodeName,
        /// Why.
        why: Unread,
    },
    /// What came of [`Effect::Fetch`].
    Fetched {
        /// Which.
        key: TransferKey,
        /// Its submission.
        submitted: Box<Submitted>,
        /// Its placement, if there was one.
        placed: Option<Placed>,
    },
    /// What came of [`Effect::Release`].
    SourcesReleased {
        /// Which were.
        keys: Vec<TransferKey>,
        /// Which could not be: tried again later.
        failed: Vec<TransferKey>,
    },
    /// The members changed.
    View(View),
    /// This node's own zone changed: what is placed from now on begins its chain there.
    Zone(Option<String>),
    /// The feeds' policies, at start and when the configuration is read again.
    Policies(Vec<FeedRules>),
    /// The log has room for new work, or not.
    LogRoom(bool),
    /// A person wants a failed transfer tried again.
    Retry {
        /// Who waits.
        token: Token,
        /// Which; `None` for all that failed.
        key: Option<TransferKey>,
    },
    /// A person wants a transfer not to be delivered.
    Cancel {
        /// Who waits.
        token: Token,
        /// Which.
        key: TransferKey,
    },
    /// A person declares a consumer gone for good.
    Forget {
        /// Who waits.
        token: Token,
        /// The consumer.
        node: NodeName,
    },
    /// A person takes this node out of service ([`MemberState::Draining`]), or back in
    /// ([`MemberState::Active`]). Answered by [`Answer::Drained`].
    Drain {
        /// Who waits.
        token: Token,
        /// What it is from here on.
        state: MemberState,
    },
    /// Carry what is live in the segments up to `through` forward, so that they can be dropped.
    Carry {
        /// The newest segment that is to be emptied.
        through: u32,
    },
    /// Time has passed.
    Tick,
}

/// A feed's policy and its bound.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedRules {
    /// How its files are delivered.
    pub policy: ProducePolicy,
    /// Bytes that may be queued; more is refused.
    pub max_queue_bytes: u64,
}

/// A file that is in the spool, synced, or whose bytes are in hand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its length in bytes.
    pub size: u64,
    /// Its place, with its stamp.
    pub source: Source,
    /// Modification time and mode, where the feed preserves them.
    pub mtime_ns: Option<i64>,
    /// Permission bits, where the feed preserves them.
    pub mode: Option<u32>,
    /// Of a small file: its digest and bytes.
    pub small: Option<(Digest, Bytes)>,
}

/// Why a stream ended early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamFault {
    /// The receiver could not be reached, broke off, or refused.
    Link(String),
    /// The source changed, vanished, or cannot be read: the transfer fails until a person acts.
    Source(String),
}

/// Why a small file's bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unread {
    /// They were carried forward in the meantime: the producer knows where.
    Moved,
    /// They are damaged or out of reach, for a person: the transfer fails until one acts.
    Lost(String),
}

/// A small file to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SmallSend {
    /// Which.
    pub key: TransferKey,
    /// Under which attempt.
    pub attempt: Attempt,
    /// Its slot at each hop.
    pub slots: Vec<(Start, Slot)>,
    /// Where its submission, and so its bytes, lie in the log.
    pub submitted: Position,
    /// The file.
    pub spec: FileSpec,
    /// Its digest.
    pub digest: Digest,
}

/// What the driver needs to stream a large file to the first consumer of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamOrder {
    /// Which.
    pub key: TransferKey,
    /// Its source.
    pub source: Source,
    /// Its length in bytes.
    pub size: u64,
    /// Chunk size in bytes.
    pub chunk_bytes: u64,
    /// Chunk hashes known from before a restart, from the first chunk on, 32 bytes each.
    pub hashes: Vec<u8>,
    /// Where to; `None` when every member of the chain holds all bytes and only the digest is
    /// wanted.
    pub to: Option<StreamTarget>,
    /// Attempt that the stream belongs to.
    pub attempt: Attempt,
}

/// The first consumer of a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamTarget {
    /// Its name.
    pub node: NodeName,
    /// Its address.
    pub addr: String,
    /// Its slot, with which chunks are labelled.
    pub leg: Leg,
    /// The first byte that it does not hold.
    pub from: u64,
}

/// A source to be released.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Which.
    pub key: TransferKey,
    /// Its feed.
    pub feed: FeedName,
    /// Its name, under which it is archived.
    pub name: String,
    /// Its place, and what is to happen to it.
    pub source: Source,
    /// Whether it was cancelled, so that it goes back to where it came from.
    pub give_back: bool,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The file is `submitted`.
    Submitted(TransferKey),
    /// So many transfers will be tried again.
    Retried(u64),
    /// It will not be delivered any further.
    Cancelled,
    /// The node is forgotten.
    Forgotten,
    /// The order to drain, or to take part again, is in force and survives a crash.
    Drained,
    /// No.
    Refused(Refusal),
}

/// Why a request was refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The node does not produce this feed.
    #[error(
        "feed {feed:?} is not produced here; hint: add [[produce]] feed = {feed:?} to the config and reload the agent"
    )]
    NoSuchFeed {
        /// The feed.
        feed: String,
    },
    /// The feed's queue is at its bound.
    #[error(
        "feed {feed} has {queued} bytes queued, and with {size} more there would be over max_queue = {max}; hint: raise max_queue, or wait until some are delivered if the file is no larger than that"
    )]
    QueueFull {
        /// The feed.
        feed: FeedName,
        /// Bytes of the file.
        size: u64,
        /// Bytes queued.
        queued: u64,
        /// Bytes permitted.
        max: u64,
    },
    /// This node drains.
    #[error(
        "this node drains and takes nothing new; hint: send from another node, or take it back into service with `consign drain --undo`"
    )]
    Draining,
    /// The log's disk is full.
    #[error(
        "the disk under the intent log is full; hint: free some space under data_dir, then send again"
    )]
    LogFull,
    /// The file is larger than any may be.
    #[error("the file has {size} bytes, at most {max} are accepted; hint: split it")]
    TooLarge {
        /// Its length in bytes.
        size: u64,
        /// The bound in bytes.
        max: u64,
    },
    /// Its name cannot be published.
    #[error("{0}")]
    BadName(String),
    /// It could not be taken from its place.
    #[error("{0}")]
    NotTaken(String),
    /// There is no such transfer, or it is finished.
    #[error("transfer {key} is not in progress; hint: `consign show ID` tells what became of it")]
    NoSuchTransfer {
        /// Which.
        key: TransferKey,
    },
    /// Some consumers have it already.
    #[error(
        "transfer {key} is already saved by {saved} consumer(s), it cannot be cancelled; hint: let it finish"
    )]
    AlreadySaved {
        /// Which.
        key: TransferKey,
        /// By how many.
        saved: usize,
    },
    /// There is no such node.
    #[error(
        "node {node} is not a member and nothing is owed to it; hint: `consign nodes` lists the members"
    )]
    NoSuchNode {
        /// The node.
        node: NodeName,
    },
}

/// Something that the producer wants done.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::large_enum_variant,
    reason = "an effect is moved once, and most of them append a record"
)]
pub enum Effect {
    /// Append a record to the log; [`Event::Synced`] reports it. Records are appended in order.
    Append(Ticket, Record, Payload),
    /// Say something to a consumer; dropped when that connection is gone.
    Send {
        /// The consumer.
        to: NodeName,
        /// On which connection.
        session: Session,
        /// What.
        message: Message,
    },
    /// Send small files along a route.
    SendSmalls {
        /// The consumers, in order.
        route: Vec<Hop>,
        /// The files.
        files: Vec<SmallSend>,
    },
    /// Read, hash and stream a large file.
    Stream(StreamOrder),
    /// Stop streaming a file. What is under way under this or a lower attempt must not be reported.
    StopStream {
        /// Which.
        key: TransferKey,
    },
    /// Read a transfer's records back from the log.
    Fetch {
        /// Which.
        key: TransferKey,
        /// Its submission.
        submitted: Position,
        /// Its placement.
        placed: Option<Position>,
    },
    /// Take a file into the spool.
    Take {
        /// Which.
        key: TransferKey,
        /// The file.
        spec: FileSpec,
        /// From where to where.
        source: Source,
    },
    /// Release sources.
    Release(Vec<Release>),
    /// Answer a request.
    Answer(Token, Answer),
    /// No live record of this producer lies in a segment below this one.
    NeedsFrom {
        /// The lowest segment that is needed.
        segment: u32,
    },
}
