//! A consumer with a log of its own: events in, effects out, and a restart whenever wanted.

mod draining;
mod flooding;
mod forgetting;
mod inboxes;
mod large;
mod mixed;

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Consumer, Effect, Event, SmallArrival};
use crate::ids::{Attempt, Digest, FeedName, Incarnation, Millis, NodeName, Slot, SlotId, Start};
use crate::journal::Ticket;
use crate::log::Position;
use crate::producer::{Identity, Session};
use crate::record::Record;
use crate::spec::{ConsumePolicy, FileSpec, OnConflict};
use crate::wire::{Commit, Leg, Message, Open, RefusalCode, SmallCommit};

const START: u64 = 0xfeed;
const CHUNK: u64 = 1 << 20;
const SIZE: u64 = 4 << 20;

/// A consumer of the feed `images`, to which the producer `cam` is connected.
struct Node {
    consumer: Consumer,
    /// Every record that was appended.
    log: Vec<(Position, Record)>,
    /// How many of them are synced.
    synced: usize,
    /// Tickets of this life begin behind these records.
    before: usize,
    segment: u32,
    /// What its configuration says.
    policies: Vec<ConsumePolicy>,
}

impl Node {
    fn new() -> Self {
        let mut node = Self {
            consumer: consumer(),
            log: Vec::new(),
            synced: 0,
            before: 0,
            segment: 1,
            policies: vec![policy(OnConflict::Rename)],
        };
        node.begin(&[]);
        node
    }

    /// A new life over the same log, in which the inboxes of these feeds are lost.
    fn restart(&mut self, lost: &[&str]) -> Vec<Effect> {
        self.consumer = consumer();
        self.segment += 1;
        for (position, record) in &self.log {
            self.consumer.replay(*position, record);
        }
        self.before = self.log.len();
        self.synced = self.before;
        self.begin(lost)
    }

    fn begin(&mut self, lost: &[&str]) -> Vec<Effect> {
        self.apply(Event::Policies(self.policies.clone()));
        let lost: BTreeSet<FeedName> = lost.iter().map(|feed| feed.parse().unwrap()).collect();
        let effects = self.consumer.begin(Millis(1), lost);
        let begun = self.keep(effects);
        self.apply(Event::PeerUp {
            node: cam(),
            session: Session(1),
            incarnation: Incarnation(1),
        });
        begun
    }

    fn apply(&mut self, event: Event) -> Vec<Effect> {
        let effects = self.consumer.apply(Millis(1), event);
        self.keep(effects)
    }

    /// Appends what is to be appended, and syncs it at once; all other effects, in order.
    fn keep(&mut self, effects: Vec<Effect>) -> Vec<Effect> {
        let mut others = Vec::new();
        for effect in effects {
            match effect {
                Effect::Append(_, record, _) => {
                    let at = Position {
                        segment: self.segment,
                        offset: u32::try_from(self.log.len()).unwrap(),
                    };
                    self.log.push((at, record));
                }
                other => others.push(other),
            }
        }
        if self.log.len() > self.synced {
            let new = self.log[self.synced..].iter();
            let positions = new.map(|(position, _)| *position).collect();
            self.synced = self.log.len();
            let through = Ticket((self.synced - self.before) as u64);
            let synced = Event::Synced { through, positions };
            others.extend(self.apply(synced));
        }
        others
    }

    fn hear(&mut self, message: Message) -> Vec<Effect> {
        self.apply(Event::Message {
            from: cam(),
            session: Session(1),
            message,
        })
    }

    fn open(&mut self, attempt: u32) -> Vec<Effect> {
        self.open_sized(attempt, SIZE)
    }

    fn open_sized(&mut self, attempt: u32, size: u64) -> Vec<Effect> {
        self.hear(Message::Open(Open {
            leg: leg(0, attempt),
            spec: spec("large", size),
            chunk_bytes: CHUNK,
        }))
    }

    fn ready(&mut self, attempt: u32, from: u64) -> Vec<Effect> {
        self.apply(Event::InflowReady {
            slot: slot(0),
            attempt: Attempt(attempt),
            from,
        })
    }

    /// Opens slot 0, receives all of it, and gets the commit for `digest`.
    fn receive(&mut self, attempt: u32, digest: Digest) -> Vec<Effect> {
        self.open(attempt);
        self.ready(attempt, 0);
        self.complete_and_commit(attempt, digest)
    }

    fn complete_and_commit(&mut self, attempt: u32, digest: Digest) -> Vec<Effect> {
        self.apply(Event::InflowComplete {
            slot: slot(0),
            attempt: Attempt(attempt),
            digest: DIGEST,
        });
        self.hear(Message::Commit(Commit {
            leg: leg(0, attempt),
            digest: digest.0.to_vec(),
        }))
    }

    fn small(&mut self, at: u64) -> Vec<Effect> {
        let file = SmallArrival {
            leg: leg(at, 1),
            spec: spec(&format!("small-{at}"), 5),
            digest: DIGEST,
            bytes: Bytes::from_static(b"small"),
        };
        self.apply(Event::Smalls {
            producer: cam(),
            incarnation: Incarnation(1),
            files: vec![file],
        })
    }

    fn commit_small(&mut self, at: u64) -> Vec<Effect> {
        self.hear(Message::SmallCommit(SmallCommit {
            slot_start: START,
            slots: vec![crate::ranges::SlotRange {
                from: at,
                to: at + 1,
            }],
        }))
    }
}

const DIGEST: Digest = Digest([7; 32]);

fn consumer() -> Consumer {
    Consumer::new(Identity {
        node: "store".parse().unwrap(),
        incarnation: Incarnation(1),
        start: Start(1),
        zone: None,
    })
}

fn policy(on_conflict: OnConflict) -> ConsumePolicy {
    ConsumePolicy {
        feed: "images".parse().unwrap(),
        inbox: "/in".to_owned(),
        layout: "{name}".to_owned(),
        on_conflict,
        min_free_bytes: 0,
        from: Vec::new(),
        owner: None,
        mode: None,
    }
}

fn cam() -> NodeName {
    NodeName::new("cam").unwrap()
}

fn slot(at: u64) -> SlotId {
    SlotId {
        producer: cam(),
        start: Start(START),
        slot: Slot(at),
    }
}

fn leg(at: u64, attempt: u32) -> Leg {
    Leg {
        start: START,
        seq: at,
        slot_start: START,
        slot: at,
        attempt,
    }
}

fn spec(name: &str, size: u64) -> FileSpec {
    FileSpec {
        feed: "images".to_owned(),
        name: name.to_owned(),
        size,
        ..FileSpec::default()
    }
}

/// The refusals among some effects.
fn refusals<'a>(effects: &'a [Effect]) -> Vec<(RefusalCode, &'a str)> {
    let of = |effect: &'a Effect| match effect {
        Effect::Send {
            message: Message::Refused(refused),
            ..
        } => Some((refused.code(), refused.reason.as_str())),
        _ => None,
    };
    effects.iter().filter_map(of).collect()
}
