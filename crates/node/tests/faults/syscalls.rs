//! System calls that fail, or are the last one of a process: strace's injection on the unmodified
//! binary, swept over the numbers of the calls while one producer carries small and large files to
//! two consumers. strace counts for each thread, so a number is hit once in every thread that comes to
//! it; which thread cannot be chosen. Lies are told in `lies`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use crate::fleet::{self, Addresses};
use crate::image::{Image, Kind, Scratch};
use crate::isolated::{amount, isolated};
use crate::ledger::Ledger;
use crate::load;
use crate::machine::Machine;
use crate::rng::Rng;
use crate::tracer::{self, spread, strace};
use crate::waiting::{SOON, comes};

const NAMES: [&str; 3] = ["prod-1", "cons-1", "cons-2"];
/// Who gets the faults: one of each role.
const TARGETS: [&str; 2] = ["prod-1", "cons-1"];
const DISK_BYTES: u64 = 2 << 30;
/// How long a node may go on with its fault before it is restarted.
const UNDER_FAULT: Duration = Duration::from_secs(4);

const SYNCS: [&str; 3] = ["fsync", "fdatasync", "syncfs"];
const CHANGES: [&str; 12] = [
    "renameat2",
    "pwrite64",
    "pwritev",
    "fallocate",
    "openat",
    "openat2",
    "unlinkat",
    "linkat",
    "ftruncate",
    "sync_file_range",
    "mkdirat",
    // Also what wakes threads up, which cannot fail: it is only killed at.
    "write",
];
const FAULTS: [&str; 4] = ["signal=KILL", "error=EIO", "error=ENOSPC", "error=EDQUOT"];
/// Calls that write; one that is cut short says that it wrote nothing, which is true.
const WRITES: [&str; 2] = ["pwrite64", "pwritev"];
const SHORT: &str = "retval=0";
/// Files whose sync may fail without ending the node: they hold no promise.
const WITHOUT_PROMISE: [&str; 1] = ["catalogue"];
/// Space set aside that no record is in yet: where there is none left, it is done without.
const RESERVE: [&str; 2] = ["log/spare>", "log/refuge>"];

#[derive(Debug, Clone, Copy)]
struct Case {
    target: usize,
    call: &'static str,
    fault: &'static str,
    number: u64,
}

#[test]
fn no_failing_system_call_loses_or_repeats_a_file() {
    let test = "syscalls::no_failing_system_call_loses_or_repeats_a_file";
    isolated(test, &["strace"], sweep);
}

fn sweep() {
    let (seed, most) = (amount("FAULT_SEED", 1), amount("SYSCALL_CASES", 60));
    let mut bench = Bench::new();
    let strata = bench.strata();
    let (kinds, all) = (strata.len(), strata.iter().map(Vec::len).sum::<usize>());
    let cases = spread(strata, usize::try_from(most).unwrap(), &mut Rng::new(seed));
    println!(
        "FAULT_SEED={seed}: {} of {all} cases ({:.1} %), of {kinds} kinds",
        cases.len(),
        100.0 * cases.len() as f64 / all as f64
    );
    let began = Instant::now();
    let mut hits = 0;
    for case in &cases {
        hits += u64::from(bench.run(*case));
    }
    let ledger = bench.ledger.into_inner().unwrap();
    println!(
        "{} cases, {hits} injected, {} files accepted, in {:?}",
        cases.len(),
        ledger.accepted_files(),
        began.elapsed()
    );
    let wrong = [ledger.violations, bench.wrong].concat();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(hits * 4 > cases.len() as u64, "most faults never happened");
}

struct Bench {
    machines: Vec<Machine>,
    ledger: Mutex<Ledger>,
    wrong: Vec<String>,
    number: u64,
    trace: PathBuf,
    _image: Image,
    _scratch: Scratch,
}

impl Bench {
    fn new() -> Self {
        let scratch = Scratch::new();
        let dir = scratch.path().join("mounted");
        let image = scratch.path().join("image");
        let image = Image::new(Kind::Ext4, &image, &dir, DISK_BYTES, &[]);
        let addresses = Addresses::on_loopback(&NAMES);
        let machine = |name: &&str| {
            let machine = Machine::new(&dir, name);
            fleet::prepare(&machine.disk);
            fleet::configure(&machine, addresses.of(name), &addresses.members(), "");
            machine
        };
        let machines: Vec<_> = NAMES.iter().map(machine).collect();
        machines.iter().for_each(Machine::spawn);
        machines.iter().for_each(Machine::wait_until_ready);
        Self {
            machines,
            ledger: Mutex::default(),
            wrong: Vec::new(),
            number: 0,
            trace: scratch.path().join("trace"),
            _image: image,
            _scratch: scratch,
        }
    }

    /// Every number of every call of a run without faults, with every fault: by role, call and fault.
    fn strata(&mut self) -> Vec<Vec<Case>> {
        let mut strata = Vec::new();
        for (target, name) in TARGETS.iter().enumerate() {
            let counts = self.count(target);
            println!("{name} makes at most, in one thread: {counts:?}");
            for call in SYNCS.iter().chain(&CHANGES).copied() {
                let numbers = counts.get(call).copied().unwrap_or_default();
                let faults = match call {
                    "write" => &FAULTS[..1],
                    _ => &FAULTS[..],
                };
                let short = WRITES.contains(&call).then_some(&SHORT);
                for fault in faults.iter().chain(short) {
                    let case = |number| Case {
                        target,
                        call,
                        fault,
                        number,
                    };
                    strata.push((1..=numbers).map(case).collect::<Vec<_>>());
                }
            }
        }
        strata.retain(|cases| !cases.is_empty());
        strata
    }

