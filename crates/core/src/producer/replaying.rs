//! What the records of the log said of each transfer so far, while they are replayed: packed, since
//! a queue of millions passes through here before it is at rest.

use std::collections::BTreeMap;

use crate::ids::{Attempt, Digest, NodeName, Sequence, Slot, Start, TransferKey};
use crate::log::Position;
use crate::producer::pages::{Entry, Pages};
use crate::producer::state::{LegState, TransferLeg};
use crate::record::{Claiming, LegRung};

/// How a transfer stands, by what was said last.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) enum Fate {
    #[default]
    Live,
    Failed(String),
    Done,
    Cancelled,
}

/// What is known of a transfer beyond its submission; most have nothing of it.
#[derive(Debug, Default)]
pub(super) struct Replaying {
    legs: Box<[Leg]>,
    pub(super) attempt: Attempt,
    pub(super) short: bool,
    /// Whether something happened since its placement was last written whole.
    pub(super) dirty: bool,
    low: u8,
    /// What few have at the same time.
    more: Option<Box<More>>,
}

/// See [`Replaying`].
#[derive(Debug, Default)]
pub(super) struct More {
    pub(super) claim: Option<(Claiming, Position)>,
    pub(super) digest: Option<Digest>,
    pub(super) hashes: Vec<u8>,
    pub(super) fate: Fate,
}

#[derive(Debug)]
struct Leg {
    slot: u64,
    refusal: Option<Box<Refusal>>,
    node: u32,
    start: u32,
    rung: LegRung,
}

#[derive(Debug)]
struct Refusal(String);

impl Entry for Replaying {
    fn low(&self) -> u8 {
        self.low
    }
}

impl Replaying {
    fn new(key: TransferKey) -> Self {
        Self {
            low: key.seq.0 as u8,
            ..Self::default()
        }
    }

    pub(super) fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }

    /// Takes out what few have.
    pub(super) fn take_more(&mut self) -> More {
        self.more.take().map_or_else(More::default, |more| *more)
    }

    pub(super) fn forget_claim(&mut self) {
        if let Some(more) = &mut self.more {
            more.claim = None;
        }
    }

    pub(super) fn has_claim(&self) -> bool {
        self.more.as_ref().is_some_and(|more| more.claim.is_some())
    }

    /// Whether nothing is known but the claim that its submission ended.
    fn is_bare(&self) -> bool {
        let more = self.more.as_deref();
        let lives = |more: &More| more.fate == Fate::Live && more.claim.is_none();
        let unhashed = |more: &More| more.digest.is_none() && more.hashes.is_empty();
        self.legs.is_empty()
            && self.attempt == Attempt(0)
            && !(self.short || self.dirty)
            && more.is_none_or(|more| lives(more) && unhashed(more))
    }
}

/// Everything that is known beyond submissions.
#[derive(Debug, Default)]
pub(super) struct Replay {
    known: Pages<Replaying>,
    nodes: Names<NodeName>,
    starts: Names<Start>,
}

/// Numbers for what many legs name.
#[derive(Debug)]
struct Names<T> {
    all: Vec<T>,
    numbers: BTreeMap<T, u32>,
}

impl<T> Default for Names<T> {
    fn default() -> Self {
        Self {
            all: Vec::new(),
            numbers: BTreeMap::new(),
        }
    }
}

impl<T: Ord + Clone> Names<T> {
    fn number(&mut self, name: &T) -> u32 {
        if let Some(&number) = self.numbers.get(name) {
            return number;
        }
        let number = u32::try_from(self.all.len()).expect("fewer than 2^32 names");
        self.all.push(name.clone());
        self.numbers.insert(name.clone(), number);
        number
    }

    fn name(&self, number: u32) -> &T {
        &self.all[number as usize]
    }
}

impl Replay {
    pub(super) fn contains(&self, key: TransferKey) -> bool {
        self.known.get(key.start, key.seq.0).is_some()
    }

    pub(super) fn get_mut(&mut self, key: TransferKey) -> Option<&mut Replaying> {
        self.known.get_mut(key.start, key.seq.0)
    }

    pub(super) fn at(&mut self, key: TransferKey) -> &mut Replaying {
        let new = Replaying::new(key);
        self.known.get_or_insert(key.start, key.seq.0, new)
    }

