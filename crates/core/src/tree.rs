//! BLAKE3 over the chunks of a file: each is hashed and verified alone, and their hashes merge
//! into what `b3sum` prints for the whole file.
//!
//! BLAKE3 is a binary tree over leaves of 1 KiB in which every left subtree holds the largest
//! power of two of leaves that leaves at least one for its sibling (BLAKE3 paper, section 2.1). A
//! chunk of a power of two of leaves that starts at a multiple of its size is therefore one whole
//! subtree, and so is a shorter chunk at the file's end. The hash of a chunk is the chaining value
//! of its subtree, or the root itself when the file has no other chunk.
//!
//! What must hold: all chunks of a file but the last have the same size, and it is a size that
//! [`is_chunk_size`] accepts. An empty file has no chunks.
//!
//! Deliberately absent: hashing a chunk piece by piece, and proofs for parts of a chunk. A chunk
//! is the unit that is verified before it is forwarded.

use blake3::hazmat::{self, HasherExt as _, Mode};
use thiserror::Error;

use crate::ids::Digest;

/// Length of one chunk hash in records and messages, in bytes.
pub const CHUNK_HASH_BYTES: usize = blake3::OUT_LEN;

/// The hash of one chunk: the chaining value of its subtree, or the file's digest when the file is
/// a single chunk. It proves the chunk's bytes, its place in the file, and nothing else.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChunkHash(pub [u8; CHUNK_HASH_BYTES]);

impl ChunkHash {
    /// Reads a hash from its 32 bytes, or `None` when there are more or fewer.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl std::fmt::Debug for ChunkHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

/// Whether files can be cut into chunks of `chunk_bytes`: a power of two, and at least one leaf of
/// BLAKE3. A peer's choice is checked with this, and with [`limits`](crate::limits), first.
#[must_use]
pub fn is_chunk_size(chunk_bytes: u64) -> bool {
    chunk_bytes.is_power_of_two() && chunk_bytes >= blake3::CHUNK_LEN as u64
}

/// How many chunks of `chunk_bytes` a file of `size` bytes has; 0 for an empty file.
///
/// # Panics
/// When `chunk_bytes` is no chunk size.
#[must_use]
pub fn chunk_count(size: u64, chunk_bytes: u64) -> u64 {
    assert!(is_chunk_size(chunk_bytes), "{chunk_bytes} is no chunk size");
    size.div_ceil(chunk_bytes)
}

/// Length in bytes of one chunk of a file of `size` bytes, or `None` when the file ends before it.
///
/// # Panics
/// When `chunk_bytes` is no chunk size.
#[must_use]
pub fn chunk_len(chunk_index: u64, chunk_bytes: u64, size: u64) -> Option<u64> {
    (chunk_index < chunk_count(size, chunk_bytes))
        .then(|| chunk_bytes.min(size - chunk_index * chunk_bytes))
}

/// Hashes one chunk of a file of `whole_size` bytes.
///
/// # Panics
/// When `chunk_bytes` is no chunk size, or `bytes` is not exactly as long as that chunk, which
/// [`chunk_len`] tells: what a peer sends is checked by the caller.
#[must_use]
pub fn chunk_hash(bytes: &[u8], chunk_index: u64, chunk_bytes: u64, whole_size: u64) -> ChunkHash {
    assert_eq!(
        chunk_len(chunk_index, chunk_bytes, whole_size),
        Some(bytes.len() as u64),
        "chunk {chunk_index} of a file of {whole_size} bytes in chunks of {chunk_bytes}"
    );
    if whole_size <= chunk_bytes {
        return ChunkHash(*blake3::hash(bytes).as_bytes());
    }
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(chunk_index * chunk_bytes);
    hasher.update(bytes);
    ChunkHash(hasher.finalize_non_root())
}

/// Merges the hashes of all chunks of a file of `size` bytes into its digest, which equals
/// `blake3::hash` of the whole.
///
/// # Panics
/// When `chunk_bytes` is no chunk size, or `hashes` are not exactly as many as the file has chunks.
#[must_use]
pub fn root(hashes: &ChunkHashes, size: u64, chunk_bytes: u64) -> Digest {
    assert_eq!(
        hashes.len() as u64,
        chunk_count(size, chunk_bytes),
        "chunk hashes of a file of {size} bytes in chunks of {chunk_bytes}"
    );
    match hashes.0.as_slice() {
        [] => Digest(*blake3::hash(&[]).as_bytes()),
        [only] => Digest(*only),
        many => {
            let (left, right) = many.split_at(left_chunks(many.len()));
            let root = hazmat::merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash);
            Digest(*root.as_bytes())
        }
    }
}

