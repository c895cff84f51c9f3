//! Serving a router on a listener: bounded connections, deadlines, and an orderly end.

use std::io;
use std::sync::Arc;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::bounds::{ACCEPT_PAUSE, CONNECTIONS_MAX, HEAD_DEADLINE, STOP_DEADLINE};

/// Something that connections come from.
pub(super) trait Listener: Send + Sync + 'static {
    /// A connection.
    type Io: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    /// The next one. Cancel safe.
    fn next(&self) -> impl Future<Output = io::Result<Self::Io>> + Send;
}

impl Listener for UnixListener {
    type Io = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Listener for TcpListener {
    type Io = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        let (stream, _) = self.accept().await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }
}

/// Serves until `stop` becomes true or its sender is gone, then lets running requests end.
pub(super) async fn serve<L: Listener>(listener: L, router: Router, stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let connection = tokio::select! {
            () = told(stop.clone()) => break,
            connection = accept(&listener, &places) => connection,
        };
        match connection {
            Ok((io, place)) => {
                tokio::spawn(converse(io, router.clone(), stop.clone(), place));
            }
            Err(error) => {
                tracing::warn!(%error, "the API cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
    drop(listener);
    let all = u32::try_from(CONNECTIONS_MAX).expect("a small constant");
    // All places free again means that every conversation has ended.
    let ended = places.acquire_many(all);
    let _ = tokio::time::timeout(STOP_DEADLINE, ended).await;
}

async fn accept<L: Listener>(
    listener: &L,
    places: &Arc<Semaphore>,
) -> io::Result<(L::Io, OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await;
    let place = place.map_err(io::Error::other)?;
    Ok((listener.next().await?, place))
}

async fn converse(
    io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    router: Router,
    stop: watch::Receiver<bool>,
    place: OwnedSemaphorePermit,
) {
    let service = TowerToHyperService::new(router);
    let conversation = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .serve_connection(TokioIo::new(io), service);
    let mut conversation = std::pin::pin!(conversation);
    let ended = tokio::select! {
        ended = conversation.as_mut() => ended,
        () = told(stop) => {
            conversation.as_mut().graceful_shutdown();
            conversation.await
        }
    };
    if let Err(error) = ended {
        // A client that went away: its affair, and no loss of ours.
        tracing::debug!(%error, "an API connection ended early");
    }
    drop(place);
}

/// Returns once it is time to stop.
async fn told(mut stop: watch::Receiver<bool>) {
    // An error means that the sender is gone: then it is time too.
    let _ = stop.wait_for(|&stop| stop).await;
}
