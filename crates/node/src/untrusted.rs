//! Ways in for bytes that strangers choose: for fuzzing, and for the tests over what it found. What
//! they return is what the agent would do; that none of them panics is the point.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use consign_core::ids::{Incarnation, NodeName, Start};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::audit::Door;
use crate::config::Config;
use crate::driver::handle::{self, DriverEnd};
use crate::driver::snapshot::Snapshot;
use crate::net::{self, Identity};
use crate::{api, catalogue};

/// Reads a configuration.
///
/// # Errors
/// What is wrong with it, as a person is told.
pub fn config(text: &str) -> Result<(), String> {
    Config::parse(text, "consign.toml")
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Hears all that a stranger says on a connection to the node `store`, and returns why it is closed.
///
/// # Panics
/// When the system gives no runtime.
pub fn hear(said: &[u8]) -> String {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        builder.build().expect("the system gives a runtime")
    });
    let me = Identity {
        node: NodeName::new("store").expect("a clean name"),
        incarnation: Incarnation(1),
        start: Start(1),
        lives: Vec::new(),
        reconciled: Incarnation(0),
    };
    runtime.block_on(net::hear_all(&me, said))
}

/// An agent's HTTP interface, without an agent behind it: every command is refused.
#[derive(Debug)]
pub struct HttpServer {
    /// The Unix socket.
    pub socket: PathBuf,
    /// Loopback, where the token is asked for.
    pub tcp: SocketAddr,
    _runtime: Runtime,
    _stop: watch::Sender<bool>,
    _snapshot: watch::Sender<Arc<Snapshot>>,
}

impl HttpServer {
    /// Serves it from an empty directory until it is dropped.
    ///
    /// # Errors
    /// When it cannot listen.
    pub fn start(data_dir: &Path) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()?;
        let log = catalogue::LogSpan { first: 0, end: 0 };
        let opened = catalogue::open(data_dir, &NodeName::new("store")?, log, None);
        let (handle, end) = handle::channel(Snapshot::default());
        // Without an end for them, commands are refused at once.
        let DriverEnd {
            commands,
            snapshot,
            endings: _,
        } = end;
        drop(commands);
        let api = api::Api {
            handle,
            reader: opened.reader,
            receipts: crate::receipts::Reader::default(),
            audits: Door::default(),
        };
        let listen = api::Listen {
            data_dir: data_dir.to_owned(),
            http: Some(SocketAddr::from(([127, 0, 0, 1], 0))),
            hosts: Vec::new(),
        };
        let (stop_sender, stop) = watch::channel(false);
        let served = runtime.block_on(api::serve(api, &listen, stop))?;
        Ok(Self {
            socket: api::socket_path(data_dir),
            tcp: served.http.expect("an address was given"),
            _runtime: runtime,
            _stop: stop_sender,
            _snapshot: snapshot,
        })
    }
}
