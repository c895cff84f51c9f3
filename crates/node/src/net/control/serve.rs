//! A control connection that a producer made: answered only when the consumer's state machine has
//! noted the producer's incarnation, so that no two lives of it are ever heard at once.

use consign_core::consumer::Event;
use consign_core::ids::Incarnation;
use consign_core::wire::Purpose;
use tokio::time::timeout;

use crate::net::bounds::ADMIT_DEADLINE;
use crate::net::conn::{Broken, Conn, Greeting, reject, welcome};
use crate::net::roster::{Entry, Side, Verdict};
use crate::net::shared::Shared;

use super::session::{self, Peer, Role};

/// Serves the connection to its end: says why it ended.
pub(in crate::net) async fn serve(shared: &Shared, mut conn: Conn, greeting: &Greeting) -> Broken {
    let side = Side::Accepted(Purpose::Control);
    let node = &greeting.node;
    let entry = match shared.roster.enter(node, greeting.incarnation, side) {
        Ok(entry) => entry,
        Err(reason) => return send_away(&mut conn, reason, Incarnation(0)).await,
    };
    entry.send_queue.speaks(greeting.version);
    if let Some(signatures) = &conn.signatures {
        entry.send_queue.signs_with(signatures);
    }
    let verdict = shared.roster.verdict(entry.session);
    shared
        .tell_consumer(Event::PeerUp {
            node: node.clone(),
            session: entry.session,
            incarnation: greeting.incarnation,
        })
        .await;
    let why = match timeout(ADMIT_DEADLINE, verdict).await {
        Ok(Ok(Verdict::Admit)) => admitted(shared, conn, greeting, &entry).await,
        Ok(Ok(Verdict::Reject(seen))) => {
            let reason = format!(
                "{node} speaks in incarnation {}, but {seen} of it was seen; hint: its data \
                 directory is an old copy, see `consign status` there",
                greeting.incarnation
            );
            send_away(&mut conn, reason, seen).await
        }
        Ok(Err(_)) | Err(_) => {
            let reason = "this node's log does not answer; hint: try again later".to_owned();
            send_away(&mut conn, reason, Incarnation(0)).await
        }
    };
    shared
        .tell_consumer(Event::PeerDown {
            node: node.clone(),
            session: entry.session,
        })
        .await;
    why
}

async fn admitted(
    shared: &Shared,
    mut conn: Conn,
    greeting: &Greeting,
    entry: &Entry<'_>,
) -> Broken {
    if let Err(why) = welcome(&mut conn, shared, greeting).await {
        return why;
    }
    shared.seen.note_word(&greeting.node, &greeting.word);
    let peer = Peer {
        node: &greeting.node,
        session: entry.session,
        role: Role::Consumer,
        send_queue: &entry.send_queue,
    };
    session::run(shared, conn, peer).await
}

async fn send_away(conn: &mut Conn, reason: String, seen: Incarnation) -> Broken {
    // It makes no difference to us whether the peer hears why.
    let _ = reject(conn, &reason, seen).await;
    Broken::Ours(reason)
}