/// The chaining value over at least one chunk. As deep as the logarithm of their number.
fn subtree(hashes: &[[u8; CHUNK_HASH_BYTES]]) -> hazmat::ChainingValue {
    if let [only] = hashes {
        return *only;
    }
    let (left, right) = hashes.split_at(left_chunks(hashes.len()));
    hazmat::merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
}

/// Chunks in the left subtree over `chunks` of them: the largest power of two below.
fn left_chunks(chunks: usize) -> usize {
    chunks.next_power_of_two() / 2
}

/// Chunk hashes that do not continue those already known.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadChunkHashes {
    /// The bytes are no whole number of hashes. Nothing was changed.
    #[error(
        "{len} bytes are no whole chunk hashes; hint: the record or message is damaged, check this disk and that peer"
    )]
    Ragged {
        /// How many bytes there were.
        len: usize,
    },
    /// There are chunks between the known ones and the new ones. Nothing was changed.
    #[error(
        "chunk hashes begin at chunk {first} but only {known} are known; hint: one in between is lost, hash the file again"
    )]
    Gap {
        /// First chunk of the new ones.
        first: u64,
        /// How many are known.
        known: usize,
    },
}

/// The hashes of a file's chunks, from the first on, as far as they are known: 32 bytes each,
/// joined, is how records and messages carry them.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChunkHashes(Vec<[u8; CHUNK_HASH_BYTES]>);

impl ChunkHashes {
    /// Of no chunk yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many chunks' hashes are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The hash of one chunk, if it is known.
    #[must_use]
    pub fn get(&self, chunk_index: usize) -> Option<ChunkHash> {
        self.0.get(chunk_index).copied().map(ChunkHash)
    }

    /// Adds the next chunk's hash.
    pub fn push(&mut self, hash: ChunkHash) {
        self.0.push(hash.0);
    }

    /// Forgets all but the first `chunks` hashes.
    pub fn truncate(&mut self, chunks: usize) {
        self.0.truncate(chunks);
    }

    /// All hashes, joined.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    /// The hashes from `first_chunk` on, joined; none when they are not known so far.
    #[must_use]
    pub fn bytes_from(&self, first_chunk: usize) -> &[u8] {
        self.0.get(first_chunk..).unwrap_or_default().as_flattened()
    }

    /// Adds the next chunks' hashes from their joined bytes.
    ///
    /// # Errors
    /// [`BadChunkHashes::Ragged`] when they are no multiple of 32 bytes.
    pub fn extend_from_bytes(&mut self, bytes: &[u8]) -> Result<(), BadChunkHashes> {
        let (whole, rest) = bytes.as_chunks::<CHUNK_HASH_BYTES>();
        if !rest.is_empty() {
            return Err(BadChunkHashes::Ragged { len: bytes.len() });
        }
        self.0.extend_from_slice(whole);
        Ok(())
    }

    /// Replaces everything from `first_chunk` on by `bytes`, as a record of the log says that
    /// begins there.
    ///
    /// # Errors
    /// [`BadChunkHashes`] when the bytes are no whole hashes, or hashes before them are missing.
    pub fn replace_from(&mut self, first_chunk: u64, bytes: &[u8]) -> Result<(), BadChunkHashes> {
        if !bytes.len().is_multiple_of(CHUNK_HASH_BYTES) {
            return Err(BadChunkHashes::Ragged { len: bytes.len() });
        }
        match usize::try_from(first_chunk) {
            Ok(first) if first <= self.len() => {
                self.truncate(first);
                self.extend_from_bytes(bytes)
            }
            _ => Err(BadChunkHashes::Gap {
                first: first_chunk,
                known: self.len(),
            }),
        }
    }
}

