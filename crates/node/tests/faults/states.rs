//! Crash states at the level of blocks. A layer below the filesystem records every write and every
//! flush of a run; a state is all that was flushed, and a random half of what was not. In each, the
//! agents come up and keep what had been acknowledged by then.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::Instant;

use crate::fleet::{self, Addresses};
use crate::image::{Image, Kind, Scratch, tool};
use crate::isolated::{amount, isolated};
use crate::ledger::Ledger;
use crate::load;
use crate::machine::Machine;
use crate::rng::Rng;
use crate::waiting::{SOON, comes, until};

const NAMES: [&str; 3] = ["prod-1", "cons-1", "cons-2"];
const DISK_BYTES: u64 = 512 << 20;
/// Files of the recorded run.
const FILES: u64 = 60;
const SECTOR_BYTES: u64 = 512;
const IS_FLUSH: u64 = 1;
const IS_DISCARD: u64 = 4;

#[test]
fn acknowledged_files_survive_every_order_of_writes_on_ext4() {
    let test = "states::acknowledged_files_survive_every_order_of_writes_on_ext4";
    isolated(test, &["qemu-storage-daemon", "mkfs.ext4"], || {
        crash_states(Kind::Ext4);
    });
}

#[test]
fn acknowledged_files_survive_every_order_of_writes_on_xfs() {
    let test = "states::acknowledged_files_survive_every_order_of_writes_on_xfs";
    isolated(test, &["qemu-storage-daemon", "mkfs.xfs"], || {
        crash_states(Kind::Xfs);
    });
}

/// Looks at so many states of a run of agents with whatever is planted in them.
#[cfg(feature = "planted")]
pub(crate) fn states_planted(kind: Kind, states: u64) {
    let (seed, scratch) = (amount("FAULT_SEED", 1), Scratch::new());
    Run::record(kind, scratch.path(), seed).check(states, &mut Rng::new(seed));
}

fn crash_states(kind: Kind) {
    let (seed, states) = (amount("FAULT_SEED", 1), amount("CRASH_STATES", 25));
    println!(
        "FAULT_SEED={seed}: {states} crash states of {}",
        kind.name()
    );
    let began = Instant::now();
    let scratch = Scratch::new();
    let run = Run::record(kind, scratch.path(), seed);
    let flushes = run
        .entries
        .iter()
        .filter(|entry| entry.flags & IS_FLUSH != 0);
    println!(
        "{} files, {} writes, {} of them flushes, in {:?}",
        run.acknowledged.len(),
        run.entries.len(),
        flushes.count(),
        began.elapsed()
    );
    run.check(states, &mut Rng::new(seed));
    println!(
        "{states} states of {}, in {:?}",
        kind.name(),
        began.elapsed()
    );
}

/// One entry of the recorder's log, in the format of the kernel's dm-log-writes.
struct Entry {
    /// Where it begins on the disk, in bytes.
    at: u64,
    bytes: u64,
    flags: u64,
    /// Where its data is in the log.
    data: u64,
    /// Where it ends in the log: what was acknowledged when the log was longer came later.
    end: u64,
}

struct Run {
    kind: Kind,
    dir: PathBuf,
    log: File,
    entries: Vec<Entry>,
    machines: Vec<Machine>,
    ledger: Ledger,
    /// Name, and the log's length when it was accepted.
    acknowledged: Vec<(String, u64)>,
}

/// The recording layer, ended with the test.
struct Recorder(Child);

impl Drop for Recorder {
    fn drop(&mut self) {
        // Both only fail when it has ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Recorder {
    fn start(disk: &Path, log: &Path, at: &Path) -> Self {
        let block = |rest: String| ["--blockdev".to_owned(), rest];
        let file = |name: &str, path: &Path| {
            block(format!(
                "driver=file,node-name={name},filename={}",
                path.display()
            ))
        };
        fs::write(at, "").unwrap();
        let export = format!(
            "type=fuse,id=e,node-name=recorded,writable=on,mountpoint={}",
            at.display()
        );
        let recorded = "driver=blklogwrites,node-name=recorded,file=disk,log=log".to_owned();
        let child = Command::new("qemu-storage-daemon")
            .args(file("disk", disk))
            .args(file("log", log))
            .args(block(recorded))
            .args(["--export", &export])
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let recorder = Self(child);
        until("the recorder is there", SOON, || {
            fs::metadata(at).is_ok_and(|found| found.len() == DISK_BYTES)
        });
        recorder
    }
}

impl Run {
    /// Makes a filesystem, and records a run of a producer and two consumers on it.
    fn record(kind: Kind, dir: &Path, seed: u64) -> Self {
        let (base, work, log) = (dir.join("base"), dir.join("work"), dir.join("log"));
        let mounted = dir.join("mounted");
        drop(Image::new(kind, &base, &mounted, DISK_BYTES, &[]));
        fs::copy(&base, &work).unwrap();
        File::create(&log).unwrap();
        let recorder = Recorder::start(&work, &log, &dir.join("exported"));
        let image = Image::existing(kind, &dir.join("exported"), &mounted);
        let addresses = Addresses::on_loopback(&NAMES);
        let machine = |name: &&str| {
            // Config and log stay off the disk.
            let mut machine = Machine::new(dir, name);
            machine.disk = mounted.join(name);
            fleet::prepare(&machine.disk);
            fleet::configure(&machine, addresses.of(name), &addresses.members(), "");
            machine
        };
        let machines: Vec<_> = NAMES.iter().map(machine).collect();
        machines.iter().for_each(Machine::spawn);
        machines.iter().for_each(Machine::wait_until_ready);
        let (ledger, mut acknowledged) = (Mutex::new(Ledger::default()), Vec::new());
        let mut rng = Rng::new(seed);
        for number in 1..=FILES {
            let name = format!("{number:06}");
            load::hand_one(&machines[0], &ledger, number, &mut rng);
            if ledger.lock().unwrap().handed[&name].is_accepted {
                acknowledged.push((name, fs::metadata(&log).unwrap().len()));
            }
        }
        until("all transfers are done", SOON, || {
            let transfers = machines[0].transfers().unwrap_or_default();
            let done = transfers
                .iter()
                .filter(|transfer| transfer["state"] == "done");
            done.count() == acknowledged.len()
        });
        machines.iter().for_each(Machine::kill);
        drop(image);
        drop(recorder);
        let log = File::open(&log).unwrap();
        Self {
            kind,
            dir: dir.to_owned(),
            entries: entries(&log),
            log,
            machines,
            ledger: ledger.into_inner().unwrap(),
            acknowledged,
        }
    }

