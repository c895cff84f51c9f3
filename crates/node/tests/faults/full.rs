//! Disks that take nothing more: without space under the log alone, without inodes, and turned
//! read-only. New files are refused, what was accepted arrives, and it goes on when there is room.

use std::fs;
use std::path::Path;
use std::sync::Mutex;

use crate::fleet::{self, Addresses};
use crate::image::{Image, Kind, Scratch};
use crate::isolated::isolated;
use crate::ledger::Ledger;
use crate::load;
use crate::machine::Machine;
use crate::rng::Rng;
use crate::waiting::{SOON, comes, until};

const NAMES: [&str; 3] = ["prod-1", "cons-1", "cons-2"];
const DISK_BYTES: u64 = 512 << 20;
/// A log of few segments, and nothing else.
const LOG_DISK_BYTES: u64 = 160 << 20;
/// More than any of these disks takes.
const FILES_MAX: u64 = 4_000;
/// About as many as an ext4 of this size has inodes for, in directories of their own.
const INODES: &str = "400";

struct Bench {
    machines: Vec<Machine>,
    ledger: Mutex<Ledger>,
    next: u64,
    // After the agents, before what they lie on.
    extra: Option<Image>,
    scratch: Scratch,
}

impl Bench {
    /// A disk each, made with these options of mkfs; nothing is started.
    fn new(options: &[(&str, &[&str])]) -> Self {
        let scratch = Scratch::new();
        let addresses = Addresses::on_loopback(&NAMES);
        let machine = |name: &&str| {
            let mut machine = Machine::new(scratch.path(), name);
            let file = scratch.path().join(format!("{name}.img"));
            let given = options.iter().find(|(whose, _)| whose == name);
            let given = given.map_or(&[][..], |(_, options)| options);
            let image = Image::new(Kind::Ext4, &file, &machine.disk, DISK_BYTES, given);
            machine.image = Some(image);
            fleet::prepare(&machine.disk);
            fleet::configure(&machine, addresses.of(name), &addresses.members(), "");
            machine
        };
        Self {
            machines: NAMES.iter().map(machine).collect(),
            ledger: Mutex::default(),
            next: 0,
            extra: None,
            scratch,
        }
    }

    fn start(&self) {
        self.machines.iter().for_each(Machine::spawn);
        self.machines.iter().for_each(Machine::wait_until_ready);
    }

    /// Hands over one file; returns whether it was accepted.
    fn hand(&mut self, feed: &'static str, size: usize) -> bool {
        self.next += 1;
        let name = format!("{:06}", self.next);
        load::hand(
            &self.machines[0],
            &self.ledger,
            &name,
            feed,
            size,
            self.next,
        )
    }

    fn take(&self) {
        let mut ledger = self.ledger.lock().unwrap();
        for consumer in &self.machines[1..] {
            ledger.take(&consumer.name, &consumer.disk, &mut Rng::new(0));
        }
    }

    /// All that was accepted arrives, once and right.
    #[track_caller]
    fn all_arrives(&self) {
        let delivered = comes(SOON, || {
            self.take();
            self.ledger.lock().unwrap().missing().is_empty()
        });
        let ledger = self.ledger.lock().unwrap();
        let status = self.machines[0].status();
        assert!(delivered, "{:#?}\n{status}", ledger.missing());
        assert!(ledger.violations.is_empty(), "{:#?}", ledger.violations);
    }
}

fn fill(ballast: &Path) {
    let mut file = fs::File::create(ballast).unwrap();
    let block = vec![1; 64 << 10];
    while std::io::Write::write_all(&mut file, &block).is_ok() {}
    // Not even a few blocks are left.
    let _ = file.sync_all();
}

#[test]
fn full_log_disk_refuses_and_loses_nothing() {
    let test = "full::full_log_disk_refuses_and_loses_nothing";
    isolated(test, &["mkfs.ext4"], || {
        for victim in 0..2 {
            full_log_disk(victim);
        }
    });
}

