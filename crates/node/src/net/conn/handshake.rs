//! The first words on a connection, where it was accepted: who calls, why, and in which life.

use consign_core::ids::{Incarnation, NodeName, Start};
use consign_core::wire::{
    Frame, Hello, Message, PROTOCOL_VERSION, PROTOCOL_VERSION_MIN, Purpose, Rejected, Welcome,
    encode_frame,
};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::identity::Peer;
use crate::net::bounds::{HELLO_BYTES_MAX, HELLO_DEADLINE};
use crate::net::identity::{Identity, OwnWord, Sight, Told};
use crate::net::shared::Shared;
use crate::net::trusted::{self, Ends};

use super::{Broken, Conn, stream};

/// What is repeated of a reason that a stranger gives in place of a hello, in characters.
const REASON_CHARS_MAX: usize = 512;

/// A hello that is acceptable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net) struct Greeting {
    /// Who calls.
    pub(in crate::net) node: NodeName,
    /// In which life.
    pub(in crate::net) incarnation: Incarnation,
    /// What for.
    pub(in crate::net) purpose: Purpose,
    /// How far it has seen us.
    pub(in crate::net) seen: Sight,
    /// What it says of itself.
    pub(in crate::net) word: OwnWord,
    /// The number above which every revocation list is that is news to it.
    pub(in crate::net) revoked: u64,
    /// The version that both speak.
    pub(in crate::net) version: u32,
}

/// What a node that is among its own seeds answers itself.
const ITSELF: &str = "this is the node itself";

/// Whether a connection was refused because both of its ends are this node.
pub(in crate::net) fn is_itself(why: &Broken) -> bool {
    match why {
        Broken::Rejected { reason, .. } | Broken::Protocol(reason) => reason == ITSELF,
        _ => false,
    }
}

/// Waits for a stranger's hello and checks it. A stranger whose hello is unacceptable is told why.
///
/// # Errors
/// [`Broken`]: the connection is of no use.
pub(in crate::net) async fn hear_hello(
    conn: &mut Conn,
    shared: &Shared,
) -> Result<Greeting, Broken> {
    let hello = timeout(HELLO_DEADLINE, conn.reader.next_within(HELLO_BYTES_MAX));
    let frame = hello.await.map_err(|_| Broken::Slow {
        what: "the peer's hello",
        deadline: HELLO_DEADLINE,
    })??;
    let checked = check_first(&shared.me, frame)?.and_then(|greeting| {
        let peer = conn.peer.as_deref();
        check_certified(shared, peer, &greeting).map(|()| greeting)
    });
    match checked {
        Ok(greeting) => {
            conn.their_list = greeting.revoked;
            conn.version = greeting.version;
            conn.their_word = greeting.word;
            Ok(greeting)
        }
        Err(reason) => {
            reject(conn, &reason, Incarnation(0)).await?;
            Err(Broken::Protocol(reason))
        }
    }
}

/// Whether the hello says what the certificate says, and asks for what it allows.
fn check_certified(
    shared: &Shared,
    peer: Option<&Peer>,
    greeting: &Greeting,
) -> Result<(), String> {
    let (Some(keyring), Some(peer)) = (&shared.keyring, peer) else {
        return Ok(());
    };
    let node = &greeting.node;
    if !peer.is(node) {
        return Err(format!(
            "the certificate is that of {peer}, and its hello says {node}; hint: give {node} its \
             own, or correct node.name"
        ));
    }
    let own = keyring.me();
    let ends = Ends {
        dialler: (node, peer),
        dialled: (&shared.me.node, &own),
    };
    trusted::check(greeting.purpose, ends)
}

/// Tells a peer that speaks plaintext where nothing else is spoken why it is not heard.
pub(super) async fn refuse_plaintext(stream: TcpStream) -> Broken {
    let mut conn = Conn::new(stream::plain(stream));
    let hello = timeout(HELLO_DEADLINE, conn.reader.next_within(HELLO_BYTES_MAX)).await;
    let who = match hello {
        Ok(Ok(frame)) => match frame.message {
            Message::Hello(hello) => printable(&hello.node),
            other => format!("a peer that begins with {}", other.name()),
        },
        Ok(Err(why)) => return why,
        Err(_elapsed) => "a peer".to_owned(),
    };
    let why = Broken::Plaintext { who };
    let reason = "it speaks only TLS; hint: set [tls] bundle here, see `consign keys`";
    // It makes no difference to us whether the peer hears why.
    let _ = reject(&mut conn, reason, Incarnation(0)).await;
    why
}

