//! The messages, as protobuf. Numbers are never reused; unknown fields are ignored, so that a later
//! version may add to a message, and unknown messages are a protocol error.

use crate::ranges::SlotRange;
use crate::record::Receipt;
use crate::spec::FileSpec;

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
}

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

/// Producer, first on a new connection: the starts in which it has slots open at this consumer, or
/// may still draw some. Every slot of any other start is closed for ever.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct OpenStarts {
    /// The starts.
    #[prost(fixed64, repeated, tag = "1")]
    pub starts: Vec<u64>,
}

/// Either side: are you there? Answered by [`Message::Pong`] with the same number.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Ping {
    /// Chosen by who asks.
    #[prost(uint64, tag = "1")]
    pub number: u64,
}

/// Data: the header of a chunk; the frame's payload is the chunk.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Chunk {
    /// The node whose transfer it is.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// The producer's incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Which; the receiver's slot.
    #[prost(message, required, tag = "3")]
    pub leg: Leg,
    /// Offset of the payload in the file, a multiple of the chunk size.
    #[prost(uint64, tag = "4")]
    pub offset: u64,
    /// The chunk's hash in the file's BLAKE3 tree, 32 bytes.
    #[prost(bytes = "vec", tag = "5")]
    pub hash: Vec<u8>,
}

/// Data, backwards: the sender may send this transfer's bytes below `through`. When `verified` is
/// the file's length, the receiver has everything, and the sender may forget the transfer.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Credit {
    /// The node whose transfer it is.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// Which; the receiver's slot.
    #[prost(message, required, tag = "2")]
    pub leg: Leg,
    /// One past the last byte that may be sent.
    #[prost(uint64, tag = "3")]
    pub through: u64,
    /// One past the last byte that the receiver has verified and written.
    #[prost(uint64, tag = "4")]
    pub verified: u64,
}

/// Data, backwards: the receiver does not take this transfer under this attempt; stop sending it.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Stop {
    /// The node whose transfer it is.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// Which; the receiver's slot.
    #[prost(message, required, tag = "2")]
    pub leg: Leg,
    /// Why, for a person.
    #[prost(string, tag = "3")]
    pub reason: String,
}

/// Data: the sender wants to send a transfer's bytes from `from` on; answered by [`Credit`] or
/// [`Stop`].
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Begin {
    /// The node whose transfer it is.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// The producer's incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Which; the receiver's slot.
    #[prost(message, required, tag = "3")]
    pub leg: Leg,
    /// Offset of the first byte that it will send.
    #[prost(uint64, tag = "4")]
    pub from: u64,
}

/// One consumer that a frame of small files passes.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct Hop {
    /// Its name.
    #[prost(string, tag = "1")]
    pub node: String,
    /// Its address.
    #[prost(string, tag = "2")]
    pub addr: String,
}

/// One small file in a frame.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SmallFile {
    /// Transfer: start.
    #[prost(fixed64, tag = "1")]
    pub start: u64,
    /// Transfer: sequence.
    #[prost(uint64, tag = "2")]
    pub seq: u64,
    /// The attempt.
    #[prost(uint32, tag = "3")]
    pub attempt: u32,
    /// The start under which each hop's slot was drawn, hop by hop.
    #[prost(fixed64, repeated, tag = "4")]
    pub slot_starts: Vec<u64>,
    /// Each hop's slot.
    #[prost(uint64, repeated, tag = "5")]
    pub slots: Vec<u64>,
    /// The file. Its bytes are the next `size` bytes of the frame's payload.
    #[prost(message, required, tag = "6")]
    pub spec: FileSpec,
    /// BLAKE3 of the whole file, 32 bytes.
    #[prost(bytes = "vec", tag = "7")]
    pub digest: Vec<u8>,
}

/// Data: many small files; the frame's payload is their bytes, joined.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct SmallFrame {
    /// The node whose transfers they are.
    #[prost(string, tag = "1")]
    pub producer: String,
    /// The producer's incarnation.
    #[prost(uint64, tag = "2")]
    pub incarnation: u64,
    /// Who gets them, the receiver first.
    #[prost(message, repeated, tag = "3")]
    pub route: Vec<Hop>,
    /// The files.
    #[prost(message, repeated, tag = "4")]
    pub files: Vec<SmallFile>,
}

macro_rules! messages {
    ($($kind:literal $variant:ident($body:ty),)*) => {
        /// A message, or the header of a data frame.
        #[derive(Debug, Clone, PartialEq, Eq)]
        pub enum Message {
            $(#[doc = concat!("See [`", stringify!($body), "`].")] $variant($body),)*
        }

        impl Message {
            /// The message's type byte.
            #[must_use]
            pub fn kind(&self) -> u8 {
                match self {
                    $(Self::$variant(_) => $kind,)*
                }
            }

            /// The message's name.
            #[must_use]
            pub fn name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => stringify!($variant),)*
                }
            }

            /// Length of the encoded message in bytes.
            #[must_use]
            pub fn encoded_len(&self) -> usize {
                use prost::Message as _;
                match self {
                    $(Self::$variant(body) => body.encoded_len(),)*
                }
            }

            /// Appends the encoded message to `out`.
            pub fn encode(&self, out: &mut Vec<u8>) {
                use prost::Message as _;
                match self {
                    $(Self::$variant(body) => body.encode(out).expect("a Vec always has room"),)*
                }
            }

            /// Decodes a message of type `kind`.
            ///
            /// # Errors
            /// When the body is not of that type. A type that this version does not know is
            /// `Ok(None)`.
            pub fn decode(kind: u8, body: &[u8]) -> Result<Option<Self>, prost::DecodeError> {
                use prost::Message as _;
                match kind {
                    $($kind => <$body>::decode(body).map(Self::$variant).map(Some),)*
                    _ => Ok(None),
                }
            }

            /// The type byte of every message: for fuzzing and tests.
            #[must_use]
            pub fn kinds() -> &'static [u8] {
                &[$($kind,)*]
            }
        }
    };
}

messages! {
    1 Hello(Hello),
    2 Welcome(Welcome),
    3 Rejected(Rejected),
    4 Ping(Ping),
    5 Pong(Ping),
    16 Open(Open),
    17 OpenAnswer(OpenAnswer),
    18 Forward(Forward),
    19 Progress(Progress),
    20 Received(Received),
    21 Commit(Commit),
    22 Saved(Saved),
    23 Abandon(Abandon),
    24 Abandoned(Abandoned),
    25 Refused(Refused),
    26 LinkLost(LinkLost),
    27 SmallQuery(SmallQuery),
    28 SmallReceived(SmallReceived),
    29 SmallMissing(SmallMissing),
    30 SmallCommit(SmallCommit),
    31 SmallLinkLost(SmallLinkLost),
    32 Closed(Closed),
    33 OpenStarts(OpenStarts),
    64 Begin(Begin),
    65 Chunk(Chunk),
    66 Credit(Credit),
    67 Stop(Stop),
    68 SmallFrame(SmallFrame),
}
