//! The intent log: what this node has promised, on disk before it is done.
//!
//! A directory of preallocated segments; each holds batches of records, and a batch becomes
//! durable with one sync. `docs/log-format.md` describes every byte.
//!
//! Invariants:
//! * A segment has its name only after its header, and whatever recovery put behind it, is synced;
//!   so a bad header under a segment's name is always damage.
//! * A sync of a segment is started only after the previous segment is synced and sealed, so
//!   everything before the newest segment is proven.
//! * A batch's `synced_through` was true when the batch was built. What is bad below the highest one
//!   is damage: it is reported, and nothing is cut or deleted. What is bad above is a torn tail.
//! * Nothing is appended to a segment that an earlier life wrote. Recovery copies what is valid but
//!   not proven into a new segment, whose header cuts the old one; the rename that gives it its
//!   name is the one step that makes both true.
//! * No file is recycled with its bytes: what a new segment does not overwrite is zero.
//!
//! Deliberately absent: what the records mean, which segments still hold something live, threads,
//! and a lock on the directory. The caller is the one writer.

mod active;
mod batch;
mod builder;
mod cursor;
mod error;
mod format;
mod inspect;
mod reader;
mod recovery;
mod replay;
mod reserve;
mod segment;
mod shortening;
mod tail;
mod writer;

use std::fmt;

use bytes::Bytes;

pub use cursor::LogCursor;
pub use error::LogError;
pub use inspect::{Damage, Inspect, InspectedPayload, Inspection, inspect};
pub use reader::LogReader;
pub use recovery::Recovery;
pub use shortening::{LogLength, Shortening};
pub use writer::Log;

/// A place in the log: of a record, or, as "synced through", of the first byte that is not synced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    /// The segment's number, from 1.
    pub segment: u32,
    /// Offset in the segment's file, in bytes.
    pub offset: u32,
}

impl Position {
    /// The position as one number that sorts like it.
    #[must_use]
    pub fn pack(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    /// The position that [`Self::pack`] made `packed` from.
    #[must_use]
    pub fn unpack(packed: u64) -> Self {
        Self {
            segment: (packed >> 32) as u32,
            offset: packed as u32,
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.segment, self.offset)
    }
}

/// How a log is to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// Length to which segments are preallocated, in bytes: a multiple of 8, at least
    /// [`LogSettings::SEGMENT_BYTES_LEAST`], below 4 GiB. May differ from one start to the next.
    pub segment_bytes: u64,
    /// Random, and another one at every start: segments draw their salts from it.
    pub seed: u64,
}

impl LogSettings {
    /// The smallest segment that is any use, in bytes. Tests roll over often with it.
    pub const SEGMENT_BYTES_LEAST: u64 = 2048;

    fn assert_valid(&self) {
        let range = Self::SEGMENT_BYTES_LEAST..=u64::from(u32::MAX);
        assert!(
            range.contains(&self.segment_bytes) && self.segment_bytes.is_multiple_of(8),
            "segment_bytes {} is out of bounds",
            self.segment_bytes
        );
    }
}

/// What a record carries beside its body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Payload {
    /// Nothing.
    None,
    /// These bytes.
    Bytes(Bytes),
    /// The payload of an older record, verified while it is copied: to carry it forward.
    CopyOf(Position),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed_positions_sort_as_positions_do() {
        let position = |segment, offset| Position { segment, offset };
        let sorted = [
            position(0, 0),
            position(1, 512),
            position(1, u32::MAX),
            position(2, 0),
            position(u32::MAX, u32::MAX),
        ];
        assert!(sorted.is_sorted() && sorted.map(Position::pack).is_sorted());
        assert_eq!(sorted.map(|p| Position::unpack(p.pack())), sorted);
    }
}
