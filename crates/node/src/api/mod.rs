//! The HTTP API: `/api/v1` over a Unix socket and, where configured, over TCP on loopback.
//!
//! It reads the driver's published snapshot and the catalogue, and gives commands through the
//! driver's handle; it touches no state of the node. Every answer but a file listing is bounded,
//! and listings are streamed a page at a time.
//!
//! * [`model`], [`received`], [`error`]: what is said. * [`routes`], [`stream`]: who says it.
//! * [`guard`], [`token`]: who may ask over TCP. * [`listen`], [`mod@serve`]: the sockets.

mod bounds;
pub(crate) mod error;
mod guard;
mod listen;
mod metrics;
pub(crate) mod model;
pub(crate) mod received;
mod routes;
mod serve;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod token;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use axum::Router;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::audit::Door;
use crate::catalogue::Reader;
use crate::driver::handle::Handle;
use crate::receipts;
pub(crate) use bounds::{IDS_PER_REQUEST_MAX, REQUEST_BYTES_MAX};
pub(crate) use listen::ListenError;
pub(crate) use routes::audit::Wanted as AuditWanted;

/// What the API answers from.
#[derive(Clone)]
pub(crate) struct Api {
    /// The way to the driver.
    pub(crate) handle: Handle,
    /// The way to the catalogue.
    pub(crate) reader: Reader,
    /// The way to receipts.
    pub(crate) receipts: receipts::Reader,
    /// The way to audits.
    pub(crate) audits: Door,
}

/// Where the API listens.
#[derive(Debug, Clone, Default)]
pub(crate) struct Listen {
    /// The node's data directory: `agent.sock` and `api-token` are in it.
    pub(crate) data_dir: PathBuf,
    /// A TCP address, loopback in this version; `listen.http` of the configuration.
    pub(crate) http: Option<SocketAddr>,
    /// Host names under which that address may be asked for, beside `localhost` and addresses.
    pub(crate) hosts: Vec<String>,
}

/// The API while it is served.
pub(crate) struct Served {
    /// One task for each socket; they end after `stop` became true and running requests ended.
    pub(crate) tasks: Vec<JoinHandle<()>>,
    /// The TCP address, with the port that the system chose if none was given.
    pub(crate) http: Option<SocketAddr>,
}

/// Path of the socket in a data directory.
pub(crate) fn socket_path(data_dir: &Path) -> PathBuf {
    data_dir.join("agent.sock")
}

/// Binds the sockets and serves them until `stop` becomes true or its sender is dropped.
///
/// # Errors
/// [`ListenError`] when a socket cannot be had, or must not be; then nothing is served.
pub(crate) async fn serve(
    api: Api,
    listen: &Listen,
    stop: watch::Receiver<bool>,
) -> Result<Served, ListenError> {
    let router = router(api);
    let unix = listen::unix(&socket_path(&listen.data_dir))?;
    let tcp = match listen.http {
        Some(addr) => Some((
            listen::tcp(addr).await?,
            guard::Guard::new(token::load_or_create(&listen.data_dir)?, &listen.hosts),
        )),
        None => None,
    };
    let mut served = Served {
        tasks: vec![tokio::spawn(serve::serve(
            unix,
            router.clone(),
            stop.clone(),
        ))],
        http: None,
    };
    if let Some((listener, guard)) = tcp {
        served.http = listener.local_addr().ok();
        let guarded = guard.around(router);
        served
            .tasks
            .push(tokio::spawn(serve::serve(listener, guarded, stop)));
    }
    Ok(served)
}

/// Every route, without a guard.
pub(crate) fn router(api: Api) -> Router {
    routes::all().with_state(api)
}
