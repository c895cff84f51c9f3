//! Why a connection ended.

use std::io;
use std::time::Duration;

use consign_core::ids::{Incarnation, NodeName};
use consign_core::wire::BadFrame;

/// Why a connection could not be made, or ended. Nothing is to be done but to connect again; the
/// text is for a person.
#[derive(Debug, thiserror::Error)]
pub(in crate::net) enum Broken {
    /// It could not be made.
    #[error(
        "cannot connect to {addr}: {source}; hint: check that the node runs there and that the port is open"
    )]
    Connect {
        /// Where to.
        addr: String,
        /// Why not.
        source: io::Error,
    },
    /// Something took too long.
    #[error(
        "{what} took more than {} s; hint: check the network and the peer's load",
        deadline.as_secs()
    )]
    Slow {
        /// What.
        what: &'static str,
        /// How long it may take.
        deadline: Duration,
    },
    /// The peer closed it between two frames.
    #[error("the peer closed the connection; hint: see the peer's log")]
    Closed,
    /// The network did.
    #[error("the connection broke: {0}; hint: check the network and whether the peer runs")]
    Io(#[from] io::Error),
    /// The peer sent what is no frame.
    #[error(transparent)]
    Frame(#[from] BadFrame),
    /// The peer sent a message that has no place there.
    #[error("{message} is not expected {place}; hint: check the peer's version")]
    Unexpected {
        /// Its name.
        message: &'static str,
        /// Where.
        place: &'static str,
    },
    /// The peer sent a message that contradicts itself or its predecessors.
    #[error("{0}")]
    Protocol(String),
    /// A file's bytes are not those that were sent: the link, or a machine at either end of it,
    /// damages data.
    #[error(
        "{name:?}, transfer {transfer}, arrived damaged at {at} from {from}; hint: check the memory and network of both machines"
    )]
    Damaged {
        /// The file.
        name: String,
        /// Its transfer.
        transfer: String,
        /// Where.
        at: NodeName,
        /// From whom.
        from: NodeName,
    },
    /// Nothing was heard for too long.
    #[error("nothing was heard for {} s; hint: check the network and whether the peer runs", .0.as_secs())]
    Silent(Duration),
    /// The peer does not read what it is sent.
    #[error(
        "the peer leaves {bytes} bytes in {messages} messages unread; hint: check the peer's load"
    )]
    Unread {
        /// Bytes that wait.
        bytes: usize,
        /// Messages that wait.
        messages: usize,
    },
    /// The peer said no.
    #[error("the peer refuses: {reason}")]
    Rejected {
        /// Why, in its words.
        reason: String,
        /// The highest incarnation of ours that it has seen, when that is why.
        seen: Incarnation,
    },
    /// Another node answers there.
    #[error(
        "{found} answers where {wanted} was expected; hint: correct the address of {wanted} in the membership"
    )]
    OtherNode {
        /// Who was expected.
        wanted: NodeName,
        /// Who answers.
        found: String,
    },
    /// The peer answers from a life that is over.
    #[error(
        "{node} answers in incarnation {found}, but incarnation {seen} of it was seen; hint: its data directory is an old copy, see `consign status` there"
    )]
    OldLife {
        /// The peer.
        node: NodeName,
        /// What it says.
        found: Incarnation,
        /// What was seen.
        seen: Incarnation,
    },
    /// The peer has seen a later life of ours.
    #[error(
        "{node} has seen incarnation {seen} of this node, which is only in {ours}; hint: this data directory is an old copy, or another node has this name: make sure that only one node has it, then start the agent again"
    )]
    Outlived {
        /// The peer.
        node: NodeName,
        /// Our incarnation.
        ours: Incarnation,
        /// What it has seen.
        seen: Incarnation,
    },
    /// It had not said who it is when its place was needed.
    #[error(
        "too many connections that have not said who they are, and this was the oldest of its address; hint: look at what opens them, and let only nodes reach the peer port"
    )]
    Crowded,
    /// We do not want it any more.
    #[error("{0}")]
    Ours(String),
}
