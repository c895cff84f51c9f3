//! One slot as its consumer holds it, and the legal changes of its state.

use crate::ids::{Digest, FeedName, Fence, Millis, NodeName, SlotId, TransferId, TransferKey};
use crate::log::Position;
use crate::receipt::{self, Hash};
use crate::spec::FileSpec;

/// Where a slot stands.
///
/// ```text
///  large:  Receiving ──▶ Received ──▶ Sealing ──▶ Saving ──────────────────▶ Publishing ──▶ Published
///             ▲  ▲          │           │                                       ▲  │
///             │  └──────────┴───────────┘ (its bytes were wrong, or its disk     └──┘ (the path was
///             │                            failed: from the watermark again)           taken meanwhile)
///  small:  Received ──▶ Checking ──▶ Saving ──▶ Saved ──▶ Staging ──▶ Staged ──▶ Publishing ──▶ Published
///             │ ▲          │                      ▲         │
///             │ └──────────┘ (rejected)           └─────────┘ (its disk failed)
///             └───────────▶ Saving (its feed renames what conflicts)
///  any before Saving ──▶ Abandoned
/// ```
/// `saved` is everything from the sync at the end of `Saving` on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SlotState {
    /// Bytes arrive, or will when it is opened again.
    Receiving,
    /// Every byte is here.
    Received {
        /// Of the whole file.
        digest: Digest,
    },
    /// It is being looked whether its path is free, since its feed rejects conflicts.
    Checking {
        /// Of the whole file.
        digest: Digest,
    },
    /// Its staging file is being synced.
    Sealing {
        /// Of the whole file.
        digest: Digest,
    },
    /// The decision to publish is being synced.
    Saving {
        /// Of the whole file.
        digest: Digest,
        /// For a large file, the path that was decided.
        path: Option<String>,
    },
    /// A small file's bytes and the decision are synced in the log.
    Saved {
        /// Of the whole file.
        digest: Digest,
        /// Since when.
        at: Millis,
    },
    /// A small file is being written into staging.
    Staging {
        /// Of the whole file.
        digest: Digest,
        /// When it was saved.
        at: Millis,
    },
    /// A small file's staging file is synced, its path decided, and that being synced.
    Staged {
        /// Of the whole file.
        digest: Digest,
        /// When it was saved.
        at: Millis,
        /// Under the inbox.
        path: String,
    },
    /// The staging file and the path are synced; the rename is being made.
    Publishing {
        /// Of the whole file.
        digest: Digest,
        /// When it was saved.
        at: Millis,
        /// Under the inbox.
        path: String,
    },
    /// It is visible, or was and the application has taken it.
    Published {
        /// Of the whole file.
        digest: Digest,
        /// When it was saved.
        at: Millis,
    },
    /// It will never be published here.
    Abandoned,
}

impl SlotState {
    /// Whether a slot may go from this state to `next`: the one place that says so.
    #[must_use]
    pub fn may_become(&self, next: &Self) -> bool {
        use SlotState::{
            Abandoned, Checking, Published, Publishing, Received, Receiving, Saved, Saving,
            Sealing, Staged, Staging,
        };
        match (self, next) {
            (Receiving, Receiving | Received { .. } | Abandoned) => true,
            (
                Received { .. },
                Receiving | Checking { .. } | Sealing { .. } | Saving { .. } | Abandoned,
            ) => true,
            (Checking { .. }, Received { .. } | Saving { .. } | Abandoned) => true,
            (Sealing { .. }, Receiving | Saving { .. } | Abandoned) => true,
            (Saving { .. }, Saved { .. } | Publishing { .. }) => true,
            (Saved { .. }, Staging { .. }) => true,
            (Staging { .. }, Saved { .. } | Staged { .. }) => true,
            (Staged { .. }, Publishing { .. }) => true,
            (Publishing { .. }, Publishing { .. } | Published { .. }) => true,
            (
                Receiving
                | Received { .. }
                | Checking { .. }
                | Sealing { .. }
                | Saving { .. }
                | Saved { .. }
                | Staging { .. }
                | Staged { .. }
                | Publishing { .. }
                | Published { .. }
                | Abandoned,
                _,
            ) => false,
        }
    }

    /// Whether its consumer has promised to show it: the digest, and since when.
    #[must_use]
    pub fn saved(&self) -> Option<(Digest, Millis)> {
        match self {
            Self::Saved { digest, at }
            | Self::Staging { digest, at }
            | Self::Staged { digest, at, .. }
            | Self::Publishing { digest, at, .. }
            | Self::Published { digest, at } => Some((*digest, *at)),
            Self::Receiving
            | Self::Received { .. }
            | Self::Checking { .. }
            | Self::Sealing { .. }
            | Self::Saving { .. }
            | Self::Abandoned => None,
        }
    }

    /// Of the whole file, once all of it was here.
    #[must_use]
    pub fn digest(&self) -> Option<Digest> {
        match self {
            Self::Received { digest }
            | Self::Checking { digest }
            | Self::Sealing { digest }
            | Self::Saving { digest, .. }
            | Self::Saved { digest, .. }
            | Self::Staging { digest, .. }
            | Self::Staged { digest, .. }
            | Self::Publishing { digest, .. }
            | Self::Published { digest, .. } => Some(*digest),
            Self::Receiving | Self::Abandoned => None,
        }
    }

