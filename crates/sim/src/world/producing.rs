//! A producer's effects, and the streams that read its large files.

use consign_core::consumer;
use consign_core::ids::{Attempt, SlotId, Start, TransferKey};
use consign_core::log::{LogError, Position};
use consign_core::producer::{self, Effect, StreamFault, StreamOrder};
use consign_core::record::Record;
use consign_core::tree::{self, ChunkHash, ChunkHashes};
use consign_core::wire::Message;
use std::path::Path;

use super::World;
use super::flow::{NewFlow, Origin};
use super::happening::Work;
use super::log::Owner;
use super::node::SPOOL;
use crate::coverage::{self, Subject};
use crate::disk::is_injected;
use crate::ledger::Violation;
use crate::promise::Promise;
use consign_core::disk::OpenMode;

/// A large file that is being read, hashed and sent.
#[derive(Debug)]
pub(super) struct Stream {
    pub(super) order: StreamOrder,
    hashes: ChunkHashes,
    /// Chunks whose hashes the producer has been told.
    reported: u64,
    /// Whether its bytes are sent, or nobody wants them.
    sent: bool,
    /// Whether its digest is told.
    told: bool,
}

impl World {
    pub(super) fn produce(&mut self, node: usize, event: producer::Event) {
        if !self.lives(node) {
            return;
        }
        if !matches!(event, producer::Event::Tick) {
            self.line(|| format!("{} P< {event:?}", self.nodes[node].name));
        }
        let now = self.millis(node);
        let effects = self.life(node).producer.apply(now, event);
        self.producer_effects(node, effects);
    }

