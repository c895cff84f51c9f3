//! Receiving a large file into staging: chunks are verified, written, and synced now and then.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use consign_core::consumer::{self, InflowFault, InflowOrder};
use consign_core::disk::{Disk, File, OpenMode};
use consign_core::ids::{Attempt, FeedName, Incarnation, SlotId};
use consign_core::planted::{Planted, planted};
use consign_core::tree::{self, ChunkHash, ChunkHashes};

use super::World;
use super::flow::{FlowHead, Origin};
use super::happening::Work;
use super::node::inbox_of;
use crate::disk::is_crash;
use crate::ledger::Violation;
use crate::promise::Promise;
use consign_core::publish::{STAGING_DIR, staging_path};

/// What a life knows of a file that it receives.
#[derive(Debug)]
pub(super) struct Inflow {
    pub(super) order: InflowOrder,
    /// The fence of the chunks that are taken; `None` when none are.
    fence: Option<(Incarnation, Attempt)>,
    /// Whether the staging file is open for that fence.
    ready: bool,
    file: Option<Arc<dyn File>>,
    /// Everything below is verified and written.
    pub(super) verified: u64,
    hashes: ChunkHashes,
    /// Whether the staging directory's entry is synced.
    entered: bool,
    /// What was last reported as synced.
    reported: u64,
}

/// Path of a staging file of a feed.
pub(super) fn staged(feed: &FeedName, staging: &str) -> PathBuf {
    inbox_of(feed.as_str()).join(staging_path(staging))
}

impl World {
    /// From here on only chunks of this order's fence are taken; the file is opened on another
    /// thread.
    pub(super) fn order_inflow(&mut self, node: usize, order: InflowOrder) {
        self.stop_flows(node, &Origin::Inflow(order.slot.clone()));
        let (slot, attempt) = (order.slot.clone(), order.attempt);
        let fence = Some((order.incarnation, attempt));
        let life = self.life(node);
        if let Some(inflow) = life.inflows.get_mut(&slot) {
            (inflow.fence, inflow.ready) = (fence, false);
        } else {
            let mut hashes = ChunkHashes::new();
            let known = hashes.extend_from_bytes(&order.hashes);
            known.expect("the machine keeps whole hashes");
            let inflow = Inflow {
                fence,
                ready: false,
                file: None,
                verified: order.synced,
                reported: order.synced,
                hashes,
                entered: false,
                order,
            };
            life.inflows.insert(slot.clone(), inflow);
        }
        let delay = self.disk_time(node);
        self.do_after(node, delay, Work::OpenInflow { slot, attempt });
    }

    pub(super) fn open_inflow(&mut self, node: usize, slot: &SlotId, attempt: Attempt) {
        let life = self.life(node);
        let disk = life.disk.clone();
        let Some(inflow) = life.inflows.get_mut(slot) else {
            return;
        };
        if inflow.fence.map(|fence| fence.1) != Some(attempt) {
            return;
        }
        let opened = match inflow.file.take() {
            Some(file) => Ok(file),
            None => open_staging(&*disk, &inflow.order),
        };
        match opened {
            Ok(file) => {
                inflow.file = Some(file);
                inflow.ready = true;
                let (from, size) = (inflow.verified, inflow.order.size);
                let slot = slot.clone();
                let ready = consumer::Event::InflowReady {
                    slot: slot.clone(),
                    attempt,
                    from,
                };
                self.consume(node, ready);
                if from >= size {
                    self.complete(node, &slot, attempt);
                }
            }
            Err(error) => self.inflow_failed(node, slot, &error),
        }
    }

    /// Every byte is there: its digest follows from its chunks' hashes.
    fn complete(&mut self, node: usize, slot: &SlotId, attempt: Attempt) {
        let Some(inflow) = self.nodes[node]
            .life
            .as_ref()
            .and_then(|life| life.inflows.get(slot))
        else {
            return;
        };
        let digest = tree::root(&inflow.hashes, inflow.order.size, inflow.order.chunk_bytes);
        let event = consumer::Event::InflowComplete {
            slot: slot.clone(),
            attempt,
            digest,
        };
        let delay = self.disk_time(node);
        self.do_after(node, delay, Work::Consumer(event));
    }

