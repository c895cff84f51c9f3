//! The first words on a connection that we make: whom we want, why, and whether who answers is that.

use consign_core::ids::{Incarnation, NodeName, Start};
use consign_core::wire::{
    Hello, Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Purpose, Rejected, Welcome,
    encode_frame,
};
use tokio::time::timeout;

use crate::identity::Role;
use crate::net::bounds::{HELLO_BYTES_MAX, WELCOME_DEADLINE};
use crate::net::identity::{Identity, OwnWord, Seen, Sight, Told};
use crate::net::shared::Shared;
use crate::net::trusted::{self, Ends};

use super::handshake::{plain, printable, reject};
use super::{Broken, Conn};

/// Connects to `node` at `addr` and introduces ourselves. The connection is good when this
/// returns; also in which life the peer is.
///
/// # Errors
/// [`Broken`]; [`Broken::Outlived`] when the peer has seen a later life of ours.
pub(in crate::net) async fn dial(
    shared: &Shared,
    node: &NodeName,
    addr: &str,
    purpose: Purpose,
) -> Result<(Conn, Incarnation), Broken> {
    let (me, seen) = (&shared.me, &shared.seen);
    let mut conn = Conn::open(addr, shared.keyring.as_deref()).await?;
    check_dialled(shared, &mut conn, node, purpose).await?;
    let answer = introduce(&mut conn, shared, Some(node), purpose, seen.sight(node)).await?;
    if let Message::Welcome(welcome) = &answer {
        conn.their_list = welcome.revoked;
        conn.version = welcome.version;
        conn.their_word = OwnWord {
            incarnation: Incarnation(welcome.incarnation),
            start: Start(welcome.start),
            log: welcome.log,
            found_to: 0,
            reconciled: Incarnation(welcome.reconciled),
        };
    }
    let incarnation = check_answer(me, purpose, seen, node, answer)?;
    seen.note(node, incarnation);
    seen.note_word(node, &conn.their_word);
    Ok((conn, incarnation))
}

/// Says hello, to `to` where it is known who that is, and hears the answer.
async fn introduce(
    conn: &mut Conn,
    shared: &Shared,
    to: Option<&NodeName>,
    purpose: Purpose,
    seen: Sight,
) -> Result<Message, Broken> {
    let me = &shared.me;
    let hello = Message::Hello(Hello {
        version: PROTOCOL_VERSION,
        version_min: PROTOCOL_VERSION_MIN,
        node: me.node.to_string(),
        to: to.map(ToString::to_string).unwrap_or_default(),
        purpose: purpose.into(),
        incarnation: me.incarnation.0,
        start: me.start.0,
        seen: seen.incarnation.0,
        revoked: shared.list_number(),
        log: shared.log(),
        seen_log: seen.log,
        seen_start: seen.start.0,
        reconciled: me.reconciled.0,
        found_to: me.found_to(),
        seen_log_in: seen.log_in.0,
    });
    // What the peer may have said of our certificate instead of reading this is what counts.
    let said = conn.say(&encode_frame(&hello, 0)).await;
    let answer = timeout(WELCOME_DEADLINE, conn.reader.next_within(HELLO_BYTES_MAX));
    let frame = answer.await.map_err(|_| Broken::Slow {
        what: "the answer to our hello",
        deadline: WELCOME_DEADLINE,
    })??;
    said?;
    Ok(frame.message)
}

/// Connects to exchange gossip with whoever answers at `addr`, which must be `to` where that is
/// known. Says who answers.
///
/// Lives are neither compared nor noted: of two nodes of one name this would fence off the one that
/// has the right to it.
///
/// # Errors
/// [`Broken`].
pub(in crate::net) async fn dial_for_gossip(
    shared: &Shared,
    to: Option<&NodeName>,
    addr: &str,
) -> Result<(Conn, NodeName), Broken> {
    let mut conn = Conn::open(addr, shared.keyring.as_deref()).await?;
    let answer = introduce(&mut conn, shared, to, Purpose::Gossip, Sight::default()).await?;
    let found = match answer {
        Message::Welcome(welcome) => welcome.node,
        Message::Rejected(rejected) => {
            return Err(Broken::Rejected {
                reason: plain(&rejected.reason),
                seen: Incarnation(rejected.seen),
            });
        }
        other => {
            return Err(Broken::Unexpected {
                message: other.name(),
                place: "as the answer to a hello",
            });
        }
    };
    let name = NodeName::new(&found).map_err(|bad| Broken::Protocol(bad.to_string()))?;
    // With keys it is who its certificate says, whatever it says itself.
    let certified = conn.peer.as_ref().is_none_or(|peer| peer.is(&name));
    if certified && to.is_none_or(|wanted| *wanted == name) {
        return Ok((conn, name));
    }
    Err(Broken::OtherNode {
        wanted: to.cloned().unwrap_or(name),
        found: match &conn.peer {
            Some(peer) => peer.to_string(),
            None => printable(&found),
        },
    })
}

