//! A link for frames of small files, and the frames on it that the peer has not confirmed.
//!
//! A ping follows every frame. The peer answers it when it has taken the frame; so when the link
//! breaks, it is known which frames may be lost, and those who wait for them are told.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign_core::consumer;
use consign_core::ids::{NodeName, Slot, Start};
use consign_core::producer::{self, SmallSend};
use consign_core::wire::{Message, Ping, Purpose, SmallFrame};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::net::bounds::FRAMES_UNCONFIRMED_MAX;
use crate::net::conn::Broken;
use crate::net::shared::{NetEvent, Shared};

use super::super::link::{Body, Link, Turn, User};
use super::frame::{first_hop, first_slots};

/// Whom a frame's loss concerns.
#[derive(Debug, Clone)]
pub(super) struct Stake {
    /// Who should have got it.
    pub(super) to: NodeName,
    /// Its slots there.
    pub(super) slots: Vec<(Start, Slot)>,
    /// Whose files they are, when we only pass them on.
    pub(super) forwarded_for: Option<NodeName>,
}

impl Stake {
    /// What is at stake with a frame that goes on to its first hop. The frame was checked.
    pub(super) fn of_forwarded(frame: &SmallFrame) -> Self {
        let (to, _) = first_hop(&frame.route).expect("a frame goes to a node");
        let producer = NodeName::new(&frame.producer).expect("a frame has a producer");
        Self {
            to,
            slots: first_slots(&frame.files),
            forwarded_for: Some(producer),
        }
    }

    /// What is at stake with files of ours that go to `to` first.
    pub(super) fn of_own(to: &NodeName, files: &[SmallSend]) -> Self {
        let first = |file: &SmallSend| file.slots.first().copied();
        Self {
            to: to.clone(),
            slots: files.iter().filter_map(first).collect(),
            forwarded_for: None,
        }
    }

    /// What the driver is told when the frame is lost.
    pub(super) fn lost(self, reason: &str) -> NetEvent {
        let (to, slots, reason) = (self.to, self.slots, reason.to_owned());
        match self.forwarded_for {
            None => NetEvent::Producer(producer::Event::SmallsNotSent { to, slots, reason }),
            Some(producer) => NetEvent::Consumer(consumer::Event::SmallsNotForwarded {
                producer,
                to,
                slots,
                reason,
            }),
        }
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Line {
    link: Arc<Link>,
    frames: Arc<Frames>,
}

#[derive(Debug)]
struct Frames {
    unconfirmed: Mutex<Unconfirmed>,
    room: Arc<Semaphore>,
}

#[derive(Debug, Default)]
struct Unconfirmed {
    last: u64,
    waiting: VecDeque<(u64, Stake, OwnedSemaphorePermit)>,
    closed: Option<String>,
}

/// The right to send one frame.
#[derive(Debug)]
pub(super) struct Place {
    room: OwnedSemaphorePermit,
    turn: Turn,
}

impl Line {
    /// Connects.
    ///
    /// # Errors
    /// Why the peer cannot be reached.
    pub(super) async fn dial(
        shared: &Arc<Shared>,
        node: &NodeName,
        addr: &str,
    ) -> Result<Self, Broken> {
        let frames = Arc::new(Frames {
            unconfirmed: Mutex::default(),
            room: Arc::new(Semaphore::new(FRAMES_UNCONFIRMED_MAX)),
        });
        let user = Arc::clone(&frames);
        let link = Link::dial(shared, node, addr, Purpose::Smalls, user).await?;
        Ok(Self { link, frames })
    }

    /// Why it broke, if it did.
    pub(super) fn closed(&self) -> Option<String> {
        self.frames.lock().closed.clone()
    }

    /// Waits until one more frame may be sent; `None` when the line breaks meanwhile.
    pub(super) async fn place(&self) -> Option<Place> {
        let room = Arc::clone(&self.frames.room).acquire_owned().await.ok()?;
        let turn = self.link.turn().await;
        Some(Place { room, turn })
    }

    /// Sends a frame. Should it be lost, the driver is told once, now or later.
    ///
    /// # Errors
    /// The stake and the reason, when the line is broken already: the caller tells.
    pub(super) async fn send(
        &self,
        place: Place,
        frame: SmallFrame,
        body: Body,
        stake: Stake,
    ) -> Result<(), (Stake, String)> {
        let number = {
            let mut unconfirmed = self.frames.lock();
            if let Some(reason) = &unconfirmed.closed {
                return Err((stake, reason.clone()));
            }
            unconfirmed.last += 1;
            let number = unconfirmed.last;
            unconfirmed.waiting.push_back((number, stake, place.room));
            number
        };
        // From here on the end of the line tells of the frame, whatever becomes of these two.
        let frame = Message::SmallFrame(frame);
        if self.link.send(&frame, body, Some(place.turn)).await.is_ok() {
            let ping = Message::Ping(Ping { number, log: 0 });
            let _ = self.link.send(&ping, Body::None, None).await;
        }
        Ok(())
    }
}

impl Frames {
    fn lock(&self) -> MutexGuard<'_, Unconfirmed> {
        self.unconfirmed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl User for Frames {
    fn hear(&self, message: Message) -> Result<(), Broken> {
        let Message::Pong(pong) = message else {
            return Err(Broken::Unexpected {
                message: message.name(),
                place: "in answer to small files",
            });
        };
        let mut unconfirmed = self.lock();
        while unconfirmed
            .waiting
            .front()
            .is_some_and(|(number, ..)| *number <= pong.number)
        {
            unconfirmed.waiting.pop_front();
        }
        Ok(())
    }

    fn needs_it(&self) -> bool {
        !self.lock().waiting.is_empty()
    }

    fn close(&self, reason: &str) -> Vec<NetEvent> {
        let mut unconfirmed = self.lock();
        unconfirmed.closed.get_or_insert_with(|| reason.to_owned());
        self.room.close();
        let lost = std::mem::take(&mut unconfirmed.waiting);
        lost.into_iter()
            .map(|(_, stake, _)| stake.lost(reason))
            .collect()
    }
}
