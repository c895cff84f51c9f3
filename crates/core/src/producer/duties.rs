//! Open slots of one consumer, and what is to be delivered under each. One that is away for long
//! has as many as there are files owed to it.

use std::collections::BTreeMap;

use crate::ids::{Sequence, Slot, Start, TransferKey};
use crate::producer::pages::{Entry, Pages};

/// A transfer in 16 bytes.
#[derive(Debug, Clone, Copy)]
struct Packed {
    seq: u64,
    /// Number of its start, of those that were met here.
    start: u32,
    /// Of the slot.
    low: u8,
}

impl Entry for Packed {
    fn low(&self) -> u8 {
        self.low
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Duties {
    pages: Pages<Packed>,
    starts: Vec<Start>,
    numbers: BTreeMap<Start, u32>,
}

impl Duties {
    pub(crate) fn len(&self) -> usize {
        self.pages.len()
    }

    pub(crate) fn get(&self, (start, slot): (Start, Slot)) -> Option<TransferKey> {
        Some(self.key(*self.pages.get(start, slot.0)?))
    }

    pub(crate) fn insert(&mut self, (start, slot): (Start, Slot), key: TransferKey) {
        let packed = Packed {
            seq: key.seq.0,
            start: self.number(key.start),
            low: slot.0 as u8,
        };
        self.pages.insert(start, slot.0, packed);
    }

    pub(crate) fn remove(&mut self, (start, slot): (Start, Slot)) {
        self.pages.remove(start, slot.0);
    }

    /// The lowest open slot of a start.
    pub(crate) fn first_of(&self, start: Start) -> Option<Slot> {
        self.pages.first_of(start).map(Slot)
    }

    /// The starts of open slots, each once.
    pub(crate) fn starts(&self) -> impl Iterator<Item = Start> {
        self.pages.starts()
    }

    fn key(&self, packed: Packed) -> TransferKey {
        TransferKey {
            start: self.starts[packed.start as usize],
            seq: Sequence(packed.seq),
        }
    }

    fn number(&mut self, start: Start) -> u32 {
        if let Some(&number) = self.numbers.get(&start) {
            return number;
        }
        let number = u32::try_from(self.starts.len()).expect("fewer than 2^32 starts");
        self.starts.push(start);
        self.numbers.insert(start, number);
        number
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duty_takes_16_bytes() {
        assert_eq!(size_of::<Packed>(), 16);
    }

    #[test]
    fn slots_of_one_start_may_belong_to_transfers_of_another() {
        let mut duties = Duties::default();
        let key = |start, seq| TransferKey {
            start: Start(start),
            seq: Sequence(seq),
        };
        duties.insert((Start(2), Slot(1)), key(1, 70_000));
        duties.insert((Start(2), Slot(2)), key(2, 1));
        duties.insert((Start(1), Slot(9)), key(1, 3));
        assert_eq!(duties.get((Start(2), Slot(1))), Some(key(1, 70_000)));
        assert_eq!(duties.get((Start(2), Slot(2))), Some(key(2, 1)));
        assert_eq!(duties.get((Start(1), Slot(1))), None);
        assert_eq!(duties.first_of(Start(2)), Some(Slot(1)));
        duties.remove((Start(2), Slot(1)));
        assert_eq!(duties.first_of(Start(2)), Some(Slot(2)));
        assert_eq!(duties.starts().collect::<Vec<_>>(), [Start(1), Start(2)]);
        assert_eq!(duties.len(), 2);
    }
}
