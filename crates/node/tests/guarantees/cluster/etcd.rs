//! A real etcd server of one member, on ports of the system's.

use std::fs::File;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use super::keys::skipped;
use super::{SOON, until};

/// See the module. It ends with this.
#[derive(Debug)]
pub(crate) struct Etcd {
    dir: tempfile::TempDir,
    client: u16,
    peer: u16,
    process: Option<Child>,
}

impl Etcd {
    /// Starts one; `None`, said where `./test` looks, when there is no etcd here.
    pub(crate) fn start(test: &str) -> Option<Self> {
        if Command::new("etcd").arg("--version").output().is_err() {
            eprintln!("SKIPPED: there is no etcd");
            if let Some(skipped) = std::env::var_os("CONSIGN_SKIPPED") {
                let file = File::options().append(true).create(true).open(skipped);
                let line = "there is no etcd; hint: install etcd-server";
                writeln!(file.unwrap(), "{test}: {line}").unwrap();
            }
            return None;
        }
        // Given back at once: nobody else asks for ports fast enough to get these.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = ports.map(|port| port.local_addr().unwrap().port());
        let mut etcd = Self {
            dir: tempfile::tempdir().unwrap(),
            client,
            peer,
            process: None,
        };
        etcd.run();
        Some(etcd)
    }

    /// What a config says of it.
    pub(crate) fn membership(&self) -> String {
        let url = self.url();
        format!("kind = \"etcd\"\nendpoints = [{url:?}]\nprefix = \"/consign/test\"")
    }

    /// Writes a key below the cluster's prefix, as anybody could. `false`, said aloud, where there is no
    /// command for it.
    pub(crate) fn put(&self, key: &str, value: &str) -> bool {
        let put = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.url(), "put"])
            .args([&format!("/consign/test/{key}"), value])
            .output();
        let Ok(put) = put else {
            skipped("what strangers write into etcd: there is no etcdctl");
            return false;
        };
        assert!(put.status.success(), "{put:?}");
        true
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.client)
    }

    /// Starts it, on the data that it had.
    pub(crate) fn run(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let (url, peer) = (self.url(), format!("http://127.0.0.1:{}", self.peer));
        let child = Command::new("etcd")
            .args(["--name", "one", "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.dir.path().join("data"))
            .args([
                "--listen-client-urls",
                &url,
                "--advertise-client-urls",
                &url,
            ])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
        until("etcd listens", SOON, || {
            TcpStream::connect(("127.0.0.1", self.client)).is_ok()
        });
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            // Both only fail when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
