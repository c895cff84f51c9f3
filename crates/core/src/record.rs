//! The records of the intent log: everything a node has promised, each a line of its story.
//!
//! A record is a type byte, a version byte and a protobuf body (`docs/log-format.md`); some carry a
//! payload, the bytes of a small file. Replaying them in order, any number of times over a prefix,
//! gives the state of the producer and the consumer.

use crate::ranges::SlotRange;
use crate::spec::{FileSpec, Source};

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
}

/// A peer spoke under an incarnation; older ones of it are fenced from here on.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PeerSeen {
    /// The peer.
    #[prost(string, tag = "1")]
    pub node: String,
    /// Its incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
}

/// The members, whenever they change: `all` counts whom it ever saw.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct ViewSeen {
    /// Epoch of the view.
    #[prost(uint64, tag = "1")]
    pub epoch: u64,
    /// Its members, sorted by name.
    #[prost(message, repeated, tag = "2")]
    pub members: Vec<MemberRecord>,
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
    /// Why: "first placement", "store-1 was forgotten", …
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

/// A consumer's word for a batch of transfers, as it signs it: shared by the log and the wire.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Receipt {
    /// The consumer.
    #[prost(string, tag = "1")]
    pub consumer: String,
    /// Its incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// When it saved the batch, by its clock, in ms since the Unix epoch.
    #[prost(uint64, tag = "3")]
    pub at: u64,
    /// Root of the BLAKE3 tree over the batch's entries, 32 bytes; empty while nodes have no keys.
    #[prost(bytes = "vec", tag = "4")]
    pub root: Vec<u8>,
    /// Ed25519 over the root, 64 bytes; empty while nodes have no keys.
    #[prost(bytes = "vec", tag = "5")]
    pub signature: Vec<u8>,
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

/// Consumer: where one slot stands.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SlotRecord {
    /// The producer.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// The start under which the slot was drawn.
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    /// The slot.
    #[prost(uint64, tag = "3")]
    pub slot: u64,
}

/// Consumer: a large transfer was opened, or opened again under a higher fence.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Opened {
    /// The slot.
    #[prost(message, required, tag = "1")]
    pub slot: SlotRecord,
    /// Transfer: start.
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "3")]
    pub seq: u64,
    /// The producer's incarnation.
    #[prost(uint64, tag = "4")]
    pub incarnation: u64,
    /// The attempt.
    #[prost(uint32, tag = "5")]
    pub attempt: u32,
    /// The file.
    #[prost(message, required, tag = "6")]
    pub spec: FileSpec,
    /// Name in the inbox's staging directory.
    #[prost(string, tag = "7")]
    pub staging: String,
    /// Chunk size in bytes.
    #[prost(uint64, tag = "8")]
    pub chunk_bytes: u64,
}

/// Consumer: staged bytes below `offset` are synced, and these are the hashes of the chunks since
/// the last such record.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Watermark {
    /// The slot.
    #[prost(message, required, tag = "1")]
    pub slot: SlotRecord,
    /// Everything below is synced.
    #[prost(uint64, tag = "2")]
    pub offset: u64,
    /// Index of the first chunk in `hashes`. A record that begins below the last one's end
    /// replaces from there on.
    #[prost(uint64, tag = "3")]
    pub first_chunk: u64,
    /// 32 bytes a chunk, joined.
    #[prost(bytes = "vec", tag = "4")]
    pub hashes: Vec<u8>,
}

/// Consumer: a small file's bytes, the payload. `received`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SmallReceived {
    /// The slot.
    #[prost(message, required, tag = "1")]
    pub slot: SlotRecord,
    /// Transfer: start.
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "3")]
    pub seq: u64,
    /// The producer's incarnation.
    #[prost(uint64, tag = "4")]
    pub incarnation: u64,
    /// The attempt.
    #[prost(uint32, tag = "5")]
    pub attempt: u32,
    /// The file.
    #[prost(message, required, tag = "6")]
    pub spec: FileSpec,
    /// BLAKE3 of the whole file, 32 bytes.
    #[prost(bytes = "vec", tag = "7")]
    pub digest: Vec<u8>,
}

