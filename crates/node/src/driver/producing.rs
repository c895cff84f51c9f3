//! Carries out what the producer wants done.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use consign_core::ids::TransferKey;
use consign_core::limits::SMALL_FILE_BYTES_MAX;
use consign_core::log::{LogError, Position};
use consign_core::producer::{Effect, Event, FeedRules};
use consign_core::record::{Placed, Record, Submitted};
use consign_core::spec::{After, Source};

use crate::config::{Config, ProduceConfig};
use crate::driver::bounds::{
    FILES_PER_TAKE_JOB, READ_PER_LOOK_JOB_BYTES, SYNCED_PER_TAKE_JOB_BYTES, TAKE_JOBS_MAX,
};
use crate::outbox::{self, Content, Origin, TakeRequest};

use super::{Driver, Worked, now};
use crate::log_writer::{Order, Payloads, Role};

/// A transfer whose records are to be read back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fetch {
    key: TransferKey,
    submitted: Position,
    placed: Option<Position>,
}

/// A claimed file that is to be taken into the spool.
#[derive(Debug)]
pub(crate) struct Take {
    key: TransferKey,
    /// As it was when it was handed over, in bytes.
    size: u64,
    source: Source,
}

/// Files that are to be taken. Small ones are read, large ones synced, and neither waits for the
/// other.
#[derive(Debug, Default)]
pub(crate) struct Takes {
    small: VecDeque<Take>,
    large: VecDeque<Take>,
    /// Jobs under way.
    jobs: usize,
}

impl Takes {
    fn add(&mut self, take: Take) {
        match take.size <= SMALL_FILE_BYTES_MAX {
            true => self.small.push_back(take),
            false => self.large.push_back(take),
        }
    }

    /// What one worker takes next: it shares its syncs, and what it reads has a bound.
    fn next_job(&mut self) -> Option<Vec<Take>> {
        if self.jobs >= TAKE_JOBS_MAX {
            return None;
        }
        let (queue, bytes_max) = match self.small.is_empty() {
            true => (&mut self.large, SYNCED_PER_TAKE_JOB_BYTES),
            false => (&mut self.small, READ_PER_LOOK_JOB_BYTES),
        };
        let (mut job, mut bytes) = (Vec::new(), 0);
        while job.len() < FILES_PER_TAKE_JOB
            && bytes < bytes_max
            && let Some(take) = queue.pop_front()
        {
            bytes += take.size;
            job.push(take);
        }
        self.jobs += usize::from(!job.is_empty());
        (!job.is_empty()).then_some(job)
    }
}

/// What the core needs to know of the feeds.
pub(super) fn rules_of(config: &Config) -> Vec<FeedRules> {
    let rules = |feed: &ProduceConfig| FeedRules {
        policy: feed.policy.clone(),
        max_queue_bytes: feed.max_queue_bytes,
    };
    config.produce.iter().map(rules).collect()
}

impl Driver {
    pub(super) fn produce(&mut self, event: Event) {
        let effects = self.producer.apply(now(), event);
        self.carry_out_producer(effects);
    }

