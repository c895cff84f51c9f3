//! Syncs a staging file behind its reception, at distances, so that a crash costs little.

use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;

use consign_core::consumer::Event;
use consign_core::disk::Disk;
use consign_core::ids::SlotId;
use consign_core::limits::WATERMARK_EVERY_BYTES;
use consign_core::planted::{Planted, planted};

use super::super::chunks::{Chunks as _, Shape};
use super::super::engine::Engine;
use super::super::staged::Staged;
use super::super::synced_file::{STAGING_DIR, sync_failed};

type Running = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// See the module.
pub(super) struct Watermark {
    engine: Arc<Engine>,
    staged: Arc<Staged>,
    inbox: Arc<dyn Disk>,
    /// Everything below is synced.
    synced: u64,
    /// The sync that runs, and up to where it reaches.
    running: Option<(u64, Running)>,
    /// Whether the file's directory entry is known to be synced.
    entry_synced: bool,
}

impl Watermark {
    /// Everything that is verified now was synced before.
    pub(super) fn new(engine: &Arc<Engine>, staged: &Arc<Staged>, inbox: &Arc<dyn Disk>) -> Self {
        let synced = staged.verified();
        Self {
            engine: Arc::clone(engine),
            staged: Arc::clone(staged),
            inbox: Arc::clone(inbox),
            synced,
            running: None,
            entry_synced: synced > 0,
        }
    }

    /// Everything below is synced.
    pub(super) fn synced(&self) -> u64 {
        self.synced
    }

    /// Begins a sync if enough was written since the last. None for the last stretch of a file:
    /// sealing it syncs all.
    pub(super) fn advance(&mut self) {
        let verified = self.staged.verified();
        let due = verified - self.synced >= WATERMARK_EVERY_BYTES && !self.staged.is_complete();
        if self.running.is_some() || !due {
            return;
        }
        let (engine, staged) = (Arc::clone(&self.engine), Arc::clone(&self.staged));
        let new_entry = (!self.entry_synced).then(|| Arc::clone(&self.inbox));
        let run = async move {
            let sync = move || sync(&staged, new_entry.as_deref());
            let synced = engine.syncers.run(sync).await;
            synced.unwrap_or_else(|panicked| Err(panicked.to_string()))
        };
        self.running = Some((verified, Box::pin(run)));
    }

    /// Waits for the sync that runs; for ever when none does. Answers what to report. Cancel safe.
    ///
    /// # Errors
    /// Why it failed. It is final: this node must stop.
    pub(super) async fn done(&mut self, slot: &SlotId) -> Result<Event, String> {
        let Some((through, running)) = &mut self.running else {
            return std::future::pending().await;
        };
        let (through, synced) = (*through, running.await);
        self.running = None;
        synced?;
        let shape: Shape = self.staged.shape();
        let first_chunk = shape.chunks_below(self.synced);
        self.entry_synced = true;
        self.synced = through;
        Ok(Event::InflowSynced {
            slot: slot.clone(),
            offset: through,
            first_chunk,
            hashes: self.staged.hashes(first_chunk, shape.chunks_below(through)),
        })
    }
}

/// A crash before this loses what was written since the last one, and no more: nobody was told
/// that it is synced.
fn sync(staged: &Staged, new_entry: Option<&dyn Disk>) -> Result<(), String> {
    if !planted(Planted::WatermarkBeforeSync) {
        staged.file.sync()?;
    }
    let dir = Path::new(STAGING_DIR);
    new_entry.map_or(Ok(()), |inbox| {
        let synced = inbox.sync_dir(dir);
        synced.map_err(|error| sync_failed(dir, &error))
    })
}