/// Consumer: slots that reached a common state together.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Slots {
    /// The producer.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// The start under which the slots were drawn.
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    /// The slots.
    #[prost(message, repeated, tag = "3")]
    pub slots: Vec<SlotRange>,
    /// When, in ms since the Unix epoch.
    #[prost(uint64, tag = "4")]
    pub at: u64,
}

/// Consumer: files are about to be renamed into the inbox. For a large file this is `saved`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Publishing {
    /// The files.
    #[prost(message, repeated, tag = "1")]
    pub files: Vec<PublishingFile>,
    /// When, in ms since the Unix epoch.
    #[prost(uint64, tag = "2")]
    pub at: u64,
}

/// One file that is about to be renamed into the inbox.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct PublishingFile {
    /// The slot.
    #[prost(message, required, tag = "1")]
    pub slot: SlotRecord,
    /// Name in the inbox's staging directory.
    #[prost(string, tag = "2")]
    pub staging: String,
    /// Path under the inbox.
    #[prost(string, tag = "3")]
    pub path: String,
    /// BLAKE3 of the whole file, 32 bytes.
    #[prost(bytes = "vec", tag = "4")]
    pub digest: Vec<u8>,
}

/// Consumer: a slot is closed without a file; nothing of it will ever be published.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SlotAbandoned {
    /// The slot.
    #[prost(message, required, tag = "1")]
    pub slot: SlotRecord,
    /// The producer's incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// The attempt that abandoned it.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// When, in ms since the Unix epoch.
    #[prost(uint64, tag = "4")]
    pub at: u64,
}

/// Consumer: the producer has closed every slot of this start below `low`, and those in `closed`.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SlotsClosed {
    /// The producer.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// The start under which the slots were drawn.
    #[prost(fixed64, tag = "2")]
    pub start: u64,
    /// Every slot below is closed.
    #[prost(uint64, tag = "3")]
    pub low: u64,
    /// Closed slots above `low`, all of them that this consumer still remembers.
    #[prost(message, repeated, tag = "4")]
    pub closed: Vec<SlotRange>,
    /// Whether the producer will never use this start again: forget it whole.
    #[prost(bool, tag = "5")]
    pub gone: bool,
}

/// Consumer: one slot's whole state, carried forward out of an old segment. A `saved` small file
/// that is not yet published has its bytes as payload.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SlotCarried {
    /// The slot.
    #[prost(message, required, tag = "1")]
    pub slot: SlotRecord,
    /// For a large transfer.
    #[prost(message, optional, tag = "2")]
    pub opened: Option<Opened>,
    /// For a large transfer: all that is synced.
    #[prost(message, optional, tag = "3")]
    pub watermark: Option<Watermark>,
    /// For a small one; its bytes are the payload.
    #[prost(message, optional, tag = "4")]
    pub small: Option<SmallReceived>,
    /// When it was saved, in ms since the Unix epoch; 0 when it was not.
    #[prost(uint64, tag = "5")]
    pub saved_at: u64,
    /// Set from *publishing* on.
    #[prost(message, optional, tag = "6")]
    pub publishing: Option<PublishingFile>,
    /// Whether it is published: nothing is left but to remember it.
    #[prost(bool, tag = "7")]
    pub published: bool,
    /// Set when it was abandoned.
    #[prost(message, optional, tag = "8")]
    pub abandoned: Option<SlotAbandoned>,
    /// BLAKE3 of the whole file, 32 bytes, once all of it was received; empty before.
    #[prost(bytes = "vec", tag = "9")]
    pub digest: Vec<u8>,
}

/// Consumer: an inbox and the marker found in its staging directory. If the marker is not there
/// at a restart, the directory is not the one that files were staged in.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InboxMarked {
    /// The inbox's path.
    #[prost(string, tag = "1")]
    pub inbox: String,
    /// Random, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub marker: Vec<u8>,
}

