//! Sends frames of small files: one task for each node that they go to next, which dials when
//! there is something to send and ends when there has been nothing for a while.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use consign_core::ids::NodeName;
use consign_core::producer::{Event, SmallSend};
use consign_core::wire::{Hop, SmallFrame};
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;

use crate::net::bounds::{DESTINATIONS_MAX, FORWARD_BYTES, FORWARD_BYTES_PER_PEER, LINK_IDLE_MAX};
use crate::net::conn::Broken;
use crate::net::shared::NetEvent;
use crate::net::tasks::contained;

use super::super::engine::Engine;
use super::super::link::Body;
use super::frame::{file_of, first_hop, frames_of};
use super::line::{Line, Place, Stake};
use super::parcel::{Parcel, with_room};
use super::payload::{Payloads, read_all};

/// A peer, by name and address.
type Destination = (NodeName, String);

/// See the module.
#[derive(Debug)]
pub(in crate::net::bulk) struct SmallSenders {
    engine: Arc<Engine>,
    forward_room: Arc<Semaphore>,
    senders: Mutex<HashMap<Destination, Sender>>,
}

#[derive(Debug)]
struct Sender {
    /// Not bounded itself: our own files are, by the window that the state machine keeps; those
    /// that are forwarded, by the room.
    parcels: mpsc::UnboundedSender<Parcel>,
    forward_room: Arc<Semaphore>,
}

impl SmallSenders {
    pub(in crate::net::bulk) fn new(engine: &Arc<Engine>) -> Arc<Self> {
        Arc::new(Self {
            engine: Arc::clone(engine),
            forward_room: Arc::new(Semaphore::new(FORWARD_BYTES)),
            senders: Mutex::default(),
        })
    }

    /// Sends files of this node along a route. An empty route is our own bug.
    pub(in crate::net::bulk) fn send(
        self: &Arc<Self>,
        route: Vec<Hop>,
        files: Vec<SmallSend>,
        payloads: Arc<dyn Payloads>,
    ) {
        let destination = first_hop(&route).expect("a route begins with a node");
        let parcel = Parcel::Own {
            route,
            files,
            payloads,
        };
        self.to(&mut self.lock(), destination, parcel);
    }

    /// Passes a frame on, if there is room for it to wait.
    ///
    /// # Errors
    /// Whom to tell that it was not, and why.
    pub(super) fn forward(
        self: &Arc<Self>,
        frame: SmallFrame,
        payload: Bytes,
    ) -> Result<(), (Stake, &'static str)> {
        let destination = first_hop(&frame.route).expect("the frame was checked");
        let mut senders = self.lock();
        if senders.len() >= DESTINATIONS_MAX && !senders.contains_key(&destination) {
            return Err((
                Stake::of_forwarded(&frame),
                "small files go on to too many nodes; hint: see `consign status` here",
            ));
        }
        let of_peer = Arc::clone(&self.sender(&mut senders, destination.clone()).forward_room);
        let len = (payload.len() + frame.encoded_len()) as u32;
        let room = [of_peer, Arc::clone(&self.forward_room)]
            .map(|room| room.try_acquire_many_owned(len).ok());
        let [Some(of_peer), Some(of_all)] = room else {
            return Err((
                Stake::of_forwarded(&frame),
                "it takes small files more slowly than they come; hint: check its load and link",
            ));
        };
        let payload = with_room(payload, [of_peer, of_all]);
        let parcel = Parcel::Forward { frame, payload };
        self.to(&mut senders, destination, parcel);
        Ok(())
    }

    fn to(
        self: &Arc<Self>,
        senders: &mut HashMap<Destination, Sender>,
        destination: Destination,
        parcel: Parcel,
    ) {
        // The task ends only under the lock that is held here, or with everything.
        let _ = self.sender(senders, destination).parcels.send(parcel);
    }

