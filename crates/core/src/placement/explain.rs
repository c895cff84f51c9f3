//! Why a key goes where it goes, for people: `consign explain`.

use std::collections::BTreeMap;
use std::fmt;

use super::{Ask, Scored, place, rank};
use crate::ids::{FeedName, NodeName};
use crate::view::{Member, MemberState, View};

/// What a placement made of one member.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It was chosen, as the so-many-th, counted from 1.
    Chosen {
        /// Its place.
        place: usize,
    },
    /// It has the file already and keeps it.
    Kept,
    /// It was not to be chosen.
    Excluded,
    /// It scored higher than somebody chosen, and was skipped because its zone is used.
    ZoneUsed {
        /// Who of its zone was taken before.
        by: NodeName,
    },
    /// Those chosen scored higher.
    Outscored,
    /// It does not consume the feed.
    NotConsuming {
        /// The feed.
        feed: FeedName,
    },
    /// It finishes what it has and takes nothing new.
    Draining,
    /// It is gone for good.
    Left,
    /// Its weight is 0.
    NoWeight,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Chosen { place } => write!(f, "chosen, number {place}"),
            Self::Kept => f.write_str("has it already"),
            Self::Excluded => f.write_str("excluded"),
            Self::ZoneUsed { by } => write!(f, "its zone is used by {by}"),
            Self::Outscored => f.write_str("others scored higher"),
            Self::NotConsuming { feed } => write!(f, "does not consume {feed}"),
            Self::Draining => f.write_str("draining"),
            Self::Left => f.write_str("left"),
            Self::NoWeight => f.write_str("weight is 0"),
        }
    }
}

/// One member's part in a placement.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The member.
    pub node: NodeName,
    /// Its zone.
    pub zone: Option<String>,
    /// Its weight.
    pub weight: u32,
    /// Its score for the key, whether or not it could be chosen.
    pub score: f64,
    /// What became of it.
    pub verdict: Verdict,
}

/// Explains what [`place`] does with this ask: every member of the view, highest score first.
#[must_use]
pub fn explain(ask: &Ask<'_>, view: &View) -> Vec<Explanation> {
    let chosen = place(ask, view).members;
    let ranked = rank(ask.key, view.members());
    let places: BTreeMap<_, _> = chosen.iter().zip(1..).collect();
    let last_chosen = ranked
        .iter()
        .rposition(|s| places.contains_key(&s.member.name));
    let verdict = |at: usize, member: &Member| {
        if let Some(&place) = places.get(&member.name) {
            Verdict::Chosen { place }
        } else if let Some(reason) = not_a_candidate(ask, member) {
            reason
        } else if last_chosen.is_some_and(|last| at < last) {
            zone_used(ask, member, &chosen, view)
        } else {
            Verdict::Outscored
        }
    };
    ranked
        .iter()
        .enumerate()
        .map(|(at, &Scored { member, score })| Explanation {
            node: member.name.clone(),
            zone: member.zone.clone(),
            weight: member.weight,
            score,
            verdict: verdict(at, member),
        })
        .collect()
}

fn not_a_candidate(ask: &Ask<'_>, member: &Member) -> Option<Verdict> {
    let name = &member.name;
    match member.state {
        _ if ask.kept.contains(name) => Some(Verdict::Kept),
        _ if ask.excluded.contains(name) => Some(Verdict::Excluded),
        MemberState::Left => Some(Verdict::Left),
        MemberState::Draining => Some(Verdict::Draining),
        MemberState::Active if !member.feeds.contains(ask.feed) => Some(Verdict::NotConsuming {
            feed: ask.feed.clone(),
        }),
        MemberState::Active if member.weight == 0 => Some(Verdict::NoWeight),
        MemberState::Active => None,
    }
}

/// Only a member whose zone is used is passed over for one that scores less.
fn zone_used(ask: &Ask<'_>, member: &Member, chosen: &[NodeName], view: &View) -> Verdict {
    let mut taken = ask.kept.iter().chain(chosen);
    let by = taken.find(|node| view.zone(node) == member.zone.as_deref());
    let by = by
        .expect("a member is passed over only for its zone")
        .clone();
    Verdict::ZoneUsed { by }
}
