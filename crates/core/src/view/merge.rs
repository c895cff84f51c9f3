//! How the members that a node knows and those that its source hears of make the next view.
//!
//! A source may be a list, which is the whole truth, or may hear of whoever runs. To the second
//! kind silence says nothing: a consumer that lost power is still owed its files, and still has a
//! place among those that new ones are placed on. So who is not heard of stays as last known, and
//! goes only when it says itself that it leaves, or when a person has forgotten it.
//!
//! What must hold: a merge with the same sighting again changes nothing, and no member goes
//! because a source is away.

use std::collections::{BTreeMap, BTreeSet};

use super::{Member, MemberState, View};
use crate::ids::{Incarnation, NodeName};
use crate::limits::MEMBERS_MAX;

/// What it means that a source does not name a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Silence {
    /// It is no member, or not any more.
    IsNone,
    /// Nothing: it may be down, or the source may be.
    #[default]
    SaysNothing,
}

/// A member that a source names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighted {
    /// What it says of itself, or what is said of it.
    pub member: Member,
    /// In which life it said so; 0 when the source does not know.
    pub incarnation: Incarnation,
    /// Whether it runs, as far as the source can tell; `None` when it cannot.
    pub live: Option<bool>,
}

/// Whom a source names now: all of them, not what has changed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Sighting {
    /// Those that it names; of two of one name the later life counts.
    pub members: Vec<Sighted>,
    /// Those that somebody has declared gone for good.
    pub forgotten: BTreeSet<NodeName>,
    /// What it means that somebody is in neither.
    pub silence: Silence,
}

impl Sighting {
    /// Whether it names this node as running.
    #[must_use]
    pub fn is_live(&self, node: &NodeName) -> Option<bool> {
        let of_node = self.members.iter().filter(|one| one.member.name == *node);
        of_node.max_by_key(|one| one.incarnation)?.live
    }
}

