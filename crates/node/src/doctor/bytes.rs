//! Reading and hashing files.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use consign_core::ids::Digest;
use consign_core::tree;

/// How much is read at once, in bytes.
const READ_BYTES: usize = 1 << 20;

/// BLAKE3 of a whole file.
///
/// # Errors
/// Whatever the filesystem says.
pub(super) fn digest_of(path: &Path) -> io::Result<Digest> {
    let mut file = File::open(path)?;
    let mut hasher = blake3::Hasher::new();
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match io::Read::read(&mut file, &mut buffer)? {
            0 => return Ok(Digest(*hasher.finalize().as_bytes())),
            read => drop(hasher.update(&buffer[..read])),
        }
    }
}

/// The first chunk of a staged file whose bytes are not those that were verified when they arrived;
/// `None` when all are.
///
/// # Errors
/// Whatever the filesystem says.
pub(super) fn bad_chunk(
    path: &Path,
    size: u64,
    chunk_bytes: u64,
    hashes: &tree::ChunkHashes,
) -> io::Result<Option<u64>> {
    let file = File::open(path)?;
    let mut buffer = Vec::new();
    for index in 0..hashes.len() as u64 {
        let (Some(len), Some(expected)) = (
            tree::chunk_len(index, chunk_bytes, size),
            hashes.get(index as usize),
        ) else {
            return Ok(Some(index));
        };
        buffer.resize(len as usize, 0);
        match file.read_exact_at(&mut buffer, index * chunk_bytes) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Some(index)),
            Err(error) => return Err(error),
        }
        if tree::chunk_hash(&buffer, index, chunk_bytes, size) != expected {
            return Ok(Some(index));
        }
    }
    Ok(None)
}
