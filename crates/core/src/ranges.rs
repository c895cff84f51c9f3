//! Sets of slots as ranges: compact for the dense numbers that slots are.

use std::collections::BTreeMap;

use crate::limits::RANGES_PER_MESSAGE_MAX;

/// A half-open range of slots on the wire and in the log.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct SlotRange {
    /// First slot.
    #[prost(uint64, tag = "1")]
    pub from: u64,
    /// One past the last slot.
    #[prost(uint64, tag = "2")]
    pub to: u64,
}

/// A set of `u64`, held as its maximal ranges.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RangeSet {
    /// First → one past the last. Ranges neither overlap nor touch.
    ranges: BTreeMap<u64, u64>,
}

impl RangeSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Collects ranges, in any order, overlapping or not; empty and reversed ones are ignored.
    #[must_use]
    pub fn from_ranges(ranges: &[SlotRange]) -> Self {
        let mut set = Self::new();
        for range in ranges {
            set.insert_range(range.from, range.to);
        }
        set
    }

    /// Whether `value` is in the set.
    #[must_use]
    pub fn contains(&self, value: u64) -> bool {
        self.ranges
            .range(..=value)
            .next_back()
            .is_some_and(|(_, &to)| value < to)
    }

    /// Adds one value; true when it is new.
    pub fn insert(&mut self, value: u64) -> bool {
        if self.contains(value) {
            return false;
        }
        self.insert_range(value, value.saturating_add(1));
        true
    }

    /// Removes one value; true when it was there.
    pub fn remove(&mut self, value: u64) -> bool {
        let Some((&from, &to)) = self.ranges.range(..=value).next_back() else {
            return false;
        };
        if value >= to {
            return false;
        }
        self.ranges.remove(&from);
        if from < value {
            self.ranges.insert(from, value);
        }
        // Below the end, so there is a next one.
        if value + 1 < to {
            self.ranges.insert(value + 1, to);
        }
        true
    }

    /// Adds `from..to`.
    pub fn insert_range(&mut self, mut from: u64, mut to: u64) {
        if from >= to {
            return;
        }
        // Swallow every range that overlaps or touches the new one; they end at or after `from`
        // and begin at or before `to`.
        while let Some((&first, &last)) = self.ranges.range(..=to).next_back() {
            if last < from {
                break;
            }
            from = from.min(first);
            to = to.max(last);
            self.ranges.remove(&first);
        }
        self.ranges.insert(from, to);
    }

    /// Removes everything below `floor`.
    pub fn remove_below(&mut self, floor: u64) {
        while let Some((&from, &to)) = self.ranges.iter().next() {
            if from >= floor {
                break;
            }
            self.ranges.remove(&from);
            if to > floor {
                self.ranges.insert(floor, to);
            }
        }
    }

    /// The maximal ranges, in order.
    pub fn ranges(&self) -> impl Iterator<Item = SlotRange> + '_ {
        self.ranges
            .iter()
            .map(|(&from, &to)| SlotRange { from, to })
    }

    /// The maximal ranges, in parts that fit in a message or a record.
    pub fn parts(&self) -> impl Iterator<Item = Vec<SlotRange>> {
        let mut ranges = self.ranges();
        std::iter::from_fn(move || {
            let part: Vec<SlotRange> = ranges.by_ref().take(RANGES_PER_MESSAGE_MAX).collect();
            (!part.is_empty()).then_some(part)
        })
    }

    /// Every value, in order.
    pub fn iter(&self) -> impl Iterator<Item = u64> + '_ {
        self.ranges.iter().flat_map(|(&from, &to)| from..to)
    }

    /// Every value from `from` on, in order.
    pub fn iter_from(&self, from: u64) -> impl Iterator<Item = u64> + '_ {
        let within = self.ranges.range(..from).next_back();
        let within = within.map_or(from..from, |(_, &to)| from..to);
        let behind = self.ranges.range(from..).flat_map(|(&from, &to)| from..to);
        within.chain(behind)
    }

    /// Number of maximal ranges.
    #[must_use]
    pub fn range_count(&self) -> usize {
        self.ranges.len()
    }

    /// Number of values, saturating.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.ranges
            .iter()
            .fold(0, |sum: u64, (from, to)| sum.saturating_add(to - from))
    }

    /// Whether there is no value.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl FromIterator<u64> for RangeSet {
    fn from_iter<I: IntoIterator<Item = u64>>(values: I) -> Self {
        let mut set = Self::new();
        for value in values {
            set.insert(value);
        }
        set
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_set_of_many_ranges_comes_in_parts_that_are_all_of_it() {
        let set: RangeSet = (0..RANGES_PER_MESSAGE_MAX as u64 + 1)
            .map(|number| number * 2)
            .collect();
        let parts: Vec<Vec<SlotRange>> = set.parts().collect();
        assert_eq!(parts.len(), 2);
        assert!(
            parts
                .iter()
                .all(|part| part.len() <= RANGES_PER_MESSAGE_MAX)
        );
        assert_eq!(RangeSet::from_ranges(&parts.concat()), set);
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(ops in prop::collection::vec((0u64..60, 0u64..8, any::<bool>()), 0..60)) {
            let mut set = RangeSet::new();
            let mut model = BTreeSet::new();
            for (from, len, cut) in ops {
                if cut {
                    set.remove_below(from / 4);
                    model.retain(|&v| v >= from / 4);
                } else {
                    set.insert_range(from, from + len);
                    model.extend(from..from + len);
                }
                prop_assert_eq!(set.iter().collect::<Vec<_>>(), model.iter().copied().collect::<Vec<_>>());
                prop_assert_eq!(set.len(), model.len() as u64);
                let ranges: Vec<_> = set.ranges().collect();
                prop_assert!(ranges.windows(2).all(|w| w[0].to < w[1].from), "ranges must not touch");
            }
            let parts: Vec<_> = set.parts().flatten().collect();
            prop_assert_eq!(parts, set.ranges().collect::<Vec<_>>());
            for v in 0..80 {
                prop_assert_eq!(set.contains(v), model.contains(&v));
                let from: Vec<_> = model.range(v..).copied().collect();
                prop_assert_eq!(set.iter_from(v).collect::<Vec<_>>(), from);
                let mut less = set.clone();
                prop_assert_eq!(less.remove(v), model.contains(&v));
                let rest: Vec<_> = model.iter().copied().filter(|&other| other != v).collect();
                prop_assert_eq!(less.iter().collect::<Vec<_>>(), rest);
            }
        }
    }
}
