//! Links that fail between real agents, each in a network of its own behind a bridge: cables that
//! are pulled, packets that vanish in one direction, loss, flapping, and machines that stand still.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::bridge::{self, in_its_network};
use crate::fleet::{self, Addresses};
use crate::image::Scratch;
use crate::isolated::{amount, isolated};
use crate::ledger::Ledger;
use crate::load;
use crate::machine::Machine;
use crate::rng::Rng;
use crate::waiting::{comes, until};

const NAMES: [&str; 4] = ["prod-1", "cons-1", "cons-2", "cons-3"];
const FILES_PER_FAULT: u64 = 12;
const LONG_BYTES: usize = 64 << 20;
/// How long a fault lasts at most, in ms; longer than an `Open` may stay unanswered.
const FAULT_MS: u64 = 6_000;
/// Longer than silence ends a connection, and than a member of a chain may make no progress.
const PAUSE: Duration = Duration::from_secs(33);
/// Longer than any deadline but an audit's (`net/bounds.rs`): an idle link closes after 60 s.
const LONG_PAUSE: Duration = Duration::from_secs(63);
/// After the last fault: the longest silence, the longest delay, and the bytes.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(90);

#[test]
fn files_arrive_once_over_links_that_fail() {
    let test = "network::files_arrive_once_over_links_that_fail";
    isolated(test, &["ip", "nft"], || {
        let (seed, faults) = (amount("FAULT_SEED", 1), amount("LINK_FAULTS", 10));
        println!("FAULT_SEED={seed}: {faults} faults of links");
        let mut bench = Bench::new(seed);
        for _ in 0..faults {
            bench.one_fault();
        }
        bench.all_arrives();
    });
}

#[test]
fn machine_that_stood_still_loses_and_repeats_nothing() {
    let test = "network::machine_that_stood_still_loses_and_repeats_nothing";
    isolated(test, &["ip", "nft"], || {
        let mut bench = Bench::new(amount("FAULT_SEED", 1));
        for victim in [1, 0] {
            bench.stand_still(&[victim], PAUSE);
        }
    });
}

#[test]
fn producer_and_consumer_that_stood_still_at_once_lose_and_repeat_nothing() {
    let test = "network::producer_and_consumer_that_stood_still_at_once_lose_and_repeat_nothing";
    isolated(test, &["ip", "nft"], || {
        let mut bench = Bench::new(amount("FAULT_SEED", 1));
        bench.stand_still(&[0, 1], LONG_PAUSE);
    });
}

#[test]
fn machines_that_all_stood_still_at_once_lose_and_repeat_nothing() {
    let test = "network::machines_that_all_stood_still_at_once_lose_and_repeat_nothing";
    isolated(test, &["ip", "nft"], || {
        let mut bench = Bench::new(amount("FAULT_SEED", 1));
        bench.stand_still(&[0, 1, 2, 3], LONG_PAUSE);
    });
}

