//! An etcd for a cluster of agents.

#[path = "../../etcd/server.rs"]
mod server;

use server::Server;

/// See the module. It ends with this.
#[derive(Debug)]
pub(crate) struct Etcd {
    server: Server,
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
        Some(Self { server, _dir: dir })
    }

    /// What a config says of it.
    pub(crate) fn membership(&self) -> String {
        self.server.membership()
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
