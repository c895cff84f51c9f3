//! The intent log.
use bytes::Bytes;
/// Place of a record in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// Segment.
    pub segment: u32,
    /// Offset in it, in bytes.
    pub offset: u32,
}
/// The bytes that a record carries beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// None.
    None,
    /// These.
    Bytes(Bytes),
    /// Those of an older record.
    CopyOf(Position),
}