/// The members after a sighting, sorted by name.
///
/// Newcomers for whom there is no room, because there are [`MEMBERS_MAX`] already, are left out:
/// who is known is owed files, and is never pushed out by a stranger.
#[must_use]
pub fn merge(view: &View, sighting: &Sighting) -> Vec<Member> {
    let mut heard: BTreeMap<&NodeName, &Sighted> = BTreeMap::new();
    for one in &sighting.members {
        let kept = heard.entry(&one.member.name).or_insert(one);
        if one.incarnation > kept.incarnation {
            *kept = one;
        }
    }
    let mut members: BTreeMap<NodeName, Member> = match sighting.silence {
        Silence::IsNone => BTreeMap::new(),
        Silence::SaysNothing => {
            let known = view.members().iter();
            known.map(|m| (m.name.clone(), m.clone())).collect()
        }
    };
    for (name, one) in heard {
        let is_over = match sighting.silence {
            // A list may name one that has left, and then knows it as such.
            Silence::IsNone => false,
            Silence::SaysNothing => one.member.state == MemberState::Left,
        };
        if is_over {
            members.remove(name);
        } else if members.contains_key(name) || members.len() < MEMBERS_MAX {
            members.insert(name.clone(), one.member.clone());
        }
    }
    for name in &sighting.forgotten {
        members.remove(name);
    }
    members.into_values().collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::FeedName;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    fn member(name: &str, weight: u32, state: MemberState) -> Member {
        Member {
            name: node(name),
            addr: format!("{name}.lan:7420"),
            zone: None,
            weight,
            feeds: [FeedName::new("images").unwrap()].into(),
            state,
        }
    }

    fn sighted(member: Member, incarnation: u64) -> Sighted {
        Sighted {
            member,
            incarnation: Incarnation(incarnation),
            live: Some(true),
        }
    }

    fn active(name: &str, weight: u32) -> Sighted {
        sighted(member(name, weight, MemberState::Active), 1)
    }

    fn heard(members: Vec<Sighted>) -> Sighting {
        Sighting {
            members,
            ..Sighting::default()
        }
    }

    fn view(names: &[&str]) -> View {
        let members = names.iter().map(|n| member(n, 100, MemberState::Active));
        View::new(1, members.collect()).unwrap()
    }

    fn names(members: &[Member]) -> Vec<&str> {
        members.iter().map(|m| m.name.as_str()).collect()
    }

    #[test]
    fn a_member_that_is_not_heard_of_stays_as_last_known() {
        let merged = merge(&view(&["a", "b"]), &heard(vec![active("c", 7)]));
        assert_eq!(names(&merged), ["a", "b", "c"]);
        assert_eq!(merge(&view(&["a", "b"]), &heard(vec![])).len(), 2);
    }

    #[test]
    fn a_member_that_says_that_it_leaves_goes_and_may_come_again() {
        let leaves = sighted(member("a", 100, MemberState::Left), 1);
        let merged = merge(&view(&["a", "b"]), &heard(vec![leaves.clone()]));
        assert_eq!(names(&merged), ["b"]);
        let back = sighted(member("a", 5, MemberState::Active), 2);
        for both in [vec![leaves.clone(), back.clone()], vec![back, leaves]] {
            let merged = merge(&view(&["b"]), &heard(both));
            assert_eq!(names(&merged), ["a", "b"], "the later life counts");
        }
    }

    #[test]
    fn a_forgotten_member_goes_even_while_it_runs() {
        let sighting = Sighting {
            forgotten: [node("a")].into(),
            ..heard(vec![active("a", 100)])
        };
        assert_eq!(names(&merge(&view(&["a", "b"]), &sighting)), ["b"]);
    }

    #[test]
    fn what_a_member_says_of_itself_replaces_what_was_known() {
        let draining = sighted(member("a", 9, MemberState::Draining), 3);
        let merged = merge(&view(&["a"]), &heard(vec![draining]));
        assert_eq!(merged, [member("a", 9, MemberState::Draining)]);
    }

    #[test]
    fn a_list_is_the_whole_truth() {
        let sighting = Sighting {
            silence: Silence::IsNone,
            ..heard(vec![
                active("b", 3),
                sighted(member("c", 1, MemberState::Left), 0),
            ])
        };
        let merged = merge(&view(&["a", "b"]), &sighting);
        assert_eq!(names(&merged), ["b", "c"]);
        assert_eq!(merged[0].weight, 3);
    }

    #[test]
    fn strangers_push_nobody_out() {
        let known: Vec<_> = (0..MEMBERS_MAX)
            .map(|n| member(&format!("z{n:05}"), 1, MemberState::Active))
            .collect();
        let full = View::new(1, known).unwrap();
        let merged = merge(&full, &heard(vec![active("a", 1), active("z00007", 50)]));
        assert_eq!(merged.len(), MEMBERS_MAX);
        assert!(merged.iter().all(|m| m.name.as_str() != "a"));
        assert_eq!(merged.iter().filter(|m| m.weight == 50).count(), 1);
        assert!(View::new(2, merged).is_ok());
    }

    fn some_sighting() -> impl Strategy<Value = Sighting> {
        let one =
            (0..6_u8, 0..4_u32, 0..3_u32, 0..3_u64).prop_map(|(name, weight, state, life)| {
                let state = MemberState::from_number(state).unwrap();
                sighted(member(&format!("n{name}"), weight, state), life)
            });
        let forgotten = prop::collection::btree_set(0..6_u8, 0..3);
        (prop::collection::vec(one, 0..8), forgotten, any::<bool>()).prop_map(
            |(members, forgotten, list)| Sighting {
                members,
                forgotten: forgotten.iter().map(|n| node(&format!("n{n}"))).collect(),
                silence: match list {
                    true => Silence::IsNone,
                    false => Silence::SaysNothing,
                },
            },
        )
    }

    proptest! {
        #[test]
        fn merging_twice_changes_nothing_and_nobody_goes_without_a_reason(
            sightings in prop::collection::vec(some_sighting(), 1..6)
        ) {
            let mut view = View::default();
            for sighting in &sightings {
                let merged = merge(&view, sighting);
                let next = View::new(view.epoch() + 1, merged.clone()).unwrap();
                prop_assert_eq!(merge(&next, sighting), merged);
                for gone in view.members().iter().filter(|m| next.member(&m.name).is_none()) {
                    let said = sighting.members.iter().any(|s| {
                        s.member.name == gone.name && s.member.state == MemberState::Left
                    });
                    let forgotten = sighting.forgotten.contains(&gone.name);
                    let listed = sighting.silence == Silence::IsNone;
                    prop_assert!(said || forgotten || listed);
                }
                for name in &sighting.forgotten {
                    prop_assert!(next.member(name).is_none());
                }
                view = next;
            }
        }
    }
}
