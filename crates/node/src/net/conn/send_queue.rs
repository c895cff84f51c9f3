//! What waits to be written on a connection of small messages. Bounded; a peer that does not read
//! loses its connection, and who sends never waits.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use consign_core::wire::{Message, PROTOCOL_VERSION_MIN, encode_frame};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::net::bounds::{SEND_QUEUE_BYTES_MAX, SEND_QUEUE_MESSAGES_MAX};

use super::broken::Broken;

/// Memory for messages that is kept between writes, in bytes.
const KEPT_BYTES: usize = 64 << 10;

/// How long the last messages of a connection that is closed may take to be written.
const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// See the module.
#[derive(Debug, Default)]
pub(in crate::net) struct SendQueue {
    waiting: Mutex<Waiting>,
    changed: Notify,
    /// The protocol version that both sides speak; 0 before that is known.
    version: AtomicU32,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Encoded frames, joined.
    bytes: Vec<u8>,
    messages: usize,
    closed: Option<Broken>,
}

impl SendQueue {
    /// From here on the peer hears what this protocol version has.
    pub(in crate::net) fn speaks(&self, version: u32) {
        self.version.store(version, Ordering::Relaxed);
    }

    /// Leaves a message to be written; dropped when the connection is being closed, or the peer is
    /// too old to know it.
    pub(in crate::net) fn push(&self, message: &Message) {
        let known = self
            .version
            .load(Ordering::Relaxed)
            .max(PROTOCOL_VERSION_MIN);
        if message.version() > known {
            return;
        }
        let mut waiting = self.lock();
        if waiting.closed.is_some() {
            return;
        }
        if waiting.bytes.len() >= SEND_QUEUE_BYTES_MAX
            || waiting.messages >= SEND_QUEUE_MESSAGES_MAX
        {
            let (bytes, messages) = (waiting.bytes.len(), waiting.messages);
            waiting.closed = Some(Broken::Unread { bytes, messages });
        } else {
            waiting.bytes.extend_from_slice(&encode_frame(message, 0));
            waiting.messages += 1;
        }
        drop(waiting);
        self.changed.notify_one();
    }

    /// Closes the connection once what waits is written. The first reason counts.
    pub(in crate::net) fn close(&self, why: Broken) {
        self.lock().closed.get_or_insert(why);
        self.changed.notify_one();
    }

    /// Writes what waits and what comes, until the connection breaks or is closed: says why.
    pub(in crate::net) async fn drain(&self, writer: &mut (impl AsyncWrite + Unpin)) -> Broken {
        let mut bytes = Vec::new();
        loop {
            let closed = self.take(&mut bytes);
            let written = async {
                writer.write_all(&bytes).await?;
                writer.flush().await
            };
            if let Some(why) = closed {
                let _ = tokio::time::timeout(FLUSH_DEADLINE, written).await;
                return why;
            }
            if let Err(error) = written.await {
                return error.into();
            }
            self.changed.notified().await;
        }
    }

    /// Swaps what waits into `bytes`; also why the connection is to be closed, if it is. Of a peer
    /// that does not read, nothing more is tried.
    fn take(&self, bytes: &mut Vec<u8>) -> Option<Broken> {
        bytes.clear();
        bytes.shrink_to(KEPT_BYTES);
        let mut waiting = self.lock();
        std::mem::swap(bytes, &mut waiting.bytes);
        waiting.messages = 0;
        // Left closed for good, so that nothing is queued that nobody will write.
        let why = waiting.closed.take()?;
        waiting.closed = Some(Broken::Closed);
        Some(why)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use consign_core::wire::Ping;

    use super::*;

    #[tokio::test]
    async fn a_peer_that_does_not_read_is_closed_and_never_waited_for() {
        let send_queue = SendQueue::default();
        for number in 0..=SEND_QUEUE_MESSAGES_MAX as u64 {
            send_queue.push(&Message::Ping(Ping { number }));
        }
        let (mut writer, _reader) = tokio::io::duplex(64);
        let why = send_queue.drain(&mut writer).await;
        assert!(matches!(
            why,
            Broken::Unread { messages, .. } if messages == SEND_QUEUE_MESSAGES_MAX
        ));
    }

    #[tokio::test]
    async fn what_was_left_before_the_end_is_written() {
        let send_queue = SendQueue::default();
        send_queue.push(&Message::Ping(Ping { number: 7 }));
        send_queue.close(Broken::Ours("enough".into()));
        let mut written = Vec::new();
        let why = send_queue.drain(&mut written).await;
        assert_eq!(why.to_string(), "enough");
        assert_eq!(written, encode_frame(&Message::Ping(Ping { number: 7 }), 0));
    }
}
