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
//! * `k` = the first 16 bytes, as two little-endian numbers, of BLAKE3 `derive_key` of the key under
//!   [`KEY_CONTEXT`], and `n` likewise of the node's name under [`NODE_CONTEXT`];
//! * `h` = mix(mix(`k₀` ⊕ `n₀`) ⊕ `k₁` ⊕ `n₁`), where mix is the finalizer of SplitMix64 (Steele, Lea and
//!   Flood, "Fast splittable pseudorandom number generators", 2014). A member's `n` is drawn once for a
//!   view, so that a score is a few multiplications;
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
mod score;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use crate::ids::{FeedName, NodeName};
use crate::limits::REPLICAS_MAX;
use crate::spec::Replicas;
use crate::view::{Member, View};

pub use chain::chain_order;
pub use explain::{Explanation, Verdict, explain};
pub(crate) use score::Point;
use score::{Best, Scorer};
pub use score::{KEY_CONTEXT, NODE_CONTEXT, Scored, rank};

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

/// How many of the best are looked at before all are, for each that is wanted: enough for the walk to
/// find its zones, where there are more of them than copies.
const BEST_PER_WANTED: usize = 8;

/// Chooses the consumers of a file, or with [`Ask::kept`] those that are to be added.
///
/// Takes a few nanoseconds for each member, and then a step for each that is looked at: those few that
/// score highest while there are zones left, all of them otherwise.
#[must_use]
pub fn place(ask: &Ask<'_>, view: &View) -> Placement {
    let wanted = ask.wanted();
    let spread = |at_most: usize| {
        let best = best(ask, view, at_most);
        let found = best.len();
        (found, take_spread(best, ask, view, found < at_most))
    };
    let few = wanted.saturating_mul(BEST_PER_WANTED).max(1);
    let (found, members) = match spread(few) {
        (found, Some(members)) => (found, members),
        (_, None) => {
            let (found, members) = spread(usize::MAX);
            (found, members.expect("nobody is left out of all"))
        }
    };
    let short = match ask.replicas {
        Replicas::Count(count) => ask.kept.len() + members.len() < count,
        Replicas::All => found > wanted || ask.kept.len() + members.len() == 0,
    };
    Placement { members, short }
}

/// The candidates that score highest, at most so many of them.
fn best<'a>(ask: &Ask<'_>, view: &'a View, at_most: usize) -> BinaryHeap<Scored<'a>> {
    let scorer = Scorer::new(ask.key);
    let mut best = Best::new(at_most);
    for (member, point) in view.members().iter().zip(view.points()) {
        let unit = scorer.unit(point);
        // Most members end here, before anything that costs more is asked of them.
        if best.may_take(unit, member.weight) && ask.is_candidate(member) {
            best.take(Scored::new(member, unit));
        }
    }
    best.into_heap()
}

/// How many of the kept consumers each zone has.
fn used_zones<'a>(ask: &Ask<'_>, view: &'a View) -> BTreeMap<&'a str, usize> {
    let mut used = BTreeMap::new();
    for zone in ask.kept.iter().filter_map(|node| view.zone(node)) {
        *used.entry(zone).or_default() += 1;
    }
    used
}

/// Takes members down the scores, in rounds: in each, at most one more from every zone. `None` when
/// more than the first round is needed and these are not all.
///
/// A member's round is the number of members of its zone that are used or score higher. So one
/// walk is enough: what is in the first round is taken at once, and the rest is sorted by round.
fn take_spread<'a>(
    mut heap: BinaryHeap<Scored<'a>>,
    ask: &Ask<'_>,
    view: &'a View,
    is_all: bool,
) -> Option<Vec<NodeName>> {
    let (wanted, mut in_zone) = (ask.wanted(), used_zones(ask, view));
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
    if missing > 0 && !is_all {
        return None;
    }
    // Stable: within a round the walk's order stays.
    passed_over.sort_by_key(|&(round, _)| round);
    chosen.extend(
        passed_over
            .into_iter()
            .take(missing)
            .map(|(_, name)| name.clone()),
    );
    Some(chosen)
}

#[cfg(test)]
mod tests;
