//! Power cuts of real filesystems under load. Each machine has a disk of its own, so each loses
//! power alone, or all of them at once. What was acknowledged must be there afterwards. The same with
//! kills, after which all is there that was written.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use crate::fleet;
use crate::image::{Cut, Kind, Scratch};
use crate::isolated::{amount, isolated};
use crate::large;
use crate::ledger::{Ledger, base};
use crate::load;
use crate::machine::{Machine, files_in};
use crate::rng::Rng;
use crate::waiting::{SOON, comes, until};
use restart::mount_again;

mod restart;
mod sources;

const NAMES: [&str; 4] = ["prod-1", "cons-1", "cons-2", "cons-3"];
const DISK_BYTES: u64 = 768 << 20;
/// After so many cuts the disks are new, since kept files and archives fill them.
const CUTS_PER_FLEET: u64 = 40;
/// Files handed over around each cut.
const FILES_PER_CUT: u64 = 12;
/// How late after the begin of the load a cut may come: about as long as it takes.
const LATEST_CUT_MS: u64 = 400;
/// Cuts between two that come while a file beyond its first watermark is on its way.
const LARGE_EVERY: u64 = 10;
/// Files that may wait before more are handed over.
const BACKLOG_MAX: usize = 40;
/// A bug that loses a file is found when this has passed.
const DELIVERY_DEADLINE: Duration = match cfg!(feature = "planted") {
    true => Duration::from_secs(20),
    false => Duration::from_secs(90),
};
const TAKE_EVERY: Duration = Duration::from_millis(15);

#[test]
fn acknowledged_files_survive_power_cuts_on_ext4() {
    let test = "power::acknowledged_files_survive_power_cuts_on_ext4";
    isolated(test, &["xfs_io", "mkfs.ext4"], || cut_power(Kind::Ext4));
}

#[test]
fn acknowledged_files_survive_power_cuts_on_xfs() {
    let test = "power::acknowledged_files_survive_power_cuts_on_xfs";
    isolated(test, &["xfs_io", "mkfs.xfs"], || cut_power(Kind::Xfs));
}

#[test]
fn accepted_files_survive_kills() {
    let test = "power::accepted_files_survive_kills";
    isolated(test, &["mkfs.ext4"], || {
        let (most, mut seed) = (amount("KILLS", 80), amount("FAULT_SEED", 1));
        let (began, mut all) = (Instant::now(), Counts::default());
        while all.kills < most {
            println!("FAULT_SEED={seed}: kills");
            let mut fleet = Fleet::new(Kind::Ext4, seed);
            fleet.has_power = true;
            let cuts = CUTS_PER_FLEET.min((most - all.kills).div_ceil(2));
            all.add(&fleet.run(cuts));
            seed += 1;
        }
        println!("{all:?} in {:?}", began.elapsed());
    });
}

/// Cuts power so many times, with whatever is planted in the agents.
#[cfg(feature = "planted")]
pub(crate) fn cut_planted(kind: Kind, cuts: u64, load: Load) {
    let mut fleet = Fleet::new(kind, amount("FAULT_SEED", 1));
    fleet.load = load;
    fleet.run(cuts);
}

/// What is handed over around a cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Load {
    /// Files of all kinds, and at every tenth cut a large one.
    Mixed,
    /// Files of all kinds, none of them large.
    #[cfg(feature = "planted")]
    Small,
    /// Small files of one feed, and only their producer loses power.
    #[cfg(feature = "planted")]
    Only(&'static str),
    /// One large file. What is synced for the small ones syncs its bytes as well.
    #[cfg(feature = "planted")]
    Large,
}

impl Load {
    fn has_large(self, round: u64) -> bool {
        match self {
            Self::Mixed => round.is_multiple_of(LARGE_EVERY),
            #[cfg(feature = "planted")]
            Self::Small | Self::Only(_) => false,
            #[cfg(feature = "planted")]
            Self::Large => true,
        }
    }

