//! A machine that is no node yet asks for its certificate: one connection, on which nothing is said before
//! the other end has shown that it has the authority's own key.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use consign_core::wire::{Join, Joined, Message, encode_frame};
use rustls::AlertDescription;
use rustls::pki_types::{CertificateDer, ServerName};
use thiserror::Error;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::bounds::{CONNECT_DEADLINE, JOIN_ANSWER_DEADLINE, JOINED_BYTES_MAX, TLS_DEADLINE};
use super::conn::{Broken, Frames};
use crate::identity::{JOIN_PROTOCOL, Newcomer, NewcomerError};

/// Why there is no certificate. Until [`NotJoined::Cut`] nothing was said to anybody.
#[derive(Debug, Error)]
pub(crate) enum NotJoined {
    /// Nobody is there.
    #[error(
        "cannot connect to {addr}, where the token says to join: {source}; hint: check that the agent runs there and that the port is open, or ask for a token with another address, `consign keys invite --at`"
    )]
    Connect {
        /// Where to.
        addr: String,
        /// Why not.
        source: io::Error,
    },
    /// Something took too long.
    #[error("{addr} took more than {} s to answer; hint: check the network and the agent there, then run the same command again", deadline.as_secs())]
    Slow {
        /// Who.
        addr: String,
        /// How long it may take.
        deadline: Duration,
    },
    /// Somebody else is there.
    #[error(
        "what answers at {addr} is not the cluster that the token is of, and was told nothing; hint: check the address with whoever made the token, and what runs there"
    )]
    Foreign {
        /// Where.
        addr: String,
    },
    /// Nobody lets newcomers in there.
    #[error(
        "the agent at {addr} lets nobody join; hint: set [tls] authority in its configuration to the authority's directory and send it SIGHUP, or ask for a token with another address"
    )]
    NoDoor {
        /// Where.
        addr: String,
    },
    /// TLS does not come up.
    #[error("TLS with {addr} does not come up: {why}")]
    Tls {
        /// With whom.
        addr: String,
        /// Why not; ends in a hint.
        why: String,
    },
    /// The answer was not heard, or is none.
    #[error(
        "the connection to {addr} ended before the answer was there, and the token may be used up: {why}; hint: run the same command again on this machine, it asks with the same key"
    )]
    Cut {
        /// With whom.
        addr: String,
        /// Why.
        why: String,
    },
    /// The agent said no.
    #[error("{addr} refuses: {reason}")]
    Refused {
        /// Who.
        addr: String,
        /// Why, in its words.
        reason: String,
    },
    /// This machine cannot ask.
    #[error(transparent)]
    Newcomer(#[from] NewcomerError),
}

/// Asks for a certificate, and returns it with that of the authority.
///
/// # Errors
/// [`NotJoined`].
pub(crate) async fn ask_to_join(
    newcomer: &Newcomer,
) -> Result<(Vec<u8>, CertificateDer<'static>), NotJoined> {
    let addr = newcomer.token().addr.clone();
    let [secret, key, proof] = newcomer.says()?;
    let join = Message::Join(Join { secret, key, proof });
    let (mut stream, authority) = dial(newcomer, &addr).await?;
    let asked = async {
        stream.write_all(&encode_frame(&join, 0)).await?;
        stream.flush().await?;
        let mut frames = Frames::new(&mut stream);
        frames.next_within(JOINED_BYTES_MAX).await
    };
    let answer = timeout(JOIN_ANSWER_DEADLINE, asked).await;
    let cut = |why: String| {
        // The hint of why a connection ended is one for a node's operator.
        let why = crate::hint::split(&why).0.to_owned();
        let addr = addr.clone();
        NotJoined::Cut { addr, why }
    };
    let answer = answer.map_err(|_| cut("it took too long".to_owned()))?;
    match answer.map_err(|why| cut(why.to_string()))?.message {
        Message::Joined(Joined { certificate }) => Ok((certificate, authority)),
        Message::Rejected(rejected) => Err(NotJoined::Refused {
            addr,
            reason: rejected.reason,
        }),
        other => Err(cut(format!("{} is no answer", other.name()))),
    }
}

async fn dial(
    newcomer: &Newcomer,
    addr: &str,
) -> Result<(TlsStream<TcpStream>, CertificateDer<'static>), NotJoined> {
    let addr = addr.to_owned();
    let slow = |deadline| {
        let addr = addr.clone();
        move |_| NotJoined::Slow { addr, deadline }
    };
    let connecting = timeout(CONNECT_DEADLINE, TcpStream::connect(&addr));
    let connected = connecting.await.map_err(slow(CONNECT_DEADLINE))?;
    let stream = connected.map_err(|source| NotJoined::Connect {
        addr: addr.clone(),
        source,
    })?;
    let (config, shown) = newcomer.dialling();
    // Whose key it has is what counts, not a host's name.
    let nobody = ServerName::try_from("join.consign").expect("it is a name");
    let securing = TlsConnector::from(Arc::clone(&config)).connect(nobody, stream);
    let secured = timeout(TLS_DEADLINE, securing).await;
    let secured = secured.map_err(slow(TLS_DEADLINE))?.map_err(Broken::from);
    match (shown.shown(), secured) {
        (Some(Err(())), _) => Err(NotJoined::Foreign { addr }),
        (Some(Ok(authority)), Ok(stream)) if speaks_joining(&stream) => Ok((stream, authority)),
        (_, Ok(_) | Err(Broken::Alert(AlertDescription::NoApplicationProtocol))) => {
            Err(NotJoined::NoDoor { addr })
        }
        (_, Err(why)) => {
            let why = why.to_string();
            Err(NotJoined::Tls { addr, why })
        }
    }
}

fn speaks_joining(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(JOIN_PROTOCOL)
}
