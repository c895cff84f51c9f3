//! What can be asked of an agent while it starts, and when it must not go on: the API over the
//! catalogue, before there is a driver.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use tokio::sync::watch;

use super::{Life, recover};
use crate::api;
use crate::audit::Door;
use crate::catalogue::{self, Catalogue};
use crate::config::Config;
use crate::driver::handle::{self, DriverEnd};
use crate::driver::snapshot::Snapshot;
use crate::problems::Problems;
use crate::receipts;
use crate::timestamp::Timestamp;

/// The API, what it reads from, and the end of it that the driver will have.
pub(super) struct Front {
    pub(super) catalogue: Catalogue,
    pub(super) receipts: receipts::Opened,
    pub(super) end: DriverEnd,
    /// Where audits begin, once the node can make them.
    pub(super) audits: Door,
    pub(super) served: api::Served,
}

impl Front {
    /// Opens the catalogue, and the archive of receipts where the node has keys, and begins to answer.
    ///
    /// # Errors
    /// When it cannot listen.
    pub(super) async fn open(
        config: &Config,
        life: Life,
        has_keys: bool,
        problems: &Problems,
        stop: watch::Receiver<bool>,
    ) -> anyhow::Result<Self> {
        let history = config.node.history;
        let history = history.map(|history| u64::try_from(history.as_millis()).unwrap_or(u64::MAX));
        let catalogue = catalogue::open(
            &config.node.data_dir,
            &config.node.name,
            recover::span_of_log(&config.node.data_dir),
            history,
        );
        let receipts = receipts::open(&config.node.data_dir, has_keys, history, problems);
        let (handle, end) = handle::channel(first_snapshot(config, life));
        let listen = api::Listen {
            data_dir: config.node.data_dir.clone(),
            http: http_address(config)?,
            hosts: Vec::new(),
        };
        let api = api::Api {
            handle,
            reader: catalogue.reader.clone(),
            receipts: receipts.reader.clone(),
            audits: Door::default(),
        };
        let audits = Arc::clone(&api.audits);
        let served = api::serve(api, &listen, stop).await?;
        Ok(Self {
            catalogue,
            receipts,
            end,
            audits,
            served,
        })
    }
}

fn http_address(config: &Config) -> anyhow::Result<Option<SocketAddr>> {
    let Some(http) = &config.listen.http else {
        return Ok(None);
    };
    let refused = || {
        format!(
            "listen.http \"{http}\" cannot be resolved; hint: use an address such as 127.0.0.1:7421"
        )
    };
    let mut found = http.to_string().to_socket_addrs().with_context(refused)?;
    // A name may have no address at all, which is no error of the resolver.
    let first = found.next().with_context(refused)?;
    Ok(Some(first))
}

/// What the API shows until the log is recovered.
fn first_snapshot(config: &Config, life: Life) -> Snapshot {
    Snapshot {
        node: config.node.name.to_string(),
        zone: config.node.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Timestamp(life.began_at.0),
        plaintext: config.tls.plaintext,
        listen: config.listen.peer.to_string(),
        ..Snapshot::default()
    }
}

/// Serves status pages and refuses everything else, until it is stopped.
pub(super) async fn serve_damaged(
    error: anyhow::Error,
    end: DriverEnd,
    mut stop: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let text = format!("{error:#}");
    tracing::error!("{text}");
    let problems = Problems::default();
    problems.add_text(&text);
    end.snapshot.send_modify(|snapshot| {
        let mut damaged = Snapshot::clone(snapshot);
        damaged.problems = problems.list();
        *snapshot = Arc::new(damaged);
    });
    // Dropping the commands' end answers every one of them with a refusal.
    drop(end.commands);
    let _ = stop.changed().await;
    Err(anyhow!("the intent log is damaged: {text}"))
}
