//! `consign agent`: puts the parts of a node together, runs them, and takes them apart again.
//!
//! The order of starting is the order of trust: the data directory is ours alone, the log is
//! recovered, the inboxes are those that it knows and their filesystems can keep the promises, the
//! log is synced, and only then is anybody listened to.

mod data_dir;
mod descriptors;
mod log_lines;
mod memory;
mod recover;
mod untaken;
mod watchers;

use std::env::VarError;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, anyhow};
use consign_core::ids::{Millis, Start};
use consign_core::log::Payload;
use consign_core::record::{Boot, Record};
use consign_core::view::View;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::api;
use crate::catalogue;
use crate::config::{self, Config};
use crate::driver::handle::{self, DriverEnd};
use crate::driver::inboxes::Inboxes;
use crate::driver::log_care::LogCare;
use crate::driver::log_writer::{LogStanding, LogWriter};
use crate::driver::snapshot::Snapshot;
use crate::driver::standing::Problems;
use crate::driver::{self, Driver, Ears, Ended};
use crate::net::{Identity, Net, NetConfig};
use crate::outbox::Outbox;
use crate::timestamp::Timestamp;

pub(crate) use data_dir::DataDir;
use log_lines::LogLines;
pub(crate) use log_lines::is_unruly;
pub(crate) use recover::LOG_DIR;
use recover::{Recovered, Recovery};

/// Blocking work that may run at once: file operations of the outbox and the inboxes.
const BLOCKING_THREADS: usize = 16;

/// Events of the network that may wait for the driver.
const NET_EVENTS_WAITING_MAX: usize = 4096;

/// What is logged unless `CONSIGN_LOG` says otherwise.
const LOG_LEVEL: &str = "info";

/// What is logged unless `CONSIGN_LOG` says otherwise. The watcher of directories says at `info` that
/// it cannot stop watching what is gone.
const LOG_RULES: &str = "info,notify=warn";

/// Runs the agent until it is told to stop.
///
/// # Errors
/// What keeps it from starting or from going on; ends in a hint.
pub(crate) fn run(config_path: &Path) -> anyhow::Result<()> {
    let config = Config::load(config_path)?;
    start_logging();
    memory::bound_pools();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .context("cannot start threads; hint: raise the limit of processes")?;
    let outcome = runtime.block_on(agent(config, config_path));
    // Workers that are still at it finish first: what they do is repeatable, but half of it is
    // more to recover.
    runtime.shutdown_timeout(std::time::Duration::from_secs(10));
    outcome
}

fn start_logging() {
    let filter = log_filter().unwrap_or_else(|why| {
        // It is the log that is not there yet.
        eprintln!("consign: {why}");
        eprintln!("hint: use a level such as debug, or rules such as info,consign::net=trace");
        EnvFilter::new(LOG_LEVEL)
    });
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LogLines)
        .with_ansi(false)
        .with_target(false)
        .try_init();
}

/// What is logged, from `CONSIGN_LOG`.
fn log_filter() -> Result<EnvFilter, String> {
    let wanted = match std::env::var("CONSIGN_LOG") {
        Ok(wanted) if !wanted.trim().is_empty() => wanted,
        Ok(_) | Err(VarError::NotPresent) => return Ok(EnvFilter::new(LOG_RULES)),
        Err(VarError::NotUnicode(wanted)) => {
            return Err(format!(
                "CONSIGN_LOG is not UTF-8: {wanted:?}; {LOG_LEVEL} is used"
            ));
        }
    };
    let refused = |why: &str| {
        Err(format!(
            "CONSIGN_LOG = {wanted:?} is not understood, {LOG_LEVEL} is used: {why}"
        ))
    };
    // To the filter a word alone is the name of a module, of which everything is to be logged and
    // of all others nothing: a level with a typing error would end all talk.
    let bare = wanted
        .split(',')
        .find(|rule| !rule.contains(['=', '[']) && rule.trim().parse::<LevelFilter>().is_err());
    if let Some(rule) = bare {
        return refused(&format!("{rule:?} is no level"));
    }
    EnvFilter::try_new(&wanted).or_else(|error| refused(&error.to_string()))
}

