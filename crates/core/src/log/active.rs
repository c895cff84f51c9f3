//! The segment that is appended to.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Position;
use super::batch::BATCH_HEADER_BYTES;
use super::builder::BatchBuilder;
use super::error::LogError;
use super::format::{
    INDEX_ENTRY_BYTES, IndexEntry, Previous, Salt, SegmentHeader, encode_seal, seal_bytes,
};
use super::segment::{Unnamed, path_of};
use crate::disk::File;
use crate::planted::{Planted, planted};

/// Markers that always find room behind the last batch of a segment: one for an idle log, the rest
/// for drops, which must work on a full disk since they are what makes room there.
pub(super) const KEPT_MARKERS: u64 = 4;

/// What an empty batch takes, in bytes.
const MARKER_ROOM_BYTES: u64 = BATCH_HEADER_BYTES as u64 + INDEX_ENTRY_BYTES;

/// What must stay free behind the last of so many batches of a segment, in bytes.
pub(super) fn room_bytes(batches: u64) -> u64 {
    KEPT_MARKERS * MARKER_ROOM_BYTES + seal_bytes(batches)
}

/// A segment with room at its end, and the index of what is in it.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) id: u32,
    pub(super) size: u32,
    salt: Salt,
    file: Arc<dyn File>,
    path: PathBuf,
    /// Where the next batch goes.
    end: u32,
    index: Vec<IndexEntry>,
}

impl Active {
    /// A segment that was just installed, and is synced.
    pub(super) fn new(
        dir: &Path,
        file: &Unnamed,
        header: &SegmentHeader,
        index: Vec<IndexEntry>,
    ) -> Self {
        Self {
            id: header.id,
            size: header.size,
            salt: header.salt,
            file: file.file.clone(),
            path: path_of(dir, header.id),
            end: header.born_end,
            index,
        }
    }

    /// The end of what is written.
    pub(super) fn position(&self) -> Position {
        Position {
            segment: self.id,
            offset: self.end,
        }
    }

    /// Whether a batch fits, and so many markers behind it.
    pub(super) fn fits(&self, batch_bytes: u64, markers: u64) -> bool {
        let seal = seal_bytes(self.index.len() as u64 + 1);
        u64::from(self.end) + batch_bytes + markers * MARKER_ROOM_BYTES + seal <= self.size.into()
    }

    /// Writes the batch in `builder`, a marker when it is empty, and begins the next one there.
    pub(super) fn write(
        &mut self,
        builder: &mut BatchBuilder,
        synced_through: Position,
        oldest: u32,
    ) -> Result<(), LogError> {
        let (bytes, entry) = builder.finish(self.id, self.salt, synced_through, oldest);
        self.file
            .write_all_at(bytes, self.end.into())
            .map_err(|source| LogError::io("write", &self.path, source))?;
        self.end += entry.total_bytes;
        self.index.push(entry);
        builder.begin(self.end);
        Ok(())
    }

    /// Asks for what was written from `from` on to go to the disk soon. It is no sync.
    pub(super) fn write_behind(&self, from: Position) {
        let bytes = u64::from(self.end - from.offset);
        self.file.write_behind(from.offset.into(), bytes);
    }

    /// Syncs what is written. What a crash before it loses, each caller says.
    pub(super) fn sync(&self) -> Result<(), LogError> {
        let synced = match self.file.sync() {
            Err(_) if planted(Planted::SyncRetried) => self.file.sync(),
            once => once,
        };
        synced.map_err(|source| LogError::sync(&self.path, source))
    }

    /// Writes the seal, which needs a sync. Returns how the next segment names this one.
    pub(super) fn seal(&self) -> Result<Previous, LogError> {
        let (bytes, seal) = encode_seal(self.id, self.salt, self.size, &self.index);
        let at = u64::from(self.size) - bytes.len() as u64;
        self.file
            .write_all_at(&bytes, at)
            .map_err(|source| LogError::io("write", &self.path, source))?;
        Ok(Previous::Sealed {
            end: self.end,
            salt: self.salt,
            seal,
        })
    }
}
