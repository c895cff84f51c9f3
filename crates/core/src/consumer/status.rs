//! What can be seen of a consumer from outside.

use std::collections::{BTreeMap, BTreeSet};

use crate::consumer::Consumer;
use crate::consumer::state::{Body, Entry, SlotState};
use crate::ids::{Digest, FeedName, Incarnation, NodeName, SlotId, TransferId};
use crate::log::Position;
use crate::spec::FileSpec;
use crate::tree::ChunkHashes;

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

/// A file that is on its way here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// The transfer.
    pub id: TransferId,
    /// Its feed.
    pub feed: String,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// Its state's name.
    pub state: &'static str,
    /// Bytes of it that are here, verified.
    pub bytes: u64,
    /// What is the matter with it, when something is.
    pub problem: Option<String>,
}

/// Something that a person should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// About which slot.
    pub slot: SlotId,
    /// What.
    pub what: String,
}

/// A file that is, or may be, in a staging directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Staged {
    /// Which.
    pub slot: SlotId,
    /// Its name in the staging directory.
    pub staging: String,
    /// What it is there for.
    pub state: StagedState,
    /// Length of the whole file in bytes.
    pub size: u64,
    /// Chunk size in bytes; 0 for a small file.
    pub chunk_bytes: u64,
    /// Everything below is synced.
    pub synced: u64,
    /// Of the chunks below.
    pub hashes: ChunkHashes,
}

/// What a staging file is there for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StagedState {
    /// To be completed.
    Receiving,
    /// To be renamed into the inbox; it may have been.
    Publishing,
}

/// A small file that is saved, and whose bytes are in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SavedSmall {
    /// Its transfer.
    pub id: TransferId,
    /// The file.
    pub spec: FileSpec,
    /// BLAKE3 of its bytes.
    pub digest: Digest,
    /// The record that has them as its payload.
    pub bytes_at: Position,
    /// Its name in staging: unique.
    pub staging: String,
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

    /// What arrives: large files that are not saved yet, and everything with which something is the
    /// matter; at most `max` of them.
    #[must_use]
    pub fn arrivals(&self, max: usize) -> Vec<Arrival> {
        let troubled = self.problems.keys();
        let troubled = troubled.filter(|slot| !self.receiving.contains(*slot));
        let slots = self.receiving.iter().chain(troubled);
        let entries = slots.filter_map(|slot| Some((slot, self.entry(slot)?)));
        let arrivals = entries.map(|(slot, entry)| Arrival {
            id: entry.id(&slot.producer),
            feed: entry.spec.feed.clone(),
            name: entry.spec.name.clone(),
            size: entry.spec.size,
            state: entry.state.name(),
            bytes: entry.held_bytes(),
            problem: self.problems.get(slot).cloned(),
        });
        arrivals.take(max).collect()
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

    /// Staging files that are needed, of every feed: everything else in a staging directory is an
    /// orphan. The feed that an inbox is given to now may not be the one that staged a file there.
    #[must_use]
    pub fn staging_names(&self) -> BTreeSet<String> {
        self.entries()
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

    /// Files of `feed` that may be in its staging directory: for an examination from outside.
    #[must_use]
    pub fn staged(&self, feed: &FeedName) -> Vec<Staged> {
        let entries = self.entries();
        let of_feed = entries.filter(|(_, entry)| entry.spec.feed == feed.as_str());
        let staged = of_feed.filter_map(|(slot, entry)| {
            let state = match entry.state {
                SlotState::Publishing { .. } => StagedState::Publishing,
                SlotState::Published { .. } | SlotState::Abandoned => return None,
                SlotState::Receiving
                | SlotState::Received { .. }
                | SlotState::Checking { .. }
                | SlotState::Sealing { .. }
                | SlotState::Saving { .. }
                | SlotState::Saved { .. }
                | SlotState::Staging { .. }
                | SlotState::Staged { .. } => StagedState::Receiving,
            };
            let (chunk_bytes, synced, hashes) = match &entry.body {
                Body::Large {
                    chunk_bytes,
                    synced,
                    hashes,
                    ..
                } => (*chunk_bytes, *synced, hashes.clone()),
                // Until it is published its bytes are in the log, and its staging file may go.
                Body::Small { .. } if state == StagedState::Receiving => return None,
                Body::Small { .. } | Body::None => (0, 0, Vec::new()),
            };
            let mut known = ChunkHashes::new();
            known.extend_from_bytes(&hashes).ok()?;
            Some(Staged {
                slot,
                staging: entry.staging.clone(),
                state,
                size: entry.spec.size,
                chunk_bytes,
                synced,
                hashes: known,
            })
        });
        staged.collect()
    }

    /// Small files that are saved, of which nobody has written down that they are in their inbox.
    #[must_use]
    pub fn saved_smalls(&self) -> Vec<SavedSmall> {
        let entries = self.entries();
        let saved = entries.filter_map(|(slot, entry)| {
            let Body::Small {
                bytes_at: Some(bytes_at),
            } = entry.body
            else {
                return None;
            };
            let (digest, _) = entry.state.saved()?;
            (!matches!(entry.state, SlotState::Published { .. })).then(|| SavedSmall {
                id: entry.id(&slot.producer),
                spec: entry.spec.clone(),
                digest,
                bytes_at,
                staging: entry.staging.clone(),
            })
        });
        saved.collect()
    }

    /// Feeds of which something is being published: whether it was is told by its staging file.
    #[must_use]
    pub fn feeds_staged(&self) -> BTreeSet<FeedName> {
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
