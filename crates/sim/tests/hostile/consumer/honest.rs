//! The producer that keeps the protocol, among those that do not.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use consign_core::consumer::{Event, SmallArrival};
use consign_core::ids::{Digest, Incarnation, Slot, SlotId, Start};
use consign_core::limits;
use consign_core::ranges::SlotRange;
use consign_core::spec::FileSpec;
use consign_core::wire::{Closed, Commit, Leg, Message, Open, OpenStarts, SmallCommit, SmallQuery};

use super::{Bench, HONEST, HOSTILE, ROUND_MS, ROUNDS, content, digest_of, node};

/// Its start. Others name slots of it, too, as theirs.
pub(super) const START: u64 = 77;
/// Its files: small ones, and the last one large.
const FILES: u64 = 6;
const LARGE: u64 = FILES;

/// What the honest producer knows.
pub(super) struct Honest {
    salt: u64,
    heard: VecDeque<Message>,
    saved: BTreeSet<u64>,
    connected: bool,
    attempt: u32,
    opened: bool,
}

impl Honest {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            salt: seed,
            heard: VecDeque::new(),
            saved: BTreeSet::new(),
            connected: false,
            attempt: 1,
            opened: false,
        }
    }

    pub(super) fn restarted(&mut self) {
        self.heard.clear();
        self.connected = false;
    }

    pub(super) fn hear(&mut self, message: Message) {
        if let Message::Refused(refused) = &message {
            let code = refused.code();
            assert!(
                !code.is_final(),
                "an honest file is refused: {}",
                refused.reason
            );
        }
        self.heard.push_back(message);
    }

    fn bytes(&self, slot: u64) -> Bytes {
        let size = match slot {
            LARGE => limits::SMALL_FILE_BYTES_MAX + 1,
            small => small * 100,
        };
        content(HONEST, self.salt ^ slot << 20, size)
    }

    fn leg(&self, slot: u64) -> Leg {
        Leg {
            start: START,
            seq: slot,
            slot_start: START,
            slot,
            attempt: self.attempt,
        }
    }

    fn spec(&self, slot: u64) -> FileSpec {
        FileSpec {
            feed: "f".to_owned(),
            name: format!("honest/{slot}"),
            key: "k".to_owned(),
            size: self.bytes(slot).len() as u64,
            ..FileSpec::default()
        }
    }
}

impl Bench {
    fn say(&mut self, message: Message) {
        self.hear(&node(HONEST), message);
    }

    /// It connects, asks for everything that is not saved, and answers what it hears.
    pub(super) fn honest_step(&mut self) {
        if !self.honest.connected {
            self.up(HONEST);
            self.sync();
            self.honest.connected = true;
            self.honest.opened = false;
            self.honest.attempt += 1;
            let starts = vec![START];
            self.say(Message::OpenStarts(OpenStarts { starts }));
        }
        self.ask();
        while let Some(message) = self.honest.heard.pop_front() {
            self.on_answer(message);
        }
    }

    fn ask(&mut self) {
        let small = (1..LARGE).filter(|slot| !self.honest.saved.contains(slot));
        let slots: Vec<SlotRange> = small.map(range).collect();
        if !slots.is_empty() {
            self.say(Message::SmallQuery(SmallQuery {
                slot_start: START,
                slots,
            }));
        }
        if !self.honest.opened && !self.honest.saved.contains(&LARGE) {
            self.honest.opened = true;
            self.say(Message::Open(Open {
                leg: self.honest.leg(LARGE),
                spec: self.honest.spec(LARGE),
                chunk_bytes: limits::CHUNK_BYTES_MIN,
            }));
        }
    }

    fn on_answer(&mut self, message: Message) {
        match message {
            Message::SmallMissing(missing) => self.send_smalls(&missing.slots),
            Message::SmallReceived(received) => self.say(Message::SmallCommit(SmallCommit {
                slot_start: START,
                slots: received.slots,
            })),
            Message::OpenAnswer(answer) if answer.receipt.is_none() => {
                let slot = SlotId {
                    producer: node(HONEST),
                    start: Start(START),
                    slot: Slot(LARGE),
                };
                let bytes = self.honest.bytes(LARGE);
                match answer.holding == 0 {
                    true => self.receive(&slot, &bytes, u64::MAX),
                    false => self.commit_large(answer.leg),
                }
            }
            Message::OpenAnswer(_) => {
                self.honest.saved.insert(LARGE);
            }
            Message::Received(received) => self.commit_large(received.leg),
            Message::Saved(saved) => {
                let slots = saved.slots.iter().flat_map(|range| range.from..range.to);
                self.honest.saved.extend(slots);
            }
            // Not now: it is asked for again.
            Message::Refused(_) => {
                self.honest.opened = false;
                self.honest.attempt += 1;
            }
            _ => {}
        }
    }

