//! What can be seen of a consumer from outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::consumer::Consumer;
use crate::consumer::state::Entry;
use crate::ids::{FeedName, Incarnation, NodeName, SlotId};

/// How an inbox stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InboxStatus {
    /// The feed.
    pub feed: FeedName,
    /// Its directory.
    pub inbox: String,
    /// Free bytes on its filesystem, as last measured.
    pub free_bytes: Option<u64>,
    /// Transfers that are not published yet.
    pub pending_files: u64,
    /// Their bytes.
    pub pending_bytes: u64,
    /// Files published since this life began.
    pub published_files: u64,
    /// Their bytes.
    pub published_bytes: u64,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// About which slot.
    pub slot: SlotId,
    /// What.
    pub what: String,
}

impl Consumer {
    /// Every inbox.
    #[must_use]
    pub fn inboxes(&self) -> Vec<InboxStatus> {
        let mut pending: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (_, entry) in self.entries().filter(|(_, entry)| !entry.state.is_over()) {
            let sum = pending.entry(entry.spec.feed.as_str()).or_default();
            sum.0 += 1;
            sum.1 += entry.spec.size;
        }
        self.inboxes
            .values()
            .map(|inbox| {
                let feed = inbox.policy.feed.clone();
                let (pending_files, pending_bytes) =
                    pending.get(feed.as_str()).copied().unwrap_or_default();
                InboxStatus {
                    feed,
                    inbox: inbox.policy.inbox.clone(),
                    free_bytes: inbox.free,
                    pending_files,
                    pending_bytes,
                    published_files: inbox.published_files,
                    published_bytes: inbox.published_bytes,
                }
            })
            .collect()
    }

    /// Every slot that is remembered.
    pub fn entries(&self) -> impl Iterator<Item = (SlotId, &Entry)> {
        self.all_slots().into_iter().filter_map(|slot| {
            let entry = self.entry(&slot)?;
            Some((slot, entry))
        })
    }

    /// What a person should look at.
    #[must_use]
    pub fn problems(&self) -> Vec<Problem> {
        self.problems
            .iter()
            .map(|(slot, what)| Problem {
                slot: slot.clone(),
                what: what.clone(),
            })
            .collect()
    }

    /// Staging files of `feed` that are needed: everything else in its staging directory is an
    /// orphan.
    #[must_use]
    pub fn staging_names(&self, feed: &FeedName) -> Vec<String> {
        use crate::consumer::state::SlotState;
        self.entries()
            .filter(|(_, entry)| entry.spec.feed == feed.as_str())
            .filter(|(_, entry)| match entry.state {
                SlotState::Publishing { .. } => true,
                SlotState::Published { .. } | SlotState::Abandoned | SlotState::Saved { .. } => {
                    false
                }
                SlotState::Receiving
                | SlotState::Received { .. }
                | SlotState::Checking { .. }
                | SlotState::Sealing { .. }
                | SlotState::Saving { .. }
                | SlotState::Staging { .. }
                | SlotState::Staged { .. } => entry.is_large(),
            })
            .map(|(_, entry)| entry.staging.clone())
            .collect()
    }

    /// Feeds of which something is being published: whether it was is told by its staging file.
    #[must_use]
    pub fn feeds_staged(&self) -> BTreeSet<FeedName> {
        use crate::consumer::state::SlotState;
        let entries = self.entries();
        entries
            .filter(|(_, entry)| matches!(entry.state, SlotState::Publishing { .. }))
            .filter_map(|(_, entry)| entry.feed())
            .collect()
    }

    /// Producers that have a connection open, with their incarnations.
    #[must_use]
    pub fn producers(&self) -> Vec<(NodeName, Incarnation)> {
        self.peers
            .iter()
            .filter(|(_, peer)| peer.session.is_some())
            .map(|(node, peer)| (node.clone(), peer.incarnation))
            .collect()
    }

    /// The highest incarnation of a node that was seen, 0 for none.
    #[must_use]
    pub fn seen(&self, node: &NodeName) -> Incarnation {
        self.peers
            .get(node)
            .map(|peer| peer.incarnation)
            .unwrap_or_default()
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
}
