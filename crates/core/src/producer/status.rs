//! What can be seen of a producer from outside.

use std::collections::BTreeSet;

use crate::ids::{FeedName, Incarnation, Millis, NodeName};
use crate::producer::Producer;
use crate::producer::destination::{Complaint, Destination};
use crate::producer::dormant::Rest;
use crate::producer::state::{Stage, Transfer};
use crate::view::MemberState;

/// How a feed stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedStatus {
    /// The feed.
    pub name: FeedName,
    /// Files submitted and not done.
    pub queued_files: u64,
    /// Their bytes.
    pub queued_bytes: u64,
    /// Files that wait for a person.
    pub failed: u64,
    /// Files done since this life began.
    pub done_files: u64,
    /// Their bytes.
    pub done_bytes: u64,
    /// Whether any member accepts it.
    pub accepted: bool,
    /// Whether any of those can be reached now.
    pub reachable: bool,
}

/// How a consumer stands, as this producer sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DestinationStatus {
    /// The consumer.
    pub node: NodeName,
    /// Its incarnation, while there is a connection.
    pub incarnation: Option<Incarnation>,
    /// Since when there is none.
    pub down_since: Option<Millis>,
    /// How far it takes part, in its own word.
    pub standing: MemberState,
    /// Files owed to it.
    pub owed: u64,
    /// Files that were placed elsewhere, and that it has to be told to abandon.
    pub abandoning: u64,
    /// Until when nothing new is tried with it.
    pub hold_off: Millis,
    /// Why it refuses for now what it is owed.
    pub complaints: Vec<ComplaintStatus>,
}

/// Why a consumer refuses for now what it is owed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ComplaintStatus {
    /// The feed concerned; `None` when it takes nothing at all.
    pub feed: Option<FeedName>,
    /// When it was first heard.
    pub since: Millis,
    /// In the consumer's own words, at most 500 characters; they are a peer's, and not trusted.
    pub reason: String,
}

impl Producer {
    /// The transfers in the active window.
    pub fn transfers(&self) -> impl Iterator<Item = &Transfer> {
        self.active.values()
    }

    /// A transfer in the active window.
    #[must_use]
    pub fn transfer(&self, key: crate::ids::TransferKey) -> Option<&Transfer> {
        self.active.get(&key)
    }

    /// Whether a transfer is live and was never placed.
    #[must_use]
    pub fn is_unplaced(&self, key: crate::ids::TransferKey) -> bool {
        match (self.active.get(&key), self.queue.dormant.get(key)) {
            (Some(transfer), _) => transfer.stage == Stage::Queued && transfer.legs.is_empty(),
            (None, Some(dormant)) => match dormant.rest {
                Rest::Fresh | Rest::Parked | Rest::Fetching => dormant.placed.is_none(),
                Rest::Failed | Rest::Unreleased => false,
            },
            (None, None) => false,
        }
    }

    /// All transfers that are live and were never placed.
    #[must_use]
    pub fn unplaced(&self) -> BTreeSet<crate::ids::TransferKey> {
        let active = self.active.keys().copied();
        let all = active.chain(self.queue.dormant.iter().map(|(key, _)| key));
        all.filter(|key| self.is_unplaced(*key)).collect()
    }

    /// Files that count as under way to consumers: none, when nothing is unfinished.
    #[must_use]
    pub fn under_way(&self) -> u64 {
        let destinations = self.destinations.0.values();
        destinations.map(Destination::under_way).sum()
    }

    /// Whether a name in the spool is that of a transfer which is not finished.
    #[must_use]
    pub fn holds_spool(&self, name: &str) -> bool {
        let Some((start, seq)) = name.split_once('.') else {
            return false;
        };
        let (Ok(start), Ok(seq)) = (u64::from_str_radix(start, 16), seq.parse()) else {
            return false;
        };
        let key = crate::ids::TransferKey {
            start: crate::ids::Start(start),
            seq: crate::ids::Sequence(seq),
        };
        self.knows(key) || self.replay.contains(key)
    }

    /// Whether a transfer is known, in memory or not.
    #[must_use]
    pub fn knows(&self, key: crate::ids::TransferKey) -> bool {
        self.active.contains_key(&key) || self.queue.dormant.contains(key)
    }

    /// How far this node takes part.
    #[must_use]
    pub fn standing(&self) -> MemberState {
        self.standing
    }

    /// Whether nothing is placed anew on a node: it was forgotten, or has said that it drains.
    #[must_use]
    pub fn places_nothing_on(&self, node: &NodeName) -> bool {
        self.is_out(node)
    }

    /// Nodes that were declared gone for good.
    pub fn forgotten(&self) -> impl Iterator<Item = &NodeName> {
        self.forgotten.iter()
    }

    /// Number of transfers that are not finished.
    #[must_use]
    pub fn unfinished(&self) -> usize {
        self.active.len() + self.queue.dormant.len()
    }

    /// Live records in the log.
    #[must_use]
    pub fn live_records(&self) -> u64 {
        self.live.records()
    }

    /// Bytes of live payloads in the log.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.live.bytes()
    }

    /// Every feed.
    #[must_use]
    pub fn feeds(&self) -> Vec<FeedStatus> {
        let reachable = |name: &FeedName| {
            let connected =
                |node: &NodeName| self.destinations.get(node).is_some_and(|d| d.connected());
            self.takers(name).any(|member| connected(&member.name))
        };
        self.queue
            .feeds
            .iter()
            .map(|feed| FeedStatus {
                name: feed.name.clone(),
                queued_files: feed.queued_files,
                queued_bytes: feed.queued_bytes,
                failed: feed.failed,
                done_files: feed.done_files,
                done_bytes: feed.done_bytes,
                accepted: self.takers(&feed.name).next().is_some(),
                reachable: reachable(&feed.name),
            })
            .collect()
    }

    /// Every consumer.
    #[must_use]
    pub fn destinations(&self) -> Vec<DestinationStatus> {
        self.destinations
            .0
            .iter()
            .map(|(node, destination)| DestinationStatus {
                node: node.clone(),
                incarnation: destination.session.map(|(_, incarnation)| incarnation),
                down_since: destination.down_since,
                standing: destination.standing,
                owed: destination.duties.len() as u64,
                abandoning: destination.abandons.len() as u64,
                hold_off: destination.hold_off(),
                complaints: self.complaints_of(destination),
            })
            .collect()
    }

    fn complaints_of(&self, destination: &Destination) -> Vec<ComplaintStatus> {
        let name = |feed: u16| self.queue.feeds[usize::from(feed)].name.clone();
        let status = |(feed, complaint): (&Option<u16>, &Complaint)| ComplaintStatus {
            feed: feed.map(name),
            since: complaint.since,
            reason: complaint.reason.clone(),
        };
        destination.complaints.iter().map(status).collect()
    }
}
