//! Accepts connections, finds out who calls and why, and hands them to whom it concerns.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use consign_core::ids::Incarnation;
use consign_core::wire::Purpose;
use tokio::net::{TcpListener, TcpSocket, TcpStream, lookup_host};
use tokio::time::timeout;

use super::audit;
use super::bounds::{BACKLOG, FIRST_BYTE_DEADLINE, TLS_STRANGERS_MAX};
use super::bulk::Bulk;
use super::conn::{
    Broken, Caller, Conn, Greeting, hear_hello, is_itself, reject, reject_outlived, welcome,
};
use super::control;
use super::gossip;
use super::identity::Sight;
use super::joining::Joining;
use super::roster::{Entry, Side};
use super::shared::{NetEvent, Shared, set_apart};
use super::strangers::{Place, Strangers};
use super::tasks::contained;

/// Pause after the system refused us a socket, so that we do not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Listens at the first address of `addr` that can be had.
///
/// # Errors
/// Why the last of them cannot be had.
pub(super) async fn bind(addr: &str) -> io::Result<TcpListener> {
    let mut refused = None;
    for addr in lookup_host(addr).await? {
        match listen_at(addr) {
            Ok(listener) => return Ok(listener),
            Err(error) => refused = Some(error),
        }
    }
    Err(refused.unwrap_or_else(|| io::Error::other("the name has no address")))
}

fn listen_at(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // A restart need not wait until the connections of the last life are forgotten.
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}

