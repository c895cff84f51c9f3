//! A consumer among hostile producers: the state machine, the log and the publishing that ship, over a
//! simulated disk. One producer beside them is honest, and is served.

mod disk_work;
mod honest;
mod wild;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use consign_core::consumer::{Consumer, Effect, Event};
use consign_core::disk::Disk;
use consign_core::ids::{FeedName, Incarnation, Millis, NodeName, SlotId, Start};
use consign_core::journal::Ticket;
use consign_core::log::{Log, LogReader, LogSettings, Payload, Position};
use consign_core::producer::{Identity, Session};
use consign_core::publish::{self, STAGING_DIR};
use consign_core::record::{Boot, InboxMarked, Record};
use consign_core::spec::{ConsumePolicy, OnConflict};
use consign_core::wire::Message;
use consign_sim::disk::SimDisk;
use consign_sim::rng::Rng;

use consign_sim::disk::Beneath;
use disk_work::{Inflow, inbox_of};
use honest::Honest;

const FEEDS: [&str; 2] = ["f", "g"];
/// Who says anything, and who keeps the protocol.
const HOSTILE: [&str; 3] = ["evil", "mad", "liar"];
const HONEST: &str = "good";
const LOG: &str = "/data/log";
const SEGMENT_BYTES: u64 = 256 << 10;
/// What happens before the hostile ones fall silent.
const STEPS: usize = 300;
/// How long the honest one may take then, in rounds.
const ROUNDS: usize = 60;
const ROUND_MS: u64 = 1_000;

fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a test's name is clean")
}

fn feed(name: &str) -> FeedName {
    FeedName::new(name).expect("a test's name is clean")
}

fn digest_of(bytes: &[u8]) -> [u8; 32] {
    *blake3::hash(bytes).as_bytes()
}

/// One run of the process.
struct Life {
    disk: Arc<dyn Disk>,
    log: Log,
    reader: LogReader,
    consumer: Consumer,
    unsynced: Vec<(Ticket, Position)>,
    sessions: BTreeMap<NodeName, (Session, Incarnation)>,
    inflows: BTreeMap<SlotId, Inflow>,
    /// What the disk has done, and the consumer has not heard.
    done: VecDeque<Event>,
}