    fn inflow_failed(&mut self, node: usize, slot: &SlotId, error: &std::io::Error) {
        if is_crash(error) {
            return;
        }
        self.stop_flows(node, &Origin::Inflow(slot.clone()));
        let Some(inflow) = self.life(node).inflows.get_mut(slot) else {
            return;
        };
        let Some((_, attempt)) = inflow.fence.take() else {
            return;
        };
        inflow.ready = false;
        let event = consumer::Event::InflowFailed {
            slot: slot.clone(),
            attempt,
            fault: fault_of(error),
        };
        self.do_after(node, 1, Work::Consumer(event));
    }

    /// The producer's incarnation of the present fence, and the file's size and chunk size.
    pub(super) fn inflow_shape(
        &self,
        node: usize,
        slot: &SlotId,
    ) -> Option<(Incarnation, u64, u64)> {
        let inflow = self.nodes[node].life.as_ref()?.inflows.get(slot)?;
        let (incarnation, _) = inflow.fence?;
        Some((incarnation, inflow.order.size, inflow.order.chunk_bytes))
    }

    /// Whether chunks of a flow are taken.
    pub(super) fn takes_chunks(&self, head: &FlowHead) -> bool {
        let inflow = self.nodes[head.to]
            .life
            .as_ref()
            .and_then(|life| life.inflows.get(&head.slot));
        inflow.is_some_and(|inflow| {
            inflow.ready && inflow.fence == Some((head.incarnation, head.attempt))
        })
    }

    /// Verifies and writes a chunk. How far everything is there, or `None` when it is not taken.
    pub(super) fn accept_chunk(
        &mut self,
        head: &FlowHead,
        offset: u64,
        hash: ChunkHash,
        bytes: &Bytes,
    ) -> Option<u64> {
        if !self.takes_chunks(head) {
            return None;
        }
        let (node, slot) = (head.to, &head.slot);
        let inflow = self.life(node).inflows.get_mut(slot)?;
        let end = offset + bytes.len() as u64;
        if end <= inflow.verified {
            let verified = inflow.verified;
            self.sent_in_vain(node, slot, end);
            return Some(verified);
        }
        let (size, chunk_bytes) = (inflow.order.size, inflow.order.chunk_bytes);
        let index = offset / chunk_bytes;
        let right = tree::chunk_hash(bytes, index, chunk_bytes, size) == hash;
        if offset != inflow.verified || !right {
            return None;
        }
        let file = inflow.file.clone()?;
        if let Err(error) = file.write_all_at(bytes, offset) {
            self.inflow_failed(node, slot, &error);
            return None;
        }
        inflow.hashes.push(hash);
        inflow.verified = end;
        let found = self.ledger.accepted_chunk(node, slot, end);
        self.check(found);
        self.chunk_written(node, slot, head.attempt, end, size);
        Some(end)
    }

    /// Whoever sends knows from the answer to its `Open` what is there.
    fn sent_in_vain(&mut self, node: usize, slot: &SlotId, end: u64) {
        self.ledger.stats.wasted_chunks += 1;
        self.violate(Violation {
            promise: Promise::NothingAgain,
            what: format!("{slot} got bytes up to {end}, which it had"),
            file: self.ledger.file_at(node, slot),
        });
    }

    fn chunk_written(&mut self, node: usize, slot: &SlotId, attempt: Attempt, end: u64, size: u64) {
        if end >= size {
            self.complete(node, slot, attempt);
        } else if self.rng.one_in(2) {
            let event = consumer::Event::InflowProgress {
                slot: slot.clone(),
                attempt,
                bytes: end,
            };
            self.do_after(node, 1, Work::Consumer(event));
        }
        if self.rng.one_in(2) {
            let delay = self.disk_time(node);
            self.do_after(node, delay, Work::SyncInflow(slot.clone()));
        }
        self.wake_flows(node, &Origin::Inflow(slot.clone()));
    }

