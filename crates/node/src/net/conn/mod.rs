//! One connection between two nodes: sockets, frames, the first words, and signs of life. What the
//! connection is for is the business of `control` and `bulk`.
//!
//! Deliberately absent: setting the sizes of socket buffers. The kernel grows them with the
//! connection's need up to `tcp_rmem` and `tcp_wmem`; setting them turns that off and caps them at
//! `rmem_max` and `wmem_max`, which most systems leave at 208 KiB.

mod broken;
mod frames;
mod handshake;
mod life;
mod send_queue;

use std::sync::Arc;
use std::time::Duration;

use consign_core::wire::{Message, Ping};
use rustix::net::sockopt;
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

use super::bounds::{CONNECT_DEADLINE, PING_EVERY, SILENCE_MAX};

pub(super) use broken::Broken;
pub(super) use frames::Frames;
pub(super) use handshake::{
    Greeting, check_first, dial, dial_for_gossip, hear_hello, is_itself, reject, welcome,
};
pub(super) use life::Life;
pub(super) use send_queue::SendQueue;

/// A connection's reading side.
pub(super) type Reader = Frames<life::Heard<OwnedReadHalf>>;

/// A connection.
#[derive(Debug)]
pub(super) struct Conn {
    /// What the peer sends.
    pub(super) reader: Reader,
    /// What we send.
    pub(super) writer: OwnedWriteHalf,
    /// When it last moved bytes.
    pub(super) life: Arc<Life>,
}

impl Conn {
    /// Connects to `addr`; its name is resolved now.
    ///
    /// # Errors
    /// [`Broken::Connect`] and [`Broken::Slow`].
    async fn open(addr: &str) -> Result<Self, Broken> {
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
        Self::accepted(stream).map_err(broken)
    }

    /// Takes a socket that was accepted.
    ///
    /// # Errors
    /// When the socket is dead already.
    pub(super) fn accepted(stream: TcpStream) -> std::io::Result<Self> {
        // Every frame is handed over whole: waiting for more to send would only delay it.
        stream.set_nodelay(true)?;
        // Pings notice a dead peer. Keepalive notices one while we are deaf, and keeps the tables
        // of firewalls on the way from forgetting the connection.
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, Duration::from_secs(30))?;
        sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(10))?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
        let (reader, writer) = stream.into_split();
        let life = Life::new();
        Ok(Self {
            reader: Frames::new(life::Heard {
                inner: reader,
                life: Arc::clone(&life),
            }),
            writer,
            life,
        })
    }
}

/// Pings the peer, until nothing has been heard of it for too long.
pub(super) async fn watch_silence(life: &Life, send_queue: &SendQueue) -> Broken {
    loop {
        tokio::time::sleep(PING_EVERY).await;
        if life.silence() > SILENCE_MAX {
            return Broken::Silent(SILENCE_MAX);
        }
        send_queue.push(&Message::Ping(Ping { number: 0 }));
    }
}
