//! Views and members as records and messages carry them. What is read back is checked like any
//! other: it may come from a peer, or from a disk that lies.

use super::{BadView, Member, MemberState, View};
use crate::ids::{FeedName, NodeName};
use crate::limits::MEMBERS_MAX;
use crate::record::{MemberRecord, ViewSeen};

impl From<&Member> for MemberRecord {
    fn from(member: &Member) -> Self {
        Self {
            node: member.name.to_string(),
            addr: member.addr.clone(),
            zone: member.zone.clone().unwrap_or_default(),
            weight: member.weight,
            feeds: member.feeds.iter().map(ToString::to_string).collect(),
            state: member.state.number(),
        }
    }
}

impl TryFrom<&MemberRecord> for Member {
    type Error = BadView;

    /// Reads a member from a log or a peer. Its limits are checked as for any other.
    fn try_from(record: &MemberRecord) -> Result<Self, BadView> {
        let name = NodeName::new(&record.node)?;
        let feeds = record.feeds.iter().map(|feed| FeedName::new(feed));
        let Some(state) = MemberState::from_number(record.state) else {
            return Err(BadView::State {
                name,
                number: record.state,
            });
        };
        let member = Self {
            addr: record.addr.clone(),
            zone: Some(record.zone.clone()).filter(|zone| !zone.is_empty()),
            weight: record.weight,
            feeds: feeds.collect::<Result<_, _>>()?,
            state,
            name,
        };
        member.check()?;
        Ok(member)
    }
}

impl From<&View> for ViewSeen {
    fn from(view: &View) -> Self {
        Self {
            epoch: view.epoch,
            members: view.members.iter().map(MemberRecord::from).collect(),
            total: view.members.len() as u32,
        }
    }
}

impl TryFrom<&ViewSeen> for View {
    type Error = BadView;

    fn try_from(seen: &ViewSeen) -> Result<Self, BadView> {
        if seen.members.len() > MEMBERS_MAX {
            return Err(BadView::TooMany {
                members: seen.members.len(),
            });
        }
        let members = seen.members.iter().map(Member::try_from);
        Self::new(seen.epoch, members.collect::<Result<_, _>>()?)
    }
}