impl FromIterator<ChunkHash> for ChunkHashes {
    fn from_iter<I: IntoIterator<Item = ChunkHash>>(hashes: I) -> Self {
        Self(hashes.into_iter().map(|hash| hash.0).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Bytes in which no two chunks are alike, so that a swapped pair shows.
    fn sample(size: usize) -> Vec<u8> {
        let mut bytes = vec![0; size];
        blake3::Hasher::new().finalize_xof().fill(&mut bytes);
        bytes
    }

    fn hash_chunks(whole: &[u8], chunk_bytes: u64) -> ChunkHashes {
        let size = whole.len() as u64;
        whole
            .chunks(chunk_bytes as usize)
            .zip(0..)
            .map(|(bytes, index)| chunk_hash(bytes, index, chunk_bytes, size))
            .collect()
    }

    fn assert_is_b3sum(size: usize, chunk_bytes: u64) {
        let whole = sample(size);
        let hashes = hash_chunks(&whole, chunk_bytes);
        assert_eq!(
            root(&hashes, size as u64, chunk_bytes),
            Digest(*blake3::hash(&whole).as_bytes()),
            "{size} bytes in chunks of {chunk_bytes}"
        );
    }

    #[test]
    fn digest_of_chunks_is_the_digest_of_the_whole_at_every_boundary() {
        for chunk_bytes in [1024, 2048, 4096, 16384] {
            for chunks in 0..=17 {
                for around in [-1025, -1024, -1023, -1, 0, 1, 1023, 1024, 1025] {
                    if let Ok(size) = usize::try_from(chunks * chunk_bytes + around) {
                        assert_is_b3sum(size, chunk_bytes as u64);
                    }
                }
            }
        }
    }

    #[test]
    fn digest_at_the_chunk_size_in_use_is_the_digest_of_the_whole() {
        for size in [1, 1 << 20, (1 << 20) + 1, 3 << 20, (5 << 20) - 77] {
            assert_is_b3sum(size, crate::limits::CHUNK_BYTES_MIN);
        }
    }

    proptest! {
        #[test]
        fn digest_of_chunks_is_the_digest_of_the_whole(size in 0usize..300_000, log in 10u32..16) {
            assert_is_b3sum(size, 1 << log);
        }

        #[test]
        fn a_chunk_proves_its_bytes_and_its_place(size in 4097u64..40_000, at in any::<u64>()) {
            let whole = sample(size as usize);
            let hashes = hash_chunks(&whole, 1024);
            let at = at % size;
            let mut damaged = whole.clone();
            damaged[at as usize] ^= 1;
            let other = hash_chunks(&damaged, 1024);
            for index in 0..hashes.len() {
                prop_assert_eq!(
                    hashes.get(index) == other.get(index),
                    index as u64 != at / 1024
                );
            }
            prop_assert_ne!(
                chunk_hash(&whole[..1024], 0, 1024, size),
                chunk_hash(&whole[..1024], 1, 1024, size)
            );
        }
    }

    #[test]
    fn chunks_cover_the_file_exactly() {
        assert_eq!(chunk_count(0, 1024), 0);
        assert_eq!(chunk_len(0, 1024, 0), None);
        assert_eq!(chunk_count(2049, 1024), 3);
        assert_eq!(chunk_len(1, 1024, 2049), Some(1024));
        assert_eq!(chunk_len(2, 1024, 2049), Some(1));
        assert_eq!(chunk_len(3, 1024, 2049), None);
        assert_eq!(chunk_len(u64::MAX, 1024, u64::MAX), None);
        for bad in [0, 1, 512, 1025, 3 << 20] {
            assert!(!is_chunk_size(bad), "{bad} must be no chunk size");
        }
    }

    #[test]
    fn hashes_survive_the_way_through_records() {
        let whole = sample(5000);
        let hashes = hash_chunks(&whole, 1024);
        let mut replayed = ChunkHashes::new();
        replayed
            .extend_from_bytes(&hashes.as_bytes()[..64])
            .unwrap();
        replayed.replace_from(1, hashes.bytes_from(1)).unwrap();
        assert_eq!(replayed, hashes);
        assert_eq!(hashes.bytes_from(5), b"");
        assert_eq!(hashes.bytes_from(99), b"");
    }

    #[test]
    fn hashes_that_do_not_continue_are_refused_and_change_nothing() {
        let mut hashes: ChunkHashes = [ChunkHash([1; 32]), ChunkHash([2; 32])]
            .into_iter()
            .collect();
        let before = hashes.clone();
        let ragged = Err(BadChunkHashes::Ragged { len: 33 });
        assert_eq!(hashes.extend_from_bytes(&[0; 33]), ragged);
        assert_eq!(hashes.replace_from(0, &[0; 33]), ragged);
        let gap = Err(BadChunkHashes::Gap { first: 3, known: 2 });
        assert_eq!(hashes.replace_from(3, &[0; 32]), gap);
        assert_eq!(hashes, before);
    }

    #[test]
    #[should_panic(expected = "chunk 1 of a file of 1025 bytes")]
    fn a_chunk_of_the_wrong_length_is_our_own_bug() {
        let _ = chunk_hash(&[0; 2], 1, 1024, 1025);
    }
}