    pub(super) fn producer_effects(&mut self, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            if !self.lives(node) {
                return;
            }
            self.line(|| format!("{} P> {effect:?}", self.nodes[node].name));
            let number = coverage::producer_effect(&effect);
            self.coverage.hit(Subject::ProducerEffect, number);
            self.producer_effect(node, effect);
        }
    }

    fn producer_effect(&mut self, node: usize, effect: Effect) {
        let delay = self.disk_time(node);
        match effect {
            Effect::Append(ticket, record, payload) => {
                self.append(node, Owner::Producer, ticket, record, payload);
            }
            Effect::Send {
                session, message, ..
            } => {
                self.check_commit(node, &message);
                self.check_open(node, session, &message);
                self.send(session, true, message);
            }
            Effect::SendSmalls { route, files } => {
                let route = route.iter().map(|hop| {
                    let name = consign_core::ids::NodeName::new(&hop.node);
                    self.node_of(&name.expect("a clean name"))
                });
                let route: Vec<usize> = route.collect();
                for file in &files {
                    for (&to, &(start, slot)) in route.iter().zip(&file.slots) {
                        self.check_slot(node, to, start, slot);
                    }
                }
                self.do_after(node, delay, Work::SmallsLeave { route, files });
            }
            Effect::Stream(order) => self.stream(node, order),
            Effect::StopStream { key } => {
                self.life(node).streams.remove(&key);
                self.stop_flows(node, &Origin::Stream(key));
            }
            Effect::Fetch {
                key,
                submitted,
                placed,
            } => {
                let fetch = Work::Fetch {
                    key,
                    submitted,
                    placed,
                };
                self.do_after(node, delay, fetch);
            }
            Effect::Take { key, spec, source } => {
                self.do_after(node, delay, Work::Take { key, spec, source });
            }
            Effect::Release(releases) => self.do_after(node, delay, Work::Release(releases)),
            Effect::Answer(token, answer) => self.answered(node, token, answer),
            Effect::NeedsFrom { segment } => self.life(node).needs[0] = segment,
        }
    }

    pub(super) fn fetch(
        &mut self,
        node: usize,
        key: TransferKey,
        submitted: Position,
        placed: Option<Position>,
    ) {
        let reader = &self.life(node).reader;
        let first = reader.read(submitted);
        let second = placed.map(|position| reader.read(position)).transpose();
        if self.nodes[node].disk.has_crashed() {
            return;
        }
        let event = match (first, second) {
            (Ok((Record::Submitted(submitted), _)), Ok(second)) => {
                let placed = match second {
                    Some((Record::Placed(placed), _)) => Some(placed),
                    None => None,
                    Some((other, _)) => return self.misread(key, &format!("{other:?}")),
                };
                producer::Event::Fetched {
                    key,
                    submitted: Box::new(submitted),
                    placed,
                }
            }
            (Err(LogError::Io { source, .. }), _) | (_, Err(LogError::Io { source, .. }))
                if is_injected(&source) =>
            {
                // What was promised cannot be read: the node stops.
                self.life(node).stops = true;
                return;
            }
            (first, second) => return self.misread(key, &format!("{first:?}, {second:?}")),
        };
        self.produce(node, event);
    }

    fn misread(&mut self, key: TransferKey, what: &str) {
        self.violate(Violation {
            promise: Promise::ReadBack,
            what: format!("{key}: {what}"),
            file: None,
        });
    }

    fn stream(&mut self, node: usize, order: StreamOrder) {
        let key = order.key;
        self.stop_flows(node, &Origin::Stream(key));
        let mut hashes = ChunkHashes::new();
        let known = hashes.extend_from_bytes(&order.hashes);
        known.expect("the machine keeps whole hashes");
        let attempt = order.attempt;
        let target = order.to.clone();
        let (size, chunk_bytes) = (order.size, order.chunk_bytes);
        let stream = Stream {
            reported: hashes.len() as u64,
            sent: target.is_none(),
            told: false,
            hashes,
            order,
        };
        self.life(node).streams.insert(key, stream);
        let delay = self.disk_time(node);
        self.do_after(node, delay, Work::StreamStep { key, attempt });
        if let Some(target) = target {
            let new = NewFlow {
                from: node,
                to: target.node,
                origin: Origin::Stream(key),
                producer: self.name(node),
                incarnation: self.life(node).incarnation,
                leg: target.leg,
                attempt,
                first: target.from,
                size,
                chunk_bytes,
            };
            self.begin_flow(new);
        }
    }

    /// Hashes the next chunk.
    pub(super) fn stream_step(&mut self, node: usize, key: TransferKey, attempt: Attempt) {
        let life = self.life(node);
        let disk = life.disk.clone();
        let Some(stream) = life
            .streams
            .get_mut(&key)
            .filter(|stream| stream.order.attempt == attempt)
        else {
            return;
        };
        let (size, chunk_bytes) = (stream.order.size, stream.order.chunk_bytes);
        let index = stream.hashes.len() as u64;
        let chunks = tree::chunk_count(size, chunk_bytes);
        if index >= chunks {
            let digest = tree::root(&stream.hashes, size, chunk_bytes);
            stream.told = true;
            if stream.sent {
                life.streams.remove(&key);
            }
            return self.produce(node, producer::Event::DigestKnown { key, digest });
        }
        let len = tree::chunk_len(index, chunk_bytes, size).expect("it is in the file");
        let path = Path::new(SPOOL).join(&stream.order.source.spool);
        let read = disk.open(&path, OpenMode::Read).and_then(|file| {
            let mut bytes = vec![0; len as usize];
            file.read_exact_at(&mut bytes, index * chunk_bytes)?;
            Ok(bytes)
        });
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(error) => {
                self.stop_flows(node, &Origin::Stream(key));
                self.life(node).streams.remove(&key);
                let fault = StreamFault::Source(error.to_string());
                let failed = producer::Event::StreamFailed {
                    key,
                    attempt,
                    fault,
                };
                return self.produce(node, failed);
            }
        };
        let stream = self
            .life(node)
            .streams
            .get_mut(&key)
            .expect("looked up above");
        stream
            .hashes
            .push(tree::chunk_hash(&bytes, index, chunk_bytes, size));
        let delay = self.disk_time(node);
        self.do_after(node, delay, Work::StreamStep { key, attempt });
        self.wake_flows(node, &Origin::Stream(key));
        self.report_hashes(node, key);
    }

    fn report_hashes(&mut self, node: usize, key: TransferKey) {
        if !self.rng.one_in(2) {
            return;
        }
        let Some(stream) = self.life(node).streams.get_mut(&key) else {
            return;
        };
        let first_chunk = std::mem::replace(&mut stream.reported, stream.hashes.len() as u64);
        let hashes = stream.hashes.bytes_from(first_chunk as usize).to_vec();
        self.produce(
            node,
            producer::Event::Hashed {
                key,
                first_chunk,
                hashes,
            },
        );
    }

    /// A chunk of a source, once it is hashed.
    pub(super) fn stream_chunk(
        &self,
        node: usize,
        key: TransferKey,
        index: u64,
        len: u64,
    ) -> Result<Option<(ChunkHash, Vec<u8>)>, String> {
        let life = self.nodes[node].life.as_ref().ok_or("its node is gone")?;
        let stream = life.streams.get(&key).ok_or("its stream is gone")?;
        let Some(hash) = stream.hashes.get(index as usize) else {
            return Ok(None);
        };
        let path = Path::new(SPOOL).join(&stream.order.source.spool);
        let file = life
            .disk
            .open(&path, OpenMode::Read)
            .map_err(|e| e.to_string())?;
        let mut bytes = vec![0; len as usize];
        file.read_exact_at(&mut bytes, index * stream.order.chunk_bytes)
            .map_err(|e| e.to_string())?;
        Ok(Some((hash, bytes)))
    }

    pub(super) fn stream_sent(&mut self, node: usize, key: TransferKey) {
        let life = self.life(node);
        if let Some(stream) = life.streams.get_mut(&key) {
            stream.sent = true;
            if stream.told {
                life.streams.remove(&key);
            }
        }
    }

    pub(super) fn consume(&mut self, node: usize, event: consumer::Event) {
        if !self.lives(node) {
            return;
        }
        let quiet = matches!(event, consumer::Event::Tick | consumer::Event::Space { .. });
        if !quiet {
            self.line(|| format!("{} C< {event:?}", self.nodes[node].name));
        }
        let now = self.millis(node);
        let effects = self.life(node).consumer.apply(now, event);
        self.consumer_effects(node, effects);
    }

    fn check_open(&mut self, node: usize, session: producer::Session, message: &Message) {
        if let (Message::Open(open), Some(to)) = (message, self.consumer_of(session.0)) {
            let (start, slot) = (Start(open.leg.slot_start), open.leg.slot);
            self.check_slot(node, to, start, consign_core::ids::Slot(slot));
        }
    }

    /// Nobody hears of a slot before the placement that drew it is synced.
    fn check_slot(&mut self, node: usize, to: usize, start: Start, slot: consign_core::ids::Slot) {
        let producer = self.name(node);
        let slot = SlotId {
            producer,
            start,
            slot,
        };
        let found = self.ledger.spoken_of(to, slot);
        self.check(found);
    }

    /// Nobody is told to publish before the digest is synced.
    fn check_commit(&mut self, node: usize, message: &Message) {
        let Message::Commit(commit) = message else {
            return;
        };
        let key = TransferKey {
            start: Start(commit.leg.start),
            seq: consign_core::ids::Sequence(commit.leg.seq),
        };
        let file = self.ledger.file_of(node, key);
        if file.is_some_and(|file| !self.ledger.stories[file].digested) {
            self.violate(Violation {
                promise: Promise::DigestFirst,
                what: format!("{key} is committed"),
                file,
            });
        }
    }

    /// Nobody says `saved` before it is synced, nor of anything but what was sent.
    pub(super) fn check_word(&mut self, node: usize, session: u64, message: &Message) {
        let Some(producer) = self.producer_of(session) else {
            return;
        };
        let producer = self.name(producer);
        let (start, slots, receipt) = match message {
            Message::Saved(saved) => {
                let slots = saved.slots.iter().flat_map(|range| range.from..range.to);
                (saved.slot_start, slots.collect(), &saved.receipt)
            }
            Message::OpenAnswer(answer) => match &answer.receipt {
                Some(receipt) => (answer.leg.slot_start, vec![answer.leg.slot], receipt),
                None => return,
            },
            _ => return,
        };
        for (index, slot) in slots.into_iter().enumerate() {
            let slot = SlotId {
                producer: producer.clone(),
                start: Start(start),
                slot: consign_core::ids::Slot(slot),
            };
            let found = self.ledger.attested(node, &slot, receipt.leaf(index));
            self.check(found);
        }
    }
}
