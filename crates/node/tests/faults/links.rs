//! Links that are slow, break in the middle of a frame, or flip bits: real agents with a proxy in
//! front of each. TCP neither loses, doubles nor reorders bytes, so neither does the proxy.

use std::fs;
use std::net::TcpListener;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::fleet::{self, Addresses};
use crate::image::Scratch;
use crate::isolated::{amount, isolated};
use crate::ledger::Ledger;
use crate::load;
use crate::machine::Machine;
use crate::proxy::{Fault, Proxy};
use crate::rng::Rng;
use crate::waiting::{SOON, comes, until};

const NAMES: [&str; 3] = ["prod-1", "cons-1", "cons-2"];
const FILES_PER_FAULT: u64 = 8;
/// One of them is long enough to be in the middle of something.
const LONG_BYTES: usize = 24 << 20;
/// After a fault: the longest delay before a connection is made anew, and the bytes.
const DELIVERY_DEADLINE: Duration = Duration::from_secs(90);
/// What an honest link may take after all faults, as a multiple of what it took before them, and
/// beyond that. A link that stayed slow or waits for a connection takes several seconds more.
const SLOWER_MAX: u32 = 3;
const SLOWER_MAX_BY: Duration = Duration::from_secs(2);
/// How much more memory an agent may hold afterwards, in KiB; buffers are kept once made.
const GROWTH_KIB_MAX: u64 = 96 << 10;
/// A chunk that nobody wants any more is skipped without a look at it. A bit flipped in one of those
/// does no harm, and is not seen: another is flipped then.
const TRIES_MAX: usize = 5;
const FAULTS: [Fault; 7] = [
    Fault::Delay(5),
    Fault::Jitter(10),
    Fault::Trickle(4_000),
    Fault::Cut,
    Fault::Flip,
    Fault::FlipChunk,
    Fault::None,
];

#[test]
fn files_arrive_once_and_whole_over_links_that_delay_cut_and_corrupt() {
    let test = "links::files_arrive_once_and_whole_over_links_that_delay_cut_and_corrupt";
    isolated(test, &[], || {
        let seed = amount("FAULT_SEED", 1);
        let mut bench = Bench::new(seed);
        // The first round makes the connections.
        let honest = bench.round().min(bench.round());
        let before = bench.footprint();
        for round in 0..amount("LINK_ROUNDS", 1) {
            for (at, name) in NAMES.iter().enumerate().skip(1) {
                for fault in FAULTS {
                    println!("FAULT_SEED={seed}: round {round}, {fault:?} before {name}");
                    let is_seen = (0..TRIES_MAX).any(|_| bench.one_fault(at, fault));
                    assert!(is_seen, "nobody saw {fault:?} before {name}");
                }
            }
        }
        bench.nothing_leaks(&before);
        bench.is_as_fast_as(honest);
    });
}

struct Bench {
    machines: Vec<Machine>,
    proxies: Vec<Arc<Proxy>>,
    ledger: Mutex<Ledger>,
    rng: Rng,
    next: u64,
    _scratch: Scratch,
}

/// What an agent holds of the machine.
#[derive(Debug)]
struct Footprint {
    files: usize,
    kib: u64,
}

