//! A data connection that we dialled: frames wait their turn in a short queue, and what the peer
//! says goes to whoever uses the link. Many transfers share it, none can fill it alone.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Buf as _, Bytes};
use consign_core::ids::NodeName;
use consign_core::wire::{Message, Ping, Purpose, encode_frame};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::Instant;

use crate::net::bounds::{LINK_IDLE_MAX, LINK_QUEUE, LINK_TURNS, PING_EVERY, SILENCE_MAX};
use crate::net::conn::{Broken, Conn, Life, Reader, dial};
use crate::net::shared::{NetEvent, Shared};
use crate::net::tasks::contained;

use super::buffers::Buffer;

/// Who uses a link.
pub(super) trait User: Send + Sync + 'static {
    /// The peer said something; pings are not passed on.
    ///
    /// # Errors
    /// When it has no place there: the link is closed.
    fn hear(&self, message: Message) -> Result<(), Broken>;

    /// Whether the link is still needed. One that is not is closed after a while; between the
    /// answer `false` and [`User::close`] nothing is lost but the link.
    fn needs_it(&self) -> bool;

    /// The link is gone, and why. Answers what the driver is to be told.
    fn close(&self, reason: &str) -> Vec<NetEvent>;
}

/// The right to have one frame with a payload between its source and the socket. So a peer that
/// is slow to read holds little of our memory.
#[derive(Debug)]
pub(super) struct Turn(#[expect(dead_code, reason = "held for its drop")] OwnedSemaphorePermit);

/// The bytes behind a frame's header.
#[derive(Debug)]
pub(super) enum Body {
    /// None.
    None,
    /// A chunk.
    Chunk(Arc<Buffer>),
    /// Others.
    Bytes(Bytes),
}

impl Body {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::None => &[],
            Self::Chunk(chunk) => chunk,
            Self::Bytes(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
struct Outgoing {
    head: Vec<u8>,
    body: Body,
    _turn: Option<Turn>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Link {
    queue: mpsc::Sender<Outgoing>,
    turns: Arc<Semaphore>,
    closed: Mutex<Option<String>>,
}

impl Link {
    /// Dials `node` and runs the link in a task of its own.
    ///
    /// # Errors
    /// Why it cannot be reached, for a person.
    pub(super) async fn dial(
        shared: &Arc<Shared>,
        node: &NodeName,
        addr: &str,
        purpose: Purpose,
        user: Arc<dyn User>,
    ) -> Result<Arc<Self>, Broken> {
        let (conn, _) = dial(shared, node, addr, purpose).await?;
        let (queue, outgoing) = mpsc::channel(LINK_QUEUE);
        let link = Arc::new(Self {
            queue,
            turns: Arc::new(Semaphore::new(LINK_TURNS)),
            closed: Mutex::new(None),
        });
        let (running, shared_too) = (Arc::clone(&link), Arc::clone(shared));
        let name = node.clone();
        let task = async move {
            let why = contained(running.run(conn, outgoing, user.as_ref())).await;
            let reason = match why {
                Ok(why @ Broken::Severed(_)) => {
                    tracing::warn!(peer = %name, ?purpose, "a connection was ended: {why}");
                    why.to_string()
                }
                Ok(why) => why.to_string(),
                Err(panicked) => panicked.to_string(),
            };
            tracing::debug!(peer = %name, ?purpose, "data connection ended: {reason}");
            lock(&running.closed).get_or_insert_with(|| reason.clone());
            for event in user.close(&reason) {
                shared_too.tell(event).await;
            }
        };
        match shared.tasks.spawn(task) {
            Some(_) => Ok(link),
            None => Err(Broken::Ours("this node is stopping".into())),
        }
    }

    /// Waits for the right to send a frame with a payload, in turn. Cancel safe.
    pub(super) async fn turn(&self) -> Turn {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        Turn(turn.expect("the semaphore is never closed"))
    }

    /// Queues a frame. That it is sent, or was, nobody promises.
    ///
    /// # Errors
    /// Why the link is gone, for a person.
    pub(super) async fn send(
        &self,
        message: &Message,
        body: Body,
        turn: Option<Turn>,
    ) -> Result<(), String> {
        let outgoing = Outgoing {
            head: encode_frame(message, body.as_slice().len()),
            body,
            _turn: turn,
        };
        let sent = self.queue.send(outgoing).await;
        sent.map_err(|_| self.closed().unwrap_or_else(|| Broken::Closed.to_string()))
    }

    /// Why the link is gone, if it is.
    pub(super) fn closed(&self) -> Option<String> {
        lock(&self.closed).clone()
    }

    /// Runs the link to its end.
    async fn run(
        &self,
        mut conn: Conn,
        outgoing: mpsc::Receiver<Outgoing>,
        user: &dyn User,
    ) -> Broken {
        let life = &conn.life;
        tokio::select! {
            why = write(&mut conn.writer, outgoing, life) => why,
            why = self.read(&mut conn.reader, user) => why,
            why = self.watch(life, user) => why,
        }
    }

    async fn read(&self, reader: &mut Reader, user: &dyn User) -> Broken {
        loop {
            let frame = match reader.next().await {
                Ok(frame) => frame,
                Err(why) => return why,
            };
            if frame.payload_len > 0 {
                return Broken::Unexpected {
                    message: frame.message.name(),
                    place: "with a payload in this direction",
                };
            }
            match frame.message {
                Message::Ping(ping) => self.say(&Message::Pong(ping)),
                message => {
                    if let Err(why) = user.hear(message) {
                        return why;
                    }
                }
            }
        }
    }

    /// Notices silence, and the end of all use.
    async fn watch(&self, life: &Life, user: &dyn User) -> Broken {
        let mut needed = Instant::now();
        loop {
            tokio::time::sleep(PING_EVERY).await;
            if user.needs_it() {
                needed = Instant::now();
            }
            if life.silence() > SILENCE_MAX {
                return Broken::Silent(SILENCE_MAX);
            }
            if needed.elapsed() > LINK_IDLE_MAX {
                return Broken::Ours("it was not needed any more".into());
            }
            self.say(&Message::Ping(Ping::default()));
        }
    }

    /// Says something that matters only while nothing else moves: left out when the queue is full.
    fn say(&self, message: &Message) {
        let _ = self.queue.try_send(Outgoing {
            head: encode_frame(message, 0),
            body: Body::None,
            _turn: None,
        });
    }
}

/// Writes what comes. A payload that moves is a sign of life of its reader; a small frame is none,
/// as the system takes it without him.
async fn write(
    writer: &mut (impl AsyncWrite + Unpin),
    mut outgoing: mpsc::Receiver<Outgoing>,
    life: &Life,
) -> Broken {
    while let Some(Outgoing { head, body, _turn }) = outgoing.recv().await {
        let mut bytes = head.as_slice().chain(body.as_slice());
        while bytes.has_remaining() {
            match writer.write_buf(&mut bytes).await {
                Ok(_) if matches!(body, Body::None) => {}
                Ok(_) => life.touch(),
                Err(error) => return error.into(),
            }
        }
        if let Err(error) = writer.flush().await {
            return error.into();
        }
    }
    Broken::Ours("nobody uses it any more".into())
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
