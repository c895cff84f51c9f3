//! An etcd outside of all machines.

#[path = "../../etcd/server.rs"]
mod server;

use std::path::Path;

use crate::bridge::OUTSIDE;

pub(super) use server::Server;

/// Nobody else is in this network: the ports are those that every etcd has.
const PORTS: [u16; 2] = [2379, 2380];

/// Starts one that keeps what it has in `dir`.
pub(super) fn start(dir: &Path) -> Server {
    let dir = dir.join("etcd");
    std::fs::create_dir(&dir).unwrap();
    let mut server = Server::at(OUTSIDE, PORTS, &dir);
    server.start();
    server
}