    /// Goes through the log once, and stops at so many random places.
    fn check(mut self, states: u64, rng: &mut Rng) {
        let all = self.entries.len() as u64;
        let mut places: Vec<_> = (0..states).map(|_| rng.below(all) as usize).collect();
        places.sort_unstable();
        let disk = self.dir.join("base");
        let disk = File::options().write(true).open(disk).unwrap();
        let (mut flushed, mut at) = (0, 0);
        for place in places {
            while at < place {
                if self.entries[at].flags & IS_FLUSH != 0 {
                    (flushed..=at).for_each(|done| self.apply(done, &disk));
                    flushed = at + 1;
                }
                at += 1;
            }
            println!("state {place}");
            self.check_state(flushed, place, rng);
        }
    }

    fn apply(&self, at: usize, disk: &File) {
        let entry = &self.entries[at];
        if entry.bytes == 0 {
            return;
        }
        let mut bytes = vec![0; usize::try_from(entry.bytes).unwrap()];
        // What was discarded may read as anything; these are zeros.
        if entry.flags & IS_DISCARD == 0 {
            self.log.read_exact_at(&mut bytes, entry.data).unwrap();
        }
        disk.write_all_at(&bytes, entry.at).unwrap();
    }

    fn check_state(&mut self, flushed: usize, place: usize, rng: &mut Rng) {
        let state = self.dir.join("state");
        let base = self.dir.join("base");
        let (from, to) = (base.to_str().unwrap(), state.to_str().unwrap());
        tool("cp", &["--sparse=always", from, to]);
        let disk = File::options().write(true).open(&state).unwrap();
        for pending in flushed..place {
            if rng.one_in(2) {
                self.apply(pending, &disk);
            }
        }
        drop(disk);
        let image = Image::existing(self.kind, &state, &self.dir.join("mounted"));
        let length = if place == 0 {
            0
        } else {
            self.entries[place - 1].end
        };
        let known = self.acknowledged.iter().filter(|(_, at)| *at <= length);
        let known: Vec<_> = known.map(|(name, _)| name.clone()).collect();
        // The directories of a machine are synced before its agent starts for the first time.
        let there = self
            .machines
            .iter()
            .filter(|machine| machine.disk.join("own").exists());
        if there.count() == self.machines.len() {
            self.recover(&known, place);
        } else {
            assert!(known.is_empty(), "at {place}: {known:?}");
        }
        image.unmount();
    }

    /// Starts the agents in a state: all that was acknowledged comes, once and right.
    fn recover(&mut self, known: &[String], place: usize) {
        self.machines.iter().for_each(Machine::spawn);
        self.machines.iter().for_each(Machine::wait_until_ready);
        let mut ledger = self.ledger.with_accepted(known);
        let mut rng = Rng::new(0);
        let delivered = comes(SOON, || {
            for consumer in &self.machines[1..] {
                ledger.take(&consumer.name, &consumer.disk, &mut rng);
            }
            ledger.missing().is_empty()
        });
        ledger.check_remnants();
        let missing = ledger.missing();
        assert!(delivered, "at write {place} of the log: {missing:?}");
        self.check_archive(&ledger, place);
        assert!(
            ledger.violations.is_empty(),
            "at write {place}: {:#?}",
            ledger.violations
        );
        self.machines.iter().for_each(Machine::kill);
    }
}

impl Run {
    /// What is delivered is archived, whole, whatever the state had of that already.
    fn check_archive(&self, ledger: &Ledger, place: usize) {
        let archive = self.machines[0].disk.join("archive");
        for name in ledger.delivered("archived") {
            let at = archive.join(name);
            let is_whole = || {
                let bytes = fs::read(&at).unwrap_or_default();
                at.exists() && blake3::hash(&bytes) == ledger.handed[name].digest
            };
            let what = format!("at write {place}, {name} is in the archive, whole");
            until(&what, SOON, is_whole);
        }
    }
}

/// The entries of the recorder's log.
fn entries(log: &File) -> Vec<Entry> {
    let length = log.metadata().unwrap().len();
    let number = |at: u64| {
        let mut bytes = [0; 8];
        log.read_exact_at(&mut bytes, at).unwrap();
        u64::from_le_bytes(bytes)
    };
    let (mut entries, mut at) = (Vec::new(), SECTOR_BYTES);
    while at + SECTOR_BYTES <= length {
        let (sector, sectors, flags) = (number(at), number(at + 8), number(at + 16));
        let data = at + SECTOR_BYTES;
        let bytes = sectors * SECTOR_BYTES;
        let stored = if flags & IS_DISCARD == 0 { bytes } else { 0 };
        at = data + stored;
        entries.push(Entry {
            at: sector * SECTOR_BYTES,
            bytes,
            flags,
            data,
            end: at,
        });
    }
    entries
}
