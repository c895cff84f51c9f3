//! Brings TLS up on a new connection, and finds out who is at the other end.
//!
//! In TLS 1.3 who dialled learns only afterwards whether its own certificate was accepted: the alert
//! comes in place of the answer to its hello.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{LazyConfigAcceptor, TlsConnector, TlsStream};

use crate::identity::{Cut, Door, JOIN_PROTOCOL, Keyring, NODE_PROTOCOL, Signatures, Verifier};
use crate::net::bounds::{TLS_BYTES_MAX, TLS_DEADLINE};

use super::broken::Broken;
use super::wire::Wire;

/// How long a peer that is sent away may take to hear why.
const PARTING_DEADLINE: Duration = Duration::from_secs(1);

/// What is read of it meanwhile, in bytes: what was sent before it could know.
const PARTING_BYTES: usize = 64 << 10;

/// A connection on which TLS is up.
pub(super) struct Secured {
    pub(super) stream: TlsStream<Wire>,
    pub(super) cut: Arc<Cut>,
    pub(super) signatures: Arc<Signatures>,
}

/// The connection of a machine that is no node yet: it has shown no certificate, and seen ours.
pub(in crate::net) type NewcomerStream = Box<tokio_rustls::server::TlsStream<Wire>>;

/// Who called.
pub(super) enum Accepted {
    /// A node.
    Node(Box<Secured>),
    /// Somebody who wants to become one.
    Newcomer(NewcomerStream),
}

/// Brings TLS up on a connection that we made.
///
/// # Errors
/// [`Broken`].
pub(super) async fn dial(stream: TcpStream, keyring: &Keyring) -> Result<Secured, Broken> {
    let (config, verifier) = keyring.dialling();
    // Which node it has to be is a question of its certificate, not of a host's name.
    let nobody = ServerName::try_from("node.consign").expect("it is a name");
    let wire = Wire::of_stranger(stream, TLS_BYTES_MAX);
    let connecting = TlsConnector::from(config)
        .connect(nobody, wire)
        .into_fallible();
    match timeout(TLS_DEADLINE, connecting).await {
        Ok(Ok(stream)) => Ok(known(stream.into(), keyring, &verifier)?),
        Ok(Err((error, wire))) => Err(part(wire, why(&verifier, error)).await),
        Err(_elapsed) => Err(slow()),
    }
}

/// Brings TLS up on a connection that was accepted; of a newcomer, if there is a door.
///
/// # Errors
/// [`Broken`].
pub(super) async fn accept(
    stream: TcpStream,
    keyring: &Keyring,
    door: Option<&Door>,
) -> Result<Accepted, Broken> {
    timeout(TLS_DEADLINE, accept_within(stream, keyring, door))
        .await
        .map_err(|_elapsed| slow())?
}

async fn accept_within(
    stream: TcpStream,
    keyring: &Keyring,
    door: Option<&Door>,
) -> Result<Accepted, Broken> {
    let wire = Wire::of_stranger(stream, TLS_BYTES_MAX);
    let mut acceptor = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), wire);
    let start = match (&mut acceptor).await {
        Ok(start) => start,
        Err(error) => return Err(part_if_any(acceptor.take_io(), error.into()).await),
    };
    let asks_for = |protocol| {
        let asked = start.client_hello().alpn();
        asked.is_some_and(|mut names| names.any(|name| name == protocol))
    };
    let is_node = asks_for(NODE_PROTOCOL);
    if let Some(door) = door.filter(|_| !is_node && asks_for(JOIN_PROTOCOL)) {
        let accepting = start.into_stream(door.accepting()).into_fallible();
        return match accepting.await {
            Ok(stream) => Ok(Accepted::Newcomer(Box::new(stream))),
            Err((error, wire)) => Err(part(wire, Broken::Newcomer(error)).await),
        };
    }
    let (config, verifier) = keyring.accepting();
    match start.into_stream(config).into_fallible().await {
        Ok(stream) if is_node => known(stream.into(), keyring, &verifier)
            .map(|secured| Accepted::Node(Box::new(secured))),
        Ok(stream) => {
            drop(stream);
            Err(Broken::OtherProtocol)
        }
        Err((error, wire)) => {
            let why = match is_node {
                true => why(&verifier, error),
                false => Broken::OtherProtocol,
            };
            Err(part(wire, why).await)
        }
    }
}

fn known(
    mut stream: TlsStream<Wire>,
    keyring: &Keyring,
    verifier: &Verifier,
) -> Result<Secured, Broken> {
    stream.get_mut().0.known();
    match verifier.judged() {
        Some(Ok(known)) => {
            let theirs = stream.get_ref().1.peer_certificates().unwrap_or_default();
            Ok(Secured {
                signatures: Arc::new(verifier.signatures(theirs)),
                cut: keyring.cut(known),
                stream,
            })
        }
        Some(Err(refused)) => Err(Broken::BadPeer(refused)),
        // The library does not let anybody through without.
        None => Err(Broken::NoCertificate),
    }
}

fn why(verifier: &Verifier, error: io::Error) -> Broken {
    match verifier.judged() {
        Some(Err(refused)) => Broken::BadPeer(refused),
        Some(Ok(_)) | None => error.into(),
    }
}

fn slow() -> Broken {
    Broken::Slow {
        what: "bringing TLS up",
        deadline: TLS_DEADLINE,
    }
}

async fn part_if_any(wire: Option<Wire>, why: Broken) -> Broken {
    match wire {
        Some(wire) => part(wire, why).await,
        None => why,
    }
}

/// Lets the peer hear the alert that was just sent: a socket that is closed with something unread
/// takes back what was written to it.
async fn part(wire: Wire, why: Broken) -> Broken {
    linger(wire.into_tcp()).await;
    why
}

/// Closes the connection of a newcomer so that it hears the answer.
pub(in crate::net) async fn part_newcomer(mut stream: NewcomerStream) {
    // It makes no difference to us whether it hears that this is the end.
    let _ = stream.shutdown().await;
    linger(stream.into_inner().0.into_tcp()).await;
}

/// Closes a connection so that what was written last arrives.
pub(super) async fn linger(mut stream: TcpStream) {
    let parting = async {
        stream.shutdown().await?;
        let mut unread = [0; 1 << 10];
        let mut all = 0;
        while all < PARTING_BYTES {
            match stream.read(&mut unread).await? {
                0 => break,
                read => all += read,
            }
        }
        io::Result::Ok(())
    };
    // It makes no difference to us whether the peer hears it.
    let _ = timeout(PARTING_DEADLINE, parting).await;
}
