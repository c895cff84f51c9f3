//! The one task of one open transfer. What it does, it does in order: so nothing of an attempt is
//! under way any more when the next is reported ready.

use std::future::Future;
use std::sync::{Arc, Mutex};

use consign_core::consumer::{Event, InflowFault, InflowOrder};
use consign_core::disk::Disk;
use consign_core::ids::{Attempt, Digest, Fence, SlotId};
use consign_core::tree::ChunkHash;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::net::bounds::PROGRESS_EVERY;
use crate::net::shared::NetEvent;

use super::super::buffers::{Buffer, Reserved};
use super::super::chunks::Chunks as _;
use super::super::staged::{Staged, StoreFault};
use super::credit::{Credit, Flow};
use super::forward::Forward;
use super::opening;
use super::watermark::Watermark;
use super::{Arrived, Command, ForwardOrder, Inflow, Inflows, lock};

pub(super) type Orders = mpsc::UnboundedReceiver<Command>;

/// Runs until the transfer is closed, and again when it is opened again before this has ended.
/// `attempt` tells who cleans up after a panic what to report.
pub(super) async fn run(
    inflows: &Inflows,
    inflow: &Arc<Inflow>,
    order: InflowOrder,
    inbox: Arc<dyn Disk>,
    mut orders: Orders,
    attempt: &Mutex<Attempt>,
) {
    let engine = &inflows.engine;
    let mut next = Some(order);
    while let Some(order) = next {
        let opened = opening::open(inflows, inflow, order, &inbox, &mut orders, attempt).await;
        let Some((staged, order)) = opened else {
            return;
        };
        *lock(&inflow.staged) = Some(Arc::clone(&staged));
        let task = Task {
            inflows,
            inflow,
            watermark: Watermark::new(engine, &staged, &inbox),
            credit: Credit::new(&engine.receive, staged.shape()),
            staged,
            fence: Fence::default(),
            attempt,
            digest: None,
            forwards: JoinSet::new(),
            reported: 0,
            report_at: Instant::now(),
        };
        task.live(order, &mut orders).await;
        // What was ordered behind the closing was for the file as it was, but for an opening.
        *lock(&inflow.staged) = None;
        next = opening::next_reopening(inflows, inflow, &mut orders).await;
    }
}

struct Task<'a> {
    inflows: &'a Inflows,
    inflow: &'a Arc<Inflow>,
    staged: Arc<Staged>,
    watermark: Watermark,
    credit: Credit,
    /// What chunks and forwards must be of.
    fence: Fence,
    attempt: &'a Mutex<Attempt>,
    digest: Option<Digest>,
    forwards: JoinSet<()>,
    /// Progress as reported last, and when it may be again.
    reported: u64,
    report_at: Instant,
}

