//! Which consumers get a file: weighted rendezvous hashing, spread over zones.
//!
//! Every candidate draws a score from the file's key and its own name, and the highest scores win
//! (Thaler and Ravishankar, "Using name-based mappings to increase hit rates", 1998). The score of
//! a candidate of weight `w` is `-w / ln(u)`, where `u` in (0, 1) is its hash: then each wins a
//! share of the keys in proportion to its weight, and a change of one weight, or of one member,
//! moves only the keys that this member wins or loses (Schindelhauer and Schomaker, "Weighted
//! distributed hash tables", 2005).
//!
//! Exactly, and the same on every machine:
//! * `k` = BLAKE3 `derive_key` of the key under [`KEY_CONTEXT`];
//! * `h` = the first 8 bytes, little-endian, of BLAKE3 of the node's name keyed with `k`;
//! * `u` = (⌊`h` / 2¹²⌋ + ½) / 2⁵², which a double holds exactly and which is never 0 or 1;
//! * the logarithm is `libm`'s, since that of the platform differs in its last bits. Equal scores
//!   go by name, the smaller first.
//!
//! The walk goes down the scores and skips zones that are used. Only when no unused zone is left
//! does it take a second one from each zone, again down the scores, then a third. A member without
//! a zone is a zone of its own. One member that comes or goes still moves at most one copy of each
//! file.
//!
//! What must hold: the outcome depends on the arguments alone, never on the order of members.
//! Deliberately absent: who can be reached, how full anybody is, what is logged already. A
//! placement is computed once and logged; changing anything above moves new files only.

mod chain;
mod explain;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::ids::{FeedName, NodeName};
use crate::limits::REPLICAS_MAX;
use crate::spec::Replicas;
use crate::view::{Member, View};

pub use chain::chain_order;
pub use explain::{Explanation, Verdict, explain};

/// What the hash of a key is derived under. Changing it moves every key.
pub const KEY_CONTEXT: &str = "consign placement of a key, version 1";

/// What a placement is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Ask<'a> {
    /// The bytes that are hashed.
    pub key: &'a str,
    /// The file's feed.
    pub feed: &'a FeedName,
    /// How many consumers the file is to have altogether, those in `kept` included.
    pub replicas: Replicas,
    /// Consumers that it has and keeps: their zones count as used. Empty for a first placement.
    pub kept: &'a BTreeSet<NodeName>,
    /// Members that are not to be chosen.
    pub excluded: &'a BTreeSet<NodeName>,
}

impl Ask<'_> {
    fn is_candidate(&self, member: &Member) -> bool {
        member.accepts(self.feed)
            && !self.kept.contains(&member.name)
            && !self.excluded.contains(&member.name)
    }

    /// How many are to be chosen, were there members without end.
    fn wanted(&self) -> usize {
        let all = match self.replicas {
            Replicas::Count(count) => count.min(REPLICAS_MAX),
            Replicas::All => REPLICAS_MAX,
        };
        all.saturating_sub(self.kept.len())
    }
}

/// Who was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placement {
    /// The chosen members, best first. None of them was kept or excluded, and each is there once.
    pub members: Vec<NodeName>,
    /// Whether there were fewer than asked for, so that the rest is owed to whoever comes. For
    /// [`Replicas::All`] that is so when nobody at all accepts the feed, or more members than
    /// [`REPLICAS_MAX`] do.
    pub short: bool,
}

/// A member with its score for one key, by which it is ordered.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// The member.
    pub member: &'a Member,
    /// Positive and finite; higher wins.
    pub score: f64,
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

/// Scores for one key. Hashing the key once makes each score a single BLAKE3 block.
struct Scorer([u8; 32]);

impl Scorer {
    fn new(key: &str) -> Self {
        Self(blake3::derive_key(KEY_CONTEXT, key.as_bytes()))
    }

    fn score<'a>(&self, member: &'a Member) -> Scored<'a> {
        let hash = blake3::keyed_hash(&self.0, member.name.as_str().as_bytes());
        let (head, _) = hash
            .as_bytes()
            .split_first_chunk()
            .expect("a hash has 32 bytes");
        let score = f64::from(member.weight) / -libm::log(unit_interval(u64::from_le_bytes(*head)));
        Scored { member, score }
    }
}

/// Maps a hash to the middle of one of 2⁵² equal parts of (0, 1). With one bit more the topmost
/// middle would round to 1.
fn unit_interval(hash: u64) -> f64 {
    const PARTS: f64 = (1u64 << 52) as f64;
    ((hash >> 12) as f64 + 0.5) / PARTS
}

/// The candidates with their scores for this key, highest first. Those of weight 0 score 0.
#[must_use]
pub fn rank<'a>(key: &str, candidates: impl IntoIterator<Item = &'a Member>) -> Vec<Scored<'a>> {
    let scorer = Scorer::new(key);
    let mut ranked: Vec<_> = candidates.into_iter().map(|m| scorer.score(m)).collect();
    ranked.sort_unstable_by(|a, b| b.cmp(a));
    ranked
}

/// Chooses the consumers of a file, or with [`Ask::kept`] those that are to be added.
///
/// Takes one hash for each candidate, and then a step for each member that is looked at: as many
/// as are chosen while there are zones left, all of them otherwise.
#[must_use]
pub fn place(ask: &Ask<'_>, view: &View) -> Placement {
    let scorer = Scorer::new(ask.key);
    let candidates = view
        .members()
        .iter()
        .filter(|member| ask.is_candidate(member));
    let heap: BinaryHeap<_> = candidates.map(|member| scorer.score(member)).collect();
    let (found, wanted) = (heap.len(), ask.wanted());
    let members = take_spread(heap, wanted, used_zones(ask, view));
    let short = match ask.replicas {
        Replicas::Count(count) => ask.kept.len() + members.len() < count,
        Replicas::All => found > wanted || ask.kept.len() + members.len() == 0,
    };
    Placement { members, short }
}

/// How many of the kept consumers each zone has.
fn used_zones<'a>(ask: &Ask<'_>, view: &'a View) -> BTreeMap<&'a str, usize> {
    let mut used = BTreeMap::new();
    for zone in ask.kept.iter().filter_map(|node| view.zone(node)) {
        *used.entry(zone).or_default() += 1;
    }
    used
}

/// Takes `wanted` members down the scores, in rounds: in each, at most one more from every zone.
///
/// A member's round is the number of members of its zone that are used or score higher. So one
/// walk is enough: what is in the first round is taken at once, and the rest is sorted by round.
fn take_spread<'a>(
    mut heap: BinaryHeap<Scored<'a>>,
    wanted: usize,
    mut in_zone: BTreeMap<&'a str, usize>,
) -> Vec<NodeName> {
    let mut chosen = Vec::new();
    let mut passed_over = Vec::new();
    while chosen.len() < wanted
        && let Some(Scored { member, .. }) = heap.pop()
    {
        let round = member.zone.as_deref().map_or(0, |zone| {
            let count = in_zone.entry(zone).or_default();
            *count += 1;
            *count - 1
        });
        match round {
            0 => chosen.push(member.name.clone()),
            _ => passed_over.push((round, &member.name)),
        }
    }
    let missing = wanted - chosen.len();
    // Stable: within a round the walk's order stays.
    passed_over.sort_by_key(|&(round, _)| round);
    chosen.extend(
        passed_over
            .into_iter()
            .take(missing)
            .map(|(_, name)| name.clone()),
    );
    chosen
}

#[cfg(test)]
mod tests;
