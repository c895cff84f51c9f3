//! Consumers that keep the protocol, and whatever was said for good before.

use consign_core::ids::NodeName;
use consign_core::producer::{Event, SmallSend, Token};
use consign_core::view::MemberState;
use consign_core::wire::{
    Abandoned, Holding, Hop, Leg, Message, OpenAnswer, Received, Saved, SmallMissing, SmallReceived,
};

use super::{Bench, NODES, ROUND_MS, ROUNDS, digest_of, key_of, leg, member, node, one};

impl Bench {
    /// Everybody keeps the protocol, and what was said for good.
    pub(super) fn be_honest(&mut self) {
        self.restart();
        self.members = NODES.map(|name| member(name, MemberState::Active)).into();
        self.apply(Event::View(self.view()));
        for name in NODES {
            self.up(name);
        }
        for round in 0..ROUNDS {
            self.sync(usize::MAX);
            let mut fetched = 0;
            while !self.fetches.is_empty() {
                let first = self.fetches[0];
                self.fetch(0);
                fetched += 1;
                assert!(fetched < 10_000, "{} is read again and again", first.0);
            }
            while !self.takes.is_empty() {
                self.take(0);
            }
            let keys = std::mem::take(&mut self.releases);
            if !keys.is_empty() {
                let failed = Vec::new();
                self.apply(Event::SourcesReleased { keys, failed });
            }
            for (key, _) in std::mem::take(&mut self.streams) {
                let digest = digest_of(key);
                self.apply(Event::DigestKnown { key, digest });
            }
            for (route, files) in std::mem::take(&mut self.frames) {
                self.take_frame(&route, &files);
            }
            for (to, message) in std::mem::take(&mut self.said) {
                self.answer(&to, message);
            }
            if round % 8 == 0 {
                let token = Token(self.number());
                self.apply(Event::Retry { token, key: None });
            }
            if self.producer.unfinished() == 0 && self.unsynced.is_empty() && self.said.is_empty() {
                return;
            }
            self.now = self.now.plus(ROUND_MS);
            self.apply(Event::Tick);
        }
        let left: Vec<_> = self.producer.transfers().collect();
        panic!(
            "{} files are not delivered although everybody is honest: {left:#?} {:?} {:?}",
            self.producer.unfinished(),
            self.producer.feeds(),
            self.producer.destinations()
        );
    }

    fn take_frame(&mut self, route: &[Hop], files: &[SmallSend]) {
        for file in files {
            for (hop, (start, slot)) in route.iter().zip(&file.slots) {
                let who = node(&hop.node);
                let at = (who.clone(), start.0, slot.0);
                let message = if self.abandoned.contains(&at) && !self.saved.contains(&at) {
                    let leg = leg(file.key, file.attempt, start.0, slot.0);
                    Message::Abandoned(Abandoned { leg })
                } else {
                    Message::SmallReceived(SmallReceived {
                        slot_start: start.0,
                        slots: one(slot.0),
                    })
                };
                self.hear(&who, message);
            }
        }
    }

    fn answer(&mut self, who: &NodeName, message: Message) {
        let at = |leg: &Leg| (who.clone(), leg.slot_start, leg.slot);
        match message {
            Message::Open(open) => {
                let leg = open.leg;
                let is_saved = self.saved.contains(&at(&leg));
                let holding = match (is_saved, self.abandoned.contains(&at(&leg))) {
                    (true, _) => Holding::Saved,
                    (false, true) => Holding::Abandoned,
                    (false, false) => Holding::Part,
                };
                let key = key_of(leg.start, leg.seq);
                self.hear(
                    who,
                    Message::OpenAnswer(OpenAnswer {
                        leg,
                        holding: holding.into(),
                        digest: digest_of(key).0.to_vec(),
                        receipt: is_saved.then(|| self.receipt(who, leg.slot_start, &[leg.slot])),
                        ..OpenAnswer::default()
                    }),
                );
                if holding == Holding::Part {
                    let digest = digest_of(key).0.to_vec();
                    self.hear(who, Message::Received(Received { leg, digest }));
                }
            }
            Message::Commit(commit) => self.say_saved(who, commit.leg.slot_start, commit.leg.slot),
            Message::Abandon(abandon) => {
                let leg = abandon.leg;
                match self.saved.contains(&at(&leg)) {
                    true => self.say_saved(who, leg.slot_start, leg.slot),
                    false => self.hear(who, Message::Abandoned(Abandoned { leg })),
                }
            }
            Message::SmallQuery(query) => {
                for slot in query.slots.iter().flat_map(|range| range.from..range.to) {
                    match self.saved.contains(&(who.clone(), query.slot_start, slot)) {
                        true => self.say_saved(who, query.slot_start, slot),
                        false => self.hear(
                            who,
                            Message::SmallMissing(SmallMissing {
                                slot_start: query.slot_start,
                                slots: one(slot),
                            }),
                        ),
                    }
                }
            }
            Message::SmallCommit(commit) => {
                for slot in commit.slots.iter().flat_map(|range| range.from..range.to) {
                    self.say_saved(who, commit.slot_start, slot);
                }
            }
            // The others are not answered.
            _ => {}
        }
    }

    fn say_saved(&mut self, who: &NodeName, slot_start: u64, slot: u64) {
        let saved = Saved {
            slot_start,
            slots: one(slot),
            receipt: self.receipt(who, slot_start, &[slot]),
        };
        self.hear(who, Message::Saved(saved));
    }
}
