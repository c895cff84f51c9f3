//! What may happen before everybody is honest: anything.

use consign_core::ids::{Attempt, NodeName, Slot, Start, TransferKey};
use consign_core::producer::{Event, StreamFault, Token, Unread};
use consign_core::ranges::SlotRange;
use consign_core::view::MemberState;
use consign_core::wire::{
    Abandoned, Leg, LinkLost, Message, OpenAnswer, Progress, Received, Refused, Saved,
    SmallLinkLost, SmallMissing, SmallReceived,
};

use super::{Bench, LARGE, NODES, digest_of, feed, key_of, member, node, one};

impl Bench {
    fn any_node(&mut self) -> &'static str {
        NODES[self.rng.below(NODES.len() as u64) as usize]
    }

    fn any_key(&mut self) -> Option<TransferKey> {
        let many = self.keys.len() as u64;
        (many > 0).then(|| self.keys[self.rng.below(many) as usize])
    }

    /// A leg that somebody knows, sometimes bent.
    fn any_leg(&mut self) -> (NodeName, Leg) {
        let many = self.legs.len() as u64;
        if many == 0 || self.rng.one_in(20) {
            let leg = Leg {
                start: self.rng.below(4),
                seq: self.rng.below(20),
                slot_start: self.rng.below(4),
                slot: self.rng.below(20),
                attempt: self.rng.below(4) as u32,
            };
            return (node(self.any_node()), leg);
        }
        // The newest ones are the most interesting.
        let back = self.rng.below(many.min(12));
        let at = match self.rng.one_in(4) {
            true => self.rng.below(many),
            false => many - 1 - back,
        };
        let (mut who, mut leg) = self.legs[at as usize].clone();
        match self.rng.below(24) {
            0 => leg.attempt = leg.attempt.wrapping_add(1),
            1 => leg.attempt = leg.attempt.saturating_sub(1),
            2 => leg.slot = leg.slot.wrapping_add(1),
            3 => leg.seq = leg.seq.wrapping_add(1),
            4 => who = node(self.any_node()),
            5 => leg.slot_start = u64::MAX,
            6 => leg.slot = u64::MAX,
            _ => {}
        }
        (who, leg)
    }

    fn any_slots(&mut self, slot: u64) -> Vec<SlotRange> {
        match self.rng.below(12) {
            0 => Vec::new(),
            1 => vec![SlotRange {
                from: 0,
                to: u64::MAX,
            }],
            2 => vec![SlotRange {
                from: slot.wrapping_add(1),
                to: slot,
            }],
            3 => (0..5).flat_map(one).collect(),
            _ => one(slot),
        }
    }

    fn any_message(&mut self) -> (NodeName, Message) {
        let (who, leg) = self.any_leg();
        let slot_start = leg.slot_start;
        let digest = digest_of(key_of(leg.start, leg.seq)).0.to_vec();
        let to = self.any_node().to_owned();
        let from = self.rng.below(2 * LARGE);
        let slots = self.any_slots(leg.slot);
        let message = match self.rng.below(13) {
            0..2 => Message::OpenAnswer(OpenAnswer {
                leg,
                holding: self.rng.below(5) as i32,
                from,
                digest,
                receipt: match self.rng.one_in(4) {
                    true => None,
                    false => Some(self.any_receipt(&who, slot_start, &[leg.slot])),
                },
            }),
            2 => Message::Progress(Progress { leg, bytes: from }),
            3..5 => Message::Received(Received { leg, digest }),
            5..7 => {
                let signer = match self.rng.one_in(10) {
                    true => node(&to),
                    false => who.clone(),
                };
                let of = slots.iter().flat_map(|range| range.from..range.to);
                let of: Vec<u64> = of.take(100).collect();
                Message::Saved(Saved {
                    slot_start,
                    receipt: self.any_receipt(&signer, slot_start, &of),
                    slots,
                })
            }
            7 => Message::Abandoned(Abandoned { leg }),
            8 => Message::Refused(Refused {
                leg,
                code: self.rng.below(9) as i32,
                reason: "so".to_owned(),
                retry_after_ms: self.rng.below(100_000),
            }),
            9 => Message::LinkLost(LinkLost {
                leg,
                to,
                reason: "cut".to_owned(),
            }),
            10 => Message::SmallReceived(SmallReceived { slot_start, slots }),
            11 => Message::SmallMissing(SmallMissing { slot_start, slots }),
            _ => Message::SmallLinkLost(SmallLinkLost {
                to,
                slot_start,
                slots,
                reason: "cut".to_owned(),
            }),
        };
        (who, message)
    }

    pub(super) fn step(&mut self) {
        match self.rng.below(40) {
            0..4 => self.submit(),
            4..18 => {
                let (who, message) = self.any_message();
                self.hear(&who, message);
            }
            18..24 => {
                let many = self.rng.below(6) as usize;
                self.sync(many);
            }
            24 | 25 => {
                let name = self.any_node();
                self.up(name);
            }
            26 => {
                let name = self.any_node();
                self.down(name);
            }
            27 | 28 => {
                let ms = [10, 500, 6_000, 40_000][self.rng.below(4) as usize];
                self.now = self.now.plus(ms);
                self.apply(Event::Tick);
            }
            29..31 if !self.fetches.is_empty() => {
                let at = self.rng.below(self.fetches.len() as u64) as usize;
                self.fetch(at);
            }
            31 if !self.takes.is_empty() => {
                let at = self.rng.below(self.takes.len() as u64) as usize;
                self.take(at);
            }
            32 | 33 => self.stream(),
            34 => {
                let (keys, failed) = match self.rng.one_in(3) {
                    true => (Vec::new(), std::mem::take(&mut self.releases)),
                    false => (std::mem::take(&mut self.releases), Vec::new()),
                };
                self.apply(Event::SourcesReleased { keys, failed });
            }
            35 => self.order(),
            36 => self.change_members(),
            37 => {
                let through = self.segment;
                self.segment += 1;
                self.apply(Event::Carry { through });
            }
            38 => self.small_fault(),
            39 if self.rng.one_in(3) => self.restart(),
            _ => {}
        }
    }

    fn stream(&mut self) {
        let known = self.streams.len() as u64;
        let (key, attempt) = match known {
            0 => match self.any_key() {
                Some(key) => (key, Attempt(1)),
                None => return,
            },
            many => self.streams[self.rng.below(many) as usize],
        };
        let first_chunk = self.rng.below(4);
        match self.rng.below(5) {
            0 => self.apply(Event::Hashed {
                key,
                first_chunk,
                hashes: vec![7; 32 * 2],
            }),
            1 | 2 => self.apply(Event::DigestKnown {
                key,
                digest: digest_of(key),
            }),
            3 => self.apply(Event::StreamFailed {
                key,
                attempt,
                fault: StreamFault::Link("reset".to_owned()),
            }),
            _ => self.apply(Event::StreamFailed {
                key,
                attempt,
                fault: StreamFault::Source("it was changed".to_owned()),
            }),
        }
    }

    fn small_fault(&mut self) {
        let (to, leg) = self.any_leg();
        if self.rng.one_in(2) {
            return self.apply(Event::SmallsNotSent {
                to,
                slots: vec![(Start(leg.slot_start), Slot(leg.slot))],
                reason: "reset".to_owned(),
            });
        }
        let why = match self.rng.one_in(2) {
            true => Unread::Moved,
            false => Unread::Lost("rot".to_owned()),
        };
        self.apply(Event::SmallUnread {
            key: key_of(leg.start, leg.seq),
            attempt: Attempt(leg.attempt),
            to,
            why,
        });
    }

    fn order(&mut self) {
        let token = Token(self.number());
        let Some(key) = self.any_key() else {
            return;
        };
        match self.rng.below(8) {
            0..3 => self.apply(Event::Cancel { token, key }),
            3..5 => self.apply(Event::Retry {
                token,
                key: Some(key),
            }),
            5 => self.apply(Event::Retry { token, key: None }),
            // As many stay as a file may want.
            _ if self.forgotten.is_empty() => {
                let name = node(self.any_node());
                self.forgotten.insert(name.clone());
                self.apply(Event::Forget { token, node: name });
            }
            _ => {}
        }
    }

    fn change_members(&mut self) {
        let at = self.rng.below(NODES.len() as u64) as usize;
        let state = match self.rng.below(4) {
            0 => MemberState::Draining,
            1 => MemberState::Left,
            _ => MemberState::Active,
        };
        self.members[at] = member(NODES[at], state);
        if self.rng.one_in(4) {
            self.members[at].feeds.remove(&feed("g"));
        }
        self.apply(Event::View(self.view()));
    }
}