    fn small_files(self) -> u64 {
        match self {
            Self::Mixed => FILES_PER_CUT,
            #[cfg(feature = "planted")]
            Self::Small | Self::Only(_) => FILES_PER_CUT,
            #[cfg(feature = "planted")]
            Self::Large => 0,
        }
    }
}

fn cut_power(kind: Kind) {
    let (mut left, mut seed) = (amount("POWER_CUTS", 60), amount("FAULT_SEED", 1));
    let began = Instant::now();
    let mut all = Counts::default();
    while left > 0 {
        let cuts = left.min(CUTS_PER_FLEET);
        println!("FAULT_SEED={seed}: {cuts} power cuts on {}", kind.name());
        all.add(&Fleet::new(kind, seed).run(cuts));
        left -= cuts;
        seed += 1;
    }
    println!("{}: {all:?} in {:?}", kind.name(), began.elapsed());
}

/// What was done, so that a run that did nothing is seen.
#[derive(Debug, Default)]
struct Counts {
    cuts: u64,
    /// Agents that were killed, with their power or without.
    kills: u64,
    blackouts: u64,
    files: u64,
    accepted: u64,
    receipts: u64,
    removals_undone: u64,
    remnants: u64,
    /// Large files that were on their way when their consumer lost power, and had a watermark.
    watermarks: u64,
}

impl Counts {
    fn add(&mut self, other: &Self) {
        self.cuts += other.cuts;
        self.kills += other.kills;
        self.blackouts += other.blackouts;
        self.files += other.files;
        self.accepted += other.accepted;
        self.receipts += other.receipts;
        self.removals_undone += other.removals_undone;
        self.remnants += other.remnants;
        self.watermarks += other.watermarks;
    }
}

struct Fleet {
    machines: Vec<Machine>,
    ledger: Mutex<Ledger>,
    rounds_done: AtomicU64,
    /// Whether applications take nothing for now: what they took before a cut is not looked at after it.
    applications_rest: AtomicBool,
    load: Load,
    /// Whether agents are only killed: what they wrote is there afterwards, and nothing is undone.
    has_power: bool,
    seed: u64,
    // Last, so that it is unmounted last.
    _scratch: Scratch,
}

impl Fleet {
    fn new(kind: Kind, seed: u64) -> Self {
        let scratch = Scratch::new();
        Self {
            machines: fleet::machines(scratch.path(), &NAMES, kind, DISK_BYTES),
            ledger: Mutex::default(),
            rounds_done: AtomicU64::new(0),
            applications_rest: AtomicBool::new(false),
            load: Load::Mixed,
            has_power: false,
            seed,
            _scratch: scratch,
        }
    }

    fn producer(&self) -> &Machine {
        &self.machines[0]
    }

    fn consumers(&self) -> &[Machine] {
        &self.machines[1..]
    }

    fn run(self, cuts: u64) -> Counts {
        self.machines.iter().for_each(Machine::spawn);
        self.machines.iter().for_each(Machine::wait_until_ready);
        let counts = std::thread::scope(|scope| {
            let (go, rounds) = channel();
            let (apply, end) = channel();
            let fleet = &self;
            scope.spawn(move || fleet.load(&rounds));
            scope.spawn(move || fleet.applications(&end));
            // Both go away when this ends, also by a failure, and with them the threads.
            self.cycles(cuts, go, apply)
        });
        self.no_violation();
        counts
    }