    fn commit_large(&mut self, leg: Leg) {
        let digest = digest_of(&self.honest.bytes(LARGE)).to_vec();
        self.say(Message::Commit(Commit { leg, digest }));
    }

    fn send_smalls(&mut self, slots: &[SlotRange]) {
        let slots = slots.iter().flat_map(|range| range.from..range.to);
        let files = slots.map(|slot| {
            let bytes = self.honest.bytes(slot);
            SmallArrival {
                leg: self.honest.leg(slot),
                spec: self.honest.spec(slot),
                digest: Digest(digest_of(&bytes)),
                bytes,
            }
        });
        let event = Event::Smalls {
            producer: node(HONEST),
            incarnation: Incarnation(self.lives[HONEST]),
            files: files.collect(),
        };
        self.smalls(event);
    }

    /// The hostile ones say nothing more: the honest one is served, and after a restart all is as it
    /// was.
    pub(super) fn be_quiet(&mut self) {
        for _ in 0..ROUNDS {
            self.honest_step();
            self.settle();
            if self.honest.saved.len() as u64 == FILES {
                break;
            }
            self.now = self.now.plus(ROUND_MS);
            self.apply(Event::Tick);
            self.settle();
        }
        let saved = &self.honest.saved;
        assert_eq!(saved.len() as u64, FILES, "{saved:?} are saved");
        self.settle();
        self.check();
        self.check_honest_files();
        self.check_saved();
        self.restart();
        self.settle();
        self.check();
        self.check_honest_files();
        self.close_all();
    }

    pub(super) fn settle(&mut self) {
        while !self.life().unsynced.is_empty() || !self.life().done.is_empty() {
            self.sync();
            self.disk_is_done();
        }
    }

    /// Nobody was told `saved` of what is not shown, now that the disk has done all that it was told.
    fn check_saved(&mut self) {
        for (slot, entry) in self.life().consumer.entries() {
            let shown = entry.state.saved().is_none() || entry.state.is_over();
            assert!(shown, "{slot} is {} for ever", entry.state.name());
        }
    }

    /// Each is there once, whole.
    fn check_honest_files(&self) {
        for slot in 1..=FILES {
            let bytes = self.honest.bytes(slot);
            let shown = self.disk.files().into_iter().filter(|path| {
                let staged = path.components().any(|c| c.as_os_str() == ".consign");
                path.starts_with("/inboxes") && !staged && self.disk.holds(path, &bytes)
            });
            assert_eq!(shown.count(), 1, "of slot {slot}");
        }
    }

    /// Everybody says that all of its slots are closed: nothing is left of anybody.
    fn close_all(&mut self) {
        for name in HOSTILE.into_iter().chain([HONEST]) {
            // In a life that is not over.
            let seen = self.life().consumer.seen(&node(name)).0;
            self.lives.insert(name, seen.max(1));
            self.up(name);
            self.settle();
            let starts = Vec::new();
            self.hear(&node(name), Message::OpenStarts(OpenStarts { starts }));
            self.hear(
                &node(name),
                Message::Closed(Closed {
                    slot_start: START,
                    low: u64::MAX,
                    slots: Vec::new(),
                }),
            );
            self.settle();
        }
        for _ in 0..5 {
            self.now = self.now.plus(ROUND_MS);
            self.apply(Event::Tick);
            self.settle();
        }
        let left: Vec<_> = self
            .life()
            .consumer
            .entries()
            .map(|(slot, e)| (slot, e.state.name()))
            .collect();
        assert!(left.is_empty(), "{left:?} are left");
        let records = self.life().consumer.live_records();
        let peers = 1 + HOSTILE.len() as u64;
        assert!(
            records <= peers,
            "{records} records are live for {peers} peers"
        );
        self.check();
    }
}

fn range(slot: u64) -> SlotRange {
    SlotRange {
        from: slot,
        to: slot + 1,
    }
}
