//! Bytes of files: slices of one pool, so that gigabytes of distinct files cost nothing.

use std::sync::OnceLock;

use bytes::Bytes;
use consign_core::ids::Digest;

use crate::rng::Rng;

/// Length of the pool, in bytes.
const POOL_BYTES: usize = 16 << 20;

/// Largest content, in bytes.
pub const CONTENT_BYTES_MAX: u64 = 8 << 20;

fn pool() -> &'static [u8] {
    static POOL: OnceLock<Vec<u8>> = OnceLock::new();
    POOL.get_or_init(|| {
        let mut bytes = vec![0; POOL_BYTES];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    })
}

/// The bytes of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Content {
    at: usize,
    len: usize,
}

impl Content {
    /// Some bytes of this length.
    ///
    /// # Panics
    /// When it is over [`CONTENT_BYTES_MAX`].
    #[must_use]
    pub fn draw(rng: &mut Rng, len: u64) -> Self {
        assert!(len <= CONTENT_BYTES_MAX, "{len} bytes are not in the pool");
        Self {
            at: rng.below(POOL_BYTES as u64 - len) as usize,
            len: len as usize,
        }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &'static [u8] {
        &pool()[self.at..self.at + self.len]
    }

    /// The bytes, shared.
    #[must_use]
    pub fn shared(&self) -> Bytes {
        Bytes::from_static(self.bytes())
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.len as u64
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// What `b3sum` prints.
    #[must_use]
    pub fn digest(&self) -> Digest {
        Digest(*blake3::hash(self.bytes()).as_bytes())
    }
}
