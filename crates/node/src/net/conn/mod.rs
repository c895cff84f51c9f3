//! One connection between two nodes: sockets, frames, the first words, and signs of life. What the
//! connection is for is the business of `control` and `bulk`.
//!
//! Deliberately absent: setting the sizes of socket buffers. The kernel grows them with the
//! connection's need up to `tcp_rmem` and `tcp_wmem`; setting them turns that off and caps them at
//! `rmem_max` and `wmem_max`, which most systems leave at 208 KiB.

mod broken;
mod dialling;
mod frames;
mod handshake;
mod life;
mod send_queue;
mod stream;
mod tls;
mod wire;

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use consign_core::ids::NodeName;
use consign_core::wire::{Message, PROTOCOL_VERSION_MIN, Ping};
use rustix::net::sockopt;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::identity::{Door, Keyring, Peer, Role, Signatures};

use super::bounds::{CONNECT_DEADLINE, PING_EVERY, SILENCE_MAX};
use super::identity::OwnWord;

pub(super) use broken::Broken;
pub(super) use dialling::{dial, dial_for_gossip};
pub(super) use frames::Frames;
pub(super) use handshake::{
    Greeting, check_first, hear_hello, is_itself, reject, reject_outlived, welcome,
};
pub(super) use life::Life;
pub(super) use send_queue::SendQueue;
pub(super) use tls::{NewcomerStream, part_newcomer};

use stream::{ReadSide, WriteSide};

/// A connection's reading side.
pub(super) type Reader = Frames<life::Heard<ReadSide>>;

/// The first byte of a frame, and that of TLS: so one is told from the other.
const FRAME_BEGINS: u8 = b'C';
/// See [`FRAME_BEGINS`].
const TLS_BEGINS: u8 = 0x16;

/// Who has called.
pub(super) enum Caller {
    /// A node, or who says so where nothing is encrypted.
    Node(Conn),
    /// Somebody who wants to become one.
    Newcomer(NewcomerStream),
}

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    /// What the peer sends.
    pub(super) reader: Reader,
    /// What we send.
    pub(super) writer: WriteSide,
    /// When it last moved bytes.
    pub(super) life: Arc<Life>,
    /// Who the peer is by its certificate; `None` where nothing is encrypted.
    pub(super) peer: Option<Arc<Peer>>,
    /// Signs our receipts, and checks the peer's; `None` where nothing is encrypted.
    pub(super) signatures: Option<Arc<Signatures>>,
    /// The protocol version that both sides speak, once they have introduced themselves.
    pub(super) version: u32,
    /// What it has said of itself.
    pub(super) their_word: OwnWord,
    /// The number above which every revocation list is that is news to the peer.
    pub(super) their_list: u64,
}

impl Conn {
    /// Connects to `addr`; its name is resolved now. With keys, the peer has shown a certificate that
    /// is to be believed when this returns; whose it is has to be looked at.
    ///
    /// # Errors
    /// [`Broken`].
    async fn open(addr: &str, keyring: Option<&Keyring>) -> Result<Self, Broken> {
        let broken = |source| Broken::Connect {
            addr: addr.to_owned(),
            source,
        };
        let stream = timeout(CONNECT_DEADLINE, TcpStream::connect(addr))
            .await
            .map_err(|_| Broken::Slow {
                what: "connecting",
                deadline: CONNECT_DEADLINE,
            })?
            .map_err(broken)?;
        prepare(&stream).map_err(broken)?;
        match keyring {
            None => Ok(Self::new(stream::plain(stream))),
            Some(keyring) => match tls::dial(stream, keyring).await {
                Ok(secured) => Ok(Self::secured(secured)),
                Err(Broken::Io(error)) if error.kind() == ErrorKind::UnexpectedEof => {
                    Err(Broken::NoTls)
                }
                Err(why) => Err(why),
            },
        }
    }