/// Accepts for ever.
pub(super) async fn listen(
    listener: TcpListener,
    strangers: Arc<Strangers>,
    shared: Arc<Shared>,
    bulk: Arc<Bulk>,
) {
    // Those with whom TLS is coming up.
    let busy = shared
        .keyring
        .as_ref()
        .map(|_| Strangers::new(TLS_STRANGERS_MAX));
    loop {
        match listener.accept().await {
            Ok((stream, remote)) => {
                let place = strangers.enter(remote.ip());
                let (strangers, shared_too) = (Arc::clone(&strangers), Arc::clone(&shared));
                let busy = busy.clone();
                let bulk = Arc::clone(&bulk);
                shared.tasks.spawn(async move {
                    let greeted =
                        greet(stream, &shared_too, place, (busy.as_ref(), remote.ip())).await;
                    let (conn, greeting) = match greeted {
                        Ok(Some(greeted)) => greeted,
                        Ok(None) => return,
                        Err(why) => return tell_refused(&strangers, remote, &why),
                    };
                    // Apart, so that a stranger's task is not as large as a peer's.
                    let served = Box::pin(serve(&shared_too, &bulk, conn, greeting));
                    match contained(served).await {
                        // What happens every day; this needs a person.
                        Ok(why @ Broken::Damaged { .. }) => tracing::error!(%remote, "{why}"),
                        Ok(why @ Broken::Severed(_)) => {
                            tracing::warn!(%remote, "a connection was ended: {why}");
                        }
                        Ok(why) => tracing::debug!(%remote, "connection ended: {why}"),
                        Err(panicked) => tracing::debug!(%remote, "connection ended: {panicked}"),
                    }
                });
            }
            Err(error) => {
                tracing::warn!(
                    "cannot accept connections: {error}; hint: raise the limit of open files"
                );
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Finds out who calls, unless who came later needs the place first. `None` when it was a machine that
/// wanted to join, which has its answer.
async fn greet(
    stream: TcpStream,
    shared: &Shared,
    mut place: Place,
    (busy, remote): (Option<&Arc<Strangers>>, IpAddr),
) -> Result<Option<(Conn, Greeting)>, Broken> {
    // Who says nothing costs a socket and a small task, and no buffer.
    let mut first = [0];
    tokio::select! {
        // Readiness alone would not do: of a new socket it may be claimed before there is any.
        spoke = timeout(FIRST_BYTE_DEADLINE, stream.peek(&mut first)) => {
            spoke.map_err(|_| Broken::Slow {
                what: "the peer's first byte",
                deadline: FIRST_BYTE_DEADLINE,
            })??;
        }
        () = place.wanted() => return Err(Broken::Crowded),
    }
    let greeted = async {
        let joining = shared.joining();
        let door = joining.as_deref().map(Joining::door);
        match Conn::accepted(stream, first[0], shared.keyring.as_deref(), door).await? {
            Caller::Node(mut conn) => {
                let greeting = hear_hello(&mut conn, shared).await?;
                Ok(Some((conn, greeting)))
            }
            Caller::Newcomer(stream) => {
                // It was let through by this door.
                if let Some(joining) = joining {
                    joining.serve(stream, remote, shared).await?;
                }
                Ok(None)
            }
        }
    };
    let greeted = Box::pin(async {
        let Some(strangers) = busy else {
            return greeted.await;
        };
        // TLS costs more than a place for who is silent, so there are fewer of these.
        let mut place = strangers.enter(remote);
        tokio::select! {
            greeted = greeted => greeted,
            () = place.wanted() => Err(Broken::Crowded),
        }
    });
    tokio::select! {
        greeted = contained(greeted) => {
            greeted.map_err(|panicked| Broken::Ours(panicked.to_string()))?
        }
        () = place.wanted() => Err(Broken::Crowded),
    }
}

/// Says that a connection was refused, or that many were.
fn tell_refused(strangers: &Strangers, remote: SocketAddr, why: &Broken) {
    match strangers.turned_away() {
        // A seed of its own is no news.
        _ if is_itself(why) => tracing::debug!(%remote, "a connection was refused: {why}"),
        None => tracing::debug!(%remote, "a connection was refused: {why}"),
        Some(0) => tracing::warn!(%remote, "a connection was refused: {why}"),
        Some(others) => {
            tracing::warn!(%remote, others, "connections were refused, the last one: {why}");
        }
    }
}

/// Serves one connection to its end: says why it ended.
async fn serve(shared: &Shared, bulk: &Bulk, mut conn: Conn, greeting: Greeting) -> Broken {
    // Whose name is whose, and in which life, is what gossip itself finds out.
    if greeting.purpose == Purpose::Gossip {
        return gossip::serve(shared, conn, &greeting).await;
    }
    if shared.me.is_outlived_by(greeting.seen) {
        let (peer, seen) = (greeting.node.clone(), greeting.seen);
        shared.tell(NetEvent::Outlived { peer, seen }).await;
        // What it holds may be asked for all the same: an audit is what finds out what is lost.
        if greeting.purpose != Purpose::Audit {
            return outlived(shared, &mut conn, &greeting).await;
        }
    }
    let seen = shared.seen.sight(&greeting.node);
    if greeting.purpose != Purpose::Audit && seen.outlives(&greeting.word) {
        return older_copy(&mut conn, &greeting, seen).await;
    }
    if shared.set_apart && greeting.purpose != Purpose::Audit {
        let why = set_apart(&shared.me.node);
        // It makes no difference to us whether the caller hears why.
        let _ = reject(&mut conn, &why, Incarnation(0)).await;
        return Broken::Ours(why);
    }
    match greeting.purpose {
        Purpose::Control => control::serve(shared, conn, &greeting).await,
        purpose @ (Purpose::Chunks | Purpose::Smalls | Purpose::Audit | Purpose::Gossip) => {
            let entry = match admit_known(shared, &mut conn, &greeting).await {
                Ok(entry) => entry,
                Err(why) => return why,
            };
            match purpose {
                Purpose::Chunks => bulk.serve_chunks(conn, &entry).await,
                Purpose::Audit => audit::serve(shared, conn, &entry).await,
                Purpose::Smalls | Purpose::Control | Purpose::Gossip => {
                    bulk.serve_smalls(conn, &entry).await
                }
            }
        }
    }
}

/// The caller has seen us further on than we are: nothing is done before a person knows.
async fn outlived(shared: &Shared, conn: &mut Conn, greeting: &Greeting) -> Broken {
    let why = Broken::Outlived {
        node: greeting.node.clone(),
        ours: shared.me.at_start(),
        seen: greeting.seen,
    };
    // It makes no difference to us whether the caller hears why.
    let _ = reject(conn, &why.to_string(), Incarnation(0)).await;
    why
}

/// The caller was seen further on in another life. It hears so before it can take the place of that one.
async fn older_copy(conn: &mut Conn, greeting: &Greeting, seen: Sight) -> Broken {
    let why = Broken::OldLife {
        node: greeting.node.clone(),
        found: greeting.incarnation,
        seen: seen.incarnation,
    };
    // It makes no difference to us whether the caller hears why.
    let _ = reject_outlived(conn, &why.to_string(), seen).await;
    why
}

/// Answers a connection that is not for control, unless it is of a life that is over.
async fn admit_known<'a>(
    shared: &'a Shared,
    conn: &mut Conn,
    greeting: &Greeting,
) -> Result<Entry<'a>, Broken> {
    let (node, incarnation) = (&greeting.node, greeting.incarnation);
    let side = Side::Accepted(greeting.purpose);
    let entry = match shared.roster.enter(node, incarnation, side) {
        Ok(entry) => entry,
        Err(reason) => {
            reject(conn, &reason, Incarnation(0)).await?;
            return Err(Broken::Ours(reason));
        }
    };
    // Entered first: a newer life that is admitted from here on finds this connection and ends it.
    let seen = shared.seen.of(node);
    if incarnation < seen {
        let why = Broken::OldLife {
            node: node.clone(),
            found: incarnation,
            seen,
        };
        reject(conn, &why.to_string(), seen).await?;
        return Err(why);
    }
    welcome(conn, shared, greeting).await?;
    Ok(entry)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousands of them wait at once.
    #[test]
    fn a_stranger_is_a_small_task() {
        type Busy<'a> = (Option<&'a Arc<Strangers>>, IpAddr);
        fn size<'a, F>(_: impl Fn(TcpStream, &'a Shared, Place, Busy<'a>) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(greet) <= 768, "{}", size(greet));
    }
}
