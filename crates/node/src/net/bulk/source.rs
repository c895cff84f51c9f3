//! A file in the spool that is being sent: read chunk by chunk, each hashed once, and watched for
//! edits in place where others may still write to it.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign_core::ids::Digest;
use consign_core::producer::StreamOrder;
use consign_core::spec::Stamp;
use consign_core::tree::{self, CHUNK_HASH_BYTES, ChunkHash, ChunkHashes};
use tokio::sync::watch;

use crate::outbox::{Look, look};

use super::buffers::Buffer;
use super::chunks::{ChunkFault, Chunks, Shape};
use super::engine::Engine;

/// See the module. Lives across attempts, so that nothing is hashed twice.
#[derive(Debug)]
pub(super) struct Source {
    engine: Arc<Engine>,
    path: PathBuf,
    /// Where the file came from, for a person; empty when it came as bytes.
    origin: String,
    file: File,
    /// What the file must look like, if others may write to it.
    stamp: Option<Stamp>,
    shape: Shape,
    known: Mutex<Known>,
    /// How many chunks from the first on have known hashes.
    hashed: watch::Sender<u64>,
}

#[derive(Debug)]
struct Known {
    hashes: Vec<Option<ChunkHash>>,
    /// The first that is not known.
    first_unknown: usize,
    /// Hashes below are reported, or came with the order.
    reported: usize,
}

impl Source {
    /// Opens the source. Blocks.
    ///
    /// # Errors
    /// Why the transfer fails, for a person.
    pub(super) fn open(
        engine: &Arc<Engine>,
        spool: &Path,
        order: &StreamOrder,
    ) -> Result<Self, ChunkFault> {
        let path = spool.join(&order.source.spool);
        let shape = Shape::new(order.size, order.chunk_bytes).map_err(ChunkFault)?;
        let file = File::open(&path).map_err(|error| unreadable(&path, &error))?;
        let metadata = file.metadata().map_err(|error| unreadable(&path, &error))?;
        if !metadata.is_file() || metadata.len() != order.size {
            return Err(changed(&path, &order.source.origin));
        }
        let stamp = order.source.stamp.filter(|_| order.source.shared);
        let source = Self {
            engine: Arc::clone(engine),
            path,
            origin: order.source.origin.clone(),
            file,
            stamp,
            shape,
            known: Mutex::new(known_from(&order.hashes, shape)),
            hashed: watch::Sender::new(0),
        };
        source
            .hashed
            .send_replace(source.lock().first_unknown as u64);
        source.check_stamp()?;
        Ok(source)
    }

    /// Reads a chunk, and hashes it unless its hash is known. Blocks.
    fn read(&self, index: u64, buffer: &mut Buffer) -> Result<ChunkHash, ChunkFault> {
        self.check_stamp()?;
        let (offset, _) = self.shape.place(index);
        let read = self.file.read_exact_at(buffer, offset);
        read.map_err(|error| unreadable(&self.path, &error))?;
        let known = self.hash_of(index);
        let Shape { size, chunk_bytes } = self.shape;
        let hash = known.unwrap_or_else(|| tree::chunk_hash(buffer, index, chunk_bytes, size));
        // Only now is it certain that the bytes are those of the file as it was taken.
        self.check_stamp()?;
        if known.is_none() {
            self.learn(index, hash);
        }
        Ok(hash)
    }

    fn check_stamp(&self) -> Result<(), ChunkFault> {
        let Some(stamp) = &self.stamp else {
            return Ok(());
        };
        let looked = look(&self.file, &self.path, stamp);
        match looked.map_err(|error| unreadable(&self.path, &error))? {
            // Its owner may rename or remove a kept file; the bytes are the same.
            Look::Same | Look::Touched(_) => Ok(()),
            Look::Changed(_) => Err(changed(&self.path, &self.origin)),
        }
    }

    fn learn(&self, index: u64, hash: ChunkHash) {
        let mut known = self.lock();
        known.hashes[index as usize] = Some(hash);
        while known
            .hashes
            .get(known.first_unknown)
            .is_some_and(Option::is_some)
        {
            known.first_unknown += 1;
        }
        self.hashed.send_replace(known.first_unknown as u64);
    }

    fn hash_of(&self, index: u64) -> Option<ChunkHash> {
        self.lock().hashes.get(index as usize).copied().flatten()
    }

