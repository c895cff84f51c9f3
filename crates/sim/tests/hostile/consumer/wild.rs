//! What hostile producers say: anything, at any moment.

use bytes::Bytes;
use consign_core::consumer::{Event, SmallArrival};
use consign_core::ids::{Attempt, Digest, Incarnation, NodeName, Slot, SlotId, Start};
use consign_core::limits;
use consign_core::producer::Token;
use consign_core::ranges::SlotRange;
use consign_core::record::Receipt;
use consign_core::spec::FileSpec;
use consign_core::wire::{
    Abandon, Abandoned, Chunk, Closed, Commit, Credit, Forward, Leg, LinkLost, Message, Open,
    OpenAnswer, OpenStarts, Progress, Received, Refused, Saved, SmallCommit, SmallMissing,
    SmallQuery, SmallReceived, Stop,
};

use super::honest::START;
use super::{Bench, HOSTILE, content, digest_of, node};

/// Names that must not be published, or not where they say.
const BAD_NAMES: [&str; 16] = [
    "../out",
    "/etc/passwd",
    "a/../../b",
    "..",
    ".",
    "",
    "a//b",
    "a/",
    ".consign/marker",
    ".consign/evil",
    "a/.consign/b",
    "new\nline",
    "nul\0byte",
    "a/./b",
    "\u{1b}[2J",
    "../../data/log/00000000000000000001.log",
];

impl Bench {
    fn any_of(&mut self, numbers: &[u64]) -> u64 {
        numbers[self.rng.below(numbers.len() as u64) as usize]
    }

