//! Records of a consumer: from the opening of a slot to its closing, and its inboxes.

use crate::limits;
use crate::ranges::SlotRange;
use crate::receipt::{HASH_BYTES, Hash};
use crate::spec::FileSpec;

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
    /// Root of the tree over the batch's leaves, 32 bytes; empty where it is not signed.
    #[prost(bytes = "vec", tag = "4")]
    pub root: Vec<u8>,
    /// Over the [statement](crate::receipt::Statement); empty where nodes have no keys.
    #[prost(bytes = "vec", tag = "5")]
    pub signature: Vec<u8>,
    /// The [leaves](crate::receipt::leaf) of the batch, 32 bytes each, joined, in the order of the
    /// slots of the message; empty from a peer that does not know them.
    #[prost(bytes = "vec", tag = "6")]
    pub leaves: Vec<u8>,
    /// How it is signed, as TLS numbers the schemes; 0 when it is not.
    #[prost(uint32, tag = "7")]
    pub scheme: u32,
    /// SHA-256 of the public key of the authority by which the consumer is known, 32 bytes; empty
    /// when it is not signed.
    #[prost(bytes = "vec", tag = "8")]
    pub cluster: Vec<u8>,
    /// The consumer's certificate and those above it, DER. Only in the log, where the producer's node
    /// has put what the consumer had shown it: so a receipt can be checked for as long as it is kept.
    #[prost(bytes = "vec", repeated, tag = "9")]
    pub certificates: Vec<Vec<u8>>,
}

impl Receipt {
    /// The leaf of the slot at `index` of the batch; `None` where there is none.
    #[must_use]
    pub fn leaf(&self, index: usize) -> Option<Hash> {
        let (leaves, _) = self.leaves.as_chunks::<HASH_BYTES>();
        leaves.get(index).copied()
    }

    /// The same word without anything that proves it: what is left of it where nobody has checked
    /// more.
    #[must_use]
    pub fn unsigned(self) -> Self {
        Self {
            consumer: self.consumer,
            incarnation: self.incarnation,
            at: self.at,
            ..Self::default()
        }
    }

    /// Whether it is of so many slots, or of a peer that does not know leaves, and no longer than a
    /// receipt can be: it goes into the log.
    #[must_use]
    pub fn is_of(&self, slots: usize) -> bool {
        let certificates: usize = self.certificates.iter().map(Vec::len).sum();
        (self.leaves.is_empty() || self.leaves.len() == slots * HASH_BYTES)
            && self.leaves.len() <= limits::RECEIPT_SLOTS_MAX * HASH_BYTES
            && self.root.len() <= HASH_BYTES
            && self.cluster.len() <= HASH_BYTES
            && self.signature.len() <= limits::SIGNATURE_BYTES_MAX
            && certificates <= limits::CERTIFICATES_BYTES_MAX
    }
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
    /// When, in ms since the Unix epoch; 0 in a carried record, which does not remember it.
    #[prost(uint64, tag = "9")]
    pub at: u64,
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

/// Consumer: the inbox of a feed and the marker found in its staging directory. If the marker is not
/// there at a restart, the directory is not the one that the feed's files were staged in.
#[derive(Clone, PartialEq, Eq, prost::Message)]
pub struct InboxMarked {
    /// The inbox's path.
    #[prost(string, tag = "1")]
    pub inbox: String,
    /// Random, 16 bytes.
    #[prost(bytes = "vec", tag = "2")]
    pub marker: Vec<u8>,
    /// The feed whose files are staged there from here on; empty where none is any more.
    #[prost(string, tag = "3")]
    pub feed: String,
}
