//! A file as chunks that can be sent: what a producer's source and a consumer's staging file have
//! in common, so that streaming, forwarding, filling gaps and resuming are one path.

use std::future::Future;
use std::sync::Arc;

use consign_core::limits::{CHUNK_BYTES_MAX, FILE_BYTES_MAX, chunk_bytes_for};
use consign_core::tree::{self, ChunkHash};

use super::buffers::Buffer;

/// Size of a file and of its chunks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    /// Length of the file in bytes.
    pub(super) size: u64,
    /// Length of all chunks but the last, in bytes.
    pub(super) chunk_bytes: u64,
}

impl Shape {
    /// Checks what a peer chose.
    ///
    /// # Errors
    /// The reason, for a person.
    pub(super) fn new(size: u64, chunk_bytes: u64) -> Result<Self, String> {
        if size > FILE_BYTES_MAX {
            return Err(format!(
                "{size} bytes are more than a file may have, {FILE_BYTES_MAX}; hint: split it"
            ));
        }
        // Smaller chunks than the limits have for this size would need more memory for hashes.
        let bounds = chunk_bytes_for(size)..=CHUNK_BYTES_MAX;
        if !tree::is_chunk_size(chunk_bytes) || !bounds.contains(&chunk_bytes) {
            return Err(format!(
                "{chunk_bytes} bytes is no chunk size for a file of {size}; hint: check the \
                 producer's version"
            ));
        }
        Ok(Self { size, chunk_bytes })
    }

    /// Number of chunks.
    pub(super) fn chunks(self) -> u64 {
        tree::chunk_count(self.size, self.chunk_bytes)
    }

    /// The chunk that begins at `offset`, and where it ends; `None` when none begins there.
    pub(super) fn at(self, offset: u64) -> Option<(u64, u64)> {
        if !offset.is_multiple_of(self.chunk_bytes) {
            return None;
        }
        let index = offset / self.chunk_bytes;
        let len = tree::chunk_len(index, self.chunk_bytes, self.size)?;
        Some((index, offset + len))
    }

    /// Where chunk `index` begins, and its length.
    pub(super) fn place(self, index: u64) -> (u64, usize) {
        let offset = index * self.chunk_bytes;
        (offset, self.chunk_bytes.min(self.size - offset) as usize)
    }

    /// Where the first `chunks` chunks end.
    pub(super) fn end_of(self, chunks: u64) -> u64 {
        chunks.saturating_mul(self.chunk_bytes).min(self.size)
    }

    /// How many whole chunks lie below `offset`; the last may be short.
    pub(super) fn chunks_below(self, offset: u64) -> u64 {
        if offset >= self.size {
            self.chunks()
        } else {
            offset / self.chunk_bytes
        }
    }
}

/// Why a chunk cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct ChunkFault(pub(super) String);

/// A file that can be sent.
pub(super) trait Chunks: Send + Sync + 'static {
    /// Its size and that of its chunks.
    fn shape(&self) -> Shape;

    /// Waits until everything below `offset` can be had.
    fn until_held(&self, offset: u64) -> impl Future<Output = ()> + Send;

    /// One chunk that can be had, and its hash.
    ///
    /// # Errors
    /// [`ChunkFault`].
    fn chunk(
        self: &Arc<Self>,
        index: u64,
    ) -> impl Future<Output = Result<(Arc<Buffer>, ChunkHash), ChunkFault>> + Send;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_begin_at_multiples_and_end_with_the_file() {
        let shape = Shape::new((3 << 20) + 5, 1 << 20).unwrap();
        assert_eq!(shape.at(0), Some((0, 1 << 20)));
        assert_eq!(shape.at(3 << 20), Some((3, (3 << 20) + 5)));
        assert_eq!(shape.at(7), None);
        assert_eq!(shape.at(4 << 20), None);
        assert_eq!(shape.at(shape.size), None);
        assert_eq!(shape.place(3), (3 << 20, 5));
        assert_eq!(shape.chunks_below(shape.size), 4);
        assert_eq!(shape.chunks_below(shape.size - 1), 3);
        assert_eq!(shape.end_of(9), shape.size);
    }

    #[test]
    fn sizes_that_a_peer_made_up_are_refused() {
        for bad in [0, 1 << 10, (1 << 20) + 1, 32 << 20] {
            assert!(Shape::new(1, bad).unwrap_err().contains("hint:"));
        }
        assert!(Shape::new(u64::MAX, 1 << 20).is_err());
        assert!(Shape::new(FILE_BYTES_MAX, 1 << 20).is_err());
        assert!(Shape::new(FILE_BYTES_MAX, CHUNK_BYTES_MAX).is_ok());
    }
}