    pub(super) fn remove(&mut self, key: TransferKey) -> Option<Replaying> {
        self.known.remove(key.start, key.seq.0)
    }

    /// Its claim is over; nothing is kept of one that has nothing else.
    pub(super) fn forget_claim(&mut self, key: TransferKey) {
        let Some(entry) = self.get_mut(key) else {
            return;
        };
        entry.forget_claim();
        if entry.is_bare() {
            self.remove(key);
        }
    }

    /// Transfers with a claim that was neither submitted nor given up.
    pub(super) fn claimed(&self) -> Vec<TransferKey> {
        let claims = self.known.iter().filter(|(_, _, entry)| entry.has_claim());
        claims
            .map(|(start, seq, _)| TransferKey {
                start,
                seq: Sequence(seq),
            })
            .collect()
    }

    /// A transfer's consumers.
    pub(super) fn legs(&self, entry: &Replaying) -> Vec<TransferLeg> {
        let legs = entry.legs.iter().map(|leg| TransferLeg {
            node: self.nodes.name(leg.node).clone(),
            start: *self.starts.name(leg.start),
            slot: Slot(leg.slot),
            state: match leg.rung {
                LegRung::Owed => LegState::Owed,
                LegRung::Saved => LegState::Saved,
                LegRung::Refused => LegState::Refused {
                    reason: leg.refusal.as_ref().map_or("", |why| &why.0).to_owned(),
                },
                LegRung::Abandoned | LegRung::Abandoning => LegState::Dropped,
            },
            // A life that is over may have sent bytes after it wrote this down.
            tried: true,
        });
        legs.collect()
    }

    /// Replaces a transfer's consumers. Returns those that it had.
    pub(super) fn set_legs(&mut self, key: TransferKey, legs: &[TransferLeg]) -> Vec<TransferLeg> {
        let before = self.known.get(key.start, key.seq.0);
        let before = before.map_or_else(Vec::new, |entry| self.legs(entry));
        let legs = legs.iter().map(|leg| Leg {
            slot: leg.slot.0,
            refusal: match &leg.state {
                LegState::Refused { reason } => Some(Box::new(Refusal(reason.clone()))),
                _ => None,
            },
            node: self.nodes.number(&leg.node),
            start: self.starts.number(&leg.start),
            rung: match leg.state {
                LegState::Saved => LegRung::Saved,
                LegState::Refused { .. } => LegRung::Refused,
                LegState::Dropped => LegRung::Abandoned,
                LegState::Owed
                | LegState::Opening { .. }
                | LegState::Receiving { .. }
                | LegState::Received
                | LegState::Committing => LegRung::Owed,
            },
        });
        let legs = legs.collect();
        self.at(key).legs = legs;
        before
    }

    /// Something was settled about one consumer of a transfer.
    pub(super) fn settle(
        &mut self,
        key: TransferKey,
        (node, start, slot): (&NodeName, Start, Slot),
        rung: LegRung,
        refusal: &str,
    ) {
        let (node, start) = (self.nodes.number(node), self.starts.number(&start));
        let Some(entry) = self.known.get_mut(key.start, key.seq.0) else {
            return;
        };
        entry.dirty = true;
        let of_slot = |leg: &&mut Leg| (leg.node, leg.start, leg.slot) == (node, start, slot.0);
        if let Some(leg) = entry.legs.iter_mut().find(of_slot) {
            leg.rung = rung;
            let refused = rung == LegRung::Refused;
            leg.refusal = refused.then(|| Box::new(Refusal(refusal.to_owned())));
        }
    }

    /// A person had it tried again: nobody refuses it any more.
    pub(super) fn retry(&mut self, key: TransferKey) {
        let Some(entry) = self.get_mut(key) else {
            return;
        };
        for leg in &mut entry.legs {
            if leg.rung == LegRung::Refused {
                leg.rung = LegRung::Owed;
                leg.refusal = None;
                entry.dirty = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue of which everything is owed to somebody passes through here as this.
    #[test]
    fn what_is_replayed_of_a_transfer_takes_little_memory() {
        assert!(size_of::<Replaying>() <= 32, "{}", size_of::<Replaying>());
        assert!(size_of::<Leg>() <= 32, "{}", size_of::<Leg>());
    }
}