    /// Whether nothing is left to do here but to remember it.
    #[must_use]
    pub fn is_over(&self) -> bool {
        match self {
            Self::Published { .. } | Self::Abandoned => true,
            Self::Receiving
            | Self::Received { .. }
            | Self::Checking { .. }
            | Self::Sealing { .. }
            | Self::Saving { .. }
            | Self::Saved { .. }
            | Self::Staging { .. }
            | Self::Staged { .. }
            | Self::Publishing { .. } => false,
        }
    }

    /// The state's name, as status pages print it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Receiving => "receiving",
            Self::Received { .. } | Self::Checking { .. } | Self::Sealing { .. } => "received",
            Self::Saving { .. } => "saving",
            Self::Saved { .. }
            | Self::Staging { .. }
            | Self::Staged { .. }
            | Self::Publishing { .. } => "saved",
            Self::Published { .. } => "published",
            Self::Abandoned => "abandoned",
        }
    }
}

/// How the bytes of a slot are held until they are published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// In a staging file.
    Large {
        /// Chunk size in bytes.
        chunk_bytes: u64,
        /// Everything below is synced.
        synced: u64,
        /// Chunk hashes below the watermark, 32 bytes each.
        hashes: Vec<u8>,
        /// Verified and written, as far as is known.
        written: u64,
        /// Whether the fence of the current attempt is synced.
        fence_synced: bool,
        /// Whether the staging file is open for the current attempt, and up to where it is there.
        open: Option<u64>,
        /// Under which fence its file was let go of, if it is not open again since. The next opening
        /// cuts it back, so what is still reported of the opening before does not count.
        let_go: Option<Fence>,
    },
    /// In the log.
    Small {
        /// Where; known once it is synced.
        bytes_at: Option<Position>,
    },
    /// Nowhere: nothing was received before it was abandoned.
    None,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The transfer, within its producer.
    pub key: TransferKey,
    /// The file.
    pub spec: FileSpec,
    /// The newest attempt that was accepted.
    pub fence: Fence,
    /// Where it stands.
    pub state: SlotState,
    /// Its bytes.
    pub(crate) body: Body,
    /// Name in the staging directory.
    pub(crate) staging: String,
    /// Whether the producer has closed the slot: it is forgotten once it is published.
    pub(crate) closed: bool,
    /// Where its oldest record that is still needed lies.
    pub(crate) recorded: Option<Position>,
    /// Payload bytes that are live there.
    pub(crate) live_bytes: u64,
}

impl Entry {
    /// Changes the state.
    pub(crate) fn become_(&mut self, next: SlotState) {
        assert!(
            self.state.may_become(&next),
            "{} went from {:?} to {next:?}",
            self.staging,
            self.state
        );
        #[cfg(feature = "watched")]
        crate::watched::edge((
            crate::watched::Machine::Slot,
            crate::watched::slot(&self.state),
            crate::watched::slot(&next),
        ));
        self.state = next;
    }

    /// Whether it is only remembered.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.state.is_over()
    }

    pub(crate) fn feed(&self) -> Option<FeedName> {
        FeedName::new(&self.spec.feed).ok()
    }

    /// So many bytes of it are in its staging file now; how many more than were known to be.
    pub(crate) fn wrote(&mut self, bytes: u64) -> u64 {
        match &mut self.body {
            Body::Large { written, .. } => bytes.saturating_sub(std::mem::replace(written, bytes)),
            Body::Small { .. } | Body::None => 0,
        }
    }

    /// Bytes of it that are here, verified.
    pub(crate) fn held_bytes(&self) -> u64 {
        match (&self.state, &self.body) {
            (SlotState::Abandoned, _) => 0,
            (SlotState::Receiving, Body::Large { written, .. }) => *written,
            (SlotState::Receiving, Body::Small { .. } | Body::None) => 0,
            (
                SlotState::Received { .. }
                | SlotState::Checking { .. }
                | SlotState::Sealing { .. }
                | SlotState::Saving { .. }
                | SlotState::Saved { .. }
                | SlotState::Staging { .. }
                | SlotState::Staged { .. }
                | SlotState::Publishing { .. }
                | SlotState::Published { .. },
                _,
            ) => self.spec.size,
        }
    }

    pub(crate) fn is_large(&self) -> bool {
        matches!(self.body, Body::Large { .. })
    }

    /// What its consumer signs of it, once all of it was here.
    pub(crate) fn leaf(&self, producer: &NodeName) -> Option<Hash> {
        let digest = self.state.digest()?;
        let FileSpec {
            feed, name, size, ..
        } = &self.spec;
        let id = self.id(producer);
        Some(receipt::leaf(&id, feed, name, *size, &digest))
    }

    /// The transfer's id for the whole cluster.
    pub(crate) fn id(&self, producer: &NodeName) -> TransferId {
        TransferId {
            producer: producer.clone(),
            key: self.key,
        }
    }
}

/// The name of a slot's staging file: unique, and made of nothing that a peer may choose.
pub(crate) fn staging_name(slot: &SlotId) -> String {
    format!("{}-{:016x}-{}", slot.producer, slot.start.0, slot.slot.0)
}
