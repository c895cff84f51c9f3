//! A data connection that another node made to send frames of small files. While one frame is
//! verified and handed over, the next is read.

use std::sync::Arc;

use bytes::Bytes;
use consign_core::consumer::Event;
use consign_core::ids::{Incarnation, NodeName, Sequence, Start, TransferKey};
use consign_core::wire::{Message, Ping, SmallFrame};
use tokio::sync::mpsc;

use crate::identity::Peer;
use crate::net::conn::{Broken, Conn, Life, Reader, watch_silence};
use crate::net::roster::Entry;

use super::super::buffers::Buffer;
use super::super::engine::Engine;
use super::frame::{arrivals, check, find_damaged, next_hop};
use super::send::SmallSenders;

/// What was read and is to be handled, in order.
enum Arrived {
    Frame(SmallFrame, Buffer),
    Ping(Ping),
}

/// Serves the connection to its end: says why it ended.
pub(in crate::net::bulk) async fn serve(
    engine: &Arc<Engine>,
    senders: &Arc<SmallSenders>,
    mut conn: Conn,
    entry: &Entry<'_>,
) -> Broken {
    let receive = Receive {
        engine,
        senders,
        entry,
        peer: conn.peer.as_deref(),
    };
    let (arrived, arrivals) = mpsc::channel(1);
    tokio::select! {
        why = receive.read(&mut conn.reader, &conn.life, arrived) => why,
        why = receive.handle(arrivals) => why,
        why = entry.send_queue.drain(&mut conn.writer) => why,
        why = watch_silence(&conn.life, &entry.send_queue, || 0) => why,
    }
}

struct Receive<'a> {
    engine: &'a Arc<Engine>,
    senders: &'a Arc<SmallSenders>,
    entry: &'a Entry<'a>,
    peer: Option<&'a Peer>,
}

impl Receive<'_> {
    async fn read(
        &self,
        reader: &mut Reader,
        life: &Life,
        arrived: mpsc::Sender<Arrived>,
    ) -> Broken {
        loop {
            let next = match self.next(reader, life).await {
                Ok(Some(next)) => next,
                Ok(None) => continue,
                Err(why) => return why,
            };
            let _deaf = life.deaf();
            if arrived.send(next).await.is_err() {
                // Who handles them has ended, and says why.
                return std::future::pending().await;
            }
        }
    }

    async fn next(&self, reader: &mut Reader, life: &Life) -> Result<Option<Arrived>, Broken> {
        let frame = reader.next().await?;
        match frame.message {
            Message::SmallFrame(smalls) => {
                let len = frame.payload_len;
                Conn::may_bring(self.peer, &smalls.producer)?;
                check(&smalls, &self.engine.shared.me.node, len).map_err(Broken::Protocol)?;
                let memory = {
                    let _deaf = life.deaf();
                    self.engine.smalls.reserve(len).await
                };
                let mut buffer = self.engine.smalls.take(memory, len);
                reader.payload(&mut buffer).await?;
                Ok(Some(Arrived::Frame(smalls, buffer)))
            }
            Message::Ping(ping) if frame.payload_len == 0 => match ping.number {
                0 => {
                    self.entry.send_queue.push(&Message::Pong(ping));
                    Ok(None)
                }
                _ => Ok(Some(Arrived::Ping(ping))),
            },
            Message::Pong(_) if frame.payload_len == 0 => Ok(None),
            other => Err(Broken::Unexpected {
                message: other.name(),
                place: "among small files",
            }),
        }
    }

    async fn handle(&self, mut arrivals: mpsc::Receiver<Arrived>) -> Broken {
        while let Some(arrived) = arrivals.recv().await {
            match arrived {
                Arrived::Ping(ping) => self.entry.send_queue.push(&Message::Pong(ping)),
                Arrived::Frame(frame, buffer) => {
                    if let Err(why) = self.frame(frame, buffer).await {
                        return why;
                    }
                }
            }
        }
        // Who reads has ended, and says why.
        std::future::pending().await
    }

    /// Verifies a frame, passes it on, hands it over.
    async fn frame(&self, frame: SmallFrame, buffer: Buffer) -> Result<(), Broken> {
        let verify = move || (find_damaged(&frame, &buffer), frame, buffer);
        let verified = self.engine.workers.run(verify).await;
        let (damaged, frame, buffer) =
            verified.map_err(|panicked| Broken::Ours(panicked.to_string()))?;
        if let Some(index) = damaged {
            return Err(self.damaged(&frame, index));
        }
        let payload = Bytes::from_owner(buffer);
        let event = Event::Smalls {
            // Checked before the payload was read.
            producer: NodeName::new(&frame.producer)
                .map_err(|bad| Broken::Protocol(bad.to_string()))?,
            incarnation: Incarnation(frame.incarnation),
            files: arrivals(&frame, &payload),
        };
        let shared = &self.engine.shared;
        let forwarded = next_hop(frame).map(|next| self.senders.forward(next, payload));
        if let Some(Err((stake, reason))) = forwarded {
            shared.tell(stake.lost(reason)).await;
        }
        shared.tell_consumer(event).await;
        Ok(())
    }

    fn damaged(&self, frame: &SmallFrame, index: usize) -> Broken {
        let file = &frame.files[index];
        let key = TransferKey {
            start: Start(file.start),
            seq: Sequence(file.seq),
        };
        Broken::Damaged {
            name: file.spec.name.clone(),
            transfer: format!("{}.{key}", frame.producer),
            at: self.engine.shared.me.node.clone(),
            from: self.entry.node.clone(),
        }
    }
}