    fn any_hostile(&mut self) -> &'static str {
        HOSTILE[self.rng.below(HOSTILE.len() as u64) as usize]
    }

    fn any_leg(&mut self) -> Leg {
        let absurd = self.rng.one_in(15);
        let number = |bench: &mut Self, most: u64| match absurd {
            true => bench.any_of(&[0, u64::MAX, u64::MAX - 1, 1 << 63, u64::from(u32::MAX)]),
            false => bench.rng.below(most),
        };
        Leg {
            start: number(self, 3),
            seq: number(self, 8),
            slot_start: match self.rng.one_in(3) {
                true => START,
                false => number(self, 4),
            },
            slot: number(self, 8),
            attempt: number(self, 6) as u32,
        }
    }

    fn any_spec(&mut self, size: u64) -> FileSpec {
        let name = match self.rng.below(8) {
            0 | 1 => BAD_NAMES[self.rng.below(BAD_NAMES.len() as u64) as usize].to_owned(),
            2 => "n".repeat(self.any_of(&[255, 256, 2_048, 2_049, 100_000]) as usize),
            // Where the honest one wants to publish.
            3 => format!("honest/{}", self.rng.below(7)),
            4 => "honest".to_owned(),
            5 => "d/".repeat(self.any_of(&[3, 63, 64, 500]) as usize) + "f",
            _ => format!("n{}", self.rng.below(9)),
        };
        let feed = match self.rng.below(10) {
            0 => "../f",
            1 => "unknown",
            2 => "",
            3..6 => "g",
            _ => "f",
        };
        FileSpec {
            feed: feed.to_owned(),
            name,
            key: "k".repeat(self.any_of(&[0, 1, 1, 1, 4_096, 4_097]) as usize),
            size,
            ..FileSpec::default()
        }
    }

    fn any_slots(&mut self) -> Vec<SlotRange> {
        let from = self.rng.below(8);
        match self.rng.below(8) {
            0 => Vec::new(),
            1 => vec![SlotRange {
                from: 0,
                to: u64::MAX,
            }],
            2 => vec![SlotRange {
                from: from + 1,
                to: from,
            }],
            3 => vec![SlotRange { from: 0, to: 9 }; 3],
            4 => vec![SlotRange {
                from: u64::MAX,
                to: u64::MAX,
            }],
            _ => vec![SlotRange { from, to: from + 1 }],
        }
    }

    fn any_size(&mut self) -> u64 {
        let least = limits::SMALL_FILE_BYTES_MAX + 1;
        self.any_of(&[
            least,
            least,
            least,
            least + 9,
            0,
            1,
            least - 1,
            u64::MAX,
            1 << 45,
        ])
    }

    /// A digest: of what was received, or of nothing.
    fn any_digest(&mut self, leg: &Leg) -> Vec<u8> {
        match self.rng.below(5) {
            0 => vec![9; self.rng.below(40) as usize],
            1 => vec![9; 32],
            // As if its small file were a large one.
            2 => {
                let mut sent = self.sent.iter();
                let same = sent.find(|(slot, _)| slot.slot.0 == leg.slot);
                same.map_or(Vec::new(), |(_, digests)| digests[0].to_vec())
            }
            _ => digest_of(&large_of(leg)).to_vec(),
        }
    }

    fn any_message(&mut self) -> Message {
        let leg = self.any_leg();
        let slot_start = leg.slot_start;
        match self.rng.below(16) {
            0..4 => {
                let size = self.any_size();
                Message::Open(Open {
                    leg,
                    spec: self.any_spec(size),
                    chunk_bytes: self.any_of(&[1 << 20, 1 << 20, 1 << 20, 0, 7, 1 << 40]),
                })
            }
            4..6 => Message::Commit(Commit {
                leg,
                digest: self.any_digest(&leg),
            }),
            6 => Message::Abandon(Abandon { leg }),
            7 => Message::Forward(Forward {
                leg,
                to: ["evil", "", "../x", "store"][self.rng.below(4) as usize].to_owned(),
                addr: "nowhere".to_owned(),
                from: self.any_of(&[0, u64::MAX]),
                to_leg: leg,
            }),
            8 | 9 => Message::SmallQuery(SmallQuery {
                slot_start,
                slots: self.any_slots(),
            }),
            10..13 => Message::SmallCommit(SmallCommit {
                slot_start,
                slots: self.any_slots(),
            }),
            13 => Message::Closed(Closed {
                slot_start,
                low: self.any_of(&[0, 1, 2, 5, u64::MAX]),
                slots: self.any_slots(),
            }),
            14 if self.rng.one_in(3) => Message::OpenStarts(OpenStarts {
                starts: (0..self.any_of(&[0, 2, 4, 5_000])).collect(),
            }),
            _ => self.message_for_others(leg),
        }
    }

    /// What only a consumer, or a data connection, may say.
    fn message_for_others(&mut self, leg: Leg) -> Message {
        let (slot_start, slots) = (leg.slot_start, self.any_slots());
        let producer = "good".to_owned();
        match self.rng.below(11) {
            0 => Message::OpenAnswer(OpenAnswer {
                leg,
                ..OpenAnswer::default()
            }),
            1 => Message::Progress(Progress {
                leg,
                bytes: u64::MAX,
            }),
            2 => Message::Received(Received {
                leg,
                digest: Vec::new(),
            }),
            3 => Message::Saved(Saved {
                slot_start,
                slots,
                receipt: Receipt::default(),
            }),
            4 => Message::Abandoned(Abandoned { leg }),
            5 => Message::Refused(Refused {
                leg,
                ..Refused::default()
            }),
            6 => Message::LinkLost(LinkLost {
                leg,
                ..LinkLost::default()
            }),
            7 => Message::SmallReceived(SmallReceived { slot_start, slots }),
            8 => Message::SmallMissing(SmallMissing { slot_start, slots }),
            9 => Message::Chunk(Chunk {
                producer,
                leg,
                offset: u64::MAX,
                ..Chunk::default()
            }),
            _ => match self.rng.one_in(2) {
                true => Message::Stop(Stop {
                    producer,
                    leg,
                    reason: String::new(),
                }),
                false => Message::Credit(Credit {
                    producer,
                    leg,
                    through: u64::MAX,
                    verified: u64::MAX,
                }),
            },
        }
    }

    pub(super) fn step(&mut self) {
        match self.rng.below(40) {
            0..14 => {
                let (from, message) = (node(self.any_hostile()), self.any_message());
                self.said.push((from.clone(), message.clone()));
                self.hear(&from, message);
            }
            14..19 => {
                let event = self.any_smalls();
                self.arrivals.push(event.clone());
                self.smalls(event);
            }
            19..22 => self.say_again(),
            22..26 => self.sync(),
            26..30 => self.disk_is_done(),
            30 | 31 => self.come_up(),
            32 | 33 => self.bytes_arrive(),
            34 => {
                let ms = self.any_of(&[10, 1_500, 60_000]);
                self.now = self.now.plus(ms);
                self.apply(Event::Tick);
            }
            35 | 36 => self.honest_step(),
            37 => self.check(),
            38 if self.rng.one_in(4) => {
                let (token, node) = (Token(1), node(self.any_hostile()));
                self.apply(Event::Forget { token, node });
            }
            39 if self.rng.one_in(3) => self.restart(),
            _ => {}
        }
    }

    /// What was said in another life, or a moment ago, by whoever said it or somebody else.
    fn say_again(&mut self) {
        if self.rng.one_in(3) && !self.arrivals.is_empty() {
            let at = self.rng.below(self.arrivals.len() as u64) as usize;
            let event = self.arrivals[at].clone();
            return self.smalls(event);
        }
        if self.said.is_empty() {
            return;
        }
        let at = self.rng.below(self.said.len() as u64) as usize;
        let (mut from, message) = self.said[at].clone();
        if self.rng.one_in(3) {
            from = node(self.any_hostile());
        }
        self.hear(&from, message);
    }

    fn come_up(&mut self) {
        let name = self.any_hostile();
        let life = self.lives.entry(name).or_insert(1);
        *life = match self.rng.below(8) {
            0 => life.saturating_sub(1),
            1 => life.saturating_add(1),
            2 if self.rng.one_in(10) => u64::MAX,
            _ => *life,
        };
        self.up(name);
    }

    /// Bytes that somebody streams, as many as he likes, for any file that is open.
    fn bytes_arrive(&mut self) {
        let Some(slot) = self.any_inflow() else {
            return;
        };
        let hostile = slot.producer.as_str() != super::HONEST;
        if hostile {
            let leg = Leg {
                slot_start: slot.start.0,
                slot: slot.slot.0,
                ..Leg::default()
            };
            let upto = self.any_of(&[1, 1_000, u64::MAX, u64::MAX]);
            self.receive(&slot, &large_of(&leg), upto);
        }
        if self.rng.one_in(8) {
            let attempt = Attempt(self.rng.below(6) as u32);
            self.apply(Event::InflowReady {
                slot,
                attempt,
                from: 0,
            });
        }
    }

    fn any_smalls(&mut self) -> Event {
        let producer: NodeName = node(self.any_hostile());
        let life = self.lives.get(producer.as_str()).copied().unwrap_or(1);
        let many = 1 + self.rng.below(4);
        let files = (0..many).map(|_| {
            let leg = self.any_leg();
            let size = self.any_of(&[0, 1, 5, 300, 3_000]);
            let bytes = content(producer.as_str(), self.rng.below(1 << 40), size);
            let digest = match self.rng.one_in(6) {
                true => [9; 32],
                false => digest_of(&bytes),
            };
            let said = match self.rng.one_in(6) {
                true => self.any_of(&[0, u64::MAX, 5]),
                false => size,
            };
            SmallArrival {
                leg,
                spec: self.any_spec(said),
                digest: Digest(digest),
                bytes,
            }
        });
        let files = files.collect();
        let incarnation = match self.rng.one_in(8) {
            true => self.any_of(&[0, life.wrapping_add(1), u64::MAX]),
            false => life,
        };
        Event::Smalls {
            producer,
            incarnation: Incarnation(incarnation),
            files,
        }
    }
}

/// The bytes that are streamed for a slot.
fn large_of(leg: &Leg) -> Bytes {
    let slot = SlotId {
        producer: node("any"),
        start: Start(leg.slot_start),
        slot: Slot(leg.slot),
    };
    let number = slot.start.0 ^ slot.slot.0 << 8;
    content("large", number, limits::SMALL_FILE_BYTES_MAX + 10)
}
