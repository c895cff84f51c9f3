//! Who the members of the cluster are, as one node sees them.
//!
//! A view is no agreement and need not be: a placement, once it is logged, is what counts, and a
//! wrong view costs a retry, never a file. Its epoch only tells which of one node's own views a
//! placement was computed from; epochs of different nodes do not compare.
//!
//! What must hold: names are distinct and sorted, and every field is within
//! [`limits`](crate::limits), wherever the view came from.
//!
//! Deliberately absent: who can be reached. That steers who is tried first and is no part of who
//! is a member. Whether a member that its source no longer names has left or is only unheard of
//! is decided in [`merge`]: a view holds whom it is given.

mod merge;
mod record;
mod seen;

pub use merge::{Sighted, Sighting, Silence, merge};
pub use seen::LastView;

use std::collections::BTreeSet;
use std::fmt;

use thiserror::Error;

use crate::ids::{BadName, FeedName, NodeName};
use crate::limits::{
    ADDR_BYTES_MAX, FEEDS_PER_MEMBER_MAX, MEMBERS_MAX, WEIGHT_MAX, ZONE_BYTES_MAX,
};
use crate::placement::Point;

/// How far a member takes part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum MemberState {
    /// It takes new placements.
    #[default]
    Active,
    /// It finishes what it was given and takes nothing new.
    Draining,
    /// It is gone for good: what it owes is placed again.
    Left,
}

impl MemberState {
    /// Its number in records and messages.
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Self::Active => 0,
            Self::Draining => 1,
            Self::Left => 2,
        }
    }

    /// The state with this number.
    #[must_use]
    pub fn from_number(number: u32) -> Option<Self> {
        [Self::Active, Self::Draining, Self::Left]
            .into_iter()
            .find(|state| state.number() == number)
    }
}

impl fmt::Display for MemberState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Left => "left",
        })
    }
}

/// One node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name.
    pub name: NodeName,
    /// `host:port`, resolved at each connection.
    pub addr: String,
    /// Its failure domain; without one it counts as a zone of its own.
    pub zone: Option<String>,
    /// Its share of the keys relative to the others; 0 takes no new placements.
    pub weight: u32,
    /// The feeds that it consumes.
    pub feeds: BTreeSet<FeedName>,
    /// How far it takes part.
    pub state: MemberState,
}

impl Member {
    /// Whether new files of this feed may be placed on it.
    #[must_use]
    pub fn accepts(&self, feed: &FeedName) -> bool {
        self.state == MemberState::Active && self.weight > 0 && self.feeds.contains(feed)
    }

    fn check(&self) -> Result<(), BadView> {
        let name = || self.name.clone();
        if !is_host_and_port(&self.addr) {
            return Err(BadView::Addr {
                name: name(),
                addr: shortened(&self.addr),
            });
        }
        if let Some(zone) = self.zone.as_deref().filter(|zone| !is_zone(zone)) {
            return Err(BadView::Zone {
                name: name(),
                zone: shortened(zone),
            });
        }
        if self.weight > WEIGHT_MAX {
            return Err(BadView::Weight {
                name: name(),
                weight: self.weight,
            });
        }
        if self.feeds.len() > FEEDS_PER_MEMBER_MAX {
            return Err(BadView::Feeds {
                name: name(),
                feeds: self.feeds.len(),
            });
        }
        Ok(())
    }
}

