//! The driver runs the two state machines: everything that happens reaches them here, one event at
//! a time, and what they want done is handed out from here.
//!
//! It owns them; nothing else touches them. The rest of the process speaks to it through its
//! [`handle`], and reads the [`snapshot`] that it publishes. It never waits for a disk or a peer:
//! the log has its thread, files have the worker threads, connections have their tasks, and all of
//! them answer with an event.

mod absences;
pub(crate) mod bounds;
mod consuming;
mod draining;
pub(crate) mod endings;
pub(crate) mod handle;
pub(crate) mod log_care;
mod looking;
pub(crate) mod members;
pub(crate) mod old_copy;
mod orders;
mod originals;
pub(crate) mod own_records;
mod producing;
pub(crate) mod refusal;
pub(crate) mod releasing;
mod reload;
pub(crate) mod snapshot;
pub(crate) mod standing;
pub(crate) mod submissions;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use consign_core::consumer::Consumer;
use consign_core::ids::{FeedName, Millis, NodeName, Start, TransferKey};
use consign_core::journal::Ticket;
use consign_core::log::Position;
use consign_core::producer::Producer;
use consign_core::view::{MemberState, View};
use consign_core::{consumer, producer};
use tokio::sync::{mpsc, watch};

use crate::config::{Config, Source};
use crate::driver::bounds::{EVENTS_AT_ONCE, SNAPSHOT_EVERY, SPACE_EVERY, TICK_EVERY};
use crate::inboxes::Inboxes;
use crate::log_writer::{Done, LogWriter, Role};
use crate::membership::Heard;
use crate::net::{Net, NetEvent};
use crate::outbox::Outbox;
use crate::problems::Problems;
use crate::receipts::Archive;

pub(crate) use reload::Reload;

use handle::Command;
use log_care::LogCare;
use snapshot::Snapshot;
use submissions::{Found, Submissions};

/// What a worker thread has done.
#[derive(Debug)]
pub(crate) enum Worked {
    Producer(producer::Event),
    Consumer(consumer::Event),
    /// Files of a submission were looked at.
    Prepared(Box<looking::Prepared>),
    /// Files were taken into the spool.
    Taken(Vec<producer::Event>),
    /// Sources were let go or given back.
    Released(releasing::Released),
    /// The original of a copied file is gone, or remembered; who waits for that.
    OriginSettled(TransferKey, Option<Box<originals::Waiting>>),
    /// Free space under the inboxes was measured.
    Space(Vec<(FeedName, u64)>),
    /// And under the data directory.
    DataSpace(u64),
    /// Nothing that anybody waits for.
    Nothing,
    /// Something failed that this node must not survive.
    Fatal(String),
}

/// What the driver hears.
pub(crate) struct Ears {
    /// One for each sync of the log, and so never more than there are records under way.
    pub(crate) log: mpsc::UnboundedReceiver<Done>,
    pub(crate) net: mpsc::Receiver<NetEvent>,
    /// At most one for each file under way: each answers an effect, and the machines' windows, the
    /// requests that are let in and the numbers of jobs bound those.
    pub(crate) worked: mpsc::UnboundedReceiver<Worked>,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) found: mpsc::Receiver<Found>,
    pub(crate) reload: mpsc::Receiver<Result<Reload, String>>,
    pub(crate) members: watch::Receiver<Heard>,
}

/// See the module.
pub(crate) struct Driver {
    pub(crate) config: Config,
    pub(crate) view: View,
    pub(crate) members: members::Members,
    pub(crate) start: Start,
    pub(crate) started_at: Millis,
    pub(crate) producer: Producer,
    pub(crate) consumer: Consumer,
    pub(crate) log: LogWriter,
    pub(crate) log_care: LogCare,
    pub(crate) net: Net,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) archive: Archive,
    pub(crate) inboxes: Arc<Inboxes>,
    pub(crate) worked: mpsc::UnboundedSender<Worked>,
    pub(crate) snapshot: watch::Sender<Arc<Snapshot>>,
    pub(crate) problems: Problems,
    pub(crate) tickets: Tickets,
    pub(crate) submissions: Submissions,
    pub(crate) unreleased: releasing::Unreleased,
    pub(crate) round: Round,
    pub(crate) old_copy: old_copy::OldCopy,
    pub(crate) endings: endings::Endings,
    pub(crate) fatal: Option<String>,
}

/// How far each machine's records are synced.
#[derive(Debug, Default)]
pub(crate) struct Tickets {
    producer: Ticket,
    consumer: Ticket,
}

/// What is handed to the workers together at the end of a round.
#[derive(Debug, Default)]
pub(crate) struct Round {
    takes: producing::Takes,
    fetches: Vec<producing::Fetch>,
}

