//! What can happen, and when.

use std::cmp::Ordering;

use bytes::Bytes;
use consign_core::consumer::{self, PublishOrder, StageOrder};
use consign_core::disk::Attributes;
use consign_core::ids::{Attempt, FeedName, SlotId, TransferKey};
use consign_core::log::Position;
use consign_core::producer::{self, Release, SmallSend, Token};
use consign_core::spec::{FileSpec, Source};
use consign_core::tree::ChunkHash;
use consign_core::wire::Message;

use super::World;
use super::faults::Aftermath;
use super::flow::FlowHead;
use super::smalls::Frame;
use crate::plan::Fault;

/// Something that happens at a time; of two at the same time the one that was scheduled first.
#[derive(Debug)]
pub(super) struct Scheduled {
    pub(super) at: u64,
    pub(super) order: u64,
    pub(super) what: Box<Happening>,
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scheduled {
    /// The heap's greatest is what comes next.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

/// How a life ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Kill,
    PowerCut,
}

/// Work that a node does on its own threads, within one life.
#[derive(Debug)]
pub(super) enum Work {
    Tick,
    Commit,
    Synced,
    Dial(usize),
    Producer(producer::Event),
    Consumer(consumer::Event),
    Fetch {
        key: TransferKey,
        submitted: Position,
        placed: Option<Position>,
    },
    Take {
        key: TransferKey,
        spec: FileSpec,
        source: Source,
    },
    Release(Vec<Release>),
    SmallsLeave {
        route: Vec<usize>,
        files: Vec<SmallSend>,
    },
    StreamStep {
        key: TransferKey,
        attempt: Attempt,
    },
    OpenInflow {
        slot: SlotId,
        attempt: Attempt,
    },
    SyncInflow(SlotId),
    Seal {
        slot: SlotId,
        feed: FeedName,
        staging: String,
        path: String,
        attributes: Attributes,
    },
    Look(Vec<(SlotId, FeedName, String)>),
    Stage(Vec<StageOrder>),
    Publish(Vec<PublishOrder>),
    Spooled {
        token: Token,
        file: usize,
        source: Source,
    },
}

/// What can happen.
#[derive(Debug)]
pub(super) enum Happening {
    Start(usize),
    Work(usize, u32, Work),
    HandOver(usize),
    Hello(u64),
    Welcome(u64),
    Refused(u64),
    Deliver {
        link: u64,
        to_consumer: bool,
        message: Message,
    },
    Down {
        link: u64,
        at_consumer: bool,
    },
    Frame {
        to: usize,
        life: u32,
        frame: Frame,
    },
    FlowBegin(FlowHead),
    FlowReply {
        flow: u64,
        acked: Option<u64>,
    },
    FlowBroken(u64),
    Chunk {
        head: FlowHead,
        offset: u64,
        hash: ChunkHash,
        bytes: Bytes,
    },
    Fault(Fault),
    Aftermath(Aftermath),
    ViewTo(usize),
    Heal,
    LookForEnd,
}

impl Happening {
    /// A number for the trace's hash.
    pub(super) fn number(&self) -> u64 {
        match self {
            Self::Start(node) => 1 << 8 | *node as u64,
            Self::Work(node, life, work) => {
                2 << 32 | u64::from(*life) << 16 | (*node as u64) << 8 | work.number()
            }
            Self::HandOver(file) => 3 << 32 | *file as u64,
            Self::Hello(link) => 4 << 32 | link,
            Self::Welcome(link) => 5 << 32 | link,
            Self::Refused(link) => 6 << 32 | link,
            Self::Deliver { link, message, .. } => {
                let size = message.encoded_len() as u64;
                7 << 56 | link << 32 | size << 8 | u64::from(message.kind())
            }
            Self::Down { link, at_consumer } => 8 << 32 | link << 1 | u64::from(*at_consumer),
            Self::Frame { to, .. } => 9 << 32 | *to as u64,
            Self::FlowBegin(head) => 10 << 32 | head.flow,
            Self::FlowReply { flow, .. } => 11 << 32 | flow,
            Self::FlowBroken(flow) => 13 << 32 | flow,
            Self::Chunk { head, offset, .. } => 14 << 56 | head.flow << 32 | offset,
            Self::Fault(fault) => 15 << 32 | *fault as u64,
            Self::Aftermath(_) => 19 << 32,
            Self::ViewTo(node) => 16 << 32 | *node as u64,
            Self::Heal => 17 << 32,
            Self::LookForEnd => 18 << 32,
        }
    }
}

impl Work {
    fn number(&self) -> u64 {
        match self {
            Self::Tick => 1,
            Self::Commit => 2,
            Self::Synced => 3,
            Self::Dial(_) => 4,
            Self::Producer(_) => 5,
            Self::Consumer(_) => 6,
            Self::Fetch { .. } => 7,
            Self::Take { .. } => 8,
            Self::Release(_) => 9,
            Self::SmallsLeave { .. } => 10,
            Self::StreamStep { .. } => 11,
            Self::OpenInflow { .. } => 12,
            Self::SyncInflow(_) => 13,
            Self::Seal { .. } => 14,
            Self::Look(_) => 15,
            Self::Stage(_) => 16,
            Self::Publish(_) => 17,
            Self::Spooled { .. } => 18,
        }
    }
}

impl World {
    /// Lets something happen; true when that was the end.
    pub(super) fn happen(&mut self, what: Happening) -> bool {
        let concerned = match &what {
            Happening::Work(node, life, _) => {
                if !self.is_alive(*node, *life) {
                    return false;
                }
                Some(*node)
            }
            Happening::Frame { to, .. } => Some(*to),
            Happening::Chunk { head, .. } => Some(head.to),
            Happening::Start(node) => Some(*node),
            _ => None,
        };
        match what {
            Happening::Start(node) => self.start(node),
            Happening::Work(node, _, work) => self.work(node, work),
            Happening::HandOver(file) => self.hand_over(file),
            Happening::Hello(link) => self.on_hello(link),
            Happening::Welcome(link) => self.on_welcome(link),
            Happening::Refused(link) => self.on_refused(link),
            Happening::Deliver {
                link,
                to_consumer,
                message,
            } => self.on_deliver(link, to_consumer, message),
            Happening::Down { link, at_consumer } => self.on_down(link, at_consumer),
            Happening::Frame { to, life, frame } => self.on_frame(to, life, frame),
            Happening::FlowBegin(head) => self.on_flow_begin(&head),
            Happening::FlowReply { flow, acked } => self.on_flow_reply(flow, acked),
            Happening::FlowBroken(flow) => self.flow_broken(flow, "the connection broke"),
            Happening::Chunk {
                head,
                offset,
                hash,
                bytes,
            } => self.on_chunk(&head, offset, hash, &bytes),
            Happening::Fault(fault) => self.on_fault(fault),
            Happening::Aftermath(aftermath) => self.on_aftermath(aftermath),
            Happening::ViewTo(node) => self.view_to(node),
            Happening::Heal => self.heal(),
            Happening::LookForEnd => return self.look_for_end(),
        }
        match concerned {
            Some(node) => self.bury(node),
            None => (0..self.nodes.len()).for_each(|node| self.bury(node)),
        }
        false
    }

