//! Frames of small files, from hop to hop.

use bytes::Bytes;
use consign_core::consumer::{self, SmallArrival};
use consign_core::ids::{Digest, Incarnation, NodeName, Slot, Start};
use consign_core::log::LogError;
use consign_core::producer::{self, SmallSend, Unread};
use consign_core::wire::Leg;

use super::happening::Work;
use super::{Happening, World};
use crate::plan::Fault;

/// A frame on its way.
#[derive(Debug, Clone)]
pub(super) struct Frame {
    producer: NodeName,
    incarnation: Incarnation,
    /// Who is still to get it, the next first.
    route: Vec<usize>,
    /// How many hops it has behind it.
    hop: usize,
    files: Vec<(SmallSend, Bytes)>,
}

impl Frame {
    fn slots(&self, hop: usize) -> Vec<(Start, Slot)> {
        self.files.iter().map(|(file, _)| file.slots[hop]).collect()
    }
}

impl World {
    /// Reads the files' bytes from the producer's log, and sends them.
    pub(super) fn smalls_leave(&mut self, node: usize, route: &[usize], files: Vec<SmallSend>) {
        let life = self.life(node);
        let incarnation = life.incarnation;
        let mut read = Vec::new();
        let mut unread = Vec::new();
        for file in files {
            match life.reader.read(file.submitted) {
                Ok((_, Some(bytes))) => read.push((file, bytes)),
                Err(LogError::Gone { .. }) => unread.push((file, Unread::Moved)),
                Err(error) => unread.push((file, Unread::Lost(error.to_string()))),
                Ok((_, None)) => unread.push((file, Unread::Lost("no bytes".to_owned()))),
            }
        }
        if self.nodes[node].disk.has_crashed() {
            return;
        }
        for (file, why) in unread {
            let event = producer::Event::SmallUnread {
                key: file.key,
                attempt: file.attempt,
                to: self.name(route[0]),
                why,
            };
            self.do_after(node, 1, Work::Producer(event));
        }
        let frame = Frame {
            producer: self.name(node),
            incarnation,
            route: route.to_vec(),
            hop: 0,
            files: read,
        };
        if !frame.files.is_empty() {
            self.send_frame(node, frame);
        }
    }

    fn send_frame(&mut self, from: usize, frame: Frame) {
        let to = frame.route[0];
        let mut delay = self.latency(from, to);
        let reachable = self.lives(to) && !self.is_deaf_to(to, from);
        if !reachable {
            return self.frame_lost(from, &frame);
        }
        if self.chance(Fault::LateFrame) {
            delay += self.draw(60_000_000);
        }
        if self.chance(Fault::SilentLoss) {
            self.line(|| format!("a frame to {} is lost", self.nodes[to].name));
            return;
        }
        let life = self.life(to).number;
        self.after(delay, Happening::Frame { to, life, frame });
    }

    /// Whoever sent a frame learns mostly that it is lost.
    fn frame_lost(&mut self, from: usize, frame: &Frame) {
        let delay = self.draw(500_000);
        let to = self.name(frame.route[0]);
        let slots = frame.slots(frame.hop);
        let reason = "it cannot be reached".to_owned();
        let event = match self.nodes[from].name == frame.producer && frame.hop == 0 {
            true => Work::Producer(producer::Event::SmallsNotSent { to, slots, reason }),
            false => Work::Consumer(consumer::Event::SmallsNotForwarded {
                producer: frame.producer.clone(),
                to,
                slots,
                reason,
            }),
        };
        self.do_after(from, delay, event);
    }

    pub(super) fn on_frame(&mut self, to: usize, life: u32, frame: Frame) {
        if !self.is_alive(to, life) {
            // Its sender is told by its own connection, or, as here, by nothing.
            return;
        }
        let files = frame.files.iter().map(|(file, bytes)| {
            let (start, slot) = file.slots[frame.hop];
            SmallArrival {
                leg: Leg {
                    start: file.key.start.0,
                    seq: file.key.seq.0,
                    slot_start: start.0,
                    slot: slot.0,
                    attempt: file.attempt.0,
                },
                spec: file.spec.clone(),
                digest: file.digest,
                bytes: bytes.clone(),
            }
        });
        let mut files: Vec<SmallArrival> = files.collect();
        let damaged = self.draw(files.len() as u64) as usize;
        if files[damaged].spec.size > 0 && self.chance(Fault::DamageSmall) {
            let mut bytes = files[damaged].bytes.to_vec();
            bytes[0] ^= 1;
            files[damaged].bytes = bytes.into();
        }
        let files = files.into_iter();
        let verified =
            files.filter(|file| Digest(*blake3::hash(&file.bytes).as_bytes()) == file.digest);
        let event = consumer::Event::Smalls {
            producer: frame.producer.clone(),
            incarnation: frame.incarnation,
            files: verified.collect(),
        };
        let consumer = &self.life(to).consumer;
        let is_old = frame.incarnation < consumer.seen(&frame.producer);
        self.consume_heard(to, is_old, event);
        if frame.route.len() > 1 && self.lives(to) {
            let next = Frame {
                route: frame.route[1..].to_vec(),
                hop: frame.hop + 1,
                ..frame
            };
            self.send_frame(to, next);
        }
    }
}