fn is_host_and_port(addr: &str) -> bool {
    let clean = addr.len() <= ADDR_BYTES_MAX && addr.chars().all(|c| c.is_ascii_graphic());
    let parts = addr.rsplit_once(':');
    clean && parts.is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

fn is_zone(zone: &str) -> bool {
    (1..=ZONE_BYTES_MAX).contains(&zone.len()) && !zone.chars().any(char::is_control)
}

/// Enough of an unacceptable value to recognise it.
fn shortened(value: &str) -> String {
    value.chars().take(80).collect()
}

/// Members that cannot be a view. Nothing changed; the last good view stays in use.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadView {
    /// Two members have one name.
    #[error("two members are called {name}; hint: give each node a name of its own")]
    Duplicate {
        /// The name.
        name: NodeName,
    },
    /// There are too many.
    #[error("{members} members are too many; hint: a cluster has at most {MEMBERS_MAX}")]
    TooMany {
        /// How many there are.
        members: usize,
    },
    /// A name is not acceptable.
    #[error(transparent)]
    Name(#[from] BadName),
    /// An address is no `host:port`.
    #[error(
        "member {name} has the address {addr:?}; hint: write host:port, such as store-1.lan:7420"
    )]
    Addr {
        /// The member.
        name: NodeName,
        /// Its address.
        addr: String,
    },
    /// A zone is not acceptable.
    #[error(
        "member {name} has the zone {zone:?}; hint: use 1 to {ZONE_BYTES_MAX} bytes without control characters, or none"
    )]
    Zone {
        /// The member.
        name: NodeName,
        /// Its zone.
        zone: String,
    },
    /// A weight is too large.
    #[error("member {name} has the weight {weight}; hint: use 0 to {WEIGHT_MAX}")]
    Weight {
        /// The member.
        name: NodeName,
        /// Its weight.
        weight: u32,
    },
    /// A member consumes too many feeds.
    #[error("member {name} consumes {feeds} feeds; hint: use at most {FEEDS_PER_MEMBER_MAX}")]
    Feeds {
        /// The member.
        name: NodeName,
        /// How many feeds it consumes.
        feeds: usize,
    },
    /// A state that this version does not know.
    #[error(
        "member {name} has the unknown state {number}; hint: a newer version of consign wrote it, run that one"
    )]
    State {
        /// The member.
        name: NodeName,
        /// The state's number.
        number: u32,
    },
}

/// The members as one node sees them at one time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    epoch: u64,
    /// Sorted by name, which are distinct.
    members: Vec<Member>,
    /// What each of their names contributes to a placement.
    points: Vec<Point>,
}

impl View {
    /// A view of these members, in any order.
    ///
    /// # Errors
    /// [`BadView`] when two have one name, there are too many, or a field is out of its limits.
    pub fn new(epoch: u64, mut members: Vec<Member>) -> Result<Self, BadView> {
        if members.len() > MEMBERS_MAX {
            return Err(BadView::TooMany {
                members: members.len(),
            });
        }
        members.iter().try_for_each(Member::check)?;
        members.sort_by(|a, b| a.name.cmp(&b.name));
        match members.windows(2).find(|pair| pair[0].name == pair[1].name) {
            Some(pair) => Err(BadView::Duplicate {
                name: pair[0].name.clone(),
            }),
            None => Ok(Self {
                epoch,
                points: members.iter().map(|m| Point::of(&m.name)).collect(),
                members,
            }),
        }
    }

    /// Counts this node's views, from 1; 0 before the first.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// The members, sorted by name.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// What each member's name contributes to a placement, in the members' order.
    pub(crate) fn points(&self) -> &[Point] {
        &self.points
    }

    /// The member of this name.
    #[must_use]
    pub fn member(&self, name: &NodeName) -> Option<&Member> {
        let at = self
            .members
            .binary_search_by(|member| member.name.cmp(name));
        at.ok().map(|at| &self.members[at])
    }

    /// The zone of the member of this name, if it is one and has one.
    #[must_use]
    pub fn zone(&self, name: &NodeName) -> Option<&str> {
        self.member(name)?.zone.as_deref()
    }

    /// The members that new files of this feed may be placed on, sorted by name.
    pub fn accepting(&self, feed: &FeedName) -> impl Iterator<Item = &Member> {
        self.members
            .iter()
            .filter(move |member| member.accepts(feed))
    }

