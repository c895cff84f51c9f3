//! What all bulk data shares: threads, memory, and the net's own shared parts.

use std::num::NonZero;
use std::sync::Arc;

use crate::net::bounds::{
    RECEIVE_BYTES, RECENT_BYTES, SEND_BYTES, SMALLS_BYTES, SYNCERS, TRIM_EVERY, WORKERS_MAX,
    WORKERS_MIN,
};
use crate::net::shared::Shared;

use super::buffers::Pool;
use super::workers::Workers;

/// See the module.
#[derive(Debug)]
pub(super) struct Engine {
    pub(super) shared: Arc<Shared>,
    /// Read, hash and write.
    pub(super) workers: Workers,
    /// Sync.
    pub(super) syncers: Workers,
    /// For chunks between the socket and the staging file.
    pub(super) receive: Arc<Pool>,
    /// For bytes between a file or the log and the socket.
    pub(super) send: Arc<Pool>,
    /// For chunks that were just received and are about to be forwarded.
    pub(super) recent: Arc<Pool>,
    /// For frames of small files that have arrived.
    pub(super) smalls: Arc<Pool>,
}

impl Engine {
    /// Starts the threads.
    ///
    /// # Errors
    /// When the system refuses one.
    pub(super) fn start(shared: Arc<Shared>) -> std::io::Result<Arc<Self>> {
        let cores = std::thread::available_parallelism().map_or(WORKERS_MIN, NonZero::get);
        let engine = Arc::new(Self {
            workers: Workers::start("bulk", cores.clamp(WORKERS_MIN, WORKERS_MAX))?,
            syncers: Workers::start("sync", SYNCERS)?,
            receive: Pool::new(RECEIVE_BYTES),
            send: Pool::new(SEND_BYTES),
            recent: Pool::new(RECENT_BYTES),
            smalls: Pool::new(SMALLS_BYTES),
            shared,
        });
        let trimmed = Arc::clone(&engine);
        engine.shared.tasks.spawn(async move {
            loop {
                tokio::time::sleep(TRIM_EVERY).await;
                trimmed.trim();
            }
        });
        Ok(engine)
    }

    fn trim(&self) {
        for pool in [&self.receive, &self.send, &self.recent, &self.smalls] {
            pool.trim();
        }
    }
}