    /// Hands over files, a round at a time.
    fn load(&self, rounds: &Receiver<()>) {
        let mut rng = Rng::new(self.seed ^ 0x10ad);
        let mut number = 0;
        while rounds.recv().is_ok() {
            let round = self.rounds_done.load(Ordering::SeqCst) + 1;
            if self.load.has_large(round) {
                let _disk = self.producer().mounted.read().unwrap();
                large::hand(self.producer(), &self.ledger, round);
            }
            for _ in 0..self.load.small_files() {
                number += 1;
                let producer = self.producer();
                let _disk = producer.mounted.read().unwrap();
                #[cfg(feature = "planted")]
                if let Load::Only(feed) = self.load {
                    let name = format!("{number:06}");
                    load::hand(producer, &self.ledger, &name, feed, 10_000, number);
                    continue;
                }
                match number % FILES_PER_CUT {
                    0 => load::hand_staying(producer, &self.ledger, number),
                    _ => load::hand_one(producer, &self.ledger, number, &mut rng),
                }
            }
            self.rounds_done.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// Takes files out of the inboxes until the other end is gone.
    fn applications(&self, end: &Receiver<()>) {
        let mut rng = Rng::new(self.seed ^ 0xa99);
        let goes_on = || {
            let ended = end.recv_timeout(TAKE_EVERY);
            ended == Err(std::sync::mpsc::RecvTimeoutError::Timeout)
        };
        while goes_on() {
            let rest = self.applications_rest.load(Ordering::SeqCst);
            for consumer in self.consumers().iter().filter(|_| !rest) {
                self.take(consumer, &mut rng);
            }
        }
    }

    fn take(&self, consumer: &Machine, rng: &mut Rng) {
        // A disk without power is not waited for.
        if let Ok(_disk) = consumer.mounted.try_read() {
            let mut ledger = self.ledger.lock().unwrap();
            ledger.take(&consumer.name, &consumer.disk, rng);
        }
    }

    fn cycles(&self, cuts: u64, go: Sender<()>, apply: Sender<()>) -> Counts {
        let mut rng = Rng::new(self.seed);
        let mut counts = Counts::default();
        for cycle in 1..=cuts {
            println!("cut {cycle}");
            let rest = rng.one_in(2);
            self.applications_rest.store(rest, Ordering::SeqCst);
            go.send(()).unwrap();
            let receiving = match self.load.has_large(cycle) {
                true => large::receiver(self.consumers(), &mut rng),
                false => None,
            };
            if receiving.is_none() {
                // The moment of a cut is part of the fault; nothing is waited for.
                std::thread::sleep(Duration::from_millis(rng.below(LATEST_CUT_MS)));
            }
            let cut = [Cut::DropsAll, Cut::KeepsMetadata][rng.below(2) as usize];
            let victims = match receiving {
                Some(receiver) => vec![receiver],
                None => self.victims(&mut rng),
            };
            counts.kills += victims.len() as u64;
            counts.blackouts += u64::from(victims.len() == self.machines.len());
            victims
                .iter()
                .for_each(|victim| self.lose_power(victim, cut));
            if !self.has_power {
                mount_again(&victims, &mut rng);
            }
            if let Some(receiver) = receiving {
                counts.watermarks += large::watermarks_hold(receiver);
            }
            counts.receipts += self.restart(&victims, &mut rng);
            self.applications_rest.store(false, Ordering::SeqCst);
            until("the load is handed over", DELIVERY_DEADLINE, || {
                self.rounds_done.load(Ordering::SeqCst) == cycle
            });
            self.wait_for_delivery(BACKLOG_MAX);
            self.delivered_is_archived();
            self.no_violation();
            counts.cuts += 1;
        }
        drop(go);
        self.wait_for_delivery(0);
        self.check_the_end();
        drop(apply);
        let mut ledger = self.ledger.lock().unwrap();
        counts.remnants = ledger.remnants.len() as u64;
        ledger.check_remnants();
        counts.files = ledger.handed.len() as u64;
        counts.accepted = ledger.accepted_files() as u64;
        counts.removals_undone = ledger.undone;
        counts
    }

    #[track_caller]
    fn no_violation(&self) {
        let violations = self.ledger.lock().unwrap().violations.clone();
        assert!(violations.is_empty(), "{violations:#?}");
    }

    fn victims(&self, rng: &mut Rng) -> Vec<&Machine> {
        #[cfg(feature = "planted")]
        if matches!(self.load, Load::Only(_)) {
            return vec![self.producer()];
        }
        let all: Vec<_> = self.machines.iter().collect();
        match rng.below(8) {
            0 | 1 => all,
            2 => vec![self.producer(), rng.pick(self.consumers())],
            3 | 4 => vec![self.producer()],
            _ => vec![rng.pick(self.consumers())],
        }
    }

    /// The disk stops first; until it is killed, the agent may go on by what it remembers.
    fn lose_power(&self, victim: &Machine, cut: Cut) {
        if self.has_power {
            return victim.kill();
        }
        let mut ledger = self.ledger.lock().unwrap();
        victim.lose_power(cut);
        ledger.lost_power(&victim.name);
        drop(ledger);
        victim.kill();
    }

    #[track_caller]
    fn wait_for_delivery(&self, may_wait: usize) {
        let missing = || self.ledger.lock().unwrap().missing();
        let delivered = comes(DELIVERY_DEADLINE, || missing().len() <= may_wait);
        assert!(
            delivered,
            "these wait: {:#?}\n{}",
            missing(),
            self.told(&missing())
        );
    }

    /// What the nodes say about files that are missing.
    fn told(&self, missing: &[String]) -> String {
        let mut told = String::new();
        for machine in &self.machines {
            told += &format!("{}: {}\n", machine.name, machine.status());
        }
        let producer = self.producer();
        let left = files_in(&producer.disk).into_iter();
        let left = left.filter(|path| !path.starts_with(producer.disk.join("archive")));
        told += &format!("on the producer's disk: {:#?}\n", left.collect::<Vec<_>>());
        for transfer in producer.transfers().unwrap_or_default() {
            let name = base(transfer["name"].as_str().unwrap());
            if missing.iter().any(|text| text.starts_with(name)) {
                let id = transfer["id"].as_str().unwrap();
                told += &format!("{transfer}\n{}", producer.ask(&["show", id]).1);
            }
        }
        told
    }

    fn check_the_end(&self) {
        let producer = self.producer();
        let unfinished = || {
            let transfers = producer.transfers().expect("the producer answers");
            let open = |state: &str| state != "done" && state != "failed" && state != "cancelled";
            let states = transfers
                .iter()
                .map(|transfer| transfer["state"].as_str().unwrap());
            states.filter(|state| open(state)).count()
        };
        until("all transfers have ended", DELIVERY_DEADLINE, || {
            unfinished() == 0
        });
        self.no_accepted_file_failed();
        for consumer in self.consumers() {
            until("nothing is left in staging", SOON, || {
                staged(consumer).is_empty()
            });
        }
        let spool = producer.data_dir().join("spool");
        until("nothing is left in the spool", SOON, || {
            files_in(&spool).is_empty()
        });
        let mut ledger = self.ledger.lock().unwrap();
        ledger.check_copies();
        self.check_sources(&ledger);
    }

    fn no_accepted_file_failed(&self) {
        let transfers = self.producer().transfers().expect("the producer answers");
        let ledger = self.ledger.lock().unwrap();
        for transfer in transfers
            .iter()
            .filter(|transfer| transfer["state"] == "failed")
        {
            let name = base(transfer["name"].as_str().unwrap());
            let accepted = ledger
                .handed
                .get(name)
                .is_some_and(|handed| handed.is_accepted);
            assert!(!accepted, "accepted, and failed: {transfer}");
            println!("failed, never accepted: {}", transfer["error"]);
        }
    }
}

fn staged(consumer: &Machine) -> Vec<String> {
    let staging = fleet::FEEDS.map(|feed| fleet::inbox(&consumer.disk, feed).join(".consign"));
    let names = staging
        .iter()
        .flat_map(|staging| std::fs::read_dir(staging).unwrap());
    names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "marker")
        .collect()
}
