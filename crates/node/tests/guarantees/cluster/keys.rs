//! Authorities of clusters under test, made as their users make them.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::{Cluster, consign};

/// An authority in a directory of its own.
#[derive(Debug)]
pub(crate) struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes one below the test's directory.
    #[track_caller]
    pub(crate) fn new(cluster: &Cluster, name: &str) -> Self {
        let dir = cluster.dir().join(name);
        consign(&["keys", "init", "--dir", dir.to_str().unwrap()]).good();
        Self { dir }
    }

    /// Its directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its certificate, as PEM.
    pub(crate) fn certificate(&self) -> Vec<u8> {
        std::fs::read(self.dir.join("ca.pem")).unwrap()
    }

    /// A bundle for a node, at a path that is free.
    #[track_caller]
    pub(crate) fn issue(&self, node: &str, roles: &str) -> PathBuf {
        let free = |count: &u32| !self.dir.join(format!("{node}-{count}.pem")).exists();
        let count = (1..).find(free).unwrap();
        let out = self.dir.join(format!("{node}-{count}.pem"));
        let (dir, to) = (self.dir.to_str().unwrap(), out.to_str().unwrap());
        consign(&[
            "keys", "issue", node, "--roles", roles, "--dir", dir, "--out", to,
        ])
        .good();
        out
    }

    /// The revocation list, with one more node on it.
    #[track_caller]
    pub(crate) fn revoke(&self, node: &str) -> PathBuf {
        consign(&["keys", "revoke", node, "--dir", self.dir.to_str().unwrap()]).good();
        self.dir.join("revoked")
    }
}

impl Cluster {
    /// Gives a node a bundle of this authority's: used when the configs are written next.
    #[track_caller]
    pub(crate) fn secure(&mut self, name: &str, authority: &Authority, roles: &str) {
        let bundle = authority.issue(name, roles);
        self.tls(name, &format!("bundle = {bundle:?}"));
    }

    /// The lines of a node's `[tls]`.
    pub(crate) fn tls(&mut self, name: &str, lines: &str) {
        self.node_mut(name).tls = format!("{lines}\n");
    }

    /// Lets a node see another time than this machine's, such as `+10y`. `false`, said aloud, where
    /// the library for it is not there.
    pub(crate) fn at_another_time(&mut self, name: &str, offset: &str) -> bool {
        let places = ["x86_64-linux-gnu", "aarch64-linux-gnu"];
        let library = places
            .map(|place| PathBuf::from(format!("/usr/lib/{place}/faketime/libfaketime.so.1")))
            .into_iter()
            .find(|library| library.exists());
        let Some(library) = library else {
            skipped("agents at another date: libfaketime is not there");
            return false;
        };
        self.node_mut(name).env = vec![
            ("LD_PRELOAD", library.to_str().unwrap().to_owned()),
            ("FAKETIME", offset.to_owned()),
            // Timers go on as they do when somebody sets the date.
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1".to_owned()),
        ];
        true
    }
}

/// Says aloud that something is not tried; `./test` puts it into its summary.
pub(crate) fn skipped(what: &str) {
    eprintln!("SKIPPED: {what}");
    if let Some(path) = std::env::var_os("CONSIGN_SKIPPED") {
        let mut file = File::options().append(true).open(path).unwrap();
        writeln!(file, "{what}").unwrap();
    }
}
