//! What a node says of itself, as gossip and etcd carry it: JSON, so that a person can read it with
//! `etcdctl get`.
//!
//! What is read is checked like anything of a stranger.

use std::collections::BTreeSet;

use consign_core::ids::{BadName, FeedName, Incarnation, NodeName, Start};
use consign_core::view::{BadView, Member, MemberState, Sighted, View};
use serde::{Deserialize, Serialize};

use super::Own;
use super::bounds::ANNOUNCEMENT_BYTES_MAX;

/// The form of these texts. Fields may be added without a new one; a reader leaves alone what it
/// does not know.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Text {
    version: u32,
    name: String,
    addr: String,
    zone: Option<String>,
    weight: u32,
    feeds: Vec<String>,
    state: String,
    incarnation: u64,
    /// In hexadecimal digits: readers of JSON round numbers of 64 bits.
    start: String,
}

/// A member as it announced itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Announcement {
    pub(super) member: Member,
    pub(super) incarnation: Incarnation,
    pub(super) start: Start,
}

/// What cannot be believed. The member stays as it was known.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadAnnouncement {
    /// It is too long.
    #[error("it has {0} bytes, of at most {ANNOUNCEMENT_BYTES_MAX}")]
    TooLong(usize),
    /// It is none.
    #[error("it cannot be read: {0}")]
    Unreadable(String),
    /// It is of a later version.
    #[error("it is of version {0}, and this node knows {VERSION}; hint: upgrade this node")]
    Later(u32),
    /// A name in it is none.
    #[error(transparent)]
    Name(#[from] BadName),
    /// The member breaks a limit.
    #[error(transparent)]
    Member(#[from] BadView),
    /// It lies under another name than it says.
    #[error("it is of {found} and lies under the name {wanted}")]
    OtherName { found: NodeName, wanted: String },
}

impl Own {
    /// What this node says of itself.
    pub(super) fn text(&self) -> String {
        let member = &self.member;
        let text = Text {
            version: VERSION,
            name: member.name.to_string(),
            addr: member.addr.clone(),
            zone: member.zone.clone(),
            weight: member.weight,
            feeds: member.feeds.iter().map(ToString::to_string).collect(),
            state: member.state.to_string(),
            incarnation: self.incarnation.0,
            start: format!("{:016x}", self.start.0),
        };
        serde_json::to_string(&text).expect("it is plain data")
    }
}

impl Announcement {
    /// Reads what a node says of itself; `name` is what it lies under.
    ///
    /// # Errors
    /// [`BadAnnouncement`].
    pub(super) fn read(name: &str, text: &[u8]) -> Result<Self, BadAnnouncement> {
        if text.len() > ANNOUNCEMENT_BYTES_MAX {
            return Err(BadAnnouncement::TooLong(text.len()));
        }
        let unreadable = |why: String| BadAnnouncement::Unreadable(why);
        let text: Text =
            serde_json::from_slice(text).map_err(|error| unreadable(error.to_string()))?;
        if text.version > VERSION {
            return Err(BadAnnouncement::Later(text.version));
        }
        let found = NodeName::new(&text.name)?;
        if found.as_str() != name {
            let wanted = name.chars().take(80).collect();
            return Err(BadAnnouncement::OtherName { found, wanted });
        }
        let states = [
            MemberState::Active,
            MemberState::Draining,
            MemberState::Left,
        ];
        let state = states.into_iter().find(|s| s.to_string() == text.state);
        let state = state.ok_or_else(|| unreadable(format!("unknown state {:?}", text.state)))?;
        let start = u64::from_str_radix(&text.start, 16);
        let start = start.map_err(|error| unreadable(format!("its start: {error}")))?;
        let feeds = text.feeds.iter().map(|feed| FeedName::new(feed));
        let member = Member {
            name: found,
            addr: text.addr,
            zone: text.zone,
            weight: text.weight,
            feeds: feeds.collect::<Result<BTreeSet<_>, _>>()?,
            state,
        };
        View::new(0, vec![member.clone()])?;
        Ok(Self {
            member,
            incarnation: Incarnation(text.incarnation),
            start: Start(start),
        })
    }

    /// As a member that is seen.
    pub(super) fn sighted(&self, live: bool) -> Sighted {
        Sighted {
            member: self.member.clone(),
            incarnation: self.incarnation,
            live: Some(live),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own() -> Own {
        Own {
            member: Member {
                name: NodeName::new("store-1").unwrap(),
                addr: "store-1.lan:7420".to_owned(),
                zone: Some("a".to_owned()),
                weight: 7,
                feeds: [FeedName::new("images").unwrap()].into(),
                state: MemberState::Draining,
            },
            incarnation: Incarnation(3),
            start: Start(u64::MAX),
            earlier: BTreeSet::new(),
        }
    }

    #[test]
    fn a_node_is_read_as_it_announces_itself() {
        let read = Announcement::read("store-1", own().text().as_bytes()).unwrap();
        assert_eq!(read.member, own().member);
        assert_eq!(
            (read.incarnation, read.start),
            (Incarnation(3), Start(u64::MAX))
        );
    }

    #[test]
    fn what_a_later_version_adds_is_left_alone() {
        let text = own().text().replace("{", "{\"colour\":\"red\",");
        assert!(Announcement::read("store-1", text.as_bytes()).is_ok());
    }

    #[test]
    fn announcements_that_break_a_rule_are_refused() {
        let refused = |from: &str, to: &str| {
            let text = own().text();
            assert!(text.contains(from), "{text}");
            Announcement::read("store-1", text.replace(from, to).as_bytes()).unwrap_err()
        };
        for (bad, about) in [
            (refused("\"version\":1", "\"version\":2"), "version 2"),
            (refused("store-1\"", "store-2\""), "lies under"),
            (refused("store-1\"", "../x\""), "node name"),
            (refused("draining", "resting"), "resting"),
            (refused(":7,", ":7000000,"), "weight"),
            (refused("store-1.lan:7420", "nowhere"), "address"),
            (refused("ffffffffffffffff", "x"), "start"),
            (refused("images", "a/../b"), "feed"),
        ] {
            assert!(bad.to_string().contains(about), "{bad}");
        }
        let long = vec![b' '; ANNOUNCEMENT_BYTES_MAX + 1];
        assert!(matches!(
            Announcement::read("a", &long),
            Err(BadAnnouncement::TooLong(_))
        ));
    }
}