impl<'a> Task<'a> {
    /// Until it is closed.
    async fn live(mut self, order: InflowOrder, orders: &mut Orders) {
        self.reopen(order).await;
        loop {
            let unused = self.flow().is_some_and(|flow| flow.through > flow.verified);
            let lent_at = self.credit.lent_at();
            let (report_at, unreported) = (self.report_at, self.is_unreported());
            tokio::select! {
                biased;
                synced = self.watermark.done(&self.inflow.slot) => self.synced(synced).await,
                memory = self.credit.turn() => self.granted(memory),
                Some(_) = self.forwards.join_next() => {}
                () = sleep_until(report_at), if unreported => self.report().await,
                () = sleep_until(lent_at), if unused => self.lend(),
                command = orders.recv() => match command {
                    Some(Command::Close) | None => return self.forwards.shutdown().await,
                    Some(command) => self.obey(command).await,
                },
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Reopen(order) => self.reopen(order).await,
            Command::Begun => {
                self.credit.reset();
                self.extend_credit();
            }
            Command::Store(arrived) => self.store(arrived).await,
            Command::Forward(order) => self.forward(order),
            Command::Close => unreachable!("handled where the task can end"),
        }
    }

    /// Everything of the attempt before is over: its gate was shut when this was ordered, its
    /// writes are done because this task did them, and its forwards end here.
    async fn reopen(&mut self, order: InflowOrder) {
        self.forwards.shutdown().await;
        self.fence = Fence {
            incarnation: order.incarnation,
            attempt: order.attempt,
        };
        *lock(self.attempt) = order.attempt;
        self.credit.reset();
        let from = self.staged.verified();
        if !self.staged.is_complete() {
            lock(&self.inflow.gate).open(self.fence, self.staged.shape(), from);
        }
        let ready = Event::InflowReady {
            slot: self.slot(),
            attempt: order.attempt,
            from,
        };
        self.tell(ready).await;
        if self.staged.is_complete() {
            self.complete().await;
        }
    }

    async fn store(&mut self, arrived: Arrived) {
        let Some((index, _)) = self.staged.shape().at(arrived.offset) else {
            return;
        };
        if arrived.fence != self.fence || arrived.offset != self.staged.verified() {
            return;
        }
        let (staged, hash, buffer) = (Arc::clone(&self.staged), arrived.hash, arrived.buffer);
        let workers = &self.inflows.engine.workers;
        let job = move || (staged.store(index, hash, &buffer), buffer);
        match workers.run(job).await {
            Ok((Ok(()), buffer)) => self.stored(index, hash, buffer).await,
            Ok((Err(StoreFault::Damaged), _)) => self.damaged(arrived.offset),
            Ok((Err(StoreFault::File(fault)), _)) => self.fail(fault).await,
            Err(panicked) => self.fail(InflowFault::Disk(panicked.to_string())).await,
        }
    }

    async fn stored(&mut self, index: u64, hash: ChunkHash, buffer: Buffer) {
        self.staged.advance(index, hash, buffer);
        self.credit.used();
        self.watermark.advance();
        self.extend_credit();
        if self.staged.is_complete() {
            lock(&self.inflow.gate).shut();
            self.complete().await;
        }
    }

    async fn complete(&mut self) {
        if self.digest.is_none() {
            let staged = Arc::clone(&self.staged);
            match self
                .inflows
                .engine
                .workers
                .run(move || staged.digest())
                .await
            {
                Ok(digest) => self.digest = Some(digest),
                Err(panicked) => {
                    return self.fail(InflowFault::Disk(panicked.to_string())).await;
                }
            }
        }
        if let Some(digest) = self.digest {
            self.reported = self.staged.verified();
            let complete = Event::InflowComplete {
                slot: self.slot(),
                attempt: self.fence.attempt,
                digest,
            };
            self.tell(complete).await;
        }
    }

    /// A chunk does not have the hash that came with it: the link, or a machine at either end of
    /// it, damages data. The sender, who has the other half of the evidence, reports it.
    fn damaged(&self, offset: u64) {
        let Some(upstream) = lock(&self.inflow.gate).shut() else {
            return;
        };
        let me = &self.inflows.engine.shared.me.node;
        let reason = format!(
            "the chunk at byte {offset} arrived damaged at {me} from {}; hint: check the memory \
             and network of both machines",
            upstream.node
        );
        tracing::error!(slot = %self.inflow.slot, "{reason}");
        upstream.stop(reason);
    }

    async fn fail(&mut self, fault: InflowFault) {
        if let Some(upstream) = lock(&self.inflow.gate).shut() {
            upstream.stop(match &fault {
                InflowFault::Full => "its disk is full; hint: free some space there".into(),
                InflowFault::Missing => "its staging file is gone; hint: see its log".into(),
                InflowFault::Disk(reason) => reason.clone(),
            });
        }
        let failed = Event::InflowFailed {
            slot: self.slot(),
            attempt: self.fence.attempt,
            fault,
        };
        self.tell(failed).await;
    }

    async fn synced(&mut self, synced: Result<Event, String>) {
        match synced {
            Ok(event) => {
                self.tell(event).await;
                self.watermark.advance();
                self.extend_credit();
            }
            Err(reason) => {
                self.fail(InflowFault::Disk(reason.clone())).await;
                let shared = &self.inflows.engine.shared;
                shared.tell(NetEvent::Fatal(reason)).await;
            }
        }
    }

    fn flow(&self) -> Option<Flow> {
        let through = lock(&self.inflow.gate).through()?;
        Some(Flow {
            through,
            verified: self.staged.verified(),
            synced: self.watermark.synced(),
        })
    }

    fn extend_credit(&mut self) {
        while let Some(flow) = self.flow() {
            match self.credit.next(flow) {
                Some((through, memory)) => lock(&self.inflow.gate).grant(through, memory),
                None => break,
            }
        }
        if let Some(flow) = self.flow()
            && self.credit.tell(flow)
            && let Some(upstream) = lock(&self.inflow.gate).upstream()
        {
            upstream.credit(flow.through, flow.verified);
        }
    }

    fn granted(&mut self, memory: Reserved) {
        let wanted = self.flow().and_then(|flow| self.credit.after_turn(flow));
        if let Some(through) = wanted {
            self.credit.used();
            lock(&self.inflow.gate).grant(through, memory);
            self.extend_credit();
        }
    }

    fn lend(&mut self) {
        lock(&self.inflow.gate).lend();
        self.credit.used();
    }

    fn forward(&mut self, order: ForwardOrder) {
        if order.attempt != self.fence.attempt {
            return;
        }
        let forward = Forward {
            shared: Arc::clone(&self.inflows.engine.shared),
            links: Arc::clone(&self.inflows.links),
            reading: self.staged.reader(),
            incarnation: self.fence.incarnation,
            order,
        };
        self.forwards.spawn(forward.run());
    }

    fn is_unreported(&self) -> bool {
        self.staged.verified() > self.reported
    }

    async fn report(&mut self) {
        self.reported = self.staged.verified();
        self.report_at = Instant::now() + PROGRESS_EVERY;
        let progress = Event::InflowProgress {
            slot: self.slot(),
            attempt: self.fence.attempt,
            bytes: self.reported,
        };
        self.tell(progress).await;
    }

    fn slot(&self) -> SlotId {
        self.inflow.slot.clone()
    }

    /// Tells the driver. Does not borrow the task, whose own futures other threads may not share.
    fn tell(&self, event: Event) -> impl Future<Output = ()> + use<'a> {
        self.inflows.engine.shared.tell_consumer(event)
    }
}
