//! What is kept of a transfer outside the active window, packed.

use crate::ids::{Sequence, TransferKey};
use crate::log::Position;
use crate::producer::pages::{Entry, Pages};

/// Why a transfer is not in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rest {
    /// It waits for its turn; it may have been placed before.
    Fresh,
    /// It is owed to consumers that cannot take it now.
    Parked,
    /// Its records are being read.
    Fetching,
    /// A person must act.
    Failed,
    /// It is finished; its source is to be released.
    Unreleased,
}

/// What is kept of a transfer outside the active window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dormant {
    pub(crate) submitted: Position,
    pub(crate) placed: Option<Position>,
    pub(crate) bytes: u64,
    pub(crate) feed: u16,
    pub(crate) rank: i32,
    pub(crate) large: bool,
    pub(crate) rest: Rest,
}

/// The same in half of a transfer's 64 bytes.
#[derive(Debug, Clone, Copy)]
struct Packed {
    submitted: u64,
    /// 0 for none: segments count from 1.
    placed: u64,
    bytes: u64,
    rank: i32,
    feed: u16,
    low: u8,
    rest_and_large: u8,
}

const LARGE: u8 = 0x80;

impl Entry for Packed {
    fn low(&self) -> u8 {
        self.low
    }
}

impl Packed {
    fn new(key: TransferKey, dormant: Dormant) -> Self {
        let rest = match dormant.rest {
            Rest::Fresh => 0,
            Rest::Parked => 1,
            Rest::Fetching => 2,
            Rest::Failed => 3,
            Rest::Unreleased => 4,
        };
        Self {
            submitted: dormant.submitted.pack(),
            placed: dormant.placed.map_or(0, Position::pack),
            bytes: dormant.bytes,
            rank: dormant.rank,
            feed: dormant.feed,
            low: key.seq.0 as u8,
            rest_and_large: rest | if dormant.large { LARGE } else { 0 },
        }
    }

    fn unpack(self) -> Dormant {
        let rest = match self.rest_and_large & !LARGE {
            0 => Rest::Fresh,
            1 => Rest::Parked,
            2 => Rest::Fetching,
            3 => Rest::Failed,
            4 => Rest::Unreleased,
            other => unreachable!("{other} was never packed"),
        };
        Dormant {
            submitted: Position::unpack(self.submitted),
            placed: (self.placed != 0).then(|| Position::unpack(self.placed)),
            bytes: self.bytes,
            feed: self.feed,
            rank: self.rank,
            large: self.rest_and_large & LARGE != 0,
            rest,
        }
    }
}

/// The transfers outside the active window.
#[derive(Debug, Default)]
pub(crate) struct Dormants(Pages<Packed>);

impl Dormants {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, key: TransferKey) -> bool {
        self.0.get(key.start, key.seq.0).is_some()
    }

    pub(crate) fn get(&self, key: TransferKey) -> Option<Dormant> {
        Some(self.0.get(key.start, key.seq.0)?.unpack())
    }

    pub(crate) fn insert(&mut self, key: TransferKey, dormant: Dormant) {
        self.0
            .insert(key.start, key.seq.0, Packed::new(key, dormant));
    }

    pub(crate) fn remove(&mut self, key: TransferKey) -> Option<Dormant> {
        Some(self.0.remove(key.start, key.seq.0)?.unpack())
    }

    /// Changes one. Returns what it is then, or `None` when there is none.
    pub(crate) fn update(
        &mut self,
        key: TransferKey,
        change: impl FnOnce(&mut Dormant),
    ) -> Option<Dormant> {
        let packed = self.0.get_mut(key.start, key.seq.0)?;
        let mut dormant = packed.unpack();
        change(&mut dormant);
        *packed = Packed::new(key, dormant);
        Some(dormant)
    }

    /// The first one at or behind a key.
    pub(crate) fn first_from(&self, key: TransferKey) -> Option<(TransferKey, Dormant)> {
        let (start, seq, packed) = self.0.first_from(key.start, key.seq.0)?;
        let seq = Sequence(seq);
        Some((TransferKey { start, seq }, packed.unpack()))
    }

    /// All of them, by key.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (TransferKey, Dormant)> {
        self.0.iter().map(|(start, seq, packed)| {
            let seq = Sequence(seq);
            (TransferKey { start, seq }, packed.unpack())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Start;

    #[test]
    fn packing_loses_nothing() {
        let key = TransferKey {
            start: Start(u64::MAX),
            seq: Sequence(u64::MAX),
        };
        let at = |segment, offset| Position { segment, offset };
        for rest in [
            Rest::Fresh,
            Rest::Parked,
            Rest::Fetching,
            Rest::Failed,
            Rest::Unreleased,
        ] {
            for (placed, large) in [(None, false), (Some(at(1, 0)), true)] {
                let dormant = Dormant {
                    submitted: at(u32::MAX, u32::MAX),
                    placed,
                    bytes: u64::MAX,
                    feed: u16::MAX,
                    rank: i32::MIN,
                    large,
                    rest,
                };
                let mut all = Dormants::default();
                all.insert(key, dormant);
                assert_eq!(all.get(key), Some(dormant));
                assert_eq!(all.iter().next(), Some((key, dormant)));
            }
        }
    }

    /// Its turn has the other half of its 64 bytes.
    #[test]
    fn a_waiting_file_takes_half_of_64_bytes() {
        assert_eq!(size_of::<Packed>(), 32);
    }
}