    fn count(&mut self, target: usize) -> BTreeMap<String, u64> {
        let calls = SYNCS.iter().chain(&CHANGES).copied().collect::<Vec<_>>();
        self.under(target, &["-e", &format!("trace={}", calls.join(","))]);
        self.machine(target).start();
        tracer::most(&fs::read_to_string(&self.trace).unwrap())
    }

    /// Carries files while the target runs below strace, then restarts it without. Returns how it
    /// ended by itself, if it did.
    fn under(&mut self, target: usize, injection: &[&str]) -> Option<std::process::ExitStatus> {
        let machine = self.machine(target);
        machine.kill();
        let _ = fs::remove_file(&self.trace);
        machine.spawn_under(&strace(&self.trace, injection));
        comes(UNDER_FAULT, || {
            machine.ended().is_some() || machine.is_ready()
        });
        for (feed, size) in [
            ("put", 2_000),
            ("removed", 300_000),
            ("archived", 1_000),
            ("kept", 1_500_000),
            ("watched", 10_000),
        ] {
            self.number += 1;
            let name = format!("{:06}", self.number);
            load::hand(
                &self.machines[0],
                &self.ledger,
                &name,
                feed,
                size,
                self.number,
            );
        }
        let machine = self.machine(target);
        comes(UNDER_FAULT, || {
            self.take();
            machine.ended().is_some() || self.missing().is_empty()
        });
        let trace = fs::read_to_string(&self.trace).unwrap_or_default();
        if SYNCS.iter().any(|call| is_injected(&trace, call)) {
            // What was delivered needed no more than what was synced before. It ends all the same.
            comes(UNDER_FAULT, || machine.ended().is_some());
        }
        let ended = machine.ended();
        machine.kill();
        ended
    }

    fn machine(&self, target: usize) -> &Machine {
        let name = TARGETS[target];
        let found = self.machines.iter().find(|machine| machine.name == name);
        found.expect(name)
    }

    fn missing(&self) -> Vec<String> {
        self.ledger.lock().unwrap().missing()
    }

    fn take(&self) {
        // Nothing loses power here, so what is removed stays so.
        let mut rng = Rng::new(0);
        let mut ledger = self.ledger.lock().unwrap();
        for consumer in &self.machines[1..] {
            ledger.take(&consumer.name, &consumer.disk, &mut rng);
        }
    }

    /// Returns whether the fault happened.
    fn run(&mut self, case: Case) -> bool {
        let before = self.machine(case.target).log().len();
        let Case {
            call,
            fault,
            number,
            ..
        } = case;
        let inject = format!("inject={call}:{fault}:when={number}");
        let trace = format!("trace={call}");
        let ended = self.under(case.target, &["-e", &trace, "-e", &inject]);
        let trace = fs::read_to_string(&self.trace).unwrap_or_default();
        let injected: Vec<_> = trace
            .lines()
            .filter(|line| line.contains("INJECTED"))
            .collect();
        let is_kill = fault.starts_with("signal");
        let hit = !injected.is_empty() || (is_kill && ended.is_some());
        let log = self.machine(case.target).log();
        if !is_kill {
            self.judge_end(case, &injected, ended.is_some(), &log[before..]);
        }
        let machine = self.machine(case.target);
        machine.start();
        let arrives = || {
            self.take();
            self.missing().is_empty()
        };
        let mut delivered = comes(UNDER_FAULT, arrives);
        if !delivered {
            // A source that could not be read fails its transfer, which a person tries again.
            let _ = self.machines[0].ask(&["retry", "--failed"]);
            delivered = comes(SOON, arrives);
        }
        if !delivered {
            let missing = self.missing();
            let text = format!("{case:?}: {missing:?} {injected:?}\n{}", machine.log_tail());
            eprintln!("NOT DELIVERED {text}");
            self.wrong.push(text);
            // What follows is judged without them.
            self.ledger.lock().unwrap().give_up_missing();
        }
        hit
    }

    /// A failed sync ends the node, and whatever ends it says what to do.
    fn judge_end(&mut self, case: Case, injected: &[&str], ended: bool, log: &str) {
        let syncs = SYNCS.contains(&case.call);
        // The probe of a directory is not a promise either, and says that it could not be made.
        let of_probe = log.contains("was full at the start") && injected.len() == 1;
        let harmless = |line: &&str| holds_no_promise(line) || (is_no_space(line) && of_probe);
        let text = if syncs && !ended && !injected.iter().all(harmless) {
            "goes on after a failed sync"
        } else if ended && log.contains("consign: ") && !log.contains("hint: ") {
            "ends without a hint"
        } else if log.contains("panicked") {
            "panics"
        } else {
            return;
        };
        let text = format!("{case:?} {text}: {injected:?}\n{log}");
        eprintln!("WRONG {text}");
        self.wrong.push(text);
    }
}

fn is_injected(trace: &str, call: &str) -> bool {
    let lines = trace.lines();
    let of_call = |line: &&str| line.contains(call) && line.contains("(INJECTED)");
    lines.filter(of_call).any(|line| !holds_no_promise(line))
}

fn holds_no_promise(line: &str) -> bool {
    let names = |names: &[&str]| names.iter().any(|name| line.contains(name));
    names(&WITHOUT_PROMISE) || (is_no_space(line) && names(&RESERVE))
}

fn is_no_space(line: &str) -> bool {
    line.contains("ENOSPC") || line.contains("EDQUOT")
}