struct Bench {
    rng: Rng,
    disk: SimDisk,
    life: Option<Life>,
    now: Millis,
    incarnation: u64,
    next_session: u64,
    /// The incarnation that each producer last came with.
    lives: BTreeMap<&'static str, u64>,
    honest: Honest,
    /// Digests of files that a producer has told to publish.
    committed: BTreeSet<[u8; 32]>,
    /// Digests of the small files that were sent, by slot.
    sent: BTreeMap<SlotId, Vec<[u8; 32]>>,
    /// What hostile producers have said, to be said again.
    said: Vec<(NodeName, Message)>,
    arrivals: Vec<Event>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let disk = SimDisk::new(seed);
        let mount = disk.mount();
        for dir in ["/data", "/inboxes", "/inboxes/f", "/inboxes/g"] {
            mount.create_dir(Path::new(dir)).expect("the disk is empty");
        }
        mount.sync_fs(Path::new("/")).expect("nothing fails yet");
        let mut bench = Self {
            rng: Rng::new(seed),
            disk,
            life: None,
            now: Millis(1_000),
            incarnation: 0,
            next_session: 0,
            lives: BTreeMap::new(),
            honest: Honest::new(seed),
            committed: BTreeSet::new(),
            sent: BTreeMap::new(),
            said: Vec::new(),
            arrivals: Vec::new(),
        };
        bench.start();
        bench
    }

    /// Starts the process from what is on the disk.
    fn start(&mut self) {
        self.incarnation += 1;
        super::trace(|| format!("life {}", self.incarnation));
        let disk = self.disk.mount();
        let settings = LogSettings {
            segment_bytes: SEGMENT_BYTES,
            seed: self.rng.next_u64(),
        };
        let mut consumer = Consumer::new(Identity {
            node: node("store"),
            incarnation: Incarnation(self.incarnation),
            start: Start(self.rng.next_u64()),
            zone: None,
        });
        let mut replay = |at: Position, record: Record, _: u32| consumer.replay(at, &record);
        let (mut log, _) = Log::open(disk.clone(), Path::new(LOG), settings, &mut replay)
            .expect("a node comes up whatever its producers have said");
        let boot = Record::Boot(Boot {
            node: "store".to_owned(),
            incarnation: self.incarnation,
            start: 1,
            at: self.now.0,
            found_to: 0,
        });
        let mut begun = vec![boot];
        for name in FEEDS {
            let inbox = Beneath::new(disk.clone(), inbox_of(name));
            let marker = publish::prepare(&inbox, [7; 16]).expect("no disk fails here");
            begun.push(Record::InboxMarked(InboxMarked {
                feed: name.to_owned(),
                inbox: format!("/inboxes/{name}"),
                marker: marker.to_vec(),
            }));
        }
        for record in begun {
            let at = log.append(&record, Payload::None).expect("there is space");
            if matches!(record, Record::InboxMarked(_)) {
                consumer.replay(at, &record);
            }
        }
        log.commit().expect("no disk fails here");
        self.remove_orphans(&disk, &consumer);
        self.honest.restarted();
        self.life = Some(Life {
            disk,
            reader: log.reader(),
            log,
            consumer,
            unsynced: Vec::new(),
            sessions: BTreeMap::new(),
            inflows: BTreeMap::new(),
            done: VecDeque::new(),
        });
        let policies = FEEDS.map(policy).into();
        self.apply(Event::Policies(policies));
        let now = self.now;
        let life = self.life.as_mut().expect("it was just begun");
        let effects = life.consumer.begin(now, BTreeSet::new());
        self.carry_out(effects);
    }

    fn remove_orphans(&self, disk: &Arc<dyn Disk>, consumer: &Consumer) {
        let needed = consumer.staging_names();
        for name in FEEDS {
            let inbox = Beneath::new(disk.clone(), inbox_of(name));
            let staging = Path::new(STAGING_DIR);
            for entry in inbox.list(staging).expect("it was just prepared") {
                if publish::is_staging_name(&entry.name) && !needed.contains(&entry.name) {
                    inbox
                        .remove(&staging.join(&entry.name))
                        .expect("it is there");
                }
            }
        }
    }

    fn life(&mut self) -> &mut Life {
        self.life.as_mut().expect("it runs")
    }

    /// Ends the process, or the machine, and starts it again.
    fn restart(&mut self) {
        self.life = None;
        match self.rng.one_in(2) {
            true => self.disk.kill(),
            false => {
                let mut rng = Rng::new(self.rng.next_u64());
                self.disk.power_cut(&mut rng);
            }
        }
        self.start();
        self.check();
    }

    fn apply(&mut self, event: Event) {
        let now = self.now;
        let effects = self.life().consumer.apply(now, event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append(ticket, record, payload) => {
                    super::trace(|| format!("logs {record:?}"));
                    let life = self.life();
                    let at = life.log.append(&record, payload);
                    let at = at.expect("whatever a producer says fits in the log");
                    life.unsynced.push((ticket, at));
                }
                Effect::Send {
                    to,
                    session,
                    message,
                } => self.answer(&to, session, message),
                Effect::Admit { .. } | Effect::Reject { .. } | Effect::Forward { .. } => {}
                Effect::Forgotten { .. } => {}
                // Nothing is dropped: what is live is known without it.
                Effect::NeedsFrom { .. } => {}
                Effect::OpenInflow(order) => self.open_inflow(order),
                Effect::CloseInflow(slot) => {
                    self.life().inflows.remove(&slot);
                }
                Effect::Seal {
                    slot,
                    feed,
                    staging,
                    path,
                    attributes,
                } => self.seal(slot, &feed, &staging, &path, &attributes),
                Effect::Look(files) => self.look(files),
                Effect::Stage(orders) => self.stage(orders),
                Effect::Publish(orders) => self.publish(orders),
                Effect::Discard {
                    slot,
                    feed,
                    staging,
                } => self.discard(&slot, &feed, &staging),
            }
        }
    }

    fn answer(&mut self, to: &NodeName, session: Session, message: Message) {
        let current = self.life().sessions.get(to).map(|(session, _)| *session);
        if current == Some(session) && to.as_str() == HONEST {
            self.honest.hear(message);
        }
    }

    fn sync(&mut self) {
        let life = self.life();
        if life.unsynced.is_empty() {
            return;
        }
        life.log.commit().expect("no disk fails here");
        let synced = std::mem::take(&mut life.unsynced);
        self.apply(Event::Synced {
            through: synced.last().expect("it is not empty").0,
            positions: synced.into_iter().map(|(_, position)| position).collect(),
        });
    }

    fn disk_is_done(&mut self) {
        if let Some(event) = self.life().done.pop_front() {
            self.apply(event);
        }
    }

    fn up(&mut self, name: &'static str) {
        self.next_session += 1;
        let session = Session(self.next_session);
        let incarnation = Incarnation(*self.lives.entry(name).or_insert(1));
        let sessions = &mut self.life().sessions;
        sessions.insert(node(name), (session, incarnation));
        self.apply(Event::PeerUp {
            node: node(name),
            session,
            incarnation,
        });
    }

    fn hear(&mut self, from: &NodeName, message: Message) {
        let Some((session, _)) = self.life().sessions.get(from).copied() else {
            return;
        };
        super::trace(|| format!("{from} says {message:?}"));
        match &message {
            Message::Commit(commit) => {
                if let Ok(digest) = <[u8; 32]>::try_from(commit.digest.as_slice()) {
                    self.committed.insert(digest);
                }
            }
            Message::SmallCommit(commit) => {
                let told = self.sent.iter().filter(|(slot, _)| {
                    slot.producer == *from && slot.start.0 == commit.slot_start
                });
                let told = told.flat_map(|(_, digests)| digests.iter().copied());
                let told: Vec<[u8; 32]> = told.collect();
                self.committed.extend(told);
            }
            _ => {}
        }
        self.apply(Event::Message {
            from: from.clone(),
            session,
            message,
        });
    }

    /// Small files arrive; what does not have its digest is dropped on the way, as the node does.
    fn smalls(&mut self, event: Event) {
        let Event::Smalls {
            producer,
            incarnation,
            mut files,
        } = event
        else {
            unreachable!("small files are asked for");
        };
        files.retain(|file| digest_of(&file.bytes) == file.digest.0);
        for file in &files {
            let slot = SlotId {
                producer: producer.clone(),
                start: Start(file.leg.slot_start),
                slot: consign_core::ids::Slot(file.leg.slot),
            };
            self.sent.entry(slot).or_default().push(file.digest.0);
        }
        self.apply(Event::Smalls {
            producer,
            incarnation,
            files,
        });
    }

    /// What is visible is a whole file that a producer has committed, and nothing of them is elsewhere.
    fn check(&self) {
        for path in self.disk.files() {
            let home = [LOG, "/inboxes/f", "/inboxes/g"];
            assert!(
                home.iter().any(|home| path.starts_with(home)),
                "{} is outside of all inboxes",
                path.display()
            );
            let ours = path.components().any(|c| c.as_os_str() == STAGING_DIR);
            if path.starts_with(LOG) || ours {
                continue;
            }
            let bytes = self.disk.bytes(&path).expect("it was just listed");
            assert!(
                self.committed.contains(&digest_of(&bytes)),
                "{} is not what any producer has committed",
                path.display()
            );
        }
    }
}

fn policy(name: &str) -> ConsumePolicy {
    ConsumePolicy {
        feed: feed(name),
        inbox: format!("/inboxes/{name}"),
        layout: "{name}".to_owned(),
        on_conflict: match name {
            "f" => OnConflict::Rename,
            _ => OnConflict::Reject,
        },
        min_free_bytes: 0,
        from: Vec::new(),
        owner: None,
        mode: None,
    }
}

/// A file's bytes, unlike those of any other.
fn content(of: &str, number: u64, size: u64) -> Bytes {
    let mut rng = Rng::new(number ^ size << 32 ^ u64::from(of.as_bytes()[0]) << 56);
    let mut bytes = Vec::with_capacity(size as usize + 8);
    while (bytes.len() as u64) < size {
        bytes.extend_from_slice(&rng.next_u64().to_le_bytes());
    }
    bytes.truncate(size as usize);
    bytes.into()
}

#[test]
fn whatever_producers_say_nothing_wrong_is_shown_and_an_honest_one_is_served() {
    super::run("whatever_producers_say", 200, |seed| {
        let mut bench = Bench::new(seed);
        for _ in 0..STEPS {
            bench.step();
        }
        bench.be_quiet();
    });
}