/// Now: this machine's clock as it was when the process began, and the time that has passed since.
/// A clock that is set while the agent runs moves no deadline.
pub(crate) fn now() -> Millis {
    static BEGAN: OnceLock<(Instant, Duration)> = OnceLock::new();
    let (began, clock) = BEGAN.get_or_init(|| {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        (Instant::now(), clock.unwrap_or_default())
    });
    let now = *clock + began.elapsed();
    Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// Why the driver ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was asked to.
    Stopped,
    /// It could not go on. Nothing that was not synced has been acknowledged.
    Fatal(String),
}

/// Runs the state machines until `stop` says so, or something fails that the node must not survive.
pub(crate) async fn run(
    mut driver: Driver,
    mut ears: Ears,
    mut stop: watch::Receiver<bool>,
) -> Ended {
    let mut tick = tokio::time::interval(TICK_EVERY);
    let mut publish = tokio::time::interval(SNAPSHOT_EVERY);
    let mut space = tokio::time::interval(SPACE_EVERY);
    driver.begin();
    driver.on_heard(ears.members.borrow_and_update().clone());
    loop {
        tokio::select! {
            biased;
            _ = stop.changed() => {
                driver.keep_all_seen();
                driver.leave().await;
                return Ended::Stopped;
            }
            Some(done) = ears.log.recv() => driver.on_log(done),
            Some(done) = ears.worked.recv() => driver.on_worked(done),
            _ = tick.tick() => driver.on_tick(),
            _ = publish.tick() => driver.publish_snapshot(),
            _ = space.tick() => driver.measure_space(),
            Some(event) = ears.net.recv(), if driver.log.has_credit() => driver.on_net(event),
            Some(read) = ears.reload.recv() => driver.on_reload(read),
            Ok(()) = ears.members.changed() => {
                let heard = ears.members.borrow_and_update().clone();
                driver.on_heard(heard);
            }
            Some(command) = ears.commands.recv(), if driver.submissions.has_room() => driver.on_command(command),
            Some(found) = ears.found.recv(), if driver.submissions.has_room() => driver.on_found(found),
        }
        // What is there already is applied in one go: its records share a sync.
        for _ in 0..EVENTS_AT_ONCE {
            if let Ok(done) = ears.log.try_recv() {
                driver.on_log(done);
            } else if let Ok(done) = ears.worked.try_recv() {
                driver.on_worked(done);
            } else if driver.log.has_credit()
                && let Ok(event) = ears.net.try_recv()
            {
                driver.on_net(event);
            } else {
                break;
            }
        }
        driver.hand_out();
        if let Some(why) = driver.fatal.take() {
            return Ended::Fatal(why);
        }
    }
}

impl Driver {
    fn on_log(&mut self, done: Done) {
        match done {
            Done::Failed(error) => self.die(error.to_string()),
            Done::Synced {
                records,
                counted_bytes,
                standing,
            } => {
                self.log.synced(counted_bytes);
                let of = |wanted: Role| -> Vec<Position> {
                    let of_role = records.iter().filter(|(role, _)| *role == wanted);
                    of_role.map(|(_, position)| *position).collect()
                };
                let (producers, consumers) = (of(Role::Producer), of(Role::Consumer));
                self.log_care_synced(&records, standing);
                if !producers.is_empty() {
                    let through = Ticket(self.tickets.producer.0 + producers.len() as u64);
                    self.tickets.producer = through;
                    self.produce(producer::Event::Synced {
                        through,
                        positions: producers,
                    });
                    self.settle_originals_through(through);
                    self.tell_endings(through);
                }
                if !consumers.is_empty() {
                    let through = Ticket(self.tickets.consumer.0 + consumers.len() as u64);
                    self.tickets.consumer = through;
                    self.consume(consumer::Event::Synced {
                        through,
                        positions: consumers,
                    });
                }
            }
        }
    }

    fn on_worked(&mut self, worked: Worked) {
        match worked {
            Worked::Producer(event) => self.produce(event),
            Worked::Consumer(event) => self.consume(event),
            Worked::Prepared(prepared) => self.on_prepared(*prepared),
            Worked::Taken(events) => self.on_taken(events),
            Worked::Released(released) => self.on_released(released),
            Worked::OriginSettled(key, waiting) => self.on_original_settled(key, waiting),
            Worked::Nothing => {}
            Worked::Space(space) => {
                for (feed, free) in space {
                    self.consume(consumer::Event::Space { feed, free });
                }
            }
            Worked::DataSpace(free) => self.log_care.free_bytes = free,
            Worked::Fatal(why) => self.die(why),
        }
    }