    /// The next view, if these members differ from the present ones in anything.
    ///
    /// # Errors
    /// [`BadView`] as for [`View::new`].
    pub fn successor(&self, members: Vec<Member>) -> Result<Option<Self>, BadView> {
        let next = Self::new(self.epoch.saturating_add(1), members)?;
        Ok((next.members != self.members).then_some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{MemberRecord, ViewSeen};

    fn feed(name: &str) -> FeedName {
        FeedName::new(name).unwrap()
    }

    fn member(name: &str) -> Member {
        Member {
            name: NodeName::new(name).unwrap(),
            addr: format!("{name}.lan:7420"),
            zone: Some("a".to_owned()),
            weight: 100,
            feeds: [feed("images")].into(),
            state: MemberState::Active,
        }
    }

    fn with(change: impl FnOnce(&mut Member)) -> Member {
        let mut member = member("m");
        change(&mut member);
        member
    }

    #[test]
    fn members_are_found_by_name_whatever_order_they_came_in() {
        let view = View::new(3, vec![member("c"), member("a"), member("b")]).unwrap();
        let names: Vec<_> = view.members().iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["a", "b", "c"]);
        assert_eq!(
            view.member(&NodeName::new("b").unwrap()),
            Some(&member("b"))
        );
        assert_eq!(view.member(&NodeName::new("d").unwrap()), None);
    }

    #[test]
    fn only_active_members_with_weight_that_consume_the_feed_accept_it() {
        let view = View::new(
            1,
            vec![
                member("active"),
                Member {
                    state: MemberState::Draining,
                    ..member("draining")
                },
                Member {
                    state: MemberState::Left,
                    ..member("left")
                },
                Member {
                    weight: 0,
                    ..member("light")
                },
                Member {
                    feeds: [feed("other")].into(),
                    ..member("other")
                },
            ],
        )
        .unwrap();
        let names: Vec<_> = view
            .accepting(&feed("images"))
            .map(|m| m.name.as_str())
            .collect();
        assert_eq!(names, ["active"]);
    }

    #[test]
    fn a_view_has_a_successor_only_when_something_changed() {
        let view = View::new(7, vec![member("a"), member("b")]).unwrap();
        assert_eq!(view.successor(vec![member("b"), member("a")]), Ok(None));
        let heavier = Member {
            weight: 200,
            ..member("b")
        };
        let next = view.successor(vec![heavier, member("a")]).unwrap().unwrap();
        assert_eq!(next.epoch(), 8);
        assert!(view.successor(vec![member("a")]).unwrap().is_some());
    }

    #[test]
    fn views_survive_the_way_through_records() {
        let bare = Member {
            zone: None,
            state: MemberState::Draining,
            ..member("b")
        };
        let view = View::new(7, vec![member("a"), bare]).unwrap();
        assert_eq!(View::try_from(&ViewSeen::from(&view)), Ok(view));
    }

    #[test]
    fn members_that_break_a_limit_are_refused_wherever_they_come_from() {
        let refused = |member: Member| {
            let record = MemberRecord::from(&member);
            let direct = View::new(1, vec![member]).unwrap_err();
            let seen = ViewSeen {
                epoch: 1,
                members: vec![record],
                total: 1,
            };
            assert_eq!(View::try_from(&seen), Err(direct.clone()));
            direct
        };
        for addr in [
            "",
            "host",
            ":1",
            "host:",
            "host:65536",
            "a b:1",
            "a\n:1",
            &"h".repeat(300),
        ] {
            let bad = refused(with(|m| m.addr = addr.to_owned()));
            assert!(matches!(bad, BadView::Addr { .. }), "{addr:?}");
        }
        for zone in ["a\nb".to_owned(), "z".repeat(65)] {
            assert!(matches!(
                refused(with(|m| m.zone = Some(zone))),
                BadView::Zone { .. }
            ));
        }
        assert!(matches!(
            refused(with(|m| m.weight = 1_000_001)),
            BadView::Weight { .. }
        ));
        let feeds: BTreeSet<_> = (0..257).map(|n| feed(&format!("f{n}"))).collect();
        assert!(matches!(
            refused(with(|m| m.feeds = feeds)),
            BadView::Feeds { feeds: 257, .. }
        ));
    }

    #[test]
    fn two_members_of_one_name_are_refused() {
        let twice = View::new(1, vec![member("a"), member("b"), member("a")]);
        assert_eq!(
            twice,
            Err(BadView::Duplicate {
                name: NodeName::new("a").unwrap()
            })
        );
    }

    #[test]
    fn damaged_records_of_members_are_refused() {
        let damaged = |change: fn(&mut MemberRecord)| {
            let mut record = MemberRecord::from(&member("a"));
            change(&mut record);
            Member::try_from(&record).unwrap_err()
        };
        assert!(matches!(
            damaged(|r| r.node = "../a".into()),
            BadView::Name(_)
        ));
        assert!(matches!(
            damaged(|r| r.feeds.push(String::new())),
            BadView::Name(_)
        ));
        assert!(matches!(
            damaged(|r| r.state = 3),
            BadView::State { number: 3, .. }
        ));
        let members = vec![MemberRecord::default(); MEMBERS_MAX + 1];
        let seen = ViewSeen {
            epoch: 1,
            members,
            total: 0,
        };
        assert_eq!(
            View::try_from(&seen),
            Err(BadView::TooMany {
                members: MEMBERS_MAX + 1
            })
        );
    }
}