/// `victim` has its data directory on a small disk of its own.
fn full_log_disk(victim: usize) {
    let mut bench = Bench::new(&[]);
    let data = bench.machines[victim].data_dir();
    let file = bench.scratch.path().join("log.img");
    bench.extra = Some(Image::new(Kind::Ext4, &file, &data, LOG_DISK_BYTES, &[]));
    bench.start();
    assert!(bench.hand("put", 10_000));
    bench.all_arrives();
    let ballast = data.join("ballast");
    fill(&ballast);
    let mut refused = 0;
    // The log's segments are preallocated, so it takes a while until one is missing.
    for _ in 0..400 {
        refused += u64::from(!bench.hand("put", 200_000));
        if refused > 5 {
            break;
        }
    }
    println!("{}: {refused} refused of {}", NAMES[victim], bench.next);
    assert!(victim != 0 || refused > 0, "the producer's log takes all");
    bench.take();
    let machine = &bench.machines[victim];
    assert!(machine.is_ready(), "{}", machine.log_tail());
    // It also comes up on a full disk.
    machine.kill();
    machine.start();
    fs::remove_file(&ballast).unwrap();
    until("it takes files again", SOON, || {
        bench.hand("removed", 1_000)
    });
    bench.all_arrives();
}

#[test]
fn exhausted_inodes_refuse_and_lose_nothing() {
    let test = "full::exhausted_inodes_refuse_and_lose_nothing";
    isolated(test, &["mkfs.ext4"], || {
        for victim in 0..2 {
            exhausted_inodes(victim);
        }
    });
}

fn exhausted_inodes(victim: usize) {
    let mut bench = Bench::new(&[(NAMES[victim], &["-N", INODES])]);
    bench.start();
    assert!(bench.hand("put", 10));
    bench.all_arrives();
    let ballast = bench.machines[victim].disk.join("ballast");
    fs::create_dir(&ballast).unwrap();
    let mut made = 0;
    while made < FILES_MAX && fs::write(ballast.join(made.to_string()), "").is_ok() {
        made += 1;
    }
    assert!(made < FILES_MAX, "there are inodes without end");
    for feed in ["put", "put", "kept", "removed", "archived"] {
        bench.hand(feed, 300);
        bench.hand(feed, 300_000);
    }
    let machine = &bench.machines[victim];
    assert!(machine.is_ready(), "{}", machine.log_tail());
    // It also comes up without any.
    machine.kill();
    machine.start();
    fs::remove_dir_all(&ballast).unwrap();
    until("it takes files again", SOON, || {
        bench.hand("removed", 1_000)
    });
    bench.all_arrives();
}

#[test]
fn filesystem_that_turns_read_only_loses_nothing() {
    let test = "full::filesystem_that_turns_read_only_loses_nothing";
    isolated(test, &["mkfs.ext4", "xfs_io"], || {
        for victim in 0..2 {
            read_only(victim);
        }
    });
}

/// As after an error under `errors=remount-ro`: the kernel takes the right to write away at once,
/// from open files too.
fn read_only(victim: usize) {
    let mut bench = Bench::new(&[]);
    bench.start();
    for _ in 0..10 {
        assert!(bench.hand("put", 10_000));
    }
    bench.machines[victim].image().turn_read_only();
    for _ in 0..5 {
        bench.hand("put", 10_000);
        bench.hand("archived", 300_000);
    }
    let machine = &bench.machines[victim];
    until("it stops", SOON, || machine.ended().is_some());
    assert!(
        machine.log_tail().contains("hint: "),
        "{}",
        machine.log_tail()
    );
    machine.kill();
    // Started again on a disk that is read-only still, it says so.
    machine.spawn();
    until("it ends, or serves its status", SOON, || {
        machine.ended().is_some() || machine.status().contains("health")
    });
    let said = format!("{}{}", machine.log_tail(), machine.status());
    assert!(said.contains("hint: "), "{said}");
    machine.kill();
    machine.image().unmount();
    machine.image().mount();
    machine.start();
    bench.all_arrives();
}