/// Whether who answers is who was meant, and may have this connection. If not, it is told.
async fn check_dialled(
    shared: &Shared,
    conn: &mut Conn,
    node: &NodeName,
    purpose: Purpose,
) -> Result<(), Broken> {
    let (Some(keyring), Some(peer)) = (&shared.keyring, conn.peer.clone()) else {
        return Ok(());
    };
    let own = keyring.me();
    let why = if !peer.is(node) {
        Broken::OtherNode {
            wanted: node.clone(),
            found: peer.to_string(),
        }
    } else {
        let ends = Ends {
            dialler: (&shared.me.node, &own),
            dialled: (node, &peer),
        };
        match trusted::check(purpose, ends) {
            Ok(()) => return Ok(()),
            Err(reason) if !peer.may(Role::Consumer) => Broken::NoConsumer(reason),
            Err(reason) => Broken::Protocol(reason),
        }
    };
    // It makes no difference to us whether the peer hears why.
    let _ = reject(conn, &why.to_string(), Incarnation(0)).await;
    Err(why)
}

fn check_answer(
    me: &Identity,
    purpose: Purpose,
    seen: &Seen,
    node: &NodeName,
    answer: Message,
) -> Result<Incarnation, Broken> {
    match answer {
        Message::Welcome(welcome) => check_welcome(me, purpose, seen, node, &welcome),
        Message::Rejected(rejected) if me.is_outlived_by(of_us(me, &rejected)) => {
            Err(Broken::Outlived {
                node: node.clone(),
                ours: me.at_start(),
                seen: of_us(me, &rejected),
            })
        }
        Message::Rejected(rejected) => Err(Broken::Rejected {
            reason: rejected.reason,
            seen: Incarnation(rejected.seen),
        }),
        other => Err(Broken::Unexpected {
            message: other.name(),
            place: "as the answer to a hello",
        }),
    }
}

fn of_us(me: &Identity, rejected: &Rejected) -> Sight {
    let told = Told {
        incarnation: rejected.seen,
        start: rejected.seen_start,
        log: rejected.seen_log,
        log_in: rejected.seen_log_in,
    };
    Sight::told(me, told)
}

fn check_welcome(
    me: &Identity,
    purpose: Purpose,
    seen: &Seen,
    node: &NodeName,
    welcome: &Welcome,
) -> Result<Incarnation, Broken> {
    if welcome.node != node.as_str() {
        return Err(Broken::OtherNode {
            wanted: node.clone(),
            found: printable(&welcome.node),
        });
    }
    if !(PROTOCOL_VERSION_MIN..=PROTOCOL_VERSION).contains(&welcome.version) {
        return Err(Broken::Protocol(format!(
            "{node} answers in protocol version {}; hint: check its version",
            welcome.version
        )));
    }
    let told = Told {
        incarnation: welcome.seen,
        start: welcome.seen_start,
        log: welcome.seen_log,
        log_in: welcome.seen_log_in,
    };
    let of_us = Sight::told(me, told);
    // Whoever has seen more may be asked what it is: an audit is what finds out what is lost.
    if purpose != Purpose::Audit && me.is_outlived_by(of_us) {
        return Err(Broken::Outlived {
            node: node.clone(),
            ours: me.at_start(),
            seen: of_us,
        });
    }
    let (found, highest) = (Incarnation(welcome.incarnation), seen.of(node));
    if found < highest {
        return Err(Broken::OldLife {
            node: node.clone(),
            found,
            seen: highest,
        });
    }
    seen.note_version(node, welcome.version);
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> Identity {
        Identity {
            node: NodeName::new("store-1").unwrap(),
            incarnation: Incarnation(4),
            start: Start(9),
            lives: Vec::new(),
            reconciled: Incarnation(0),
        }
    }

    #[test]
    fn a_welcome_is_checked_for_name_and_lives() {
        let node = NodeName::new("store-2").unwrap();
        let seen = Seen::default();
        seen.note(&node, Incarnation(6));
        let answer = |name: &str, incarnation, of_us| {
            check_welcome(
                &me(),
                Purpose::Control,
                &seen,
                &node,
                &Welcome {
                    version: PROTOCOL_VERSION,
                    node: name.into(),
                    incarnation,
                    seen: of_us,
                    ..Welcome::default()
                },
            )
        };
        assert_eq!(answer("store-2", 6, 4).unwrap(), Incarnation(6));
        assert!(matches!(
            answer("store-3", 6, 4),
            Err(Broken::OtherNode { .. })
        ));
        assert!(matches!(
            answer("store-2", 5, 4),
            Err(Broken::OldLife { .. })
        ));
        assert!(matches!(
            answer("store-2", 6, 5),
            Err(Broken::Outlived { .. })
        ));
    }
}
