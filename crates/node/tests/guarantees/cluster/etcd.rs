//! An etcd for a cluster of agents.

#[path = "../../etcd/server.rs"]
mod server;

use std::process::Command;

use super::keys::skipped;
use server::Server;

/// See the module. It ends with this.
#[derive(Debug)]
pub(crate) struct Etcd {
    server: Server,
    /// Lines of a config beside where it is.
    access: String,
    /// What it keeps, which goes after it.
    _dir: tempfile::TempDir,
}

impl Etcd {
    /// Starts one; `None`, said where `./test` looks, when there is no etcd here.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if !server::is_there(test) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut server = Server::new(dir.path());
        server.start();
        Some(Self {
            server,
            access: String::new(),
            _dir: dir,
        })
    }

    /// As [`Etcd::start`], over TLS both ways, with certificates that are good for so many days.
    pub(crate) fn start_with_tls(test: &str, days: u32) -> Option<Self> {
        if !server::is_there(test) {
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        if !server::certificates(dir.path(), days) {
            server::skip(
                test,
                "openssl makes no certificates; hint: install openssl 3",
            );
            return None;
        }
        let [ca, cert, key] = ["ca.pem", "one.pem", "one.key"].map(|file| dir.path().join(file));
        let mut server = Server::new(dir.path()).with_tls(&ca, &cert, &key);
        server.start();
        Some(Self {
            server,
            access: format!("\nca = {ca:?}\ncert = {cert:?}\nkey = {key:?}"),
            _dir: dir,
        })
    }

    /// What a config says of it.
    pub(crate) fn membership(&self) -> String {
        self.server.membership() + &self.access
    }

    /// Writes a key below the cluster's prefix, as anybody could. `false`, said aloud, where there is no
    /// command for it.
    pub(crate) fn put(&self, key: &str, value: &str) -> bool {
        let put = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.server.url(), "put"])
            .args([&format!("/consign/test/{key}"), value])
            .output();
        let Ok(put) = put else {
            skipped("what strangers write into etcd: there is no etcdctl");
            return false;
        };
        assert!(put.status.success(), "{put:?}");
        true
    }

    /// Starts it, on the data that it had.
    pub(crate) fn run(&mut self) {
        self.server.start();
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }
}
