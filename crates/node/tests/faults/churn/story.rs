//! What happens to a fleet while files flow, one step after the other.

use std::collections::BTreeMap;
use std::process::Command;
use std::time::{Duration, Instant};

use super::figures;
use super::fleet::{Fleet, Keys, inbox};
use super::sources::Sources;
use crate::machine::files_in;
use crate::waiting::{SOON, until};

/// Files that are handed over again and again while a newcomer waits for its first.
const TRICKLE_FILES: u64 = 10;
/// For a thousand files and more, on a machine with other work to do.
const FLOW_DEADLINE: Duration = Duration::from_secs(90);

/// How a consumer went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Going {
    Drained,
    Lost,
}

/// A consumer that went.
#[derive(Debug, Clone)]
pub(super) struct Gone {
    pub(super) how: Going,
    /// Files from this number on were handed over afterwards.
    pub(super) before: u64,
    /// When every producer had heard all that it ever said: what it saved is told of as saved by then.
    pub(super) at: String,
}

#[derive(Debug)]
pub(super) struct Story {
    pub(super) fleet: Fleet,
    pub(super) sources: Sources,
    /// Those that take files now.
    producers: Vec<String>,
    pub(super) gone: BTreeMap<String, Gone>,
    began: Instant,
}

impl Story {
    pub(super) fn new(by_etcd: bool, seed: u64) -> Self {
        Self {
            fleet: Fleet::new(by_etcd),
            sources: Sources::new(seed),
            producers: Vec::new(),
            gone: BTreeMap::new(),
            began: Instant::now(),
        }
    }

    /// Says when something was done.
    pub(super) fn tell(&self, what: &str) {
        let at = self.began.elapsed().as_secs_f64();
        println!("{at:6.2} s: {} files: {what}", self.sources.count());
    }

    /// Says what the agents cost now.
    pub(super) fn tell_figures(&self) {
        figures::tell("consumers", self.fleet.named("cons"));
        figures::tell("producers", self.fleet.named("prod"));
    }

    /// The first ones, who all know each other when this returns.
    pub(super) fn begin(&mut self, consumers: &[&str], producers: &[&str]) {
        let all = [consumers, producers].concat();
        self.fleet.start(&all, Keys::Brought);
        self.fleet.hear(producers, consumers);
        self.producers = producers.iter().map(|&name| name.to_owned()).collect();
        self.tell("the first ones know each other");
    }

    /// Begins to hand over files, to all producers alike.
    pub(super) fn hand(&mut self, files: u64) {
        let producers = self.producers.len() as u64;
        for (at, name) in (0..).zip(&self.producers) {
            let share = files / producers + u64::from(at < files % producers);
            self.sources.hand(self.fleet.machine(name), share);
        }
    }

    /// More consumers, by tokens: each has its first file so soon after the start of its process.
    pub(super) fn consumers_join(&mut self, names: &[&str], within: Duration) {
        for name in names {
            self.fleet.add(name, Keys::Token);
        }
        let began = Instant::now();
        names.iter().for_each(|name| self.fleet.spawn(name));
        let mut waiting: Vec<&str> = names.to_vec();
        until("newcomers have a file each", SOON, || {
            waiting.retain(|name| {
                let has_one = !files_in(&inbox(self.fleet.machine(name))).is_empty();
                if has_one {
                    let took = began.elapsed();
                    println!("          {name} has its first file {took:.2?} after its start");
                    assert!(took <= within, "{name} took {took:?}");
                }
                !has_one
            });
            if !waiting.is_empty() {
                self.hand(TRICKLE_FILES);
                self.sources.are_submitted();
            }
            waiting.is_empty()
        });
        self.tell("newcomers take their share");
    }

    /// More producers, by tokens.
    pub(super) fn producers_join(&mut self, names: &[&str], consumers: &[&str]) {
        self.fleet.start(names, Keys::Token);
        self.fleet.hear(names, consumers);
        self.producers
            .extend(names.iter().map(|&name| name.to_owned()));
        self.tell("new producers know the consumers");
    }

    /// A consumer is taken out of service: when it says that it has no duty left, nobody knows of one.
    pub(super) fn drain(&mut self, name: &str) {
        self.fleet.ask(name, &["drain", "--wait", "--json"]);
        self.has_no_duty(name);
        self.fleet.machine(name).kill();
        self.has_gone(name, Going::Drained);
        self.tell("it has drained, and is switched off");
    }