    fn on_net(&mut self, event: NetEvent) {
        match event {
            NetEvent::Producer(event) => {
                if let producer::Event::PeerUp { node, .. } = &event {
                    self.takes_files(node);
                }
                self.produce(event);
            }
            NetEvent::Consumer(event) => self.consume(event),
            NetEvent::Outlived { peer, seen } => self.outlived(&peer, seen),
            NetEvent::NoConsumer { node, why } => self.takes_no_files(node, &why),
            NetEvent::Alarm(text) => self.problems.add_text(&text),
            NetEvent::Fatal(why) => self.die(why),
        }
    }

    fn on_tick(&mut self) {
        self.produce(producer::Event::Tick);
        self.consume(consumer::Event::Tick);
        self.care_for_log();
        self.care_for_members();
        self.keep_seen();
    }

    /// The node must not go on; its restart is an ordinary recovery.
    pub(crate) fn die(&mut self, why: String) {
        self.fatal.get_or_insert(why);
    }

    /// Runs blocking work on a worker thread, of which there is a bounded number.
    pub(crate) fn work(&self, work: impl FnOnce() -> Worked + Send + 'static) {
        let worked = self.worked.clone();
        tokio::task::spawn_blocking(move || {
            let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let done = done.unwrap_or_else(|_| {
                Worked::Fatal(
                    "a worker thread panicked; hint: report this as a bug, its place is above"
                        .to_owned(),
                )
            });
            let _ = worked.send(done);
        });
    }

    fn begin(&mut self) {
        self.say_set_apart();
        if self.config.membership.source == Source::Static {
            self.keep_view();
        }
        let now = now();
        let rules = producing::rules_of(&self.config);
        self.produce(producer::Event::Policies(rules));
        let policies = self
            .config
            .consume
            .iter()
            .map(|feed| feed.policy.clone())
            .collect();
        self.consume(consumer::Event::Policies(policies));
        let effects = self.producer.begin(now);
        self.note_claims();
        self.carry_out_producer(effects);
        for (feed, path) in self.inboxes.lost() {
            let what = format!(
                "{} is not the inbox that the files of feed {feed} were staged in: it takes and publishes nothing",
                path.display()
            );
            let hint = "mount the right disk there, or give the feed back the inbox that it had, and start the agent again; once no saved file waits, the feed may have another directory for good";
            tracing::error!(%feed, "{what}; hint: {hint}");
            self.problems.add(what, hint.to_owned());
        }
        // What is staged and in no record was received for nothing: it is received again.
        let orphans = self.inboxes.remove_orphans(&self.consumer.staging_names());
        if orphans > 0 {
            tracing::info!(orphans, "staging files that no record needs were removed");
        }
        let lost = self.inboxes.lost().keys().cloned().collect();
        let effects = self.consumer.begin(now, lost);
        self.carry_out_consumer(effects);
        self.set_targets();
        self.measure_space();
        self.hand_out();
    }

    /// Connects to every member that consumes what is produced here, or is owed something.
    pub(crate) fn set_targets(&mut self) {
        let owed = self.producer.destinations();
        let owes = |node: &NodeName| {
            let owed = owed.iter().find(|destination| destination.node == *node);
            owed.is_some_and(|destination| destination.owed + destination.abandoning > 0)
        };
        // A feed that the configuration does not have any more is seen through to its end.
        let feeds = self.producer.feeds();
        let queued = |feed: &FeedName| feeds.iter().any(|f| f.name == *feed && f.queued_files > 0);
        let produces = |feed: &FeedName| {
            queued(feed) || self.config.produce.iter().any(|p| p.policy.feed == *feed)
        };
        let targets = self
            .view
            .members()
            .iter()
            .filter(|member| {
                let name = &member.name;
                // Who may take no files is called on, to find out when it may.
                let is_unfit = self.members.unfit.contains(name);
                // So is who drains: it waits for the word that nothing is owed to it.
                let drains = member.state == MemberState::Draining;
                member.feeds.iter().any(produces) || owes(name) || is_unfit || drains
            })
            .map(|member| (member.name.clone(), member.addr.clone()))
            .collect();
        self.net.set_targets(targets);
    }

    fn measure_space(&mut self) {
        let inboxes = Arc::clone(&self.inboxes);
        let (data_dir, worked) = (self.config.node.data_dir.clone(), self.worked.clone());
        self.work(move || {
            if let Ok(free) = crate::filesystem::free_space(&data_dir) {
                let _ = worked.send(Worked::DataSpace(free));
            }
            Worked::Space(inboxes.space())
        });
    }

    /// Hands what has gathered to the workers.
    fn hand_out(&mut self) {
        self.look_at_files();
        self.hand_out_takes();
        self.hand_out_fetches();
    }
}
