//! A staging file: written chunk by chunk as they arrive verified, synced now and then, and read
//! back by forwards that are behind.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign_core::consumer::{InflowFault, InflowOrder};
use consign_core::disk::Disk;
use consign_core::ids::Digest;
use consign_core::tree::{self, ChunkHash, ChunkHashes};
use tokio::sync::watch;

use crate::net::bounds::{RECENT_CHUNKS, WRITE_BEHIND_BYTES};

use super::buffers::Buffer;
use super::chunks::{ChunkFault, Chunks, Shape};
use super::engine::Engine;
use super::synced_file::SyncedFile;

/// See the module.
#[derive(Debug)]
pub(super) struct Staged {
    pub(super) file: SyncedFile,
    shape: Shape,
    engine: Arc<Engine>,
    hashes: Mutex<ChunkHashes>,
    /// Everything below is verified and written.
    verified: watch::Sender<u64>,
    /// The latest chunks, while somebody may want them.
    recent: Mutex<VecDeque<(u64, Arc<Buffer>)>>,
    readers: AtomicUsize,
}

/// Why a chunk was not stored.
#[derive(Debug)]
pub(super) enum StoreFault {
    /// The bytes do not have their hash. Nothing was written.
    Damaged,
    /// The file cannot be written; any part of the chunk may be.
    File(InflowFault),
}

impl Staged {
    /// Opens the file for the first time since the start: what was not synced is cut off, for
    /// whether the page cache has it right after a crash nobody can tell. Blocks.
    ///
    /// # Errors
    /// The fault to report.
    pub(super) fn open(
        engine: &Arc<Engine>,
        inbox: &dyn Disk,
        order: &InflowOrder,
    ) -> Result<Self, InflowFault> {
        let shape = Shape::new(order.size, order.chunk_bytes).map_err(InflowFault::Disk)?;
        let mut hashes = ChunkHashes::new();
        hashes
            .extend_from_bytes(&order.hashes)
            .map_err(|bad| InflowFault::Disk(bad.to_string()))?;
        // The two are logged together; should one lag, what both know counts.
        let known = shape.chunks_below(order.synced).min(hashes.len() as u64);
        hashes.truncate(known as usize);
        let from = shape.end_of(known);
        let file = SyncedFile::open_cut(inbox, &order.staging, from)?;
        Ok(Self {
            file,
            shape,
            engine: Arc::clone(engine),
            hashes: Mutex::new(hashes),
            verified: watch::Sender::new(from),
            recent: Mutex::default(),
            readers: AtomicUsize::new(0),
        })
    }

    /// The first byte that is not verified and written.
    pub(super) fn verified(&self) -> u64 {
        *self.verified.borrow()
    }

    /// Whether all of the file is.
    pub(super) fn is_complete(&self) -> bool {
        self.verified() == self.shape.size
    }

    /// Verifies a chunk and writes it. Blocks; what a crash leaves of it is cut off at the next
    /// start, as nothing above the synced watermark is believed.
    ///
    /// # Errors
    /// [`StoreFault`].
    pub(super) fn store(
        &self,
        index: u64,
        hash: ChunkHash,
        bytes: &[u8],
    ) -> Result<(), StoreFault> {
        let Shape { size, chunk_bytes } = self.shape;
        if tree::chunk_hash(bytes, index, chunk_bytes, size) != hash {
            return Err(StoreFault::Damaged);
        }
        let (offset, len) = self.shape.place(index);
        self.file.write(bytes, offset).map_err(StoreFault::File)?;
        let end = offset + len as u64;
        let stretch = end - end % WRITE_BEHIND_BYTES;
        if stretch > offset {
            self.file
                .write_behind(stretch - WRITE_BEHIND_BYTES, WRITE_BEHIND_BYTES);
        }
        Ok(())
    }

    /// Counts a chunk that was stored, and lets forwards have it.
    pub(super) fn advance(&self, index: u64, hash: ChunkHash, buffer: Buffer) {
        lock(&self.hashes).push(hash);
        self.remember(index, buffer);
        self.verified.send_replace(self.shape.end_of(index + 1));
    }

    fn remember(&self, index: u64, buffer: Buffer) {
        let mut recent = lock(&self.recent);
        if self.readers.load(Ordering::Relaxed) == 0 {
            recent.clear();
            return;
        }
        recent.truncate(RECENT_CHUNKS - 1);
        // Without room the chunk is read back when it is wanted.
        if let Some(reserved) = self.engine.recent.try_reserve(buffer.len(), 0) {
            let kept = buffer.moved_to(&self.engine.recent, reserved);
            recent.push_front((index, Arc::new(kept)));
        }
    }

    /// The chunk hashes from chunk `from` to `to`, joined.
    pub(super) fn hashes(&self, from: u64, to: u64) -> Vec<u8> {
        let hashes = lock(&self.hashes);
        let bytes = hashes.bytes_from(from as usize);
        let len = (to.saturating_sub(from) as usize * tree::CHUNK_HASH_BYTES).min(bytes.len());
        bytes[..len].to_vec()
    }

    /// The whole file's digest. Blocks: a few milliseconds for the largest file.
    pub(super) fn digest(&self) -> Digest {
        let Shape { size, chunk_bytes } = self.shape;
        tree::root(&lock(&self.hashes), size, chunk_bytes)
    }

    /// Says that somebody will read; while the answer lives, the latest chunks are remembered.
    pub(super) fn reader(self: &Arc<Self>) -> Reading {
        self.readers.fetch_add(1, Ordering::Relaxed);
        Reading(Arc::clone(self))
    }
}

/// See [`Staged::reader`].
#[derive(Debug)]
pub(super) struct Reading(pub(super) Arc<Staged>);

impl Drop for Reading {
    fn drop(&mut self) {
        if self.0.readers.fetch_sub(1, Ordering::Relaxed) == 1 {
            lock(&self.0.recent).clear();
        }
    }
}

impl Chunks for Staged {
    fn shape(&self) -> Shape {
        self.shape
    }

    async fn until_held(&self, offset: u64) {
        let mut verified = self.verified.subscribe();
        let held = verified.wait_for(|verified| *verified >= offset).await;
        held.expect("the sender is in self");
    }

    async fn chunk(self: &Arc<Self>, index: u64) -> Result<(Arc<Buffer>, ChunkHash), ChunkFault> {
        let hash = lock(&self.hashes)
            .get(index as usize)
            .ok_or_else(|| ChunkFault(format!("chunk {index} is not here; hint: report this")))?;
        let recent = lock(&self.recent)
            .iter()
            .find(|(at, _)| *at == index)
            .map(|(_, chunk)| Arc::clone(chunk));
        if let Some(chunk) = recent {
            return Ok((chunk, hash));
        }
        let (offset, len) = self.shape.place(index);
        let memory = &self.engine.send;
        let mut buffer = memory.take(memory.reserve(len).await, len);
        let staged = Arc::clone(self);
        let read = self.engine.workers.run(move || {
            let read = staged.file.read(&mut buffer, offset);
            read.map(|()| buffer)
        });
        let read = read.await;
        let read = read.map_err(|panicked| ChunkFault(panicked.to_string()))?;
        Ok((Arc::new(read.map_err(ChunkFault)?), hash))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