    /// Takes a socket that was accepted, whose peer begins with `first`. With keys, as
    /// [`Conn::open`].
    ///
    /// # Errors
    /// [`Broken`].
    pub(super) async fn accepted(
        stream: TcpStream,
        first: u8,
        keyring: Option<&Keyring>,
        door: Option<&Door>,
    ) -> Result<Caller, Broken> {
        prepare(&stream)?;
        match (keyring, first) {
            (None, TLS_BEGINS) => {
                tls::linger(stream).await;
                Err(Broken::WantsTls)
            }
            (None, _) => Ok(Caller::Node(Self::new(stream::plain(stream)))),
            (Some(_), FRAME_BEGINS) => Err(handshake::refuse_plaintext(stream).await),
            (Some(keyring), _) => match tls::accept(stream, keyring, door).await? {
                tls::Accepted::Node(secured) => Ok(Caller::Node(Self::secured(*secured))),
                tls::Accepted::Newcomer(stream) => Ok(Caller::Newcomer(stream)),
            },
        }
    }

    fn secured(secured: tls::Secured) -> Self {
        let peer = Arc::clone(secured.cut.peer());
        Self {
            peer: Some(peer),
            signatures: Some(secured.signatures),
            ..Self::new(stream::tls(secured.stream, &secured.cut))
        }
    }

    fn new((reader, writer): (ReadSide, WriteSide)) -> Self {
        let life = Life::new();
        Self {
            reader: Frames::new(life::Heard {
                inner: reader,
                life: Arc::clone(&life),
            }),
            writer,
            life,
            peer: None,
            signatures: None,
            version: PROTOCOL_VERSION_MIN,
            their_word: OwnWord::default(),
            their_list: 0,
        }
    }

    /// Writes a frame, to the last byte.
    ///
    /// # Errors
    /// Of the socket.
    pub(super) async fn say(&mut self, frame: &[u8]) -> std::io::Result<()> {
        self.writer.write_all(frame).await?;
        self.writer.flush().await
    }

    /// Whether the peer may bring the bytes of a producer: its own, or as a consumer that passes them
    /// on.
    ///
    /// # Errors
    /// [`Broken::Protocol`], with the reason.
    pub(super) fn may_bring(peer: Option<&Peer>, producer: &str) -> Result<(), Broken> {
        let Some(peer) = peer else { return Ok(()) };
        let is_own = NodeName::new(producer).is_ok_and(|producer| peer.is(&producer));
        if is_own || peer.may(Role::Consumer) {
            return Ok(());
        }
        Err(Broken::Protocol(format!(
            "{peer} brings files of {producer:?} and has no role consumer to pass them on; hint: \
             look at what that machine does, its key may be in other hands"
        )))
    }
}

/// Sets what every connection needs.
///
/// # Errors
/// When the socket is dead already.
fn prepare(stream: &TcpStream) -> std::io::Result<()> {
    // Every frame is handed over whole: waiting for more to send would only delay it.
    stream.set_nodelay(true)?;
    // Pings notice a dead peer. Keepalive notices one while we are deaf, and keeps the tables
    // of firewalls on the way from forgetting the connection.
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, Duration::from_secs(30))?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(10))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    Ok(())
}

/// Pings the peer, and tells it with each ping how far our log is, until nothing has been heard of it
/// for too long.
pub(super) async fn watch_silence(
    life: &Life,
    send_queue: &SendQueue,
    log: impl Fn() -> u64,
) -> Broken {
    loop {
        tokio::time::sleep(PING_EVERY).await;
        if life.silence() > SILENCE_MAX {
            return Broken::Silent(SILENCE_MAX);
        }
        let (number, log) = (0, log());
        send_queue.push(&Message::Ping(Ping { number, log }));
    }
}

#[cfg(test)]
mod tests {
    use consign_core::wire::encode_frame;

    use super::*;

    #[test]
    fn a_frame_begins_otherwise_than_tls() {
        let frame = encode_frame(&Message::Ping(Ping::default()), 0);
        assert_eq!(frame[0], FRAME_BEGINS);
        assert_ne!(FRAME_BEGINS, TLS_BEGINS);
    }
}
