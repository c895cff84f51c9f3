//! The messages, as protobuf. Numbers are never reused; unknown fields are ignored, so that a later
//! version may add to a message, and unknown messages are a protocol error.

mod audit;
mod control;
mod data;
mod gossip;
mod handshake;
mod joining;

pub use audit::*;
pub use control::*;
pub use data::*;
pub use gossip::*;
pub use handshake::*;
pub use joining::*;

use crate::numbered::numbered;

numbered! {
    /// A message, or the header of a data frame.
    pub enum Message {
        /// See [`Hello`].
        1 Hello(Hello),
        /// See [`Welcome`].
        2 Welcome(Welcome),
        /// See [`Rejected`].
        3 Rejected(Rejected),
        /// See [`Ping`].
        4 Ping(Ping),
        /// See [`Ping`].
        5 Pong(Ping),
        /// See [`RevokedList`].
        6 RevokedList(RevokedList),
        /// See [`Join`].
        7 Join(Join),
        /// See [`Joined`].
        8 Joined(Joined),
        /// See [`Open`].
        16 Open(Open),
        /// See [`OpenAnswer`].
        17 OpenAnswer(OpenAnswer),
        /// See [`Forward`].
        18 Forward(Forward),
        /// See [`Progress`].
        19 Progress(Progress),
        /// See [`Received`].
        20 Received(Received),
        /// See [`Commit`].
        21 Commit(Commit),
        /// See [`Saved`].
        22 Saved(Saved),
        /// See [`Abandon`].
        23 Abandon(Abandon),
        /// See [`Abandoned`].
        24 Abandoned(Abandoned),
        /// See [`Refused`].
        25 Refused(Refused),
        /// See [`LinkLost`].
        26 LinkLost(LinkLost),
        /// See [`SmallQuery`].
        27 SmallQuery(SmallQuery),
        /// See [`SmallReceived`].
        28 SmallReceived(SmallReceived),
        /// See [`SmallMissing`].
        29 SmallMissing(SmallMissing),
        /// See [`SmallCommit`].
        30 SmallCommit(SmallCommit),
        /// See [`SmallLinkLost`].
        31 SmallLinkLost(SmallLinkLost),
        /// See [`Closed`].
        32 Closed(Closed),
        /// See [`OpenStarts`].
        33 OpenStarts(OpenStarts),
        /// See [`Standing`].
        34 Standing(Standing),
        /// See [`Duties`].
        35 Duties(Duties),
        /// See [`Begin`].
        64 Begin(Begin),
        /// See [`Chunk`].
        65 Chunk(Chunk),
        /// See [`Credit`].
        66 Credit(Credit),
        /// See [`Stop`].
        67 Stop(Stop),
        /// See [`SmallFrame`].
        68 SmallFrame(SmallFrame),
        /// See [`AuditAsk`].
        80 AuditAsk(AuditAsk),
        /// See [`AuditAnswer`].
        81 AuditAnswer(AuditAnswer),
        /// See [`Gossip`].
        96 Gossip(Gossip),
    }
}

impl Message {
    /// The protocol version that brought it: a peer that speaks an older one does not know it, and is
    /// not to hear it.
    #[must_use]
    pub fn version(&self) -> u32 {
        match self {
            // Where gossip is known at all there is nothing older to tell; and joining is under a
            // name of its own in TLS, so that nobody hears of it who does not know it.
            Self::RevokedList(_)
            | Self::Standing(_)
            | Self::Duties(_)
            | Self::Gossip(_)
            | Self::Join(_)
            | Self::Joined(_) => 3,
            Self::AuditAsk(_) | Self::AuditAnswer(_) => super::PROTOCOL_VERSION_AUDIT,
            Self::Hello(_)
            | Self::Welcome(_)
            | Self::Rejected(_)
            | Self::Ping(_)
            | Self::Pong(_)
            | Self::Open(_)
            | Self::OpenAnswer(_)
            | Self::Forward(_)
            | Self::Progress(_)
            | Self::Received(_)
            | Self::Commit(_)
            | Self::Saved(_)
            | Self::Abandon(_)
            | Self::Abandoned(_)
            | Self::Refused(_)
            | Self::LinkLost(_)
            | Self::SmallQuery(_)
            | Self::SmallReceived(_)
            | Self::SmallMissing(_)
            | Self::SmallCommit(_)
            | Self::SmallLinkLost(_)
            | Self::Closed(_)
            | Self::OpenStarts(_)
            | Self::Begin(_)
            | Self::Chunk(_)
            | Self::Credit(_)
            | Self::Stop(_)
            | Self::SmallFrame(_) => 1,
        }
    }
}
