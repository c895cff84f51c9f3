//! Letters that go from hand to hand instead of over connections, and are counted as the frames that
//! they would be: for hundreds of nodes in one process, which has no room for all their connections.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use consign_core::ids::NodeName;
use consign_core::wire::{Gossip, Message, encode_frame};
use tokio::sync::mpsc;

use super::{LETTER_BYTES_MAX, LETTERS_WAITING_MAX, Letter, Mail, Place, Postman, Way, lock};

/// Where letters go by: see the module.
#[derive(Debug, Default)]
pub(crate) struct Exchange {
    boxes: Mutex<HashMap<Place, mpsc::Sender<Letter>>>,
    traffic: Mutex<Traffic>,
}

/// What went by.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Traffic {
    pub(crate) letters: u64,
    /// Of all frames, without what TLS and TCP add.
    pub(crate) bytes: u64,
    /// The largest letter, in bytes.
    pub(crate) largest: usize,
    /// Letters that were too long to be sent, or for which there was no room.
    pub(crate) lost: u64,
}

/// Where one node hands in its letters.
#[derive(Debug, Clone)]
pub(crate) struct Desk {
    exchange: Arc<Exchange>,
    node: NodeName,
}

impl Exchange {
    /// The mail of a node that begins to run. An earlier one of its name hears nothing any more.
    pub(crate) fn mail(self: &Arc<Self>, node: &NodeName, addr: &str) -> Mail {
        let (letters, heard) = mpsc::channel(LETTERS_WAITING_MAX);
        let mut boxes = lock(&self.boxes);
        boxes.insert(Place::Seed(addr.to_owned()), letters.clone());
        boxes.insert(Place::Node(node.clone()), letters);
        let desk = Desk {
            exchange: Arc::clone(self),
            node: node.clone(),
        };
        Mail {
            postman: Postman(Way::InMemory(desk)),
            letters: heard,
        }
    }

    /// What went by since this was asked last.
    pub(crate) fn take_traffic(&self) -> Traffic {
        std::mem::take(&mut lock(&self.traffic))
    }
}

impl Desk {
    pub(super) fn send(&self, place: &Place, letter: Vec<u8>) {
        let mut traffic = lock(&self.exchange.traffic);
        traffic.letters += 1;
        traffic.largest = traffic.largest.max(letter.len());
        let gossip = Gossip { letter };
        traffic.bytes += encode_frame(&Message::Gossip(gossip.clone()), 0).len() as u64;
        let letter = Letter {
            from: self.node.clone(),
            bytes: gossip.letter,
        };
        let boxes = lock(&self.exchange.boxes);
        let room = boxes
            .get(place)
            .filter(|_| letter.bytes.len() <= LETTER_BYTES_MAX);
        let taken = room.is_some_and(|letters| letters.try_send(letter).is_ok());
        traffic.lost += u64::from(!taken);
    }
}
