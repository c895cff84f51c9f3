//! Agents with keys, each in a network of its own, that learn of each other by gossip or by etcd.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde_json::Value;

use super::etcd;
use super::keys::Authority;
use crate::bridge;
use crate::image::Scratch;
use crate::machine::{Machine, objects};
use crate::waiting::{SOON, until};

/// Consumers of each file.
pub(super) const REPLICAS: usize = 2;

/// How a machine comes by its keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keys {
    /// A person brings them.
    Brought,
    /// As these, and it lets others in.
    Door,
    /// By a token.
    Token,
}

#[derive(Debug)]
pub(super) struct Fleet {
    machines: BTreeMap<String, Machine>,
    authority: Authority,
    /// The first two that were added, whom newcomers ask.
    seeds: Vec<String>,
    /// `None` when members learn of each other by gossip.
    pub(super) etcd: Option<etcd::Server>,
    scratch: Scratch,
}

impl Fleet {
    /// Nobody yet.
    pub(super) fn new(by_etcd: bool) -> Self {
        let scratch = Scratch::new();
        bridge::build();
        Self {
            machines: BTreeMap::new(),
            authority: Authority::new(scratch.path()),
            seeds: Vec::new(),
            etcd: by_etcd.then(|| etcd::start(scratch.path())),
            scratch,
        }
    }

    /// A machine with its config and its keys, whose agent was not started. Its name says what it is.
    pub(super) fn add(&mut self, name: &str, keys: Keys) {
        let at = self.machines.len() + 1;
        bridge::plug_in(name, at);
        let listen = bridge::peer_addr(at);
        let tls = match keys {
            Keys::Brought => self.authority.issue(name),
            Keys::Door => self.authority.door(name),
            Keys::Token => self.authority.let_in(name, &self.seeds[0]),
        };
        if self.seeds.len() < 2 {
            self.seeds.push(listen.clone());
        }
        let machine = Machine::new(self.scratch.path(), name);
        let config = format!(
            "[node]\nname = {name:?}\ndata_dir = {:?}\n\n[listen]\npeer = {listen:?}\n\n\
             [tls]\n{tls}\n[membership]\n{}\n\n{}",
            machine.data_dir(),
            self.membership(),
            section(&machine),
        );
        std::fs::write(machine.config(), config).unwrap();
        self.machines.insert(name.to_owned(), machine);
    }

    fn membership(&self) -> String {
        match &self.etcd {
            Some(etcd) => etcd.membership(),
            None => format!("kind = \"gossip\"\nseeds = {:?}", self.seeds),
        }
    }

    /// Starts the agent of a machine.
    pub(super) fn spawn(&self, name: &str) {
        self.machine(name).spawn_under(&bridge::under(name));
    }

    /// Adds machines and starts their agents, all at once; they are ready when this returns.
    pub(super) fn start(&mut self, names: &[&str], keys: Keys) {
        for name in names {
            let door = self.seeds.is_empty() && keys == Keys::Brought;
            self.add(name, if door { Keys::Door } else { keys });
        }
        names.iter().for_each(|name| self.spawn(name));
        for name in names {
            self.machine(name).wait_until_ready();
        }
    }

    pub(super) fn machine(&self, name: &str) -> &Machine {
        &self.machines[name]
    }

    /// All that there ever were, whose name begins so.
    pub(super) fn named(&self, prefix: &str) -> impl Iterator<Item = &Machine> {
        let machines = self.machines.values();
        machines.filter(move |machine| machine.name.starts_with(prefix))
    }

    /// Waits until all of these hear of all of those.
    #[track_caller]
    pub(super) fn hear(&self, listeners: &[&str], others: &[&str]) {
        for listener in listeners {
            until(&format!("{listener} hears of {others:?}"), SOON, || {
                let members = self.members(listener);
                let heard = |other: &&str| {
                    let found = members.iter().find(|one| one["name"] == **other);
                    found.is_some_and(|one| one["heard"] == true)
                };
                others.iter().filter(|other| *other != listener).all(heard)
            });
        }
    }

    /// The members as an agent sees them.
    pub(super) fn members(&self, by: &str) -> Vec<Value> {
        let listed = self.machine(by).listed(&["nodes", "--json"]);
        listed.unwrap_or_default()
    }

    /// Runs a command that must end well; returns its objects.
    #[track_caller]
    pub(super) fn ask(&self, name: &str, args: &[&str]) -> Vec<Value> {
        let (good, out, err) = self.machine(name).ask(args);
        assert!(good, "{name}: {args:?}: {out}{err}");
        objects(&out)
    }

    /// What an agent says of itself.
    #[track_caller]
    pub(super) fn status(&self, name: &str) -> Value {
        self.ask(name, &["status", "--json"]).remove(0)
    }
}

pub(super) fn inbox(machine: &Machine) -> PathBuf {
    machine.disk.join("inbox")
}

fn section(machine: &Machine) -> String {
    match machine.name.starts_with("cons") {
        true => format!(
            "[[consume]]\nfeed = \"files\"\ninbox = {:?}\nmin_free = \"1MiB\"\n",
            inbox(machine)
        ),
        false => format!("[[produce]]\nfeed = \"files\"\nreplicas = {REPLICAS}\n"),
    }
}
