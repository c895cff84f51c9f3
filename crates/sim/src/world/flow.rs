//! Chunks of large files on their way: one flow for each link of a chain, from a producer's stream
//! or from what an inflow holds.

use bytes::Bytes;
use consign_core::consumer;
use consign_core::ids::{Attempt, Incarnation, NodeName, Slot, SlotId, Start, TransferKey};
use consign_core::producer::{self, StreamFault};
use consign_core::tree::{self, ChunkHash};
use consign_core::wire::Leg;

use super::happening::Work;
use super::{Happening, World};
use crate::plan::Fault;

/// Chunks of one flow that may be under way.
const WINDOW_CHUNKS: u64 = 2;

/// What the receiver knows of a flow: it comes with every message.
#[derive(Debug, Clone)]
pub(super) struct FlowHead {
    pub(super) flow: u64,
    pub(super) to: usize,
    to_life: u32,
    pub(super) slot: SlotId,
    pub(super) incarnation: Incarnation,
    pub(super) attempt: Attempt,
}

/// Whose bytes flow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origin {
    Stream(TransferKey),
    Inflow(SlotId),
}

/// A flow as its sender sees it.
#[derive(Debug)]
pub(super) struct Flow {
    head: FlowHead,
    from: usize,
    from_life: u32,
    origin: Origin,
    /// The sender's own attempt, under which it reports.
    attempt: Attempt,
    size: u64,
    chunk_bytes: u64,
    granted: bool,
    next: u64,
    acked: u64,
    last: u64,
}

/// What is needed to begin a flow.
pub(super) struct NewFlow {
    pub(super) from: usize,
    pub(super) to: NodeName,
    pub(super) origin: Origin,
    pub(super) producer: NodeName,
    pub(super) incarnation: Incarnation,
    pub(super) leg: Leg,
    pub(super) attempt: Attempt,
    pub(super) first: u64,
    pub(super) size: u64,
    pub(super) chunk_bytes: u64,
}

impl World {
    pub(super) fn begin_flow(&mut self, new: NewFlow) {
        let number = self.next_number;
        self.next_number += 1;
        let to = self.node_of(&new.to);
        let from = new.from;
        let to_life = self.nodes[to].life.as_ref().map_or(0, |life| life.number);
        let head = FlowHead {
            flow: number,
            to,
            to_life,
            slot: SlotId {
                producer: new.producer,
                start: Start(new.leg.slot_start),
                slot: Slot(new.leg.slot),
            },
            incarnation: new.incarnation,
            attempt: Attempt(new.leg.attempt),
        };
        let flow = Flow {
            head: head.clone(),
            from,
            from_life: self.life(from).number,
            origin: new.origin,
            attempt: new.attempt,
            size: new.size,
            chunk_bytes: new.chunk_bytes,
            granted: false,
            next: new.first,
            acked: new.first,
            last: self.now,
        };
        self.flows.insert(number, flow);
        if self.lives(to) && !self.is_blocked(from, to) {
            let delay = self.latency(from, to);
            self.after(delay, Happening::FlowBegin(head));
        } else {
            let delay = self.draw(300_000);
            self.after(delay, Happening::FlowBroken(number));
        }
    }

    pub(super) fn on_flow_begin(&mut self, head: &FlowHead) {
        let takes = self.is_alive(head.to, head.to_life) && self.takes_chunks(head);
        let acked = takes.then_some(0);
        self.reply(head, acked);
    }

    /// Tells the sender how far its bytes are accepted, or that they are not.
    fn reply(&mut self, head: &FlowHead, acked: Option<u64>) {
        let Some(flow) = self.flows.get(&head.flow) else {
            return;
        };
        let from = flow.from;
        if !self.is_alive(head.to, head.to_life) {
            return;
        }
        let at = self.now + self.latency(head.to, from);
        let flow = self.flows.get_mut(&head.flow).expect("looked up above");
        flow.last = at.max(flow.last + 1);
        let at = flow.last;
        let flow = head.flow;
        self.at(at, Happening::FlowReply { flow, acked });
    }

    pub(super) fn on_flow_reply(&mut self, number: u64, acked: Option<u64>) {
        let Some(flow) = self.flows.get_mut(&number) else {
            return;
        };
        match acked {
            None => self.flow_broken(number, "the receiver does not take it"),
            Some(acked) => {
                flow.granted = true;
                flow.acked = flow.acked.max(acked);
                if flow.acked >= flow.size {
                    self.flow_done(number);
                } else {
                    self.pump_flow(number);
                }
            }
        }
    }

    fn flow_done(&mut self, number: u64) {
        if let Some(flow) = self.flows.remove(&number)
            && let Origin::Stream(key) = flow.origin
            && self.is_alive(flow.from, flow.from_life)
        {
            self.stream_sent(flow.from, key);
        }
    }

    /// Sends what is there and fits in the window.
    pub(super) fn pump_flow(&mut self, number: u64) {
        loop {
            let Some(flow) = self.flows.get(&number) else {
                return;
            };
            let under_way = (flow.next - flow.acked.min(flow.next)).div_ceil(flow.chunk_bytes);
            let sent = flow.next >= flow.size;
            if !flow.granted || sent || under_way >= WINDOW_CHUNKS {
                return;
            }
            let (from, origin, offset) = (flow.from, flow.origin.clone(), flow.next);
            let index = offset / flow.chunk_bytes;
            let len =
                tree::chunk_len(index, flow.chunk_bytes, flow.size).expect("it is in the file");
            let chunk = match &origin {
                Origin::Stream(key) => self.stream_chunk(from, *key, index, len),
                Origin::Inflow(slot) => self.inflow_chunk(from, slot, index, offset, len),
            };
            match chunk {
                Ok(Some((hash, bytes))) => self.send_chunk(number, offset, hash, bytes),
                Ok(None) => return,
                Err(why) => return self.flow_broken(number, &why),
            }
        }
    }