    fn has_no_duty(&self, name: &str) {
        for producer in self.fleet.named("prod") {
            let members = self.fleet.members(&producer.name);
            let owed = members.iter().find(|one| one["name"] == name);
            let owed = owed.map_or(0, |one| one["owed_files"].as_u64().unwrap());
            assert_eq!(owed, 0, "{} owes {name}", producer.name);
            let args = ["transfers", "--json", "--to", name];
            for transfer in self.fleet.ask(&producer.name, &args) {
                let legs = transfer["consumers"].as_array().unwrap().iter();
                let mut own = legs.filter(|leg| leg["node"] == name);
                // Whatever else it may be called while it moves, it is a duty.
                let waits = own.any(|leg| leg["state"] != "saved" && leg["state"] != "abandoned");
                assert!(!waits, "{} waits for {name}: {transfer}", producer.name);
            }
        }
        let staging = inbox(self.fleet.machine(name)).join(".consign");
        let left = std::fs::read_dir(staging)
            .unwrap()
            .map(|one| one.unwrap().file_name());
        let left: Vec<_> = left.filter(|one| one != "marker").collect();
        assert!(left.is_empty(), "left in staging of {name}: {left:?}");
    }

    /// A producer is taken out of service: all that it had is delivered.
    pub(super) fn drain_producer(&mut self, name: &str) {
        self.producers.retain(|one| one != name);
        self.sources.are_submitted();
        self.fleet.ask(name, &["drain", "--wait", "--json"]);
        let done = self.done(name);
        assert_eq!(done, self.sources.of(name), "{name} has drained");
        self.tell("a producer has drained");
    }

    /// Begins to hand over files; SIGKILL to a consumer that has got some of them.
    pub(super) fn kill(&mut self, name: &str, files: u64) {
        let inbox = inbox(self.fleet.machine(name));
        let before = files_in(&inbox).len();
        self.hand(files);
        until("it is at work", SOON, || files_in(&inbox).len() > before);
        self.fleet.machine(name).kill();
        self.has_gone(name, Going::Lost);
        self.tell("one was killed for good");
    }

    /// What a process has said before it ended is on its way still: that has arrived where its connections
    /// are seen to end.
    fn has_gone(&mut self, name: &str, how: Going) {
        let before = self.sources.count();
        for producer in self.fleet.named("prod") {
            until("its end is noticed", SOON, || {
                let members = self.fleet.members(&producer.name);
                let one = members.iter().find(|one| one["name"] == name);
                one.is_none_or(|one| one["connected"] != true)
            });
        }
        let at = now();
        self.gone.insert(name.to_owned(), Gone { how, before, at });
    }

    /// Once, at one node; that one refuses while it has not noticed.
    pub(super) fn forget(&self, name: &str, at: &str) {
        until("it may be forgotten", SOON, || {
            self.fleet.machine(at).ask(&["forget", name]).0
        });
        self.tell("it was forgotten");
    }

    /// SIGKILL to what the members are learned from, if that is a server.
    pub(super) fn etcd_goes(&mut self) {
        if let Some(etcd) = &mut self.fleet.etcd {
            etcd.kill();
            self.tell("etcd was killed");
        }
    }

    /// It is there again, and heard.
    pub(super) fn etcd_returns(&mut self) {
        let Some(etcd) = &mut self.fleet.etcd else {
            return;
        };
        etcd.start();
        for name in &self.producers {
            until("etcd is heard again", SOON, || {
                self.fleet.status(name)["membership"]["reachable"] == true
            });
        }
        self.tell("etcd is back");
    }

    fn done(&self, producer: &str) -> u64 {
        let status = self.fleet.status(producer);
        let counts = status["transfers"].as_array().unwrap().iter();
        let counts = counts.filter(|count| count["state"] == "done");
        counts.map(|count| count["files"].as_u64().unwrap()).sum()
    }

    /// Waits until everything that was handed over is done.
    #[track_caller]
    pub(super) fn all_done(&mut self) {
        self.sources.are_submitted();
        for name in &self.producers {
            let files = self.sources.of(name);
            let what = format!("{files} files of {name} are done");
            until(&what, FLOW_DEADLINE, || self.done(name) == files);
        }
        self.tell("all done");
    }
}

/// The time as agents write it, which sorts as a text.
fn now() -> String {
    let said = Command::new("date")
        .args(["-u", "+%Y-%m-%dT%H:%M:%S.%3NZ"])
        .output()
        .unwrap();
    String::from_utf8(said.stdout).unwrap().trim().to_owned()
}
