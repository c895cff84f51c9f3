//! Scores: what a member draws for a key, and the highest of many without looking closely at the others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::ids::NodeName;
use crate::view::Member;

/// What the hash of a key is derived under. Changing it moves every key.
pub const KEY_CONTEXT: &str = "consign placement of a key, version 2";

/// What the hash of a node's name is derived under. Changing it moves every key.
pub const NODE_CONTEXT: &str = "consign placement of a node, version 2";

/// How much less than what is needed is still looked at closely: the bound and the score are rounded
/// apart from each other, each by less than a part in 2⁵⁰.
const ROUNDING: f64 = 1.0 - 1.0 / (1u64 << 40) as f64;

/// What a node's name contributes to each of its scores.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Point([u64; 2]);

impl Point {
    pub(crate) fn of(node: &NodeName) -> Self {
        Self(two_words(NODE_CONTEXT, node.as_str()))
    }
}

/// A member with its score for one key, by which it is ordered.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// The member.
    pub member: &'a Member,
    /// Positive and finite; higher wins.
    pub score: f64,
}

impl<'a> Scored<'a> {
    /// With what it drew, in (0, 1).
    pub(super) fn new(member: &'a Member, unit: f64) -> Self {
        let score = f64::from(member.weight) / -libm::log(unit);
        Self { member, score }
    }
}

impl Ord for Scored<'_> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        let by_name = || other.member.name.cmp(&self.member.name);
        self.score.total_cmp(&other.score).then_with(by_name)
    }
}

impl PartialOrd for Scored<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scored<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Scored<'_> {}

/// Scores for one key.
pub(super) struct Scorer([u64; 2]);

impl Scorer {
    pub(super) fn new(key: &str) -> Self {
        Self(two_words(KEY_CONTEXT, key))
    }

    /// What a member draws, in (0, 1).
    pub(super) fn unit(&self, point: &Point) -> f64 {
        let (Self([k0, k1]), Point([n0, n1])) = (self, point);
        unit_interval(mix(mix(k0 ^ n0) ^ k1 ^ n1))
    }
}

/// The candidates with their scores for this key, highest first. Those of weight 0 score 0.
#[must_use]
pub fn rank<'a>(key: &str, candidates: impl IntoIterator<Item = &'a Member>) -> Vec<Scored<'a>> {
    let scorer = Scorer::new(key);
    let score = |member: &'a Member| Scored::new(member, scorer.unit(&Point::of(&member.name)));
    let mut ranked: Vec<_> = candidates.into_iter().map(score).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked
}

/// The highest so far of all that are offered.
pub(super) struct Best<'a> {
    at_most: usize,
    /// The lowest of them on top.
    kept: BinaryHeap<Reverse<Scored<'a>>>,
    /// What a score must reach; 0 while there is room.
    needed: f64,
}

impl<'a> Best<'a> {
    pub(super) fn new(at_most: usize) -> Self {
        Self {
            at_most,
            kept: BinaryHeap::new(),
            needed: 0.0,
        }
    }

    /// Whether a member that drew `unit` may be among them. Needs no logarithm: -ln u is never less than
    /// 1 - u, and so a score never more than weight / (1 - u).
    pub(super) fn may_take(&self, unit: f64, weight: u32) -> bool {
        f64::from(weight) >= self.needed * (1.0 - unit) * ROUNDING
    }

    pub(super) fn take(&mut self, offered: Scored<'a>) {
        self.kept.push(Reverse(offered));
        if self.kept.len() > self.at_most {
            self.kept.pop();
        }
        if self.kept.len() == self.at_most
            && let Some(Reverse(lowest)) = self.kept.peek()
        {
            self.needed = lowest.score;
        }
    }

    /// All of them, the highest on top.
    pub(super) fn into_heap(self) -> BinaryHeap<Scored<'a>> {
        self.kept.into_iter().map(|Reverse(kept)| kept).collect()
    }
}

fn two_words(context: &str, text: &str) -> [u64; 2] {
    let hash = blake3::derive_key(context, text.as_bytes());
    let word = |at: usize| {
        let (word, _) = hash[at..].split_first_chunk().expect("a hash has 32 bytes");
        u64::from_le_bytes(*word)
    };
    [word(0), word(8)]
}

/// The finalizer of SplitMix64: a bijection in which each bit of the input changes about half of the
/// output's (variant 13 of Stafford, "Better bit mixing", 2011).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Maps a hash to the middle of one of 2⁵² equal parts of (0, 1). With one bit more the topmost
/// middle would round to 1.
pub(super) fn unit_interval(hash: u64) -> f64 {
    const PARTS: f64 = (1u64 << 52) as f64;
    ((hash >> 12) as f64 + 0.5) / PARTS
}