    fn send_chunk(&mut self, number: u64, offset: u64, mut hash: ChunkHash, mut bytes: Vec<u8>) {
        if self.chance(Fault::DamageChunk) {
            let at = self.draw(bytes.len() as u64) as usize;
            bytes[at] ^= 1;
        }
        let flow = &self.flows[&number];
        let (from, to) = (flow.from, flow.head.to);
        let forwarded = matches!(flow.origin, Origin::Inflow(_));
        if forwarded && self.chance(Fault::ForgeChunk) {
            let flow = &self.flows[&number];
            let (index, chunk_bytes, size) =
                (offset / flow.chunk_bytes, flow.chunk_bytes, flow.size);
            bytes[0] ^= 1;
            hash = tree::chunk_hash(&bytes, index, chunk_bytes, size);
        }
        let at = self.now + self.latency(from, to);
        let flow = self.flows.get_mut(&number).expect("its caller has it");
        flow.next = offset + bytes.len() as u64;
        flow.last = at.max(flow.last + 1);
        let (head, at) = (flow.head.clone(), flow.last);
        let bytes = Bytes::from(bytes);
        self.at(
            at,
            Happening::Chunk {
                head,
                offset,
                hash,
                bytes,
            },
        );
    }

    pub(super) fn on_chunk(
        &mut self,
        head: &FlowHead,
        offset: u64,
        hash: ChunkHash,
        bytes: &Bytes,
    ) {
        if !self.is_alive(head.to, head.to_life) {
            return;
        }
        let acked = self.accept_chunk(head, offset, hash, bytes);
        self.reply(head, acked);
    }

    /// A flow ends before its last byte was acknowledged.
    pub(super) fn flow_broken(&mut self, number: u64, why: &str) {
        let Some(flow) = self.flows.remove(&number) else {
            return;
        };
        if !self.is_alive(flow.from, flow.from_life) {
            return;
        }
        match flow.origin {
            Origin::Stream(key) => {
                self.life(flow.from).streams.remove(&key);
                let event = producer::Event::StreamFailed {
                    key,
                    attempt: flow.attempt,
                    fault: StreamFault::Link(why.to_owned()),
                };
                self.do_after(flow.from, 1, Work::Producer(event));
            }
            Origin::Inflow(slot) => {
                let event = consumer::Event::ForwardLost {
                    slot,
                    attempt: flow.attempt,
                    to: self.name(flow.head.to),
                    reason: why.to_owned(),
                };
                self.do_after(flow.from, 1, Work::Consumer(event));
            }
        }
    }

    /// More of a file is there: whatever waits for it goes on.
    pub(super) fn wake_flows(&mut self, node: usize, origin: &Origin) {
        let waiting: Vec<u64> = self
            .flows
            .iter()
            .filter(|(_, flow)| flow.from == node && flow.origin == *origin)
            .map(|(number, _)| *number)
            .collect();
        for number in waiting {
            self.pump_flow(number);
        }
    }

    /// Ends flows without a report: their sender wants them no more.
    pub(super) fn stop_flows(&mut self, node: usize, origin: &Origin) {
        self.flows
            .retain(|_, flow| flow.from != node || flow.origin != *origin);
    }

    /// The flows of a node that ends: its own are gone, those to it break.
    pub(super) fn flows_end(&mut self, node: usize) {
        self.flows.retain(|_, flow| flow.from != node);
        self.break_flows(|flow| flow.head.to == node);
    }

    /// The flows between two nodes that cannot reach each other any more break.
    pub(super) fn break_flows_between(&mut self, a: usize, b: usize) {
        self.break_flows(|flow| {
            (flow.from, flow.head.to) == (a, b) || (flow.from, flow.head.to) == (b, a)
        });
    }

    fn some_flow(&mut self) -> Option<u64> {
        let nth = self.draw(self.flows.len() as u64) as usize;
        self.flows.keys().nth(nth).copied()
    }

    pub(super) fn break_some_flow(&mut self) -> bool {
        let some = self.some_flow();
        if let Some(number) = some {
            self.break_flows(|flow| flow.head.flow == number);
        }
        some.is_some()
    }

    /// Whatever goes over one of the flows from now on is late.
    pub(super) fn stall_some_flow(&mut self, by_us: u64) -> bool {
        let (now, some) = (self.now, self.some_flow());
        let flow = some.and_then(|number| self.flows.get_mut(&number));
        if let Some(flow) = flow {
            flow.last = flow.last.max(now + by_us);
        }
        some.is_some()
    }

    fn break_flows(&mut self, which: impl Fn(&Flow) -> bool) {
        let broken: Vec<u64> = self
            .flows
            .iter()
            .filter(|(_, flow)| which(flow))
            .map(|(number, _)| *number)
            .collect();
        for number in broken {
            // What is under way may still arrive, as from the buffers of a connection.
            let flow = self.flows.get_mut(&number).expect("just listed");
            flow.granted = false;
            let delay = self.draw(1_000_000);
            self.after(delay, Happening::FlowBroken(number));
        }
    }
}
