//! Disks that lie: a sync, or a write, that says that it was done and was not. Nobody can survive
//! that, so what is asserted is that it is found. Files have other bytes, or are missing, only where
//! the agent, `consign doctor --read` or `consign audit --read` says so.
//!
//! A lying sync shows when power is lost, so that follows. A lying write shows at once.
//!
//! One loss nobody can name: a producer's log whose last batches were all lied about ends earlier,
//! as if they had never been. So files that were accepted after the first such lie may be gone.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use crate::fleet::{self, FEEDS, REPLICAS};
use crate::image::{Cut, Kind, Scratch};
use crate::isolated::{amount, isolated};
use crate::ledger::{Ledger, base};
use crate::load;
use crate::machine::{Machine, files_in};
use crate::rng::Rng;
use crate::tracer::{self, calls, strace};
use crate::waiting::{SOON, comes};
use said::{Said, doctor};

mod said;

const NAMES: [&str; 3] = ["prod-1", "cons-1", "cons-2"];
/// Whose disk lies: one of each role.
const TARGETS: [usize; 2] = [0, 1];
const DISK_BYTES: u64 = 512 << 20;
const SYNCS: &str = "fsync,fdatasync,syncfs,sync_file_range";
/// Space of the log that no record is in yet.
const RESERVE: [&str; 2] = ["log/spare>", "log/refuge>"];
/// Numbers that nearly every thread comes to.
const FIRST: u64 = 2;
const KINDS: [Kind; 2] = [Kind::Ext4, Kind::Xfs];
const CUTS: [Cut; 2] = [Cut::DropsAll, Cut::KeepsMetadata];
/// What is waited for, where it may never come.
const SETTLING: Duration = Duration::from_secs(3);
const FILES: [(&str, usize); 6] = [
    ("put", 2_000),
    ("removed", 300_000),
    ("archived", 1_000),
    ("kept", 1_500_000),
    ("watched", 10_000),
    ("staying", 400_000),
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Lie {
    /// One sync of each thread.
    Sync(u64),
    /// All syncs of each thread from this one on.
    SyncsFrom(u64),
    /// One write of each thread, which says that it wrote so many bytes.
    Write(u64, u64),
}

#[derive(Debug, Clone, Copy)]
struct Case {
    target: usize,
    lie: Lie,
    kind: Kind,
    cut: Cut,
}

/// What became of a lie.
#[derive(Debug, Default)]
struct Counts {
    cases: u64,
    /// It happened.
    told: u64,
    /// Something was wrong afterwards, and the tools named all of it.
    named: u64,
    /// The agent itself refused to go on.
    refused: u64,
    /// Files of the one exception.
    silent_files: u64,
}

#[test]
fn what_a_lying_disk_has_lost_is_named() {
    let test = "lies::what_a_lying_disk_has_lost_is_named";
    let tools = ["strace", "xfs_io", "mkfs.ext4", "mkfs.xfs"];
    isolated(test, &tools, || {
        let (seed, most) = (amount("FAULT_SEED", 1), amount("LIE_CASES", 16));
        let mut rng = Rng::new(seed);
        let strata = strata(&mut rng);
        let all: usize = strata.iter().map(Vec::len).sum();
        let cases = tracer::spread(strata, usize::try_from(most).unwrap(), &mut rng);
        println!("FAULT_SEED={seed}: {} of {all} lies", cases.len());
        let began = Instant::now();
        let (mut counts, mut wrong) = (Counts::default(), Vec::new());
        for case in &cases {
            let bench = Bench::new(case.kind);
            let found = bench.run(*case, &mut counts);
            println!("{case:?}: {counts:?}");
            wrong.extend(found);
        }
        println!("{counts:?} in {:?}", began.elapsed());
        assert!(wrong.is_empty(), "{wrong:#?}");
        // A thread may make fewer calls this time, and a write may have another length.
        assert!(counts.told * 3 > counts.cases, "most lies were never told");
    });
}

/// All lies to each role, by kind, on either filesystem in turn.
fn strata(rng: &mut Rng) -> Vec<Vec<Case>> {
    let mut strata = Vec::new();
    for target in TARGETS {
        let trace = Bench::new(Kind::Ext4).traced(target);
        let most = tracer::most(&trace);
        println!("{} makes at most, in one thread: {most:?}", NAMES[target]);
        let syncs = SYNCS.split(',').filter_map(|call| most.get(call)).max();
        let syncs = 1..=syncs.copied().unwrap_or_default();
        let late = syncs.filter(|&number| number > FIRST);
        let lies: [Vec<Lie>; 4] = [
            late.clone().map(Lie::Sync).collect(),
            late.map(Lie::SyncsFrom).collect(),
            writes(&trace, false),
            writes(&trace, true),
        ];
        let mut case = |lie| Case {
            target,
            lie,
            kind: *rng.pick(&KINDS),
            cut: *rng.pick(&CUTS),
        };
        strata.extend(lies.map(|lies| lies.into_iter().map(&mut case).collect()));
        strata.push(lies_from_the_first_on(target));
    }
    strata
}

/// Few threads sync often, so only these lose all that a disk can lose.
fn lies_from_the_first_on(target: usize) -> Vec<Case> {
    let mut cases = Vec::new();
    for number in 1..=FIRST {
        for (kind, cut) in KINDS.iter().flat_map(|kind| CUTS.map(|cut| (*kind, cut))) {
            let case = |lie| Case {
                target,
                lie,
                kind,
                cut,
            };
            cases.extend([Lie::Sync(number), Lie::SyncsFrom(number)].map(case));
        }
    }
    cases
}

fn tracing() -> String {
    format!("trace={SYNCS},pwrite64")
}

/// A lie for each write: its number in its thread, and what it was asked to write. Most writes only
/// make space that is set aside, so these are counted apart.
fn writes(trace: &str, of_reserve: bool) -> Vec<Lie> {
    let mut made = BTreeMap::<&str, u64>::new();
    let mut lies = BTreeSet::new();
    for call in calls(trace).filter(|call| call.name == "pwrite64") {
        let number = made.entry(call.thread).or_default();
        *number += 1;
        let is_reserve = RESERVE.iter().any(|name| call.line.contains(name));
        if is_reserve == of_reserve {
            lies.extend(call.asked().map(|bytes| Lie::Write(*number, bytes)));
        }
    }
    lies.into_iter().collect()
}

struct Bench {
    machines: Vec<Machine>,
    ledger: Mutex<Ledger>,
    /// When each file was accepted.
    accepted: Vec<(String, SystemTime)>,
    trace: PathBuf,
    // Last, so that it is unmounted last.
    _scratch: Scratch,
}

impl Bench {
    fn new(kind: Kind) -> Self {
        let scratch = Scratch::new();
        Self {
            machines: fleet::machines(scratch.path(), &NAMES, kind, DISK_BYTES),
            ledger: Mutex::default(),
            accepted: Vec::new(),
            trace: scratch.path().join("trace"),
            _scratch: scratch,
        }
    }

    /// A run without lies.
    fn traced(mut self, target: usize) -> String {
        self.deliver(target, &["-e", &tracing()]);
        fs::read_to_string(&self.trace).unwrap()
    }

    /// Carries files while the target runs below strace.
    fn deliver(&mut self, target: usize, injection: &[&str]) {
        for (at, machine) in self.machines.iter().enumerate() {
            if at == target {
                let options = [&["-ttt"], injection].concat();
                machine.spawn_under(&strace(&self.trace, &options));
            } else {
                machine.spawn();
            }
        }
        let (machines, ledger) = (&self.machines, &self.ledger);
        let settled = |machine: &Machine| machine.ended().is_some() || machine.is_ready();
        comes(SOON, || machines.iter().all(settled));
        for (number, (feed, size)) in (1..).zip(FILES) {
            let name = format!("{number:06}");
            if load::hand(&machines[0], ledger, &name, feed, size, number) {
                self.accepted.push((name, SystemTime::now()));
            }
        }
        comes(SETTLING, || {
            machines[target].ended().is_some() || self.lacking().is_empty()
        });
    }

    /// Tells a lie and looks for what it did. Returns what is wrong and was not named.
    fn run(mut self, case: Case, counts: &mut Counts) -> Vec<String> {
        counts.cases += 1;
        let inject = match case.lie {
            Lie::Sync(number) => format!("inject={SYNCS}:retval=0:when={number}"),
            Lie::SyncsFrom(number) => format!("inject={SYNCS}:retval=0:when={number}+"),
            Lie::Write(number, bytes) => format!("inject=pwrite64:retval={bytes}:when={number}"),
        };
        self.deliver(case.target, &["-e", &tracing(), "-e", &inject]);
        let trace = fs::read_to_string(&self.trace).unwrap_or_default();
        let lies: Vec<_> = calls(&trace).filter(|call| call.is_injected()).collect();
        // No kernel writes more than it was asked to.
        let absurd = |call: &tracer::Call<'_>| call.asked() < call.answer();
        if lies.is_empty() || (matches!(case.lie, Lie::Write(..)) && lies.iter().any(absurd)) {
            return Vec::new();
        }
        counts.told += 1;
        let first = lies.iter().filter_map(|call| call.at()).min();
        let said = self.come_back(case);
        let wrong = self.judge(case, first, &said, counts);
        wrong
            .iter()
            .for_each(|text| eprintln!("WRONG {case:?}: {text}"));
        let tell = |text| format!("{case:?}: {text}; {lies:?}; said: {}", said.all);
        wrong.into_iter().map(tell).collect()
    }

    /// The end of the target with what was lied about, and its next start. Returns what is said.
    fn come_back(&self, case: Case) -> Said {
        let target = &self.machines[case.target];
        if !matches!(case.lie, Lie::Write(..)) {
            target.lose_power(case.cut);
            target.kill();
            target.unmount();
            target.mount();
        }
        target.kill();
        let doctor = doctor(target);
        let log = target.log().len();
        target.spawn();
        comes(SOON, || {
            target.ended().is_some() || target.is_ready() || target.status().contains("damaged")
        });
        let (ended, ready, status) = (target.ended(), target.is_ready(), target.status());
        let settles = || {
            let transfers = self.machines[0].transfers().unwrap_or_default();
            let open = |transfer: &&serde_json::Value| transfer["state"] != "done";
            self.lacking().is_empty() && transfers.iter().filter(open).count() == 0
        };
        comes(SETTLING, settles);
        let (_, audit, why) = self.machines[0].ask(&["audit", "--read", "--json"]);
        let transfers = self.machines[0].ask(&["transfers", "--json"]).1;
        let log = target.log()[log..].to_owned();
        let problem = |line: &&str| !line.contains("\"sound\"");
        let doctored = doctor.lines().filter(problem).collect::<Vec<_>>();
        let all = format!("{doctored:#?}\n{audit}\n{why}\n{status}\n{log}");
        Said {
            panicked: log.contains("panicked"),
            refused: ended.is_some() || !(ready && target.is_ready()),
            hints: log.contains("hint: ") || status.contains("hint"),
            doctor,
            audit,
            transfers,
            log,
            all,
        }
    }
}

/// The name that a file was handed over with: a second copy has its transfer's id before the end.
fn handed_name(path: &std::path::Path) -> String {
    let name = base(path.to_str().unwrap());
    name.split('.').next().unwrap().to_owned()
}

impl Bench {
    /// Every file that is shown, with its consumer, and whether it is right.
    fn shown(&self) -> Vec<(String, &str, bool)> {
        let ledger = self.ledger.lock().unwrap();
        let mut shown = Vec::new();
        for consumer in &self.machines[1..] {
            for feed in FEEDS {
                for path in files_in(&fleet::inbox(&consumer.disk, feed)) {
                    let name = handed_name(&path);
                    let bytes = fs::read(&path).unwrap_or_default();
                    let right = ledger.handed.get(&name).is_some_and(|handed| {
                        handed.feed == feed && handed.digest == blake3::hash(&bytes)
                    });
                    shown.push((name, &*consumer.name, right));
                }
            }
        }
        shown
    }

    /// Accepted files that are not whole on all of their consumers.
    fn lacking(&self) -> Vec<String> {
        let right: BTreeSet<_> = self
            .shown()
            .into_iter()
            .filter_map(|(name, consumer, right)| right.then_some((name, consumer)))
            .collect();
        let copies = |name: &str| right.iter().filter(|(known, _)| known == name).count();
        let names = self.accepted.iter().map(|(name, _)| name);
        names
            .filter(|name| copies(name) < REPLICAS)
            .cloned()
            .collect()
    }

    /// Everything that is wrong must be named, but for what the module exempts.
    fn judge(
        &self,
        case: Case,
        first: Option<SystemTime>,
        said: &Said,
        counts: &mut Counts,
    ) -> Vec<String> {
        let mut wrong = Vec::new();
        counts.refused += u64::from(said.refused);
        if said.panicked {
            wrong.push("it panics".to_owned());
        }
        if said.refused && !said.hints {
            wrong.push("it does not go on, and gives no hint".to_owned());
        }
        let mut named = false;
        for (name, consumer, right) in self.shown() {
            named |= !right;
            if !right && !said.names(&name) {
                wrong.push(format!(
                    "{consumer} shows {name} with other bytes, and nobody says so"
                ));
            }
        }
        for name in self.lacking() {
            named = true;
            if said.names(&name) {
                continue;
            }
            let accepted = self.accepted.iter().find(|(known, _)| *known == name);
            let after_a_lie = first.is_some_and(|at| accepted.unwrap().1 > at);
            let is_exempt =
                case.target == 0 && matches!(case.lie, Lie::SyncsFrom(_)) && after_a_lie;
            match is_exempt {
                true => counts.silent_files += 1,
                false => wrong.push(format!("{name} is lost, and nobody says so")),
            }
        }
        counts.named += u64::from(named && wrong.is_empty());
        wrong
    }
}
