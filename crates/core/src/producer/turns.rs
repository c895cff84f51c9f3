//! Queues of very many turns. Those of one feed, size and priority that were submitted one after
//! the other are one range, whose ends are all that is kept of them.

use std::collections::BTreeMap;

use crate::producer::queue::Turn;
use crate::ranges::RangeSet;

/// What turns of one range share; it sorts as they do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Line {
    feed: u16,
    large: bool,
    rank: i32,
    start_number: u32,
}

impl Line {
    fn of(turn: &Turn) -> Self {
        Self {
            feed: turn.feed,
            large: turn.large,
            rank: turn.rank,
            start_number: turn.start_number,
        }
    }

    fn turn(self, seq: u64) -> Turn {
        Turn {
            feed: self.feed,
            large: self.large,
            rank: self.rank,
            start_number: self.start_number,
            seq,
        }
    }
}

/// A sorted set of turns.
#[derive(Debug, Default)]
pub(crate) struct Turns(BTreeMap<Line, RangeSet>);

impl Turns {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn insert(&mut self, turn: Turn) {
        self.0.entry(Line::of(&turn)).or_default().insert(turn.seq);
    }

    pub(crate) fn remove(&mut self, turn: &Turn) {
        let line = Line::of(turn);
        if let Some(seqs) = self.0.get_mut(&line) {
            seqs.remove(turn.seq);
            if seqs.is_empty() {
                self.0.remove(&line);
            }
        }
    }

    pub(crate) fn first(&self) -> Option<Turn> {
        self.iter().next()
    }

    /// The first turn at or behind one.
    pub(crate) fn first_from(&self, turn: Turn) -> Option<Turn> {
        self.from(turn).next()
    }

    /// The turns at or behind one, in order.
    pub(crate) fn from(&self, turn: Turn) -> impl Iterator<Item = Turn> {
        let first = Line::of(&turn);
        self.0.range(first..).flat_map(move |(&line, seqs)| {
            let from = if line == first { turn.seq } else { 0 };
            seqs.iter_from(from).map(move |seq| line.turn(seq))
        })
    }

    /// All of them, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Turn> {
        let turns = |(&line, seqs)| RangeSet::iter(seqs).map(move |seq| Line::turn(line, seq));
        self.0.iter().flat_map(turns)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn any_turn() -> impl Strategy<Value = Turn> {
        (0u16..2, any::<bool>(), -1i32..1, 0u32..2, 0u64..30).prop_map(
            |(feed, large, rank, start_number, seq)| Turn {
                feed,
                large,
                rank,
                start_number,
                seq,
            },
        )
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(ops in prop::collection::vec((any_turn(), any::<bool>()), 0..200)) {
            let (mut turns, mut model) = (Turns::default(), BTreeSet::new());
            for (turn, removed) in ops {
                if removed {
                    turns.remove(&turn);
                    model.remove(&turn);
                } else {
                    turns.insert(turn);
                    model.insert(turn);
                }
                prop_assert_eq!(turns.is_empty(), model.is_empty());
                prop_assert_eq!(turns.first(), model.first().copied());
                let from: Vec<_> = model.range(turn..).copied().collect();
                prop_assert_eq!(turns.from(turn).collect::<Vec<_>>(), from);
            }
            prop_assert_eq!(turns.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_million_in_a_row_are_one_range() {
        let mut turns = Turns::default();
        for seq in 0..1_000_000 {
            turns.insert(Turn {
                feed: 0,
                large: false,
                rank: 0,
                start_number: 0,
                seq,
            });
        }
        let ranges: usize = turns.0.values().map(RangeSet::range_count).sum();
        assert_eq!(ranges, 1);
    }
}
