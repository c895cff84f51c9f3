//! A peer that speaks the protocol by hand, so that it can do what ours never does.

use consign_core::wire::{
    Begin, Chunk, Credit, FRAME_HEAD_BYTES, Hello, Message, PROTOCOL_VERSION, Ping, Purpose,
    Welcome, encode_frame, parse_frame_head,
};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::support::{Node, leg, soon};

/// One end of a connection.
pub(super) struct Raw<S = TcpStream> {
    pub(super) stream: S,
}

pub(super) fn hello(to: &Node, purpose: Purpose) -> Hello {
    Hello {
        version: PROTOCOL_VERSION,
        version_min: PROTOCOL_VERSION,
        node: "cam".into(),
        to: to.name.to_string(),
        purpose: purpose.into(),
        incarnation: 1,
        start: 1,
        ..Hello::default()
    }
}

impl Raw {
    /// Connects without a word.
    pub(super) async fn connect(to: &Node) -> Self {
        Self {
            stream: TcpStream::connect(&to.addr).await.unwrap(),
        }
    }

    /// Connects, and says hello.
    pub(super) async fn dial(to: &Node, purpose: Purpose) -> Self {
        let mut raw = Self::connect(to).await;
        raw.send(&Message::Hello(hello(to, purpose)), &[]).await;
        let answer = raw.next().await.expect("a welcome").0;
        assert!(matches!(answer, Message::Welcome(_)), "{answer:?}");
        raw
    }

    /// Waits for a connection for `purpose` to a node of this name, and welcomes it.
    pub(super) async fn accept(listener: &TcpListener, node: &str, purpose: Purpose) -> Self {
        let (stream, _) = soon(listener.accept()).await.unwrap();
        let mut raw = Self { stream };
        let hello = raw.welcome(node, PROTOCOL_VERSION).await;
        assert_eq!(hello.purpose, i32::from(purpose));
        raw
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Raw<S> {
    /// Hears a hello, and welcomes whoever says it in this protocol version.
    pub(super) async fn welcome(&mut self, node: &str, version: u32) -> Hello {
        let Some((Message::Hello(hello), _)) = self.next().await else {
            panic!("no hello");
        };
        let welcome = Welcome {
            version,
            node: node.into(),
            incarnation: 1,
            ..Welcome::default()
        };
        self.send(&Message::Welcome(welcome), &[]).await;
        hello
    }

    pub(super) async fn send(&mut self, message: &Message, payload: &[u8]) {
        let mut bytes = encode_frame(message, payload.len());
        bytes.extend_from_slice(payload);
        // That the peer has closed the connection shows when it is read.
        let _ = self.stream.write_all(&bytes).await;
    }

    /// The next frame; `None` when the peer has closed the connection.
    pub(super) async fn next(&mut self) -> Option<(Message, Vec<u8>)> {
        soon(async {
            let mut head = [0; FRAME_HEAD_BYTES];
            self.stream.read_exact(&mut head).await.ok()?;
            let head = parse_frame_head(&head).unwrap();
            let mut header = vec![0; head.header_len];
            self.stream.read_exact(&mut header).await.ok()?;
            let mut payload = vec![0; head.payload_len];
            self.stream.read_exact(&mut payload).await.ok()?;
            Some((head.decode(&header).unwrap().message, payload))
        })
        .await
    }

    /// Everything up to the answer to a ping that is sent now, which is the last to be answered.
    pub(super) async fn until_pong(&mut self) -> Vec<Message> {
        let ping = Ping {
            number: 4711,
            log: 0,
        };
        self.send(&Message::Ping(ping), &[]).await;
        let mut heard = Vec::new();
        loop {
            match self.next().await.expect("the connection lives").0 {
                Message::Pong(pong) if pong == ping => return heard,
                Message::Ping(_) => {}
                message => heard.push(message),
            }
        }
    }

    /// Reads to the end of the connection: what was said last.
    pub(super) async fn last_words(&mut self) -> Option<Message> {
        let mut last = None;
        while let Some((message, _)) = self.next().await {
            last = Some(message);
        }
        last
    }
}

pub(super) fn begin(attempt: u32, from: u64) -> Message {
    Message::Begin(Begin {
        producer: "cam".into(),
        incarnation: 1,
        leg: leg(attempt),
        from,
    })
}

pub(super) fn chunk(attempt: u32, offset: u64, hash: [u8; 32]) -> Message {
    Message::Chunk(Chunk {
        producer: "cam".into(),
        incarnation: 1,
        leg: leg(attempt),
        offset,
        hash: hash.to_vec(),
    })
}

pub(super) fn credit(attempt: u32, through: u64, verified: u64) -> Message {
    Message::Credit(Credit {
        producer: "cam".into(),
        leg: leg(attempt),
        through,
        verified,
    })
}