struct Bench {
    machines: Vec<Machine>,
    ledger: Mutex<Ledger>,
    rng: Rng,
    next: u64,
    _scratch: Scratch,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let scratch = Scratch::new();
        bridge::build();
        let addresses = Addresses::given(&NAMES, |at| bridge::peer_addr(at + 1));
        let machine = |(at, name): (usize, &&str)| {
            bridge::plug_in(name, at + 1);
            let machine = Machine::new(scratch.path(), name);
            fleet::prepare(&machine.disk);
            let tls = "[tls]\nplaintext = true\n";
            fleet::configure(&machine, addresses.of(name), &addresses.members(), tls);
            machine.spawn_under(&bridge::under(name));
            machine
        };
        let machines: Vec<_> = NAMES.iter().enumerate().map(machine).collect();
        machines.iter().for_each(Machine::wait_until_ready);
        Self {
            machines,
            ledger: Mutex::default(),
            rng: Rng::new(seed),
            next: 0,
            _scratch: scratch,
        }
    }

    fn hand_some(&mut self) {
        for _ in 0..FILES_PER_FAULT {
            self.next += 1;
            load::hand_one(&self.machines[0], &self.ledger, self.next, &mut self.rng);
        }
    }

    /// Stops these in the middle of their work, for so long.
    fn stand_still(&mut self, victims: &[usize], pause: Duration) {
        self.hand_some();
        self.hand_long();
        for &victim in victims {
            self.machines[victim].signal(Signal::STOP);
        }
        self.take();
        let waiting = self.ledger.lock().unwrap().missing().len();
        println!("{waiting} files are on their way while {victims:?} stand still");
        if !victims.contains(&0) {
            self.hand_some();
        }
        // It is the fault: nothing can be seen that says that every deadline has passed.
        std::thread::sleep(pause);
        for &victim in victims {
            self.machines[victim].signal(Signal::CONT);
        }
        self.all_arrives();
    }

    /// One that takes long enough to be cut off in its middle.
    fn hand_long(&mut self) {
        self.next += 1;
        let name = format!("{:06}", self.next);
        let producer = &self.machines[0];
        load::hand(
            producer,
            &self.ledger,
            &name,
            "removed",
            LONG_BYTES,
            self.next,
        );
    }

    fn one_fault(&mut self) {
        let victim = *self.rng.pick(&NAMES);
        let kind = self.rng.below(4);
        self.hand_some();
        match kind {
            0 => bridge::plug(victim, false),
            1 => {
                let direction = *self.rng.pick(&["from", "to"]);
                drop_packets(victim, direction, "");
            }
            2 => drop_packets(victim, "from", "numgen random mod 100 < 25"),
            _ => {
                for _ in 0..5 {
                    bridge::plug(victim, false);
                    self.lasts(300);
                    bridge::plug(victim, true);
                    self.lasts(700);
                }
            }
        }
        self.lasts(FAULT_MS);
        self.take();
        bridge::plug(victim, true);
        in_its_network(victim, &["nft", "flush", "ruleset"]);
    }

    /// The length of a fault is part of it; nothing is waited for.
    fn lasts(&mut self, most_ms: u64) {
        std::thread::sleep(Duration::from_millis(self.rng.below(most_ms)));
    }

    fn take(&self) {
        let mut ledger = self.ledger.lock().unwrap();
        for consumer in &self.machines[1..] {
            ledger.take(&consumer.name, &consumer.disk, &mut Rng::new(0));
        }
    }

    #[track_caller]
    fn all_arrives(&self) {
        let began = Instant::now();
        let delivered = comes(DELIVERY_DEADLINE, || {
            self.take();
            self.ledger.lock().unwrap().missing().is_empty()
        });
        println!("all there after {:?}", began.elapsed());
        let mut ledger = self.ledger.lock().unwrap();
        let status = self.machines[0].status();
        assert!(delivered, "{:#?}\n{status}", ledger.missing());
        ledger.check_copies();
        assert!(ledger.violations.is_empty(), "{:#?}", ledger.violations);
        drop(ledger);
        until("all transfers are done", DELIVERY_DEADLINE, || {
            let transfers = self.machines[0].transfers().unwrap_or_default();
            transfers.iter().all(|transfer| transfer["state"] == "done")
        });
    }
}

fn drop_packets(name: &str, direction: &str, which: &str) {
    let hook = if direction == "from" {
        "output"
    } else {
        "input"
    };
    let chain = format!("{{ type filter hook {hook} priority 0; }}");
    in_its_network(name, &["nft", "add", "table", "inet", "faults"]);
    in_its_network(
        name,
        &["nft", "add", "chain", "inet", "faults", "drops", &chain],
    );
    let device = if direction == "from" { "oif" } else { "iif" };
    let rule = format!("{device} != lo {which} drop");
    in_its_network(
        name,
        &["nft", "add", "rule", "inet", "faults", "drops", &rule],
    );
}