    fn sender<'a>(
        self: &Arc<Self>,
        senders: &'a mut HashMap<Destination, Sender>,
        destination: Destination,
    ) -> &'a Sender {
        senders
            .entry(destination)
            .or_insert_with_key(|destination| {
                let (parcels, queue) = mpsc::unbounded_channel();
                let run = Arc::clone(self).run(destination.clone(), queue);
                self.engine.shared.tasks.spawn(run);
                let forward_room = Arc::new(Semaphore::new(FORWARD_BYTES_PER_PEER));
                Sender {
                    parcels,
                    forward_room,
                }
            })
    }

    async fn run(
        self: Arc<Self>,
        destination: Destination,
        mut queue: mpsc::UnboundedReceiver<Parcel>,
    ) {
        let mut task = Task {
            engine: &self.engine,
            destination: &destination,
            line: None,
        };
        loop {
            match timeout(LINK_IDLE_MAX, queue.recv()).await {
                Ok(Some(parcel)) => task.carry(parcel, &mut queue).await,
                Ok(None) => return,
                Err(_) => {
                    let mut senders = self.lock();
                    if queue.is_empty() {
                        senders.remove(&destination);
                        return;
                    }
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Destination, Sender>> {
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Task<'a> {
    engine: &'a Arc<Engine>,
    destination: &'a Destination,
    line: Option<Line>,
}

impl Task<'_> {
    /// Sends a parcel. When the peer cannot be reached, what waits behind it is not tried either:
    /// whoever waits for it should hear at once.
    async fn carry(&mut self, parcel: Parcel, queue: &mut mpsc::UnboundedReceiver<Parcel>) {
        if let Err(reason) = self.connect().await {
            self.lose(parcel, &reason).await;
            while let Ok(parcel) = queue.try_recv() {
                self.lose(parcel, &reason).await;
            }
            return;
        }
        let stake = self.stake(&parcel);
        if let Err(panicked) = contained(self.deliver(parcel)).await {
            let event = stake.lost(&panicked.to_string());
            self.engine.shared.tell(event).await;
        }
    }

    async fn connect(&mut self) -> Result<(), String> {
        if self
            .line
            .as_ref()
            .is_some_and(|line| line.closed().is_none())
        {
            return Ok(());
        }
        let (node, addr) = self.destination;
        let line = Line::dial(&self.engine.shared, node, addr).await;
        self.line = Some(line.map_err(|why| format!("{node}: {why}"))?);
        Ok(())
    }

    async fn deliver(&self, parcel: Parcel) {
        match parcel {
            Parcel::Own {
                route,
                files,
                payloads,
            } => {
                for range in frames_of(&files) {
                    self.send_own(&route, &files, range, &payloads).await;
                }
            }
            Parcel::Forward { frame, payload } => {
                let stake = Stake::of_forwarded(&frame);
                let place = self.place().await;
                self.send(place, frame, Body::Bytes(payload), stake).await;
            }
        }
    }

    async fn send_own(
        &self,
        route: &[Hop],
        files: &[SmallSend],
        range: Range<usize>,
        payloads: &Arc<dyn Payloads>,
    ) {
        let place = self.place().await;
        let files = files[range].to_vec();
        let len = files.iter().map(|file| file.spec.size as usize).sum();
        let memory = &self.engine.send;
        let buffer = memory.take(memory.reserve(len).await, len);
        let (source, slots) = (Arc::clone(payloads), self.slots_of(&files));
        let read = move || read_all(source.as_ref(), files, buffer);
        let read = match self.engine.workers.run(read).await {
            Ok(read) => read,
            Err(panicked) => return self.tell_lost(slots, &panicked.to_string()).await,
        };
        for (file, why) in read.unread {
            let unread = Event::SmallUnread {
                key: file.key,
                attempt: file.attempt,
                to: self.destination.0.clone(),
                why,
            };
            self.engine.shared.tell(NetEvent::Producer(unread)).await;
        }
        if read.files.is_empty() {
            return;
        }
        let stake = self.slots_of(&read.files);
        let me = &self.engine.shared.me;
        let frame = SmallFrame {
            producer: me.node.to_string(),
            incarnation: me.incarnation.0,
            route: route.to_vec(),
            files: read.files.into_iter().map(file_of).collect(),
        };
        self.send(place, frame, Body::Bytes(read.payload), stake)
            .await;
    }

    async fn place(&self) -> Option<Place> {
        match &self.line {
            Some(line) => line.place().await,
            None => None,
        }
    }

    async fn send(&self, place: Option<Place>, frame: SmallFrame, body: Body, stake: Stake) {
        let sent = match (&self.line, place) {
            (Some(line), Some(place)) => line.send(place, frame, body, stake).await,
            (line, None) | (line @ None, _) => {
                let reason = line.as_ref().and_then(Line::closed);
                Err((stake, reason.unwrap_or_else(|| Broken::Closed.to_string())))
            }
        };
        if let Err((stake, reason)) = sent {
            self.engine.shared.tell(stake.lost(&reason)).await;
        }
    }

    async fn lose(&self, parcel: Parcel, reason: &str) {
        let event = self.stake(&parcel).lost(reason);
        self.engine.shared.tell(event).await;
    }

    fn stake(&self, parcel: &Parcel) -> Stake {
        match parcel {
            Parcel::Own { files, .. } => self.slots_of(files),
            Parcel::Forward { frame, .. } => Stake::of_forwarded(frame),
        }
    }

    fn slots_of(&self, files: &[SmallSend]) -> Stake {
        Stake::of_own(&self.destination.0, files)
    }

    async fn tell_lost(&self, stake: Stake, reason: &str) {
        let event = stake.lost(reason);
        if let NetEvent::Producer(Event::SmallsNotSent { to, slots, .. }) = &event {
            tracing::warn!(peer = %to, files = slots.len(), "small files not sent: {reason}");
        }
        self.engine.shared.tell(event).await;
    }
}
