//! `consign agent`: puts the parts of a node together, runs them, and takes them apart again.
//!
//! The order of starting is the order of trust: the data directory is ours alone, the log is
//! recovered, the inboxes are those that it knows and their filesystems can keep the promises, the
//! log is synced, and only then is anybody listened to. Status pages are there from the beginning.

mod assemble;
mod bounds;
mod data_dir;
mod descriptors;
mod front;
mod keys;
mod log_lines;
mod logging;
mod memory;
mod recover;
mod signals;
mod untaken;
mod watchers;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use consign_core::ids::{Millis, Start};
use consign_core::view::View;
use tokio::sync::watch;

use crate::catalogue::Catalogue;
use crate::config::{self, Config};
use crate::driver::{self, Ended};
use crate::outbox::Outbox;
use crate::problems::Problems;
use crate::receipts;

use assemble::{Assembled, Ground};
use bounds::BLOCKING_THREADS;
pub(crate) use data_dir::DataDir;
use front::Front;
pub(crate) use log_lines::is_unruly;
pub(crate) use recover::LOG_DIR;
use recover::Recovery;
use signals::Signals;

/// How long workers that are still at it may take when the agent ends: what they do is repeatable,
/// but half of it is more to recover.
const WORKERS_DEADLINE: Duration = Duration::from_secs(10);

/// Runs the agent until it is told to stop.
///
/// # Errors
/// What keeps it from starting or from going on; ends in a hint.
pub(crate) fn run(config_path: &Path) -> anyhow::Result<()> {
    let config = Config::load(config_path)?;
    logging::start();
    memory::bound_pools();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start threads; hint: raise the limit of processes")?;
    let outcome = runtime.block_on(agent(config, config_path));
    runtime.shutdown_timeout(WORKERS_DEADLINE);
    outcome
}

/// One run of an agent.
#[derive(Debug, Clone, Copy)]
struct Life {
    start: Start,
    began_at: Millis,
}

async fn agent(config: Config, config_path: &Path) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let problems = Problems::default();
    let data_dir = open_data_dir(&config, &problems)?;
    warn_of_plaintext(&config);
    let (keyring, door) = keys::open(&config, &problems)?;
    let life = Life {
        start: Start(u64::from_le_bytes(random())),
        began_at: driver::now(),
    };
    let (stop_sender, stop) = watch::channel(false);
    let Front {
        catalogue,
        receipts,
        end,
        audits,
        served,
    } = Front::open(&config, life, keyring.is_some(), &problems, stop.clone()).await?;
    let reload = signals.heard(config_path.to_owned(), problems.clone(), stop_sender);

    let outbox = Arc::new(Outbox::open(&config.node.data_dir)?);
    let view = View::new(1, config.membership.nodes.clone())?;
    let recovery = Recovery {
        config: &config,
        view: &view,
        start: life.start,
        outbox: &outbox,
        problems: &problems,
    };
    let recovered = match recovery.run().await {
        Ok(recovered) => recovered,
        // While it cannot tell what it promised, it says so, and accepts nothing.
        Err(error) if recover::is_damage(&error) => {
            return front::serve_damaged(error, end, stop).await;
        }
        Err(error) => return Err(error),
    };
    let _ = catalogue.source.set(recovered.log.reader());
    let Catalogue {
        feed,
        lag,
        reader,
        writer,
        ..
    } = catalogue;
    let ground = Ground {
        config,
        keyring,
        door,
        life,
        outbox,
        problems,
        lag,
        archive: receipts.archive,
        reader: reader.clone(),
        audits,
    };
    let Assembled {
        driver,
        ears,
        watchers,
    } = ground.assemble(recovered, end, feed, reload).await?;

    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let ended = driver::run(driver, ears, stop).await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    drop(watchers);
    for task in served.tasks {
        task.abort();
    }
    // A query that hangs on a dead disk does not keep the agent from its end.
    let _ = tokio::time::timeout(WORKERS_DEADLINE, reader.close()).await;
    // It ends, with all committed, now that the driver has dropped its feed.
    tokio::task::spawn_blocking(move || {
        writer.join();
        receipts.writer.map(receipts::Writer::join)
    })
    .await
    .ok();
    drop(data_dir);
    match ended {
        Ended::Stopped => {
            tracing::info!("stopped");
            Ok(())
        }
        Ended::Fatal(why) => Err(anyhow!("the agent stops: {why}")),
    }
}

/// Makes sure that the directory is this node's, that no other process has it, and that nothing of
/// what was in it is missing.
fn open_data_dir(config: &Config, problems: &Problems) -> anyhow::Result<DataDir> {
    let data_dir = DataDir::open(&config.node.data_dir, &config.node.name)?;
    recover::must_have_log(&config.node.data_dir)?;
    if let Some(overlap) = config::overlap_here(config) {
        return Err(anyhow!(overlap));
    }
    problems.add_degraded(data_dir.degraded());
    Ok(data_dir)
}

fn warn_of_plaintext(config: &Config) {
    if config.tls.plaintext {
        tracing::warn!(
            "plaintext = true: nothing between nodes is encrypted or authenticated; hint: use it only on a network where you trust every machine"
        );
    }
}

/// Random bytes, from the system.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}
