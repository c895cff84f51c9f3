//! A data connection that another node made to send chunks. Its reader never waits for one
//! transfer: what a transfer may send, there is room for.

use std::collections::HashSet;
use std::sync::Arc;

use consign_core::wire::{Begin, Chunk, Leg, Message};

use crate::identity::Peer;
use crate::net::conn::{Broken, Conn, Reader, watch_silence};
use crate::net::roster::Entry;

use super::inflow::{Inflows, Refusal, Upstream};

/// Transfers of one connection that were refused, remembered so that each is refused once.
const REFUSED_MAX: usize = 1024;

/// Serves the connection to its end: says why it ended.
pub(super) async fn serve(inflows: &Inflows, mut conn: Conn, entry: &Entry<'_>) -> Broken {
    let mut arrivals = Arrivals {
        inflows,
        entry,
        peer: conn.peer,
        refused: HashSet::new(),
    };
    let why = tokio::select! {
        why = arrivals.read(&mut conn.reader) => why,
        why = entry.send_queue.drain(&mut conn.writer) => why,
        why = watch_silence(&conn.life, &entry.send_queue, || 0) => why,
    };
    inflows.disconnected(entry.session);
    why
}

struct Arrivals<'a> {
    inflows: &'a Inflows,
    entry: &'a Entry<'a>,
    peer: Option<Arc<Peer>>,
    refused: HashSet<(String, Leg)>,
}

impl Arrivals<'_> {
    async fn read(&mut self, reader: &mut Reader) -> Broken {
        loop {
            let read = async {
                let frame = reader.next().await?;
                match frame.message {
                    Message::Chunk(chunk) => self.chunk(reader, chunk, frame.payload_len).await,
                    _ if frame.payload_len > 0 => Err(unexpected(&frame.message)),
                    Message::Begin(begin) => self.begin(begin),
                    Message::Ping(ping) => {
                        self.entry.send_queue.push(&Message::Pong(ping));
                        Ok(())
                    }
                    Message::Pong(_) => Ok(()),
                    other => Err(unexpected(&other)),
                }
            };
            if let Err(why) = read.await {
                return why;
            }
        }
    }

    fn begin(&mut self, begin: Begin) -> Result<(), Broken> {
        Conn::may_bring(self.peer.as_deref(), &begin.producer)?;
        let upstream = self.upstream(&begin.producer, begin.leg);
        self.refused.remove(&(begin.producer.clone(), begin.leg));
        match self.inflows.begin(&begin, upstream) {
            Ok(()) => Ok(()),
            Err(refusal) => self.refuse(&begin.producer, begin.leg, refusal),
        }
    }

    async fn chunk(&mut self, reader: &mut Reader, chunk: Chunk, len: usize) -> Result<(), Broken> {
        Conn::may_bring(self.peer.as_deref(), &chunk.producer)?;
        match self.inflows.expect(&chunk, self.entry.session, len) {
            Ok(mut expected) => {
                reader.payload(&mut expected.buffer).await?;
                expected.deliver();
                Ok(())
            }
            Err(refusal) => {
                self.refuse(&chunk.producer, chunk.leg, refusal)?;
                reader.skip(len).await
            }
        }
    }

    fn refuse(&mut self, producer: &str, leg: Leg, refusal: Refusal) -> Result<(), Broken> {
        match refusal {
            Refusal::Violation(reason) => Err(Broken::Protocol(reason)),
            Refusal::Stop(reason) => {
                if self.refused.len() >= REFUSED_MAX {
                    self.refused.clear();
                }
                if self.refused.insert((producer.to_owned(), leg)) {
                    self.upstream(producer, leg).stop(reason);
                }
                Ok(())
            }
        }
    }

    fn upstream(&self, producer: &str, leg: Leg) -> Upstream {
        Upstream {
            node: self.entry.node.clone(),
            session: self.entry.session,
            send_queue: Arc::clone(&self.entry.send_queue),
            producer: producer.to_owned(),
            leg,
        }
    }
}

fn unexpected(message: &Message) -> Broken {
    Broken::Unexpected {
        message: message.name(),
        place: "among chunks",
    }
}
