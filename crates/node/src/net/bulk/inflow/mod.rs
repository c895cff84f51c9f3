//! Large files on their way in: which transfers are open, and who may write to them.
//!
//! Each open transfer has one task that does everything about it in order: opening, storing,
//! syncing, granting credit, starting forwards. What the readers of connections need at once, and
//! may never wait for, is behind a gate of its own.

mod credit;
mod forward;
mod gate;
mod opening;
mod task;
mod upstream;
mod watermark;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign_core::consumer::{Event, InflowFault, InflowOrder};
use consign_core::disk::Disk;
use consign_core::ids::{Attempt, Fence, Incarnation, NodeName, Slot, SlotId, Start};
use consign_core::producer::Session;
use consign_core::tree::ChunkHash;
use consign_core::wire::{Begin, Chunk, Leg};
use tokio::sync::mpsc;

use crate::net::tasks::contained;

use super::buffers::Buffer;
use super::engine::Engine;
use super::links::Links;
use super::staged::Staged;

use gate::Gate;
use upstream::not_open;
pub(super) use upstream::{Refusal, Upstream};

/// Where to forward a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForwardOrder {
    /// Which.
    pub(crate) slot: SlotId,
    /// Under which attempt.
    pub(crate) attempt: Attempt,
    /// The next in the chain.
    pub(crate) to: NodeName,
    /// Its address.
    pub(crate) addr: String,
    /// The first byte that it does not hold.
    pub(crate) from: u64,
    /// Its slot, with which chunks are labelled.
    pub(crate) to_leg: Leg,
}

/// The open transfers.
#[derive(Debug)]
pub(super) struct Inflows {
    engine: Arc<Engine>,
    links: Arc<Links>,
    open: Mutex<HashMap<SlotId, Arc<Inflow>>>,
}

/// One of them, as others see it.
#[derive(Debug)]
pub(super) struct Inflow {
    slot: SlotId,
    gate: Mutex<Gate>,
    /// Not bounded itself: chunks in it are bounded by credit, orders by the state machine.
    commands: mpsc::UnboundedSender<Command>,
    /// Its staging file while that is open.
    staged: Mutex<Option<Arc<Staged>>>,
}

/// What one transfer's task is to do.
#[derive(Debug)]
enum Command {
    /// Fence the attempt before, and take chunks under this one.
    Reopen(InflowOrder),
    /// A sender began to send.
    Begun,
    /// Store a chunk.
    Store(Arrived),
    /// Forward what is there and what comes.
    Forward(ForwardOrder),
    /// Let go of it and of its file; a later order to open it opens that anew.
    Close,
}

/// A chunk that arrived.
#[derive(Debug)]
struct Arrived {
    fence: Fence,
    offset: u64,
    hash: ChunkHash,
    buffer: Buffer,
}

/// A chunk that will be taken once its bytes are read.
#[derive(Debug)]
pub(super) struct Expected {
    inflow: Arc<Inflow>,
    fence: Fence,
    offset: u64,
    hash: ChunkHash,
    /// Where its bytes go.
    pub(super) buffer: Buffer,
}

impl Expected {
    /// Hands the chunk over, its bytes read.
    pub(super) fn deliver(self) {
        // The task is gone only when nobody wants the chunk any more.
        let _ = self.inflow.commands.send(Command::Store(Arrived {
            fence: self.fence,
            offset: self.offset,
            hash: self.hash,
            buffer: self.buffer,
        }));
    }
}

impl Inflows {
    pub(super) fn new(engine: &Arc<Engine>, links: &Arc<Links>) -> Self {
        Self {
            engine: Arc::clone(engine),
            links: Arc::clone(links),
            open: Mutex::default(),
        }
    }

    /// Opens a transfer, or opens it again. From here on chunks of the attempt before are refused;
    /// those in hand are dropped, and its forwards stopped, before `InflowReady` is reported.
    pub(super) fn open(self: &Arc<Self>, order: InflowOrder, inbox: Arc<dyn Disk>) {
        let mut open = lock(&self.open);
        if let Some(inflow) = open.get(&order.slot) {
            lock(&inflow.gate).shut();
            // Sent under the lock, where a task looks before it ends: it is heard.
            let _ = inflow.commands.send(Command::Reopen(order));
            return;
        }
        let (commands, orders) = mpsc::unbounded_channel();
        let inflow = Arc::new(Inflow {
            slot: order.slot.clone(),
            gate: Mutex::new(Gate::Shut),
            commands,
            staged: Mutex::new(None),
        });
        open.insert(order.slot.clone(), Arc::clone(&inflow));
        let inflows = Arc::clone(self);
        self.engine
            .shared
            .tasks
            .spawn(async move { inflows.run(inflow, order, inbox, orders).await });
    }

