//! A producer with a feed of each kind, and its consumers.

use std::net::TcpListener;
use std::path::Path;

use crate::image::{Image, Kind};
use crate::machine::Machine;

/// The feeds. A file of `put` comes as the body of a call, `watched` and `staying` ones are found; only
/// the latter stay where they were found.
pub(crate) const FEEDS: [&str; 6] = ["put", "kept", "removed", "archived", "watched", "staying"];
/// Consumers of each file.
pub(crate) const REPLICAS: usize = 2;

const LAYOUTS: [&str; 6] = [
    "{name}",
    "{id}/{name}",
    "{feed}/{producer}/{name}",
    "{name}",
    "{name}",
    "{name}",
];

/// Who listens where, in the order of the machines.
#[derive(Debug)]
pub(crate) struct Addresses(Vec<(String, String)>);

impl Addresses {
    /// Ports of loopback.
    pub(crate) fn on_loopback(names: &[&str]) -> Self {
        let listeners: Vec<_> = names
            .iter()
            .map(|_| TcpListener::bind("127.0.0.1:0").unwrap())
            .collect();
        let addrs = listeners
            .iter()
            .map(|listener| listener.local_addr().unwrap().to_string());
        let named = names.iter().map(|&name| name.to_owned()).zip(addrs);
        Self(named.collect())
    }

    pub(crate) fn given(names: &[&str], of: impl Fn(usize) -> String) -> Self {
        let named = names.iter().enumerate();
        Self(named.map(|(at, &name)| (name.to_owned(), of(at))).collect())
    }

    pub(crate) fn of(&self, name: &str) -> &str {
        let found = self.0.iter().find(|(known, _)| known == name);
        &found.expect(name).1
    }

    /// The members as everybody's config lists them.
    pub(crate) fn members(&self) -> String {
        let members = self.0.iter().map(|(name, addr)| {
            let feeds = if name.starts_with("cons") {
                format!("{FEEDS:?}")
            } else {
                "[]".to_owned()
            };
            format!("{{ name = {name:?}, addr = {addr:?}, feeds = {feeds} }}")
        });
        members.collect::<Vec<_>>().join(", ")
    }
}

/// Writes a machine's config: a producer unless its name begins with `cons`.
pub(crate) fn configure(machine: &Machine, listen: &str, members: &str, tls: &str) {
    let disk = &machine.disk;
    let sections = if machine.name.starts_with("cons") {
        consumes(disk)
    } else {
        produces(disk)
    };
    let config = format!(
        "[node]\nname = {:?}\ndata_dir = {:?}\n\n[listen]\npeer = {listen:?}\n\n{tls}\n\
         [membership]\nnodes = [{members}]\n\n{sections}",
        machine.name,
        machine.data_dir(),
    );
    std::fs::write(machine.config(), config).unwrap();
}

fn produces(disk: &Path) -> String {
    let archive = disk.join("archive");
    let watch = |after: &str, dir: &str| {
        let dir = disk.join(dir);
        format!("after = {after:?}\nwatch = {dir:?}\nsettle = \"100ms\"\nscan_every = \"500ms\"")
    };
    let after = FEEDS.map(|feed| match feed {
        "removed" => "after = \"delete\"".to_owned(),
        "archived" => format!("after = \"archive\"\narchive_dir = {archive:?}"),
        "watched" => watch("delete", feed),
        "staying" => watch("keep", feed),
        _ => String::new(),
    });
    let sections = FEEDS.iter().zip(after).map(|(feed, after)| {
        format!("[[produce]]\nfeed = {feed:?}\nreplicas = {REPLICAS}\n{after}\n")
    });
    sections.collect()
}

fn consumes(disk: &Path) -> String {
    let sections = FEEDS.iter().zip(LAYOUTS).map(|(feed, layout)| {
        let inbox = inbox(disk, feed);
        format!(
            "[[consume]]\nfeed = {feed:?}\ninbox = {inbox:?}\nlayout = {layout:?}\n\
             min_free = \"1MiB\"\n"
        )
    });
    sections.collect()
}

pub(crate) fn inbox(disk: &Path, feed: &str) -> std::path::PathBuf {
    disk.join(format!("inbox-{feed}"))
}

/// Machines with a disk each, configured and not started. On xfs the producer's archive is another
/// filesystem, into which files are copied; on ext4 they are renamed into it.
pub(crate) fn machines(dir: &Path, names: &[&str], kind: Kind, bytes: u64) -> Vec<Machine> {
    let addresses = Addresses::on_loopback(names);
    let members = addresses.members();
    let machine = |name: &&str| {
        let mut machine = Machine::new(dir, name);
        let file = dir.join(format!("{name}.img"));
        machine.image = Some(Image::new(kind, &file, &machine.disk, bytes, &[]));
        if kind == Kind::Xfs && name.starts_with("prod") {
            let (file, at) = (dir.join("archive.img"), machine.disk.join("archive"));
            machine.archive = Some(Image::new(kind, &file, &at, bytes, &[]));
        }
        prepare(&machine.disk);
        configure(&machine, addresses.of(name), &members, "");
        machine
    };
    names.iter().map(machine).collect()
}

/// The directories that are there before an agent starts.
pub(crate) fn prepare(disk: &Path) {
    for name in ["watched", "staying", "own"] {
        std::fs::create_dir_all(disk.join(name)).unwrap();
    }
    // They must survive a power cut before anything else has synced them.
    rustix::fs::syncfs(std::fs::File::open(disk).unwrap()).unwrap();
}
