//! Lets sources go, or gives them back, when their transfers are over, and says which are held on
//! to because that failed.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use consign_core::ids::{NodeName, TransferId, TransferKey};
use consign_core::producer::{Event, Release};

use crate::driver::bounds::UNRELEASED_NAMED_MAX;
use crate::outbox::{self, Outbox, OutboxSyncFailed, Restored};

use super::{Driver, Worked};

/// What became of sources that were to be released.
#[derive(Debug, Default)]
pub(crate) struct Released {
    keys: Vec<TransferKey>,
    /// Those that are still held, and why.
    failed: Vec<(TransferKey, String)>,
    /// Those that could not go back to their places, and where they are now.
    set_aside: Vec<(TransferKey, PathBuf)>,
}

/// Sources that are named as held, and why each was when it was last tried.
pub(crate) type Unreleased = BTreeMap<TransferKey, String>;

/// A release with what the configuration says about it.
struct Job {
    release: Release,
    /// The watched directory that it came from.
    beneath: Option<PathBuf>,
    /// The feed's archive, if it names one.
    archive: Option<PathBuf>,
}

impl Driver {
    pub(super) fn release(&mut self, releases: Vec<Release>) {
        for release in &releases {
            self.net.forget_stream(release.key);
        }
        let jobs: Vec<_> = releases.into_iter().map(|one| self.job(one)).collect();
        let (me, outbox) = (self.config.node.name.clone(), Arc::clone(&self.outbox));
        self.work(move || match carry_out(&outbox, &me, jobs) {
            Ok(released) => Worked::Released(released),
            Err(error) => Worked::Fatal(error.to_string()),
        });
    }

    fn job(&self, release: Release) -> Job {
        let feed = release.feed.as_str();
        Job {
            beneath: self.watched_root(feed, &release.source),
            archive: self
                .feed_config(feed)
                .and_then(|feed| feed.archive_dir.clone()),
            release,
        }
    }

    pub(super) fn on_released(&mut self, released: Released) {
        let Released {
            keys,
            failed,
            set_aside,
        } = released;
        for (key, now_at) in &set_aside {
            tracing::warn!(
                transfer = %self.id_of(*key),
                now_at = %now_at.display(),
                "the file of a transfer that was given up could not go back to its place; hint: move it from there to where it belongs"
            );
        }
        for key in &keys {
            self.name_no_more(*key);
        }
        for (key, why) in &failed {
            self.name_unreleased(*key, why);
        }
        let failed = failed.into_iter().map(|(key, _)| key).collect();
        self.produce(Event::SourcesReleased { keys, failed });
    }

    /// Each is tried again every second or so: it is logged when it is new, and listed until it is
    /// over.
    fn name_unreleased(&mut self, key: TransferKey, why: &str) {
        if self.unreleased.get(&key).is_some_and(|known| known == why) {
            return;
        }
        self.name_no_more(key);
        if self.unreleased.len() < UNRELEASED_NAMED_MAX {
            self.unreleased.insert(key, why.to_owned());
            let text = format!("{}{why}", self.prefix_of(key));
            tracing::warn!(transfer = %self.id_of(key), "{why}");
            self.problems.add_text(&text);
        }
    }

    fn name_no_more(&mut self, key: TransferKey) {
        if self.unreleased.remove(&key).is_some() {
            self.problems.remove_starting(&self.prefix_of(key));
        }
    }

    fn prefix_of(&self, key: TransferKey) -> String {
        format!("the source of transfer {} is still held: ", self.id_of(key))
    }
}

/// Gives back what came to nothing, and lets go of the rest.
fn carry_out(outbox: &Outbox, me: &NodeName, jobs: Vec<Job>) -> Result<Released, OutboxSyncFailed> {
    let (back, go): (Vec<_>, Vec<_>) = jobs.into_iter().partition(|job| job.release.give_back);
    let mut released = Released::default();
    for Job {
        release, beneath, ..
    } in back
    {
        let feed = release.feed.as_str();
        let restored = outbox.restore(&release.source, feed, &release.name, beneath.as_deref());
        if let Ok(Restored::SetAside(now_at)) = &restored {
            released.set_aside.push((release.key, now_at.clone()));
        }
        released.note(release.key, restored);
    }
    let requests: Vec<_> = go.iter().map(|job| request(job, me)).collect();
    let outcomes = outbox.release_batch(&requests)?;
    for (job, outcome) in go.iter().zip(outcomes) {
        released.note(job.release.key, outcome);
    }
    Ok(released)
}

impl Released {
    fn note<T, E: std::fmt::Display>(&mut self, key: TransferKey, outcome: Result<T, E>) {
        match outcome {
            Ok(_) => self.keys.push(key),
            Err(error) => self.failed.push((key, error.to_string())),
        }
    }
}

fn request(job: &Job, me: &NodeName) -> outbox::Release {
    let Job {
        release,
        beneath,
        archive,
    } = job;
    let id = TransferId {
        producer: me.clone(),
        key: release.key,
    };
    outbox::Release {
        source: release.source.clone(),
        feed: release.feed.to_string(),
        name: release.name.clone(),
        id: id.to_string(),
        beneath: beneath.clone(),
        archive: archive.clone(),
    }
}
