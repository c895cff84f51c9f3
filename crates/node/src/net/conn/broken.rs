//! Why a connection ended.

use std::io;
use std::time::Duration;

use consign_core::ids::{Incarnation, NodeName};
use consign_core::wire::BadFrame;
use rustls::AlertDescription;

use crate::identity::{BadList, Refused, Severed};
use crate::net::identity::Sight;

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
    Io(io::Error),
    /// The peer's certificate is not to be believed.
    #[error("{0}")]
    BadPeer(Refused),
    /// The peer has none.
    #[error(
        "the peer shows no certificate; hint: give that node a bundle with `consign keys issue`, or look at what else connects to this port"
    )]
    NoCertificate,
    /// It is not to be had any more: see [`Severed`].
    #[error(transparent)]
    Severed(Severed),
    /// The peer brought a revocation list that is not believed.
    #[error(transparent)]
    List(BadList),
    /// The peer refuses us, before it has heard a word.
    #[error("the peer ended TLS: {}", told_by(*.0))]
    Alert(AlertDescription),
    /// TLS does not come up.
    #[error(
        "TLS with the peer failed: {0}; hint: check what runs at that address, and its version"
    )]
    Tls(rustls::Error),
    /// A newcomer did not take what our door shows.
    #[error(
        "a newcomer ended TLS: {0}; hint: its token may be of another cluster, see what it says there"
    )]
    Newcomer(io::Error),
    /// A newcomer was sent away.
    #[error("a newcomer was not let in: {0}")]
    NotAdmitted(String),
    /// It is no node.
    #[error(
        "the peer speaks TLS and not the protocol between nodes; hint: look at what connects to this port"
    )]
    OtherProtocol,
    /// The peer does not speak TLS, and we do.
    #[error(
        "{who} speaks plaintext, and this node only TLS; hint: give that node a bundle with `consign keys issue`, or check that it belongs here"
    )]
    Plaintext {
        /// Who it says it is.
        who: String,
    },
    /// The peer speaks TLS, and we do not.
    #[error(
        "the peer speaks TLS, and this node has no keys; hint: set [tls] bundle, see `consign keys`"
    )]
    WantsTls,
    /// The peer closed the connection instead.
    #[error(
        "the peer closed the connection before TLS was up; hint: see the peer's log, it may have no keys"
    )]
    NoTls,
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
    /// Who was dialled has no role to take files.
    #[error("{0}")]
    NoConsumer(String),
    /// The peer gave a receipt that proves nothing.
    #[error(
        "{node} gave a receipt that {why}; hint: look at what that machine does and at its version, its word is not counted"
    )]
    Receipt {
        /// The peer.
        node: NodeName,
        /// What is wrong with it.
        why: String,
    },
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
        "{node} answers in incarnation {found}, but incarnation {seen} of it was seen; hint: its data directory is an old copy or a new one, or another node has its name: see `consign status` there"
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
        "{node} has seen more of this node than its log has: {seen}; it began as {ours}; hint: its data directory is an old copy or a new one, or another node has its name: start it again and see `consign status`"
    )]
    Outlived {
        /// The peer.
        node: NodeName,
        /// How far we were when this life began.
        ours: Sight,
        /// What it has seen.
        seen: Sight,
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

impl Broken {
    /// Whether nobody was there, as far as can be told: whoever refuses is.
    pub(in crate::net) fn is_silence(&self) -> bool {
        matches!(
            self,
            Self::Connect { .. } | Self::Slow { .. } | Self::Closed | Self::Io(_) | Self::Silent(_)
        )
    }
}

impl From<io::Error> for Broken {
    /// An error of a socket, or what lies under it.
    fn from(error: io::Error) -> Self {
        let inner = error.get_ref();
        if let Some(severed) = inner.and_then(|inner| inner.downcast_ref::<Severed>()) {
            return Self::Severed(severed.clone());
        }
        match inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(*alert),
            Some(rustls::Error::NoCertificatesPresented) => Self::NoCertificate,
            Some(other) => Self::Tls(other.clone()),
            None => Self::Io(error),
        }
    }
}

/// What an alert says, and what to do about it.
fn told_by(alert: AlertDescription) -> String {
    let what = match alert {
        AlertDescription::CertificateRevoked => {
            "this node's certificate is revoked; hint: issue it a new one with `consign keys issue`, if it still belongs there"
        }
        AlertDescription::UnknownCA => {
            "this node's certificate is of another authority than the peer's; hint: give both nodes bundles of one authority"
        }
        AlertDescription::CertificateRequired => {
            "this node shows no certificate; hint: check its [tls]"
        }
        AlertDescription::AccessDenied
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::DecryptError => {
            "this node's certificate is not acceptable there; hint: see the peer's log"
        }
        other => return format!("{other:?}; hint: see the peer's log"),
    };
    what.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_alert_is_told_with_something_to_do() {
        for alert in (0..=255).map(AlertDescription::from) {
            let text = Broken::Alert(alert).to_string();
            assert!(text.contains("hint:"), "{text}");
        }
    }

    #[test]
    fn what_lies_under_an_error_of_a_socket_is_found() {
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRevoked);
        let found = Broken::from(io::Error::new(io::ErrorKind::InvalidData, alert));
        assert!(found.to_string().contains("revoked"), "{found}");
        let found = Broken::from(io::Error::from(io::ErrorKind::ConnectionReset));
        assert!(matches!(found, Broken::Io(_)), "{found}");
    }
}