    pub(super) fn sync_inflow(&mut self, node: usize, slot: &SlotId) {
        let life = self.life(node);
        let disk = life.disk.clone();
        let Some(inflow) = life.inflows.get_mut(slot) else {
            return;
        };
        let Some(file) = inflow.file.clone() else {
            return;
        };
        let offset = inflow.verified;
        if offset <= inflow.reported {
            return;
        }
        let staging = inbox_of(inflow.order.feed.as_str()).join(STAGING_DIR);
        let entered = match inflow.entered {
            true => Ok(()),
            false => disk.sync_dir(&staging),
        };
        let synced = match planted(Planted::WatermarkBeforeSync) {
            true => entered,
            false => entered.and_then(|()| file.sync()),
        };
        if let Err(error) = synced {
            self.line(|| format!("a sync of {slot} fails: {error}"));
            // A failed sync is final.
            self.life(node).stops = true;
            return;
        }
        inflow.entered = true;
        let first_chunk = inflow.reported / inflow.order.chunk_bytes;
        let chunks = offset.div_ceil(inflow.order.chunk_bytes) as usize;
        let hashes = inflow.hashes.bytes_from(first_chunk as usize);
        let count = (chunks - first_chunk as usize) * tree::CHUNK_HASH_BYTES;
        let event = consumer::Event::InflowSynced {
            slot: slot.clone(),
            offset,
            first_chunk,
            hashes: hashes[..count].to_vec(),
        };
        inflow.reported = offset;
        let delay = self.draw(2_000);
        self.do_after(node, delay, Work::Consumer(event));
    }

    /// What is there of a chunk that is to be forwarded.
    pub(super) fn inflow_chunk(
        &self,
        node: usize,
        slot: &SlotId,
        index: u64,
        offset: u64,
        len: u64,
    ) -> Result<Option<(ChunkHash, Vec<u8>)>, String> {
        let inflow = self.nodes[node]
            .life
            .as_ref()
            .and_then(|life| life.inflows.get(slot))
            .ok_or("it is not received any more")?;
        if offset + len > inflow.verified {
            return Ok(None);
        }
        let file = inflow.file.as_ref().ok_or("its file is closed")?;
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, offset)
            .map_err(|error| error.to_string())?;
        let hash = inflow.hashes.get(index as usize).ok_or("no hash")?;
        Ok(Some((hash, bytes)))
    }

    pub(super) fn close_inflow(&mut self, node: usize, slot: &SlotId) {
        self.stop_flows(node, &Origin::Inflow(slot.clone()));
        self.life(node).inflows.remove(slot);
    }

    /// Whether an event is about an opening of a file that is over. The node's own are reported in
    /// order; here each is on its way for a time of its own.
    pub(super) fn is_stale(&self, node: usize, event: &consumer::Event) -> bool {
        let consumer::Event::InflowSynced { slot, offset, .. } = event else {
            return false;
        };
        let life = self.nodes[node].life.as_ref();
        let inflow = life.and_then(|life| life.inflows.get(slot));
        inflow.is_none_or(|inflow| inflow.reported < *offset)
    }

    pub(super) fn discard(&mut self, node: usize, slot: &SlotId, feed: &FeedName, staging: &str) {
        self.stop_flows(node, &Origin::Inflow(slot.clone()));
        let life = self.life(node);
        life.inflows.remove(slot);
        // What cannot be removed is an orphan, and the next start removes it.
        let _ = life.disk.remove(&staged(feed, staging));
    }

    /// A published file is received no more.
    pub(super) fn forget_inflow(&mut self, node: usize, slot: &SlotId) {
        self.life(node).inflows.remove(slot);
    }

    /// Syncs the bytes of a staging file, and its entry.
    pub(super) fn sync_staging(
        disk: &dyn Disk,
        feed: &FeedName,
        staging: &str,
    ) -> std::io::Result<Arc<dyn File>> {
        let file = disk.open(&staged(feed, staging), OpenMode::Write)?;
        file.sync()?;
        disk.sync_dir(&inbox_of(feed.as_str()).join(STAGING_DIR))?;
        Ok(file)
    }
}

/// Opens a staging file for the first time in a life: what lies beyond the watermark is cut off.
fn open_staging(disk: &dyn Disk, order: &InflowOrder) -> std::io::Result<Arc<dyn File>> {
    let path: &Path = &staged(&order.feed, &order.staging);
    let file = match disk.open(path, OpenMode::Write) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && order.synced == 0 => {
            disk.open(path, OpenMode::CreateNew)?
        }
        opened => opened?,
    };
    let len = file.len()?;
    if len < order.synced {
        return Err(std::io::ErrorKind::NotFound.into());
    }
    if len > order.synced {
        file.set_len(order.synced)?;
    }
    Ok(file)
}

pub(super) fn fault_of(error: &std::io::Error) -> InflowFault {
    match error.kind() {
        std::io::ErrorKind::StorageFull => InflowFault::Full,
        std::io::ErrorKind::NotFound => InflowFault::Missing,
        _ => InflowFault::Disk(error.to_string()),
    }
}
