//! The data plane: the bytes of files, between disks and sockets.
//!
//! ```text
//!  spool ─▶ source ─┐                          ┌─▶ staged ─▶ inbox's staging file
//!                   ├─▶ outflow ─▶ link ═▶ arrivals ─▶ inflow
//!  staging ▶ staged ┘    (cursor)   (TCP)   (gate)     (one task a transfer)
//! ```
//! A consumer in a chain runs the lower half twice: an inflow writes its staging file as fast as
//! it can be sent, and an outflow, a cursor over the same file, sends from there. Every number of
//! bytes in memory is bounded by a budget of [`buffers`]; work that blocks is done by [`workers`].

mod arrivals;
mod buffers;
mod chunks;
mod engine;
mod inflow;
mod lanes;
mod link;
mod links;
mod outflow;
mod seal;
mod smalls;
mod source;
mod staged;
mod stream;
mod synced_file;
mod workers;

use std::path::PathBuf;
use std::sync::Arc;

use consign_core::consumer::InflowOrder;
use consign_core::disk::Disk;
use consign_core::ids::{SlotId, TransferKey};
use consign_core::producer::{SmallSend, StreamOrder};
use consign_core::wire::Hop;

use super::conn::{Broken, Conn};
use super::roster::Entry;
use super::shared::Shared;

pub(crate) use inflow::ForwardOrder;
pub(crate) use seal::SealOrder;
pub(crate) use smalls::Payloads;

use engine::Engine;
use inflow::Inflows;
use links::Links;
use seal::Seals;
use smalls::SmallSenders;
use stream::Streams;

/// See the module.
#[derive(Debug)]
pub(super) struct Bulk {
    engine: Arc<Engine>,
    inflows: Arc<Inflows>,
    streams: Arc<Streams>,
    seals: Arc<Seals>,
    smalls: Arc<SmallSenders>,
}

impl Bulk {
    /// Starts the data plane; sources lie in `spool`.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(shared: &Arc<Shared>, spool: PathBuf) -> std::io::Result<Self> {
        let engine = Engine::start(Arc::clone(shared))?;
        let links = Arc::new(Links::new(shared));
        Ok(Self {
            inflows: Arc::new(Inflows::new(&engine, &links)),
            streams: Arc::new(Streams::new(&engine, &links, spool)),
            seals: Arc::new(Seals::new(&engine)),
            smalls: SmallSenders::new(&engine),
            engine,
        })
    }

    pub(super) fn open_inflow(&self, order: InflowOrder, inbox: Arc<dyn Disk>) {
        self.inflows.open(order, inbox);
    }

    pub(super) fn close_inflow(&self, slot: &SlotId) {
        self.inflows.close(slot);
    }

    pub(super) fn forward(&self, order: ForwardOrder) {
        self.inflows.forward(order);
    }

    pub(super) fn seal(&self, order: SealOrder, inbox: Arc<dyn Disk>) {
        let staged = self.inflows.staged(&order.slot);
        self.seals.start(order, inbox, staged);
    }

    pub(super) fn stream(&self, order: StreamOrder) {
        self.streams.start(order);
    }

    pub(super) fn stop_stream(&self, key: TransferKey) {
        self.streams.stop(key);
    }

    pub(super) fn forget_stream(&self, key: TransferKey) {
        self.streams.forget(key);
    }

    pub(super) fn send_smalls(
        &self,
        route: Vec<Hop>,
        files: Vec<SmallSend>,
        payloads: Arc<dyn Payloads>,
    ) {
        self.smalls.send(route, files, payloads);
    }

    /// Serves an accepted connection that brings chunks.
    pub(super) async fn serve_chunks(&self, conn: Conn, entry: &Entry<'_>) -> Broken {
        arrivals::serve(&self.inflows, conn, entry).await
    }

    /// Serves an accepted connection that brings small files.
    pub(super) async fn serve_smalls(&self, conn: Conn, entry: &Entry<'_>) -> Broken {
        smalls::serve(&self.engine, &self.smalls, conn, entry).await
    }
}