/// What a stranger says first: a greeting, or why its hello is unacceptable.
///
/// # Errors
/// [`Broken::Unexpected`] when it is no hello.
pub(in crate::net) fn check_first(
    me: &Identity,
    frame: Frame,
) -> Result<Result<Greeting, String>, Broken> {
    match frame.message {
        Message::Hello(hello) => Ok(check_hello(me, &hello, frame.payload_len)),
        // Who dialled has looked at our certificate.
        Message::Rejected(rejected) => Err(Broken::Rejected {
            reason: plain(&rejected.reason),
            seen: Incarnation(rejected.seen),
        }),
        other => Err(Broken::Unexpected {
            message: other.name(),
            place: "before a hello",
        }),
    }
}

fn check_hello(me: &Identity, hello: &Hello, payload_len: usize) -> Result<Greeting, String> {
    let node = NodeName::new(&hello.node).map_err(|bad| bad.to_string())?;
    if hello.version < PROTOCOL_VERSION_MIN || hello.version_min > PROTOCOL_VERSION {
        return Err(format!(
            "{node} speaks protocol versions {} to {}, {} speaks {PROTOCOL_VERSION_MIN} to \
             {PROTOCOL_VERSION}; hint: upgrade the older of the two",
            hello.version_min, hello.version, me.node
        ));
    }
    let purpose = Purpose::try_from(hello.purpose).map_err(|_| {
        format!(
            "{node} connects for purpose {}, which is unknown; hint: check its version",
            hello.purpose
        )
    })?;
    let gossips = purpose == Purpose::Gossip;
    if gossips && node == me.node && hello.start == me.start.0 {
        return Err(ITSELF.to_owned());
    }
    let is_open = gossips && hello.to.is_empty();
    if hello.to != me.node.as_str() && !is_open {
        return Err(format!(
            "this is {}, and {node} wants {}; hint: correct the address of that node in the \
             membership",
            me.node,
            printable(&hello.to)
        ));
    }
    if payload_len > 0 || hello.incarnation == 0 {
        return Err(format!(
            "{node} says a malformed hello; hint: check its version"
        ));
    }
    Ok(Greeting {
        node,
        incarnation: Incarnation(hello.incarnation),
        purpose,
        seen: Sight::told(
            me,
            Told {
                incarnation: hello.seen,
                start: hello.seen_start,
                log: hello.seen_log,
                log_in: hello.seen_log_in,
            },
        ),
        word: OwnWord {
            incarnation: Incarnation(hello.incarnation),
            start: Start(hello.start),
            log: hello.log,
            found_to: hello.found_to,
            reconciled: Incarnation(hello.reconciled),
        },
        revoked: hello.revoked,
        version: hello.version.min(PROTOCOL_VERSION),
    })
}

/// Accepts a stranger.
///
/// # Errors
/// [`Broken::Io`].
pub(in crate::net) async fn welcome(
    conn: &mut Conn,
    shared: &Shared,
    greeting: &Greeting,
) -> Result<(), Broken> {
    let (me, seen) = (&shared.me, shared.seen.sight(&greeting.node));
    let welcome = Message::Welcome(Welcome {
        version: greeting.version,
        node: me.node.to_string(),
        incarnation: me.incarnation.0,
        seen: seen.incarnation.0,
        revoked: shared.list_number(),
        log: shared.log(),
        seen_log: seen.log,
        seen_start: seen.start.0,
        reconciled: me.reconciled.0,
        start: me.start.0,
        seen_log_in: seen.log_in.0,
    });
    say(conn, &welcome).await
}