macro_rules! records {
    ($($(#[$doc:meta])* $kind:literal $variant:ident($body:ty),)*) => {
        /// A record of the intent log.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[expect(clippy::large_enum_variant, reason = "records are encoded soon, and the largest are rare")]
        pub enum Record {
            $($(#[$doc])* $variant($body),)*
        }

        impl Record {
            /// The record's type byte.
            #[must_use]
            pub fn kind(&self) -> u8 {
                match self {
                    $(Self::$variant(_) => $kind,)*
                }
            }

            /// The record's name, as documents and tools print it.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($variant),)*
                }
            }

            /// Length of the encoded body in bytes.
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                use prost::Message as _;
                match self {
                    $(Self::$variant(body) => body.encoded_len(),)*
                }
            }

            /// Appends the encoded body to `out`.
            pub fn encode(&self, out: &mut Vec<u8>) {
                use prost::Message as _;
                match self {
                    $(Self::$variant(body) => body
                        .encode(out)
                        .expect("a Vec always has room"),)*
                }
            }

            /// Decodes a record's body.
            ///
            /// # Errors
            /// [`BadRecord`] when the type is unknown or the body is not of it.
            pub fn decode(kind: u8, body: &[u8]) -> Result<Self, BadRecord> {
                use prost::Message as _;
                match kind {
                    $($kind => <$body>::decode(body)
                        .map(Self::$variant)
                        .map_err(|source| BadRecord::Body { kind, source }),)*
                    _ => Err(BadRecord::Kind { kind }),
                }
            }
        }
    };
}

records! {
    /// See [`Boot`].
    1 Boot(Boot),
    /// See [`PeerSeen`].
    2 PeerSeen(PeerSeen),
    /// See [`ViewSeen`].
    3 ViewSeen(ViewSeen),
    /// See [`Forgotten`].
    4 Forgotten(Forgotten),
    /// See [`Claiming`].
    16 Claiming(Claiming),
    /// See [`Unclaimed`].
    17 Unclaimed(Unclaimed),
    /// See [`Submitted`].
    18 Submitted(Submitted),
    /// See [`Placed`].
    19 Placed(Placed),
    /// See [`AttemptStarted`].
    20 AttemptStarted(AttemptStarted),
    /// See [`Hashed`].
    21 Hashed(Hashed),
    /// See [`DigestKnown`].
    22 DigestKnown(DigestKnown),
    /// See [`LegsSettled`].
    23 LegsSettled(LegsSettled),
    /// Every consumer has the file; the source may be released.
    24 Done(Transfers),
    /// The source is released; nothing is left to do.
    25 Released(Transfers),
    /// A person must act.
    26 Failed(Transfers),
    /// A person retried a failed transfer.
    27 Retried(Transfers),
    /// A person cancelled it.
    28 Cancelled(Transfers),
    /// See [`Opened`].
    64 Opened(Opened),
    /// See [`Watermark`].
    65 Watermark(Watermark),
    /// See [`SmallReceived`].
    66 SmallReceived(SmallReceived),
    /// Small files are `saved`.
    67 SmallSaved(Slots),
    /// See [`Publishing`].
    68 Publishing(Publishing),
    /// The files are in the inbox, and the directories synced.
    69 Published(Slots),
    /// See [`SlotAbandoned`].
    70 SlotAbandoned(SlotAbandoned),
    /// See [`SlotsClosed`].
    71 SlotsClosed(SlotsClosed),
    /// See [`SlotCarried`].
    72 SlotCarried(SlotCarried),
    /// See [`InboxMarked`].
    73 InboxMarked(InboxMarked),
}

/// The version that this program writes into every record.
pub const RECORD_VERSION: u8 = 1;

/// A record that this program cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// A type that this version does not know.
    #[error(
        "record type {kind} is unknown; hint: a newer version of consign wrote it, run that one"
    )]
    Kind {
        /// The type byte.
        kind: u8,
    },
    /// The body does not decode although its checksum is right.
    #[error("record of type {kind} does not decode: {source}; hint: report this as a bug")]
    Body {
        /// The type byte.
        kind: u8,
        /// What the decoder says.
        source: prost::DecodeError,
    },
}