    pub(super) fn carry_out_producer(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append(ticket, record, payload) => {
                    self.note_original(ticket, &record);
                    self.note_endings(ticket, &record);
                    self.note_of_nodes(&record);
                    self.log
                        .order(Order::Append(Role::Producer, record, payload));
                }
                Effect::Send {
                    to,
                    session,
                    message,
                } => self.net.send(&to, session, &message),
                Effect::SendSmalls { route, files } => {
                    self.net
                        .send_smalls(route, files, self.log.payloads.clone());
                }
                Effect::Stream(order) => self.net.stream(order),
                Effect::StopStream { key } => self.net.stop_stream(key),
                Effect::Fetch {
                    key,
                    submitted,
                    placed,
                } => {
                    self.round.fetches.push(Fetch {
                        key,
                        submitted,
                        placed,
                    });
                }
                Effect::Take { key, spec, source } => self.round.takes.add(Take {
                    key,
                    size: spec.size,
                    source,
                }),
                Effect::Release(releases) => self.release(releases),
                Effect::Answer(token, answer) => self.on_answer(token, answer),
                Effect::NeedsFrom { segment } => self.producer_needs(segment),
            }
        }
    }

    pub(super) fn feed_config(&self, feed: &str) -> Option<&ProduceConfig> {
        self.config
            .produce
            .iter()
            .find(|config| config.policy.feed.as_str() == feed)
    }

    /// The watched directory that a source was found in.
    pub(super) fn watched_root(&self, feed: &str, source: &Source) -> Option<PathBuf> {
        let watch = self.feed_config(feed)?.watch.as_ref()?;
        let beneath = source.watched && PathBuf::from(&source.origin).starts_with(&watch.dir);
        beneath.then(|| watch.dir.clone())
    }

    /// Has claimed files taken into the spool, as far as the log has room for what is read.
    pub(super) fn hand_out_takes(&mut self) {
        if !self.log_care.standing.has_room {
            return;
        }
        while self.log.has_credit()
            && let Some(takes) = self.round.takes.next_job()
        {
            self.take(takes);
        }
    }

    fn take(&self, takes: Vec<Take>) {
        let request = |take: &Take| TakeRequest {
            origin: Origin {
                path: PathBuf::from(&take.source.origin),
                beneath: self.root_of_origin(&take.source),
            },
            spool: take.source.spool.clone(),
            after: take.source.after(),
            watched: take.source.watched,
            expect: take.source.stamp,
        };
        let requests: Vec<_> = takes.iter().map(request).collect();
        let preserve: Vec<_> = takes
            .iter()
            .map(|take| (take.key, self.preserved(take.key)))
            .collect();
        let outbox = Arc::clone(&self.outbox);
        self.work(move || match outbox.take_batch(&requests) {
            Ok(outcomes) => {
                let taken = preserve.into_iter().zip(outcomes);
                Worked::Taken(
                    taken
                        .map(|(of, outcome)| taken_event(of, outcome))
                        .collect(),
                )
            }
            Err(error) => Worked::Fatal(error.to_string()),
        });
    }

    pub(super) fn on_taken(&mut self, events: Vec<Event>) {
        self.round.takes.jobs -= 1;
        for event in events {
            // Whoever handed it over went with an earlier life: nobody else would hear of it.
            if let Event::Taken {
                key,
                outcome: Err(why),
            } = &event
                && key.start != self.start
            {
                let transfer = self.id_of(*key);
                tracing::warn!(%transfer, "a file that was being taken at the last end is not: {why}");
                self.problems.add_text(why);
            }
            self.produce(event);
        }
    }

    fn root_of_origin(&self, source: &Source) -> Option<PathBuf> {
        let path = PathBuf::from(&source.origin);
        let roots = self
            .config
            .produce
            .iter()
            .filter_map(|feed| feed.watch.as_ref());
        let root = roots
            .map(|watch| &watch.dir)
            .find(|dir| path.starts_with(dir));
        root.filter(|_| source.watched).cloned()
    }

    /// Whether a feed preserves modification times and modes.
    fn preserved(&self, key: TransferKey) -> (bool, bool) {
        let feed = self.producer.transfer(key).map(|t| t.feed.clone());
        let preserve = feed
            .and_then(|feed| self.feed_config(feed.as_str()))
            .map(|feed| feed.preserve);
        preserve.map_or((true, true), |preserve| (preserve.mtime, preserve.mode))
    }

    pub(super) fn hand_out_fetches(&mut self) {
        let fetches = std::mem::take(&mut self.round.fetches);
        if fetches.is_empty() {
            return;
        }
        let payloads = Arc::clone(&self.log.payloads);
        let worked = self.worked.clone();
        self.work(move || {
            for fetch in fetches {
                match read_back(&payloads, fetch) {
                    Ok(event) => {
                        let _ = worked.send(Worked::Producer(event));
                    }
                    Err(error) => return Worked::Fatal(error.to_string()),
                }
            }
            Worked::Nothing
        });
    }
}

fn taken_event(
    (key, (mtime, mode)): (TransferKey, (bool, bool)),
    outcome: Result<outbox::Taken, outbox::TakeError>,
) -> Event {
    let outcome = outcome.map_err(|error| error.to_string());
    let outcome = outcome.map(|taken| consign_core::producer::Taken {
        size: taken.size,
        mtime_ns: mtime.then_some(taken.mtime_ns),
        mode: mode.then_some(taken.mode),
        source: taken.source,
        small: match taken.content {
            Content::Small { bytes, digest } => Some((digest, bytes)),
            Content::Large => None,
        },
    });
    Event::Taken { key, outcome }
}

fn read_back(payloads: &Payloads, fetch: Fetch) -> Result<Event, LogError> {
    let submitted = match payloads.record(fetch.submitted)? {
        Record::Submitted(submitted) => submitted,
        other => unreachable!("{} is a {}, no submission", fetch.submitted, other.name()),
    };
    let placed = match fetch.placed.map(|at| payloads.record(at)).transpose()? {
        Some(Record::Placed(placed)) => Some(placed),
        Some(other) => unreachable!("{:?} is a {}, no placement", fetch.placed, other.name()),
        None => None,
    };
    Ok(fetched(fetch.key, submitted, placed))
}

fn fetched(key: TransferKey, submitted: Submitted, placed: Option<Placed>) -> Event {
    Event::Fetched {
        key,
        submitted: Box::new(submitted),
        placed,
    }
}

/// The name of a policy, as status pages print it.
pub(super) fn name_of(after: After) -> &'static str {
    match after {
        After::Keep => "keep",
        After::Delete => "delete",
        After::Archive => "archive",
    }
}