    fn work(&mut self, node: usize, work: Work) {
        match work {
            Work::Tick => self.tick(node),
            Work::Commit => self.commit(node),
            Work::Synced => self.tell_synced(node),
            Work::Dial(to) => self.dial(node, to),
            Work::Producer(event) => self.produce(node, event),
            Work::Consumer(event) if self.is_stale(node, &event) => {}
            Work::Consumer(event) => self.consume(node, event),
            Work::Fetch {
                key,
                submitted,
                placed,
            } => self.fetch(node, key, submitted, placed),
            Work::Take { key, spec, source } => self.take_source(node, key, &spec, source),
            Work::Release(releases) => self.release_sources(node, &releases),
            Work::SmallsLeave { route, files } => self.smalls_leave(node, &route, files),
            Work::StreamStep { key, attempt } => self.stream_step(node, key, attempt),
            Work::OpenInflow { slot, attempt } => self.open_inflow(node, &slot, attempt),
            Work::SyncInflow(slot) => self.sync_inflow(node, &slot),
            Work::Seal {
                slot,
                feed,
                staging,
                path,
                attributes,
            } => self.seal(node, slot, &feed, &staging, &path, &attributes),
            Work::Look(files) => self.look(node, files),
            Work::Stage(orders) => self.stage(node, orders),
            Work::Publish(orders) => self.publish(node, orders),
            Work::Spooled {
                token,
                file,
                source,
            } => self.spooled(node, token, file, source),
        }
    }
}