    /// Hashes the chunks before `end` whose hashes are not known.
    ///
    /// # Errors
    /// [`ChunkFault`].
    pub(super) async fn hash_below(self: &Arc<Self>, end: u64) -> Result<(), ChunkFault> {
        for index in 0..self.shape.chunks_below(end) {
            if self.hash_of(index).is_none() {
                self.chunk(index).await?;
            }
        }
        Ok(())
    }

    /// Follows how many chunks from the first on are hashed.
    pub(super) fn hashed(&self) -> watch::Receiver<u64> {
        self.hashed.subscribe()
    }

    /// The hashes that are not reported yet, joined, and the index of the first: once there are
    /// `at_least` of them.
    pub(super) fn unreported(&self, at_least: u64) -> Option<(u64, Vec<u8>)> {
        let known = self.lock();
        let (first, end) = (known.reported, known.first_unknown);
        if ((end.saturating_sub(first)) as u64) < at_least {
            return None;
        }
        let hashes = known.hashes[first..end].iter().flatten();
        Some((first as u64, hashes.flat_map(|hash| hash.0).collect()))
    }

    /// Notes that the hashes of the first `chunks` chunks, and no more, are reported.
    pub(super) fn set_reported(&self, chunks: u64) {
        let mut known = self.lock();
        known.reported = (chunks as usize).min(known.first_unknown);
    }

    /// The whole file's digest, if all of it is hashed. Blocks: a few milliseconds for the largest
    /// file.
    pub(super) fn digest(&self) -> Option<Digest> {
        let hashes: Option<ChunkHashes> = self.lock().hashes.iter().copied().collect();
        let Shape { size, chunk_bytes } = self.shape;
        hashes.map(|hashes| tree::root(&hashes, size, chunk_bytes))
    }

    /// Memory that the hashes take, in bytes.
    pub(super) fn hashes_len(&self) -> usize {
        self.shape.chunks() as usize * size_of::<Option<ChunkHash>>()
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunks for Source {
    fn shape(&self) -> Shape {
        self.shape
    }

    async fn until_held(&self, _offset: u64) {}

    async fn chunk(self: &Arc<Self>, index: u64) -> Result<(Arc<Buffer>, ChunkHash), ChunkFault> {
        let (_, len) = self.shape.place(index);
        let memory = &self.engine.send;
        let mut buffer = memory.take(memory.reserve(len).await, len);
        let source = Arc::clone(self);
        let read = move || source.read(index, &mut buffer).map(|hash| (buffer, hash));
        let read = self.engine.workers.run(read).await;
        let (buffer, hash) = read.map_err(|panicked| ChunkFault(panicked.to_string()))??;
        Ok((Arc::new(buffer), hash))
    }
}

/// The hashes that came with an order: as many as are whole and belong to the file.
fn known_from(bytes: &[u8], shape: Shape) -> Known {
    let (given, _) = bytes.as_chunks::<CHUNK_HASH_BYTES>();
    let mut hashes = vec![None; shape.chunks() as usize];
    for (known, hash) in hashes.iter_mut().zip(given) {
        *known = Some(ChunkHash(*hash));
    }
    let first_unknown = given.len().min(hashes.len());
    Known {
        hashes,
        first_unknown,
        reported: first_unknown,
    }
}

fn unreadable(path: &Path, error: &std::io::Error) -> ChunkFault {
    ChunkFault(format!(
        "cannot read {}: {error}; hint: check the disk under data_dir, then `consign retry`",
        path.display()
    ))
}

fn changed(path: &Path, origin: &str) -> ChunkFault {
    let held = path.display().to_string();
    let file = if origin.is_empty() { &held } else { origin };
    ChunkFault(format!(
        "{file} was edited in place after it was submitted, and what it was is gone; hint: send it as \
         it is now, and `consign cancel` this transfer, which fails again when it is retried"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_of_an_order_count_as_far_as_they_are_whole() {
        let shape = Shape::new(3 << 20, 1 << 20).unwrap();
        for (bytes, count) in [(0, 0), (31, 0), (32, 1), (70, 2), (96, 3), (200, 3)] {
            let known = known_from(&vec![7; bytes], shape);
            assert_eq!(known.first_unknown, count, "{bytes}");
            assert_eq!(known.hashes.iter().flatten().count(), count);
        }
    }
}
