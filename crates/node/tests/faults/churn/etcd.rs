//! A real etcd server of one member, outside of all machines, that can be killed and started again.

use std::fs::File;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use crate::bridge::OUTSIDE;
use crate::waiting::{SOON, until};

/// Nobody else is in this network: the ports are those that every etcd has.
const CLIENT_PORT: u16 = 2379;
const PEER_PORT: u16 = 2380;

#[derive(Debug)]
pub(super) struct Etcd {
    dir: PathBuf,
    process: Option<Child>,
}

impl Etcd {
    pub(super) fn start(dir: &Path) -> Self {
        let mut etcd = Self {
            dir: dir.join("etcd"),
            process: None,
        };
        std::fs::create_dir(&etcd.dir).unwrap();
        etcd.run();
        etcd
    }

    /// What a config says of it.
    pub(super) fn membership() -> String {
        let url = url(CLIENT_PORT);
        format!("kind = \"etcd\"\nendpoints = [{url:?}]\nprefix = \"/consign/test\"")
    }

    /// Starts it, on the data that it had.
    pub(super) fn run(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.dir.join("log"))
            .unwrap();
        let (client, peer) = (url(CLIENT_PORT), url(PEER_PORT));
        let child = Command::new("etcd")
            .args(["--name", "one", "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.dir.join("data"))
            .args(["--listen-client-urls", &client])
            .args(["--advertise-client-urls", &client])
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
            TcpStream::connect((OUTSIDE, CLIENT_PORT)).is_ok()
        });
    }

    /// SIGKILL.
    pub(super) fn kill(&mut self) {
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

fn url(port: u16) -> String {
    format!("http://{OUTSIDE}:{port}")
}
