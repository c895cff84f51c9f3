//! What waits to be written on a connection of small messages. Bounded; a peer that does not read
//! loses its connection, and who sends never waits.
//!
//! Receipts are signed here, by who writes, so that who sends them does not wait for that either.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use consign_core::wire::{Message, PROTOCOL_VERSION_MIN, PROTOCOL_VERSION_RECEIPTS, encode_frame};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::Notify;

use crate::identity::Signatures;
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
    /// Where this node has keys.
    signatures: OnceLock<Arc<Signatures>>,
}

#[derive(Debug, Default)]
struct Waiting {
    next: Outgoing,
    messages: usize,
    closed: Option<Broken>,
}

/// What is to be written next.
#[derive(Debug, Default)]
struct Outgoing {
    /// Encoded, joined.
    bytes: Vec<u8>,
    /// Messages whose receipts are to be signed, each with its place in `bytes`.
    unsigned: Vec<(usize, Message)>,
    /// Their length, in bytes, without their signatures.
    unsigned_bytes: usize,
}

impl Outgoing {
    fn len(&self) -> usize {
        self.bytes.len() + self.unsigned_bytes
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(KEPT_BYTES);
        self.unsigned.clear();
        self.unsigned_bytes = 0;
    }

    /// Signs what is to be signed. A signature takes tens of microseconds, and with the longest keys
    /// some milliseconds, for thousands of files.
    fn sign(&mut self, signatures: &Signatures) -> Result<(), String> {
        if self.unsigned.is_empty() {
            return Ok(());
        }
        let encoded = std::mem::take(&mut self.bytes);
        let mut copied = 0;
        for (at, mut message) in self.unsigned.drain(..) {
            if let Some((receipt, _)) = message.receipt_mut() {
                signatures.sign(receipt)?;
            }
            self.bytes.extend_from_slice(&encoded[copied..at]);
            self.bytes.extend_from_slice(&encode_frame(&message, 0));
            copied = at;
        }
        self.bytes.extend_from_slice(&encoded[copied..]);
        Ok(())
    }
}

impl SendQueue {
    /// From here on the peer hears what this protocol version has.
    pub(in crate::net) fn speaks(&self, version: u32) {
        self.version.store(version, Ordering::Relaxed);
    }

    /// From here on receipts are signed, if the peer knows what that is.
    pub(in crate::net) fn signs_with(&self, signatures: &Arc<Signatures>) {
        let _ = self.signatures.set(Arc::clone(signatures));
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
        let mut message = Cow::Borrowed(message);
        let has_receipt = has_receipt(&message);
        if has_receipt && known < PROTOCOL_VERSION_RECEIPTS {
            without_proof(message.to_mut());
        }
        let is_signed = has_receipt && known >= PROTOCOL_VERSION_RECEIPTS;
        let frame = encode_frame(&message, 0);
        let mut waiting = self.lock();
        if waiting.closed.is_some() {
            return;
        }
        if waiting.next.len() >= SEND_QUEUE_BYTES_MAX || waiting.messages >= SEND_QUEUE_MESSAGES_MAX
        {
            let (bytes, messages) = (waiting.next.len(), waiting.messages);
            waiting.closed = Some(Broken::Unread { bytes, messages });
        } else {
            let frames = &mut waiting.next;
            if is_signed && self.signatures.get().is_some() {
                let at = frames.bytes.len();
                frames.unsigned.push((at, message.into_owned()));
                frames.unsigned_bytes += frame.len();
            } else {
                frames.bytes.extend_from_slice(&frame);
            }
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
        let mut frames = Outgoing::default();
        loop {
            let closed = self.take(&mut frames);
            if let Some(signatures) = self.signatures.get()
                && let Err(why) = frames.sign(signatures)
            {
                return Broken::Ours(format!(
                    "cannot sign a receipt: {why}; hint: give this node another bundle with `consign keys issue`"
                ));
            }
            let written = async {
                writer.write_all(&frames.bytes).await?;
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

    /// Swaps what waits into `frames`; also why the connection is to be closed, if it is. Of a peer
    /// that does not read, nothing more is tried.
    fn take(&self, frames: &mut Outgoing) -> Option<Broken> {
        frames.clear();
        let mut waiting = self.lock();
        std::mem::swap(frames, &mut waiting.next);
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

fn has_receipt(message: &Message) -> bool {
    match message {
        Message::Saved(_) => true,
        Message::OpenAnswer(answer) => answer.receipt.is_some(),
        _ => false,
    }
}

/// What a peer of an older version is told.
fn without_proof(message: &mut Message) {
    if let Some((receipt, _)) = message.receipt_mut() {
        *receipt = std::mem::take(receipt).unsigned();
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
            send_queue.push(&Message::Ping(Ping { number, log: 0 }));
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
        send_queue.push(&Message::Ping(Ping { number: 7, log: 0 }));
        send_queue.close(Broken::Ours("enough".into()));
        let mut written = Vec::new();
        let why = send_queue.drain(&mut written).await;
        assert_eq!(why.to_string(), "enough");
        assert_eq!(
            written,
            encode_frame(&Message::Ping(Ping { number: 7, log: 0 }), 0)
        );
    }
}
