//! Looking at the agents again and again: what moves, what is done, and whether anything still
//! does.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use consign_core::limits::SMALL_FILE_BYTES_MAX;

use super::cluster::Cluster;
use super::picture::Picture;
use crate::api::model::Status;
use crate::driver::snapshot::ActiveTransfer;

/// Pause between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// How long nothing at all may change before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// Over how long a rate is measured.
const RATE_WINDOW: Duration = Duration::from_secs(2);

/// What a producer last said.
#[derive(Debug, Clone, Default)]
struct Told {
    done: u64,
    done_bytes: u64,
    failed: u64,
    unfinished: u64,
    active: Vec<ActiveTransfer>,
}

impl Told {
    fn new(status: Status) -> Self {
        let mut told = Self::default();
        for count in &status.transfers {
            match count.state.as_str() {
                "done" => {
                    told.done += count.files;
                    told.done_bytes += count.bytes;
                }
                "failed" => told.failed += count.files,
                "cancelled" => {}
                _ => told.unfinished += count.files,
            }
        }
        told.active = status.node.active;
        told
    }
}

/// All producers together.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Files that were handed over so far.
    pub(super) handed: u64,
    /// Files that every placed consumer has.
    pub(super) done: u64,
    /// Files that need a person.
    pub(super) failed: u64,
    /// Files that are neither.
    pub(super) unfinished: u64,
    /// Bytes that consumers hold, each copy counted.
    pub(super) moved_bytes: u64,
}

/// A large file that moves.
#[derive(Debug, Clone)]
pub(super) struct Moving {
    pub(super) producer: String,
    pub(super) transfer: ActiveTransfer,
}

/// What is known of the agents right now, for all that run beside each other in one task.
#[derive(Debug)]
pub(super) struct Eyes {
    began: Instant,
    replicas: u64,
    told: RefCell<BTreeMap<String, Told>>,
    handed: Cell<u64>,
    last_change: Cell<(Progress, Instant)>,
    rates: RefCell<Vec<(Instant, u64)>>,
}

/// Why watching ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Every file that was handed over is done or failed.
    AllEnded,
    /// Nothing changed for so long that it will not come.
    Stuck,
}

impl Eyes {
    pub(super) fn new(replicas: u16) -> Self {
        Self {
            began: Instant::now(),
            replicas: u64::from(replicas),
            told: RefCell::default(),
            handed: Cell::new(0),
            last_change: Cell::new((Progress::default(), Instant::now())),
            rates: RefCell::default(),
        }
    }

    /// Time since the first file.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Notes that so many more files are handed over from now on.
    pub(super) fn handed_over(&self, files: u64) {
        self.handed.set(self.handed.get() + files);
    }

    pub(super) fn progress(&self) -> Progress {
        let mut progress = Progress {
            handed: self.handed.get(),
            ..Progress::default()
        };
        for told in self.told.borrow().values() {
            progress.done += told.done;
            progress.failed += told.failed;
            progress.unfinished += told.unfinished;
            let active = told.active.iter().flat_map(|active| &active.consumers);
            let moving: u64 = active.map(|consumer| consumer.bytes).sum();
            progress.moved_bytes += told.done_bytes * self.replicas + moving;
        }
        // What lies in a watched directory is not known to its producer at once.
        let ended = progress.done + progress.failed;
        let not_ended = progress.handed.saturating_sub(ended);
        progress.unfinished = progress.unfinished.max(not_ended);
        progress
    }

    /// Bytes a second, of late.
    pub(super) fn rate(&self) -> u64 {
        let rates = self.rates.borrow();
        let (Some(first), Some(last)) = (rates.first(), rates.last()) else {
            return 0;
        };
        let seconds = (last.0 - first.0).as_secs_f64();
        match seconds > 0.0 {
            true => (last.1.saturating_sub(first.1) as f64 / seconds) as u64,
            false => 0,
        }
    }

    /// Large files that move, the largest first.
    pub(super) fn moving(&self) -> Vec<Moving> {
        let told = self.told.borrow();
        let all = told.iter().flat_map(|(producer, told)| {
            let large = told.active.iter();
            let large = large.filter(|active| active.size > SMALL_FILE_BYTES_MAX);
            large.map(|active| Moving {
                producer: producer.clone(),
                transfer: active.clone(),
            })
        });
        let mut all: Vec<_> = all.collect();
        all.sort_by_key(|moving| std::cmp::Reverse(moving.transfer.size));
        all
    }

    fn look(&self, told: BTreeMap<String, Status>) {
        for (name, status) in told {
            if !status.node.produces.is_empty() {
                self.told.borrow_mut().insert(name, Told::new(status));
            }
        }
        let (now, progress) = (Instant::now(), self.progress());
        if progress != self.last_change.get().0 {
            self.last_change.set((progress, now));
        }
        let mut rates = self.rates.borrow_mut();
        // What is sent again after a death is no progress until it is further than ever.
        let best = rates.last().map_or(0, |&(_, best)| best);
        rates.push((now, progress.moved_bytes.max(best)));
        rates.retain(|(at, _)| now.duration_since(*at) <= RATE_WINDOW);
    }

    fn is_stuck(&self) -> bool {
        self.last_change.get().1.elapsed() >= PATIENCE
    }
}

/// Looks at the agents until every file has ended, once `is_over` says that no more will come.
///
/// # Errors
/// When an agent ends that nobody killed, or nothing moves any more while files still come.
pub(super) async fn watch(
    cluster: &Cluster,
    eyes: &Eyes,
    picture: &Picture,
    is_over: &Cell<bool>,
) -> anyhow::Result<Ended> {
    loop {
        // Before the look: what came after it is not over.
        let over = is_over.get();
        eyes.look(cluster.refresh().await);
        cluster.check_alive()?;
        picture.show(cluster, eyes);
        let progress = eyes.progress();
        let all_ready = cluster.nodes.iter().all(|node| node.is_ready());
        if over && all_ready && progress.unfinished == 0 {
            return Ok(Ended::AllEnded);
        }
        if eyes.is_stuck() {
            ensure!(
                over,
                "nothing changed for {PATIENCE:?}, with {} of {} files unfinished; hint: read the agents' logs",
                progress.unfinished,
                progress.handed
            );
            return Ok(Ended::Stuck);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
