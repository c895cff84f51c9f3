//! What stands before bytes of files, and what comes back.

use crate::spec::FileSpec;
use crate::wire::Leg;

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