async fn agent(mut config: Config, config_path: &Path) -> anyhow::Result<()> {
    let signals = Signals::listen()?;
    let problems = Problems::default();
    let data_dir = DataDir::open(&config.node.data_dir, &config.node.name)?;
    recover::must_have_log(&config.node.data_dir)?;
    if let Some(overlap) = config::overlap_here(&config) {
        return Err(anyhow!(overlap));
    }
    problems_of(&problems, data_dir.degraded());
    warn_of_plaintext(&config);
    let (stop_sender, stop) = watch::channel(false);
    let started_at = driver::now();
    let start = Start(u64::from_le_bytes(random()));
    let catalogue = catalogue::open(
        &config.node.data_dir,
        &config.node.name,
        recover::span_of_log(&config.node.data_dir),
        config
            .node
            .history
            .map(|history| u64::try_from(history.as_millis()).unwrap_or(u64::MAX)),
    );
    let view = View::new(1, config.membership.nodes.clone())?;
    let (handle, end) = handle::channel(first_snapshot(&config, started_at));
    let listen = api::Listen {
        data_dir: config.node.data_dir.clone(),
        http: http_address(&config)?,
        hosts: Vec::new(),
    };
    let api = api::Api {
        handle,
        reader: catalogue.reader.clone(),
    };
    let served = api::serve(api, &listen, stop.clone()).await?;
    tokio::spawn(stop_on_signal(
        signals.terminate,
        signals.interrupt,
        stop_sender,
    ));

    let outbox = Arc::new(Outbox::open(&config.node.data_dir)?);
    let recovery = Recovery {
        config: &config,
        view: &view,
        start,
        outbox: &outbox,
        problems: &problems,
    };
    let Recovered {
        mut log,
        producer,
        consumer,
        own,
        own_from,
        mut marks,
    } = match recovery.run().await {
        Ok(recovered) => recovered,
        // While it cannot tell what it promised, it says so, and accepts nothing.
        Err(error) if recover::is_damage(&error) => return serve_damaged(error, end, stop).await,
        Err(error) => return Err(error),
    };
    let _ = catalogue.source.set(log.reader());
    let (inboxes, degraded) =
        Inboxes::open(&config.consume, &marks, &consumer.feeds_staged(), random)?;
    problems_of(&problems, &degraded);
    let boot = Boot {
        node: config.node.name.to_string(),
        incarnation: producer.incarnation().0,
        start: start.0,
        at: started_at.0,
    };
    let mut own_records = vec![Record::Boot(boot)];
    own_records.extend(own);
    for (feed, inbox) in inboxes.iter() {
        marks.note_open(feed, &inbox.path, inbox.marker);
    }
    own_records.extend(marks.records().cloned().map(Record::InboxMarked));
    let booted = log.append(&own_records[0], Payload::None)?;
    for record in own_records
        .iter()
        .filter(|record| matches!(record, Record::InboxMarked(_)))
    {
        log.append(record, Payload::None)?;
    }
    // The incarnation is synced before anybody hears it: a crash here only skips a number.
    let synced = log.commit()?;
    // From here on the catalogue reads what it does not have.
    let boot = catalogue::Applied {
        position: booted.pack(),
        record: own_records[0].clone(),
    };
    let _ = catalogue.feed.send(vec![boot]).await;
    let standing = LogStanding::of(&log);
    let (log_done, log_ears) = mpsc::unbounded_channel();
    let log = LogWriter::start(
        config.node.name.clone(),
        log,
        log_done,
        catalogue.feed.clone(),
    )
    .context("cannot start threads; hint: raise the limit of processes")?;
    drop(catalogue.feed);

    let (net_events, net_ears) = mpsc::channel(NET_EVENTS_WAITING_MAX);
    let seen = config
        .membership
        .nodes
        .iter()
        .map(|m| (m.name.clone(), consumer.seen(&m.name)))
        .collect();
    let net = Net::start(
        NetConfig {
            me: Identity {
                node: config.node.name.clone(),
                incarnation: producer.incarnation(),
                start,
            },
            listen: config.listen.peer.to_string(),
            seen,
            spool: config.node.data_dir.join("spool"),
            open_files_max: descriptors::raise_limit(),
        },
        net_events,
    )
    .await?;
    config.listen.peer.port = net.local_addr().port();
    tracing::info!(
        node = %config.node.name,
        incarnation = producer.incarnation().0,
        listen = %net.local_addr(),
        "ready"
    );
    let watchers = watchers::start(&config, &outbox, &problems);
    let (worked, worked_ears) = mpsc::unbounded_channel();
    let (reload, reload_ears) = mpsc::channel(1);
    tokio::spawn(reload_on_signal(
        signals.hang_up,
        config_path.to_owned(),
        reload,
    ));
    let own_from = own_from.unwrap_or(synced.segment).min(synced.segment);
    let care = LogCare::new(standing, own_records, own_from);
    let DriverEnd { commands, snapshot } = end;
    let driver = Driver {
        config,
        view,
        start,
        started_at,
        producer,
        consumer,
        log,
        log_care: care,
        net,
        outbox,
        inboxes: Arc::new(inboxes),
        worked,
        snapshot,
        problems,
        tickets: driver::Tickets::default(),
        submissions: driver::submissions::Submissions::default(),
        unreleased: driver::releasing::Unreleased::default(),
        round: driver::Round::default(),
        fatal: None,
    };
    let ears = Ears {
        log: log_ears,
        net: net_ears,
        worked: worked_ears,
        commands,
        found: watchers.found,
        reload: reload_ears,
    };
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    let ended = driver::run(driver, ears, stop).await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    drop(watchers.running);
    for task in served.tasks {
        task.abort();
    }
    tokio::task::spawn_blocking(move || catalogue.writer.join())
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

fn problems_of(problems: &Problems, texts: &[String]) {
    for text in texts {
        tracing::warn!("{text}");
        problems.add(
            text.clone(),
            "see docs/guarantees.md for what is weaker there".to_owned(),
        );
    }
}

fn warn_of_plaintext(config: &Config) {
    if config.plaintext {
        tracing::warn!(
            "plaintext = true: nothing between nodes is encrypted or authenticated; hint: use it only on a network where you trust every machine"
        );
    }
}

fn http_address(config: &Config) -> anyhow::Result<Option<std::net::SocketAddr>> {
    use std::net::ToSocketAddrs as _;
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
fn first_snapshot(config: &Config, started_at: Millis) -> Snapshot {
    Snapshot {
        node: config.node.name.to_string(),
        zone: config.node.zone.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: Timestamp(started_at.0),
        plaintext: config.plaintext,
        listen: config.listen.peer.to_string(),
        ..Snapshot::default()
    }
}

/// Random bytes, from the system.
fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

/// What the agent is told from outside. From here on a signal that comes early waits until it is
/// heard.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
    hang_up: Signal,
}

impl Signals {
    /// # Errors
    /// When the system takes no handler: then nothing could stop the agent cleanly.
    fn listen() -> anyhow::Result<Self> {
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
    path: std::path::PathBuf,
    reload: mpsc::Sender<Result<Config, String>>,
) {
    while hang_up.recv().await.is_some() {
        let read = Config::load(&path).map_err(|error| error.to_string());
        let _ = reload.send(read).await;
    }
}

/// Serves status pages and refuses everything else, until it is stopped.
async fn serve_damaged(
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

/// Reads a configuration and says what is in effect, defaults filled in.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_config(config: &Path) -> anyhow::Result<String> {
    Ok(Config::load(config)?.to_string())
}
