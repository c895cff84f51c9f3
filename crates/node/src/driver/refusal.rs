//! Why the driver did not do what it was asked, in words that reach a person unchanged.

use crate::hint;
use std::path::PathBuf;

use consign_core::ids::{FeedName, NodeName, TransferId};
use thiserror::Error;

use crate::problems::Problem;

/// What sort of refusal it is: what a script can act upon. Its name is in the API's errors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RefusalKind {
    /// The thing named does not exist.
    NotFound,
    /// It exists, and this may not be done to it.
    Refused,
    /// The feed's queue is at its limit; later there may be room.
    QueueFull,
    /// The disk has no room; later there may be.
    NoSpace,
    /// The request itself is wrong.
    Invalid,
    /// The node accepts nothing for now.
    NotReady,
}

impl RefusalKind {
    /// The kind as the API spells it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not_found",
            Self::Refused => "refused",
            Self::QueueFull => "queue_full",
            Self::NoSpace => "no_space",
            Self::Invalid => "invalid",
            Self::NotReady => "not_ready",
        }
    }
}

/// A command that was not carried out. Nothing has changed when one of these is returned; the
/// kinds `queue_full`, `no_space` and `not_ready` are worth trying again later.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum Refusal {
    /// No `[[produce]]` section has this feed.
    #[error(
        "this node does not produce the feed {feed}; hint: {}",
        match produced.as_slice() {
            [] => "add a [[produce]] section to its configuration".to_owned(),
            feeds => format!("it produces {}", joined(feeds)),
        }
    )]
    UnknownFeed {
        /// The feed that was asked for.
        feed: FeedName,
        /// The feeds that there are.
        produced: Vec<FeedName>,
    },
    /// No such transfer, or one that left the log and the history.
    #[error(
        "no such transfer: {id}; hint: `consign transfers` lists what this node sends and receives"
    )]
    UnknownTransfer {
        /// The transfer that was asked for.
        id: TransferId,
    },
    /// Another node's transfer, of which nothing has come here.
    #[error(
        "nothing of {id} has come to this node; hint: `consign show {id}` on {} says where it is",
        id.producer
    )]
    NotReceived {
        /// The transfer that was asked for.
        id: TransferId,
    },
    /// Another node's transfer, with which only that node can do something.
    #[error("this node does not send {id}; hint: say it to {}, which does", id.producer)]
    NotOurs {
        /// The transfer that was named.
        id: TransferId,
    },
    /// No member has this name.
    #[error("there is no node {node} in this cluster; hint: list the members with `consign nodes`")]
    UnknownNode {
        /// The node that was asked for.
        node: NodeName,
    },
    /// The file is not there.
    #[error(
        "{} is not there; hint: paths are resolved by the agent, on its machine and with its rights",
        path.display()
    )]
    FileMissing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be taken.
    #[error("{} cannot be taken: {why}; hint: {hint}", path.display())]
    FileRefused {
        /// The file.
        path: PathBuf,
        /// What is wrong with it: a symlink, a directory, no permission, …
        why: String,
        /// What to do.
        hint: String,
    },
    /// The feed's `max_queue` is reached.
    #[error(
        "no room for {file_bytes} bytes in the queue of {feed}: it holds {queued_bytes} of max_queue = {max_bytes} bytes; hint: {}",
        match file_bytes > max_bytes {
            true => "such a file never fits, raise max_queue",
            false => "wait until it drains, or raise max_queue",
        }
    )]
    QueueFull {
        /// The feed.
        feed: FeedName,
        /// The file, in bytes.
        file_bytes: u64,
        /// What waits in it, in bytes.
        queued_bytes: u64,
        /// Its limit, in bytes.
        max_bytes: u64,
    },
    /// A person takes this node out of service.
    #[error(
        "{node} drains and takes nothing new; hint: hand it to another node, or take this one back with `consign drain --undo`"
    )]
    Draining {
        /// This node.
        node: NodeName,
    },
    /// The data directory's filesystem is full.
    #[error(
        "no space for {what}: {free_bytes} bytes are free; hint: free some space in the data directory's filesystem and send it again"
    )]
    NoSpace {
        /// What found none.
        what: String,
        /// What is left, in bytes.
        free_bytes: u64,
    },
    /// The transfer is not in a state in which this can be done.
    #[error("transfer {id} is {state}; hint: {hint}")]
    WrongState {
        /// The transfer.
        id: TransferId,
        /// Its state.
        state: String,
        /// What to do.
        hint: String,
    },
    /// The request is wrong in itself: a name, a key, metadata.
    #[error("{what}; hint: {hint}")]
    Invalid {
        /// What is wrong.
        what: String,
        /// What to do.
        hint: String,
    },
    /// The node accepts nothing now: it starts, stops, or its log is damaged.
    #[error("this node accepts nothing now: {why}; hint: {hint}")]
    NotReady {
        /// Why.
        why: String,
        /// What to do.
        hint: String,
    },
}

impl Refusal {
    /// What sort of refusal this is.
    pub(crate) fn kind(&self) -> RefusalKind {
        match self {
            Self::UnknownFeed { .. }
            | Self::UnknownTransfer { .. }
            | Self::NotReceived { .. }
            | Self::NotOurs { .. }
            | Self::UnknownNode { .. }
            | Self::FileMissing { .. } => RefusalKind::NotFound,
            Self::FileRefused { .. } | Self::WrongState { .. } => RefusalKind::Refused,
            Self::QueueFull { .. } => RefusalKind::QueueFull,
            Self::NoSpace { .. } => RefusalKind::NoSpace,
            Self::Invalid { .. } => RefusalKind::Invalid,
            Self::NotReady { .. } | Self::Draining { .. } => RefusalKind::NotReady,
        }
    }

    /// The node accepts nothing now, for a reason that may end in its hint.
    pub(crate) fn not_ready(text: &str) -> Self {
        let (why, hint) = hint::split_or(text, "look at `consign status`");
        Self::NotReady {
            why: why.to_owned(),
            hint: hint.to_owned(),
        }
    }

    /// The driver is gone: the agent is stopping, or never began, and its problems say why.
    pub(crate) fn stopping(known: Option<&Problem>) -> Self {
        match known {
            None => Self::NotReady {
                why: "it is stopping".to_owned(),
                hint: "start it again".to_owned(),
            },
            Some(problem) => Self::NotReady {
                why: problem.what.clone(),
                hint: problem.hint.clone(),
            },
        }
    }
}

fn joined(feeds: &[FeedName]) -> String {
    let names: Vec<&str> = feeds.iter().map(FeedName::as_str).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_feed_is_answered_with_the_known_ones() {
        let feed = |name| FeedName::new(name).unwrap();
        let refusal = Refusal::UnknownFeed {
            feed: feed("image"),
            produced: vec![feed("images"), feed("logs")],
        };
        assert_eq!(
            refusal.to_string(),
            "this node does not produce the feed image; hint: it produces images, logs"
        );
        assert_eq!(refusal.kind().as_str(), "not_found");
    }
}
