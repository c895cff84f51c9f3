//! Accepts connections, finds out who calls and why, and hands them to whom it concerns.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use consign_core::ids::Incarnation;
use consign_core::wire::Purpose;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::audit;
use super::bounds::STRANGERS_MAX;
use super::bulk::Bulk;
use super::conn::{Broken, Conn, Greeting, hear_hello, reject, welcome};
use super::control;
use super::roster::{Entry, Side};
use super::shared::{NetEvent, Shared};
use super::tasks::contained;

/// Pause after the system refused us a socket, so that we do not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts for ever.
pub(super) async fn listen(listener: TcpListener, shared: Arc<Shared>, bulk: Arc<Bulk>) {
    let strangers = Arc::new(Semaphore::new(STRANGERS_MAX));
    loop {
        let place = Arc::clone(&strangers).acquire_owned().await;
        let place = place.expect("the semaphore is never closed");
        match listener.accept().await {
            Ok((stream, remote)) => {
                let (shared_too, bulk) = (Arc::clone(&shared), Arc::clone(&bulk));
                shared.tasks.spawn(async move {
                    let served = serve(&shared_too, &bulk, stream, remote, place);
                    match contained(served).await {
                        // What happens every day; this needs a person.
                        Ok(why @ Broken::Damaged { .. }) => tracing::error!(%remote, "{why}"),
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

/// Serves one connection to its end: says why it ended.
async fn serve(
    shared: &Shared,
    bulk: &Bulk,
    stream: TcpStream,
    remote: SocketAddr,
    place: OwnedSemaphorePermit,
) -> Broken {
    let greeted = async {
        let mut conn = Conn::accepted(stream)?;
        let greeting = hear_hello(&mut conn, &shared.me).await?;
        Ok((conn, greeting))
    };
    let (mut conn, greeting) = match greeted.await {
        Ok(greeted) => greeted,
        Err(why) => {
            tracing::warn!(%remote, "a connection was refused: {why}");
            return why;
        }
    };
    drop(place);
    if greeting.seen > shared.me.incarnation {
        return outlived(shared, &mut conn, &greeting).await;
    }
    match greeting.purpose {
        Purpose::Control => control::serve(shared, conn, &greeting).await,
        purpose @ (Purpose::Chunks | Purpose::Smalls | Purpose::Audit) => {
            let entry = match admit_known(shared, &mut conn, &greeting).await {
                Ok(entry) => entry,
                Err(why) => return why,
            };
            match purpose {
                Purpose::Chunks => bulk.serve_chunks(conn, &entry).await,
                Purpose::Audit => audit::serve(shared, conn, &entry).await,
                Purpose::Smalls | Purpose::Control => bulk.serve_smalls(conn, &entry).await,
            }
        }
    }
}

/// The caller has seen a later life of ours: this one must not act before a person knows.
async fn outlived(shared: &Shared, conn: &mut Conn, greeting: &Greeting) -> Broken {
    let (node, ours, seen) = (greeting.node.clone(), shared.me.incarnation, greeting.seen);
    shared
        .tell(NetEvent::OutlivedIncarnation {
            peer: node.clone(),
            seen,
        })
        .await;
    let why = Broken::Outlived { node, ours, seen };
    // It makes no difference to us whether the caller hears why.
    let _ = reject(conn, &why.to_string(), Incarnation(0)).await;
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
    welcome(conn, &shared.me, &shared.seen, greeting).await?;
    Ok(entry)
}
