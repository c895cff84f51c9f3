//! The records of the intent log: everything a node has promised, each a line of its story.
//!
//! A record is a type byte, a version byte and a protobuf body (`docs/log-format.md`); some carry a
//! payload, the bytes of a small file. Replaying them in order, any number of times over a prefix,
//! gives the state of the producer and the consumer.

mod consumer;
mod node;
mod producer;

pub use consumer::*;
pub use node::*;
pub use producer::*;

use crate::ids::Incarnation;
use crate::numbered::numbered;

numbered! {
    /// A record of the intent log.
    #[expect(clippy::large_enum_variant, reason = "records are encoded soon, and the largest are rare")]
    pub enum Record {
        /// See [`Boot`].
        1 Boot(Boot),
        /// See [`PeerSeen`].
        2 PeerSeen(PeerSeen),
        /// See [`ViewSeen`].
        3 ViewSeen(ViewSeen),
        /// See [`Forgotten`].
        4 Forgotten(Forgotten),
        /// See [`StandingSet`].
        5 StandingSet(StandingSet),
        /// See [`PeerStanding`].
        6 PeerStanding(PeerStanding),
        /// See [`PeerLog`].
        7 PeerLog(PeerLog),
        /// See [`Outlived`].
        8 Outlived(Outlived),
        /// See [`Reconciled`].
        9 Reconciled(Reconciled),
        /// See [`Claiming`].
        16 Claiming(Claiming),
        /// See [`Unclaimed`].
        17 Unclaimed(Unclaimed),
        /// See [`Submitted`].
        18 Submitted(Submitted),
        /// See [`Placed`].
        19 Placed(Placed),
        /// See [`AttemptStarted`].
        20 AttemptStarted(AttemptStarted),
        /// See [`Hashed`].
        21 Hashed(Hashed),
        /// See [`DigestKnown`].
        22 DigestKnown(DigestKnown),
        /// See [`LegsSettled`].
        23 LegsSettled(LegsSettled),
        /// Every consumer has the file; the source may be released.
        24 Done(Transfers),
        /// The source is released; nothing is left to do.
        25 Released(Transfers),
        /// A person must act.
        26 Failed(Transfers),
        /// A person retried a failed transfer.
        27 Retried(Transfers),
        /// A person cancelled it.
        28 Cancelled(Transfers),
        /// See [`Opened`].
        64 Opened(Opened),
        /// See [`Watermark`].
        65 Watermark(Watermark),
        /// See [`SmallReceived`].
        66 SmallReceived(SmallReceived),
        /// Small files are `saved`.
        67 SmallSaved(Slots),
        /// See [`Publishing`].
        68 Publishing(Publishing),
        /// The files are in the inbox, and the directories synced.
        69 Published(Slots),
        /// See [`SlotAbandoned`].
        70 SlotAbandoned(SlotAbandoned),
        /// See [`SlotsClosed`].
        71 SlotsClosed(SlotsClosed),
        /// See [`SlotCarried`].
        72 SlotCarried(SlotCarried),
        /// See [`InboxMarked`].
        73 InboxMarked(InboxMarked),
    }
}

impl Record {
    /// Reads a record's body, which its checksum says is as it was written.
    ///
    /// # Errors
    /// [`BadRecord`] when the type is unknown or the body is not of it.
    pub fn read(kind: u8, body: &[u8]) -> Result<Self, BadRecord> {
        match Self::decode(kind, body) {
            Ok(Some(record)) => Ok(record),
            Ok(None) => Err(BadRecord::Kind { kind }),
            Err(source) => Err(BadRecord::Body { kind, source }),
        }
    }

    /// Whether it says something of nodes and of no transfer. Neither machine carries it forward:
    /// whoever keeps the log writes it again before its segment goes.
    #[must_use]
    pub fn is_of_nodes(&self) -> bool {
        matches!(
            self,
            Self::Forgotten(_)
                | Self::StandingSet(_)
                | Self::PeerStanding(_)
                | Self::PeerLog(_)
                | Self::Outlived(_)
                | Self::Reconciled(_)
        )
    }

    /// The lowest incarnation that a life of this node which has the record may have.
    #[must_use]
    pub fn incarnation_min(&self) -> Incarnation {
        match self {
            Self::Boot(Boot { incarnation, .. })
            | Self::Outlived(Outlived { incarnation, .. })
            | Self::Reconciled(Reconciled { incarnation, .. }) => {
                Incarnation(incarnation.saturating_add(1))
            }
            _ => Incarnation(0),
        }
    }

    /// Whether nothing that an older record says counts any more beside this one.
    #[must_use]
    pub fn replaces(&self, older: &Self) -> bool {
        match (self, older) {
            (Self::Forgotten(this), Self::Forgotten(older)) => this.node == older.node,
            (Self::Forgotten(this), Self::PeerLog(older)) => this.node == older.node,
            // Who is gone for good may have lied, and its word does not count any more.
            (Self::Forgotten(this), Self::Outlived(older)) => this.node == older.peer,
            (Self::PeerLog(this), Self::PeerLog(older)) => this.node == older.node,
            (Self::Outlived(this), Self::Outlived(older)) => this.peer == older.peer,
            (Self::Reconciled(_), Self::Outlived(_) | Self::Reconciled(_)) => true,
            (Self::StandingSet(_), Self::StandingSet(_)) => true,
            (Self::PeerStanding(this), Self::PeerStanding(older)) => this.node == older.node,
            _ => false,
        }
    }
}

/// The version that this program writes into every record.
pub const RECORD_VERSION: u8 = 1;

/// A record that this program cannot read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// A type that this version does not know.
    #[error(
        "record type {kind} is unknown; hint: a newer version of consign wrote it, run that one"
    )]
    Kind {
        /// The type byte.
        kind: u8,
    },
    /// The body does not decode although its checksum is right.
    #[error("record of type {kind} does not decode: {source}; hint: report this as a bug")]
    Body {
        /// The type byte.
        kind: u8,
        /// What the decoder says.
        source: prost::DecodeError,
    },
}
