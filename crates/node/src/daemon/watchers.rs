//! The watchers of the watched directories: started, supervised, and connected to the driver.

use std::sync::Arc;
use std::time::Instant;

use consign_core::ids::FeedName;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use super::untaken::grouped;
use crate::config::{Config, ProduceConfig};
use crate::daemon::bounds::{
    FORGET_EVERY, FOUND_WAITING_MAX, IN_FLIGHT_MAX, REFUSED_RETRY, RESTART_MAX, RESTART_MIN,
};
use crate::driver::submissions::Found;
use crate::filesystem::{self, Use};
use crate::outbox::{Kept, Outbox};
use crate::problems::Problems;
use crate::watch::{Ready, Verdicts, WatchConfig, Watcher};

/// The watchers; dropping `running` ends them.
pub(super) struct Watchers {
    pub(super) found: mpsc::Receiver<Found>,
    pub(super) running: JoinSet<()>,
}

/// Starts a watcher for each watched directory.
pub(super) fn start(config: &Config, outbox: &Arc<Outbox>, problems: &Problems) -> Watchers {
    let (sender, found) = mpsc::channel(FOUND_WAITING_MAX);
    let mut running = JoinSet::new();
    for feed in config.produce.iter().filter(|feed| feed.watch.is_some()) {
        let (feed, kept) = (feed.clone(), Arc::clone(outbox.kept()));
        let (problems, sender) = (problems.clone(), sender.clone());
        running.spawn(async move { supervise(&feed, &kept, &problems, &sender).await });
    }
    Watchers { found, running }
}

/// Keeps a watcher running: one that ends is started again, after longer pauses each time.
async fn supervise(
    feed: &ProduceConfig,
    kept: &Arc<Kept>,
    problems: &Problems,
    found: &mpsc::Sender<Found>,
) {
    let mut pause = RESTART_MIN;
    loop {
        let began = Instant::now();
        match begin(feed, kept, problems) {
            Ok(mut watcher) => {
                follow(&mut watcher, &feed.policy.feed, problems, found).await;
                // Its thread has ended, or ends within one step of its scan.
                let ended = tokio::task::spawn_blocking(move || watcher.stop()).await;
                if !matches!(ended, Ok(Ok(()))) {
                    tracing::error!(feed = %feed.policy.feed, "the watcher panicked and is started again; hint: report this as a bug");
                }
            }
            Err(error) => {
                let name = &feed.policy.feed;
                problems.add_text(&format!("feed {name} is not watched: {error}"));
                tracing::error!(feed = %name, "the directory is not watched: {error}");
            }
        }
        if began.elapsed() > RESTART_MAX {
            pause = RESTART_MIN;
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(RESTART_MAX);
    }
}

fn begin(feed: &ProduceConfig, kept: &Arc<Kept>, problems: &Problems) -> anyhow::Result<Watcher> {
    let watch = feed.watch.as_ref().expect("its caller looked");
    let report = filesystem::check(&watch.dir, Use::Watch)?;
    problems.add_degraded(&report.degraded);
    let config = WatchConfig {
        feed: feed.policy.feed.clone(),
        root: watch.dir.clone(),
        include: watch.include.set(),
        settle: watch.settle,
        scan_every: watch.scan_every,
        forget_every: FORGET_EVERY,
        in_flight_max: IN_FLIGHT_MAX,
    };
    let watcher = Watcher::start(config, Arc::clone(kept))?;
    problems.remove_starting(&format!("feed {} is not watched", feed.policy.feed));
    Ok(watcher)
}

/// Hands ready files to the driver, and its word back, until the watcher ends.
async fn follow(
    watcher: &mut Watcher,
    feed: &FeedName,
    problems: &Problems,
    found: &mpsc::Sender<Found>,
) {
    let verdicts = watcher.verdicts();
    let mut listed = watcher.problems();
    let mut waiting = JoinSet::new();
    loop {
        tokio::select! {
            ready = watcher.next() => {
                let Some(ready) = ready else { return };
                let name = ready.relative_name.clone();
                let (reply, answer) = oneshot::channel();
                if found.send(handed(ready, reply)).await.is_err() {
                    return;
                }
                let verdicts = verdicts.clone();
                waiting.spawn(async move {
                    if let Ok(verdict) = answer.await {
                        give(&verdicts, &name, verdict);
                    }
                });
            }
            Some(_) = waiting.join_next() => {}
            Ok(()) = listed.changed() => {
                let listed = listed.borrow_and_update().clone();
                problems.set_of_feed(feed, grouped(feed, &listed));
            }
        }
    }
}

fn handed(
    ready: Ready,
    reply: oneshot::Sender<Result<(), crate::driver::refusal::Refusal>>,
) -> Found {
    Found {
        feed: ready.feed,
        path: ready.path,
        name: ready.relative_name,
        stamp: ready.stamp,
        reply,
    }
}

fn give(verdicts: &Verdicts, name: &str, verdict: Result<(), crate::driver::refusal::Refusal>) {
    match verdict {
        Ok(()) => verdicts.taken(name),
        Err(refusal) => verdicts.refused(
            name,
            Instant::now() + REFUSED_RETRY,
            Some(refusal.to_string()),
        ),
    }
}
