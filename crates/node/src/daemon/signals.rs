//! What an agent is told by signals: to stop, and to read its configuration again.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};

use super::keys;
use crate::config::Config;
use crate::driver::Reload;
use crate::problems::Problems;

/// The signals that are listened for. From here on one that comes early waits until it is heard.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// # Errors
    /// When the system takes no handler: then nothing could stop the agent cleanly.
    pub(super) fn listen() -> anyhow::Result<Self> {
        let listen = |kind, name: &str| {
            signal(kind).with_context(|| {
                format!("cannot listen for {name}; hint: raise the limit of open files")
            })
        };
        Ok(Self {
            terminate: listen(SignalKind::terminate(), "SIGTERM")?,
            interrupt: listen(SignalKind::interrupt(), "SIGINT")?,
            hang_up: listen(SignalKind::hangup(), "SIGHUP")?,
        })
    }

    /// From here on SIGTERM and SIGINT set `stop`, and SIGHUP brings the configuration as it now
    /// stands in its file, or what is wrong with it.
    pub(super) fn heard(
        self,
        config_path: PathBuf,
        problems: Problems,
        stop: watch::Sender<bool>,
    ) -> mpsc::Receiver<Result<Reload, String>> {
        let (reload, reloads) = mpsc::channel(1);
        tokio::spawn(stop_on_signal(self.terminate, self.interrupt, stop));
        tokio::spawn(reload_on_signal(
            self.hang_up,
            config_path,
            problems,
            reload,
        ));
        reloads
    }
}

async fn stop_on_signal(mut terminate: Signal, mut interrupt: Signal, stop: watch::Sender<bool>) {
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    stop.send_replace(true);
    // The sender must outlive the agent: a closed channel reads as a stop, and there is one.
    std::future::pending::<()>().await;
}

async fn reload_on_signal(
    mut hang_up: Signal,
    path: PathBuf,
    problems: Problems,
    reload: mpsc::Sender<Result<Reload, String>>,
) {
    while hang_up.recv().await.is_some() {
        let read = read_again(&path, &problems).map_err(|error| error.to_string());
        let _ = reload.send(read).await;
    }
}

/// The configuration, and the keys that it names.
fn read_again(path: &Path, problems: &Problems) -> anyhow::Result<Reload> {
    let config = Config::load(path)?;
    let keys = keys::read(&config)?;
    let door = keys::door_or_none(&config, keys.as_ref(), problems)?;
    Ok(Reload { config, keys, door })
}