/// Sends a stranger away.
///
/// # Errors
/// [`Broken::Io`].
pub(in crate::net) async fn reject(
    conn: &mut Conn,
    reason: &str,
    seen: Incarnation,
) -> Result<(), Broken> {
    let sight = Sight {
        incarnation: seen,
        ..Sight::default()
    };
    reject_outlived(conn, reason, sight).await
}

/// Sends a stranger away who was seen further on.
///
/// # Errors
/// [`Broken::Io`].
pub(in crate::net) async fn reject_outlived(
    conn: &mut Conn,
    reason: &str,
    seen: Sight,
) -> Result<(), Broken> {
    let rejected = Message::Rejected(Rejected {
        reason: reason.to_owned(),
        seen: seen.incarnation.0,
        seen_log: seen.log,
        seen_start: seen.start.0,
        seen_log_in: seen.log_in.0,
    });
    say(conn, &rejected).await
}

/// Says one of the first words. A few hundred bytes into an empty socket buffer: never waits for
/// long, and not at all for a peer that does not read.
async fn say(conn: &mut Conn, message: &Message) -> Result<(), Broken> {
    let frame = encode_frame(message, 0);
    let written = timeout(HELLO_DEADLINE, conn.say(&frame));
    written.await.map_err(|_| Broken::Slow {
        what: "answering a hello",
        deadline: HELLO_DEADLINE,
    })??;
    Ok(())
}

/// A peer's sentence, fit for a log.
pub(super) fn plain(text: &str) -> String {
    let shown = |c: char| if c.is_control() { ' ' } else { c };
    text.chars().take(REASON_CHARS_MAX).map(shown).collect()
}

/// A stranger's text, fit for a log.
pub(super) fn printable(text: &str) -> String {
    format!("{:?}", text.chars().take(64).collect::<String>())
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

    fn hello() -> Hello {
        Hello {
            version: PROTOCOL_VERSION + 3,
            version_min: PROTOCOL_VERSION,
            node: "cam-7".into(),
            to: "store-1".into(),
            purpose: Purpose::Smalls.into(),
            incarnation: 2,
            start: 1,
            seen: 4,
            ..Hello::default()
        }
    }

    fn refusal(change: impl FnOnce(&mut Hello)) -> String {
        let mut hello = hello();
        change(&mut hello);
        check_hello(&me(), &hello, 0).unwrap_err()
    }

    #[test]
    fn a_later_version_that_still_speaks_ours_is_welcome() {
        let greeting = check_hello(&me(), &hello(), 0).unwrap();
        assert_eq!(greeting.version, PROTOCOL_VERSION);
        assert_eq!(greeting.purpose, Purpose::Smalls);
    }

    #[test]
    fn unacceptable_hellos_are_answered_with_the_reason_and_a_hint() {
        for (refusal, about) in [
            (refusal(|h| h.to = "store-2".into()), "this is store-1"),
            (refusal(|h| h.version_min = 99), "99"),
            (refusal(|h| h.version = 0), "0"),
            (refusal(|h| h.node = "../x".into()), "node name"),
            (refusal(|h| h.purpose = 77), "purpose 77"),
            (refusal(|h| h.incarnation = 0), "malformed"),
        ] {
            assert!(refusal.contains(about), "{refusal}");
            assert!(refusal.contains("hint:"), "{refusal}");
        }
    }

    #[test]
    fn only_gossip_may_leave_open_whom_it_wants_and_nobody_gossips_with_itself() {
        let gossip = Hello {
            purpose: Purpose::Gossip.into(),
            to: String::new(),
            ..hello()
        };
        assert!(check_hello(&me(), &gossip, 0).is_ok());
        let wanted = refusal(|h| h.to = String::new());
        assert!(wanted.contains("this is store-1"), "{wanted}");
        let itself = Hello {
            node: me().node.to_string(),
            start: me().start.0,
            ..gossip.clone()
        };
        let reason = check_hello(&me(), &itself, 0).unwrap_err();
        let seen = Incarnation(0);
        assert!(is_itself(&Broken::Rejected { reason, seen }));
        let namesake = Hello {
            node: me().node.to_string(),
            ..gossip
        };
        assert!(check_hello(&me(), &namesake, 0).is_ok());
    }
}