impl Bench {
    /// Everybody is reached through a proxy, and listens behind it.
    fn new(seed: u64) -> Self {
        let scratch = Scratch::new();
        let behind = Addresses::on_loopback(&NAMES);
        let listeners = NAMES.map(|_| TcpListener::bind("127.0.0.1:0").unwrap());
        let known = Addresses::given(&NAMES, |at| listeners[at].local_addr().unwrap().to_string());
        let machines: Vec<_> = NAMES
            .iter()
            .map(|name| {
                let machine = Machine::new(scratch.path(), name);
                fleet::prepare(&machine.disk);
                fleet::configure(&machine, behind.of(name), &known.members(), "");
                machine
            })
            .collect();
        let proxies = listeners.into_iter().zip(NAMES);
        let proxies = proxies
            .map(|(listener, name)| Proxy::start(listener, behind.of(name).to_owned(), seed))
            .collect();
        machines.iter().for_each(Machine::spawn);
        machines.iter().for_each(Machine::wait_until_ready);
        Self {
            machines,
            proxies,
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
        self.hand_long();
    }

    fn hand_long(&mut self) {
        self.next += 1;
        let (name, seed) = (format!("{:06}", self.next), self.rng.next());
        let producer = &self.machines[0];
        assert!(load::hand(
            producer,
            &self.ledger,
            &name,
            "removed",
            LONG_BYTES,
            seed
        ));
    }

    /// Some files; returns how long they took.
    fn round(&mut self) -> Duration {
        let began = Instant::now();
        self.hand_some();
        self.all_arrives();
        began.elapsed()
    }

    /// Returns false for a flipped bit that nobody saw; what arrived is right all the same.
    fn one_fault(&mut self, at: usize, fault: Fault) -> bool {
        let proxy = Arc::clone(&self.proxies[at]);
        let (done, before) = (proxy.done.load(Ordering::SeqCst), self.logs());
        proxy.set(fault);
        match fault {
            Fault::FlipChunk => self.hand_long(),
            _ => self.hand_some(),
        }
        match fault {
            Fault::Cut | Fault::Flip | Fault::FlipChunk => {
                let happens = || proxy.done.load(Ordering::SeqCst) > done;
                until("the fault happens", SOON, happens);
            }
            Fault::None | Fault::Delay(_) | Fault::Jitter(_) | Fault::Trickle(_) => {}
        }
        if fault == Fault::Cut {
            proxy.set(Fault::None);
        }
        self.all_arrives();
        proxy.set(Fault::None);
        !matches!(fault, Fault::Flip | Fault::FlipChunk) || self.is_blamed(at, &before)
    }

    fn logs(&self) -> Vec<usize> {
        let lengths = self.machines.iter().map(|machine| machine.log().len());
        lengths.collect()
    }

    /// Whoever received the wrong bit says so and of which link, and nobody blames another. Returns
    /// whether anybody says anything.
    fn is_blamed(&self, at: usize, before: &[usize]) -> bool {
        let name = NAMES[at];
        let said = |which: usize| self.machines[which].log()[before[which]..].to_owned();
        let damage = |text: &str| {
            let lines = text.lines().filter(|line| line.contains("damaged"));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        let own = damage(&said(at));
        let others: Vec<_> = (0..NAMES.len()).filter(|&which| which != at).collect();
        let all: Vec<_> = others
            .iter()
            .flat_map(|&which| damage(&said(which)))
            .collect();
        println!("{name} says {own:?}; the others {all:?}");
        // A bit of a message instead of a chunk ends the connection, and says that.
        let text = said(at) + &others.iter().map(|&which| said(which)).collect::<String>();
        let is_named = !own.is_empty() || text.contains(name);
        assert!(is_named || text.is_empty(), "nobody names {name}: {text}");
        // Of small files only the receiver tells; the sender sees its connection end.
        if own.iter().any(|line| line.contains("the chunk at")) {
            assert!(!all.is_empty(), "the sender says nothing of {own:?}");
        }
        let wrong: Vec<_> = own
            .iter()
            .chain(&all)
            .filter(|line| !line.contains(name))
            .collect();
        assert!(
            wrong.is_empty(),
            "damage before {name} is blamed elsewhere: {wrong:#?}"
        );
        is_named
    }

    fn take(&self) {
        let mut ledger = self.ledger.lock().unwrap();
        for consumer in &self.machines[1..] {
            ledger.take(&consumer.name, &consumer.disk, &mut Rng::new(0));
        }
    }

    #[track_caller]
    fn all_arrives(&self) {
        let delivered = comes(DELIVERY_DEADLINE, || {
            self.take();
            self.ledger.lock().unwrap().missing().is_empty()
        });
        let mut ledger = self.ledger.lock().unwrap();
        let status = self.machines[0].status();
        assert!(delivered, "{:#?}\n{status}", ledger.missing());
        ledger.check_copies();
        assert!(ledger.violations.is_empty(), "{:#?}", ledger.violations);
    }

    fn footprint(&self) -> Vec<Footprint> {
        let of = |machine: &Machine| {
            let proc = format!("/proc/{}", machine.pid());
            let status = fs::read_to_string(format!("{proc}/status")).unwrap();
            let resident = status.lines().find(|line| line.starts_with("VmRSS:"));
            let kib = resident.and_then(|line| line.split_whitespace().nth(1));
            Footprint {
                files: fs::read_dir(format!("{proc}/fd")).unwrap().count(),
                kib: kib.unwrap().parse().unwrap(),
            }
        };
        self.machines.iter().map(of).collect()
    }

    /// Connections that broke are closed, and what they held is given back.
    #[track_caller]
    fn nothing_leaks(&self, before: &[Footprint]) {
        let mut now = self.footprint();
        let settled = comes(SOON, || {
            now = self.footprint();
            let pairs = now.iter().zip(before);
            pairs.into_iter().all(|(now, before)| {
                // A log segment or two more are open, and a lane that was made on demand.
                now.files <= before.files + 8 && now.kib <= before.kib + GROWTH_KIB_MAX
            })
        });
        let open = self
            .proxies
            .iter()
            .map(|proxy| proxy.open.load(Ordering::SeqCst));
        println!(
            "before {before:?}, after {now:?}, connections {:?}",
            open.collect::<Vec<_>>()
        );
        assert!(settled, "before {before:?}, after {now:?}");
    }

    #[track_caller]
    fn is_as_fast_as(&mut self, honest: Duration) {
        // Noise of a busy machine is not a link that stayed slow: one of a few rounds is enough.
        let best = (0..3).map(|_| self.round()).min().unwrap();
        println!("{honest:?} before all faults, {best:?} after");
        assert!(
            best <= honest * SLOWER_MAX + SLOWER_MAX_BY,
            "{honest:?} before, {best:?} after"
        );
    }
}