    /// Runs one transfer's task, and clears up if it panics.
    async fn run(
        self: Arc<Self>,
        inflow: Arc<Inflow>,
        order: InflowOrder,
        inbox: Arc<dyn Disk>,
        orders: mpsc::UnboundedReceiver<Command>,
    ) {
        let attempt = Mutex::new(order.attempt);
        let task = task::run(&self, &inflow, order, inbox, orders, &attempt);
        if let Err(panicked) = contained(task).await {
            lock(&inflow.gate).shut();
            self.forget(&inflow);
            let event = Event::InflowFailed {
                slot: inflow.slot.clone(),
                attempt: *lock(&attempt),
                fault: InflowFault::Disk(panicked.to_string()),
            };
            self.engine.shared.tell_consumer(event).await;
        }
    }

    /// Takes no more chunks of a transfer and stops forwarding it.
    pub(super) fn close(&self, slot: &SlotId) {
        self.order(slot, Command::Close);
    }

    /// Forwards a transfer.
    pub(super) fn forward(&self, order: ForwardOrder) {
        let slot = order.slot.clone();
        self.order(&slot, Command::Forward(order));
    }

    /// A transfer's staging file, if it is open.
    pub(super) fn staged(&self, slot: &SlotId) -> Option<Arc<Staged>> {
        let open = lock(&self.open);
        open.get(slot)
            .and_then(|inflow| lock(&inflow.staged).clone())
    }

    /// A sender wants to begin.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn begin(&self, begin: &Begin, upstream: Upstream) -> Result<(), Refusal> {
        let (inflow, fence) = self.find(&begin.producer, begin.incarnation, &begin.leg)?;
        lock(&inflow.gate).begin(fence, begin.from, upstream)?;
        let _ = inflow.commands.send(Command::Begun);
        Ok(())
    }

    /// A chunk of `len` bytes is about to arrive.
    ///
    /// # Errors
    /// [`Refusal`].
    pub(super) fn expect(
        &self,
        chunk: &Chunk,
        session: Session,
        len: usize,
    ) -> Result<Expected, Refusal> {
        let (inflow, fence) = self.find(&chunk.producer, chunk.incarnation, &chunk.leg)?;
        let hash = ChunkHash::from_slice(&chunk.hash).ok_or_else(|| {
            Refusal::Violation("a chunk has no hash; hint: check the sender's version".into())
        })?;
        let reserved = lock(&inflow.gate).take(fence, session, chunk.offset, len)?;
        let pool = &self.engine.receive;
        let reserved = reserved
            .or_else(|| pool.try_reserve(len, 0))
            .ok_or_else(|| {
                lock(&inflow.gate).shut();
                Refusal::Stop(
                "the chunk came so late that its memory went to others; hint: the producer tries \
                 again by itself"
                    .into(),
            )
            })?;
        Ok(Expected {
            buffer: pool.take(reserved, len),
            inflow,
            fence,
            offset: chunk.offset,
            hash,
        })
    }

    /// A connection is gone.
    pub(super) fn disconnected(&self, session: Session) {
        for inflow in lock(&self.open).values() {
            lock(&inflow.gate).unbind(session);
        }
    }

    fn find(
        &self,
        producer: &str,
        incarnation: u64,
        leg: &Leg,
    ) -> Result<(Arc<Inflow>, Fence), Refusal> {
        let slot = SlotId {
            producer: NodeName::new(producer).map_err(|bad| Refusal::Violation(bad.to_string()))?,
            start: Start(leg.slot_start),
            slot: Slot(leg.slot),
        };
        let inflow = lock(&self.open).get(&slot).cloned().ok_or_else(not_open)?;
        let fence = Fence {
            incarnation: Incarnation(incarnation),
            attempt: Attempt(leg.attempt),
        };
        Ok((inflow, fence))
    }

    fn order(&self, slot: &SlotId, command: Command) {
        if let Some(inflow) = lock(&self.open).get(slot) {
            if matches!(command, Command::Close) {
                lock(&inflow.gate).shut();
            }
            let _ = inflow.commands.send(command);
        }
    }

    /// Forgets a transfer, unless `orders` has more to do for it.
    fn retire(&self, inflow: &Arc<Inflow>, orders: &mpsc::UnboundedReceiver<Command>) -> bool {
        let mut open = lock(&self.open);
        let idle = orders.is_empty();
        if idle {
            open.remove(&inflow.slot);
        }
        idle
    }

    fn forget(&self, inflow: &Arc<Inflow>) {
        let mut open = lock(&self.open);
        if open
            .get(&inflow.slot)
            .is_some_and(|other| Arc::ptr_eq(other, inflow))
        {
            open.remove(&inflow.slot);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
