//! One control connection while it lives: reads events out of it, writes what waits into it, and
//! notices when the peer falls silent.

use consign_core::ids::NodeName;
use consign_core::producer::Session;
use consign_core::wire::{Message, RevokedList};
use consign_core::{consumer, producer};

use crate::identity::{AUTHORITIES_MAX, BadList};
use crate::net::conn::{Broken, Conn, Life, Reader, SendQueue, watch_silence};
use crate::net::identity::OwnWord;
use crate::net::shared::{NetEvent, Shared};
use crate::net::tasks::contained;

use super::receipts::{self, Shown};

/// Which of this node's two sides a connection belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// We produce, the peer consumes: we dialled.
    Producer,
    /// We consume.
    Consumer,
}

/// A control connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer<'a> {
    pub(super) node: &'a NodeName,
    pub(super) session: Session,
    pub(super) role: Role,
    pub(super) send_queue: &'a SendQueue,
}

/// Runs the connection to its end: says why it ended.
pub(super) async fn run(shared: &Shared, mut conn: Conn, peer: Peer<'_>) -> Broken {
    let (life, word) = (conn.life, conn.their_word);
    if let Some(keyring) = &shared.keyring {
        // Told to all since this connection was entered, or told here.
        for list in keyring.lists().above(conn.their_list) {
            let list = list.text().as_bytes().to_vec();
            peer.send_queue
                .push(&Message::RevokedList(RevokedList { list }));
        }
    }
    let shown = Shown {
        version: conn.version,
        signatures: conn.signatures.as_deref(),
    };
    let run = async {
        tokio::select! {
            why = read(shared, &mut conn.reader, (&life, word), shown, peer) => why,
            why = peer.send_queue.drain(&mut conn.writer) => why,
            why = watch_silence(&life, peer.send_queue, || shared.log()) => why,
        }
    };
    contained(run)
        .await
        .unwrap_or_else(|panicked| Broken::Ours(panicked.to_string()))
}

async fn read(
    shared: &Shared,
    reader: &mut Reader,
    (life, word): (&Life, OwnWord),
    shown: Shown<'_>,
    peer: Peer<'_>,
) -> Broken {
    let mut foreign = 0;
    loop {
        let frame = match reader.next().await {
            Ok(frame) if frame.payload_len == 0 => frame,
            Ok(frame) => return unexpected(&frame.message),
            Err(why) => return why,
        };
        match frame.message {
            Message::Ping(ping) => {
                let log = ping.log;
                shared.seen.note_word(peer.node, &OwnWord { log, ..word });
                peer.send_queue.push(&Message::Pong(ping));
            }
            Message::Pong(_) => {}
            Message::RevokedList(list) => {
                let _deaf = life.deaf();
                match shared.take_over(list.list).await {
                    Ok(()) => {}
                    // Of an authority that only the peer believes, as it may be while a fleet goes over
                    // to another one.
                    Err(why @ Broken::List(BadList::Signature)) if foreign < AUTHORITIES_MAX => {
                        foreign += 1;
                        tracing::warn!(peer = %peer.node, "a list of its is passed over: {why}");
                    }
                    Err(why) => return why,
                }
            }
            mut message if is_for(peer.role, &message) => {
                let _deaf = life.deaf();
                if let Err(why) = receipts::check(peer.node, shown, &mut message) {
                    return Broken::Receipt {
                        node: peer.node.clone(),
                        why,
                    };
                }
                shared.tell(heard(peer, message)).await;
            }
            message => return unexpected(&message),
        }
    }
}

fn heard(peer: Peer<'_>, message: Message) -> NetEvent {
    let (from, session) = (peer.node.clone(), peer.session);
    match peer.role {
        Role::Producer => NetEvent::Producer(producer::Event::Message {
            from,
            session,
            message,
        }),
        Role::Consumer => NetEvent::Consumer(consumer::Event::Message {
            from,
            session,
            message,
        }),
    }
}

fn unexpected(message: &Message) -> Broken {
    Broken::Unexpected {
        message: message.name(),
        place: "on this control connection",
    }
}

fn is_for(role: Role, message: &Message) -> bool {
    match message {
        Message::OpenAnswer(_)
        | Message::Progress(_)
        | Message::Received(_)
        | Message::Saved(_)
        | Message::Abandoned(_)
        | Message::Refused(_)
        | Message::LinkLost(_)
        | Message::SmallReceived(_)
        | Message::SmallMissing(_)
        | Message::SmallLinkLost(_)
        | Message::Standing(_) => role == Role::Producer,
        Message::Open(_)
        | Message::Forward(_)
        | Message::Commit(_)
        | Message::Abandon(_)
        | Message::SmallQuery(_)
        | Message::SmallCommit(_)
        | Message::Closed(_)
        | Message::OpenStarts(_)
        | Message::Duties(_) => role == Role::Consumer,
        Message::Hello(_)
        | Message::Welcome(_)
        | Message::Rejected(_)
        | Message::Ping(_)
        | Message::Pong(_)
        | Message::RevokedList(_)
        | Message::Join(_)
        | Message::Joined(_)
        | Message::Begin(_)
        | Message::Chunk(_)
        | Message::Credit(_)
        | Message::Stop(_)
        | Message::SmallFrame(_)
        | Message::AuditAsk(_)
        | Message::Gossip(_)
        | Message::AuditAnswer(_) => false,
    }
}
