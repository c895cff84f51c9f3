//! The list of members, and this node's own place in it.

use consign_core::ids::{FeedName, NodeName};
use consign_core::view::{Member, MemberState, View};

use super::super::error::{ConfigError, Problem};
use super::super::outline::Outline;
use super::super::{ConsumeConfig, HostPort, Listen, Node, raw};
use super::{WEIGHT_DEFAULT, address, numbered};

/// A member as it is listed.
pub(super) struct Listed {
    /// Where in the config.
    key: String,
    /// The member.
    pub(super) member: Member,
    /// Its address.
    pub(super) addr: HostPort,
}

impl Listed {
    /// The key of its address.
    pub(super) fn addr_key(&self) -> String {
        format!("{}.addr", self.key)
    }
}

/// Checks each listed member by itself.
pub(super) fn listed(
    raw: Vec<raw::Member>,
    outline: &Outline<'_>,
) -> Result<Vec<Listed>, ConfigError> {
    numbered("membership.nodes", raw)
        .map(|(at, raw)| entry(raw, at, outline))
        .collect()
}

fn entry(raw: raw::Member, at: String, outline: &Outline<'_>) -> Result<Listed, ConfigError> {
    let key = |name| format!("{at}.{name}");
    let name = NodeName::new(&raw.name).map_err(|bad| outline.refuse(&key("name"), bad))?;
    let addr = address(&raw.addr, &key("addr"), outline)?;
    if addr.is_wildcard() || addr.port == 0 {
        let addr = addr.to_string();
        return Err(outline.refuse(&key("addr"), Problem::NotReachable { addr }));
    }
    let feeds = raw
        .feeds
        .iter()
        .map(|feed| FeedName::new(feed))
        .collect::<Result<_, _>>();
    let member = Member {
        name,
        addr: addr.to_string(),
        zone: raw.zone,
        weight: raw.weight.unwrap_or(WEIGHT_DEFAULT),
        feeds: feeds.map_err(|bad| outline.refuse(&key("feeds"), bad))?,
        state: MemberState::Active,
    };
    Ok(Listed {
        key: at,
        member,
        addr,
    })
}

/// All members, sorted, with this node among them: if it is not listed, what it says of itself is
/// its entry; if it is, the two must be equal, since the others have only the list.
pub(super) fn with_own(
    listed: Vec<Listed>,
    own: &Member,
    consume: &[ConsumeConfig],
    outline: &Outline<'_>,
) -> Result<Vec<Member>, ConfigError> {
    one_each(&listed, outline)?;
    let is_listed = match listed.iter().find(|entry| entry.member.name == own.name) {
        Some(entry) => check_own(entry, own, consume, outline).map(|()| true)?,
        None => false,
    };
    let mut members: Vec<_> = listed.into_iter().map(|entry| entry.member).collect();
    if !is_listed {
        members.push(own.clone());
    }
    match View::new(0, members) {
        Ok(view) => Ok(view.members().to_vec()),
        Err(bad) => Err(outline.refuse("membership.nodes", bad)),
    }
}

/// Refuses two members at one address: whoever answers there is one of them.
fn one_each(listed: &[Listed], outline: &Outline<'_>) -> Result<(), ConfigError> {
    for (at, entry) in listed.iter().enumerate() {
        let same = |other: &&Listed| other.member.addr == entry.member.addr;
        if let Some(other) = listed[..at].iter().find(same) {
            let problem = Problem::SameAddress {
                addr: entry.member.addr.clone(),
                other: other.member.name.clone(),
            };
            return Err(outline.refuse(&entry.addr_key(), problem));
        }
    }
    Ok(())
}

/// This node as it describes itself.
pub(super) fn own_member(
    node: &Node,
    listen: &Listen,
    consume: &[ConsumeConfig],
    outline: &Outline<'_>,
) -> Result<Member, ConfigError> {
    let weight = consume.first().map_or(WEIGHT_DEFAULT, |first| first.weight);
    if let Some(at) = consume.iter().position(|table| table.weight != weight) {
        let other_key = "consume[1]".to_owned();
        let problem = Problem::Weights {
            weight: consume[at].weight,
            other: weight,
            other_key,
        };
        return Err(outline.refuse(&format!("consume[{}].weight", at + 1), problem));
    }
    let own = Member {
        name: node.name.clone(),
        addr: listen.advertise.to_string(),
        zone: node.zone.clone(),
        weight,
        feeds: consume
            .iter()
            .map(|table| table.policy.feed.clone())
            .collect(),
        state: MemberState::Active,
    };
    // Checked alone first, so that the message names this node's own keys.
    match View::new(0, vec![own.clone()]) {
        Ok(_) => Ok(own),
        Err(bad) => Err(outline.refuse("node", bad)),
    }
}

fn check_own(
    entry: &Listed,
    own: &Member,
    consume: &[ConsumeConfig],
    outline: &Outline<'_>,
) -> Result<(), ConfigError> {
    let member = &entry.member;
    let differs = [
        ("zone", "node.zone", member.zone != own.zone),
        ("feeds", "consume.feed", member.feeds != own.feeds),
        (
            "weight",
            "consume.weight",
            !consume.is_empty() && member.weight != own.weight,
        ),
    ];
    match differs.into_iter().find(|(_, _, differs)| *differs) {
        None => Ok(()),
        Some((name, own_key, _)) => {
            let problem = Problem::OwnEntry {
                node: own.name.clone(),
                own_key,
            };
            Err(outline.refuse(&format!("{}.{name}", entry.key), problem))
        }
    }
}
