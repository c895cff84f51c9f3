//! The suite over a real etcd server, which each test starts for itself on ports of the system's,
//! kills with SIGKILL, and starts again on the same data. Where there is no etcd the tests say so.

#[path = "../../../tests/etcd/server.rs"]
mod server;

mod access;
mod away;
mod keys;
mod scale;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::super::etcd::Etcd;
use super::gate::Gate;
use super::{Own, Started, World, suite};
use crate::config::EtcdConfig;
use server::{Server, is_there};

/// See the module.
pub(in super::super) struct Registered {
    server: Server,
    pub(in super::super) config: EtcdConfig,
    dir: tempfile::TempDir,
}

impl Registered {
    /// `None`, said where `./test` looks, when there is no etcd here.
    pub(in super::super) fn if_there(test: &str) -> Option<Self> {
        is_there(test).then(Self::new)
    }

    fn new() -> Self {
        Self::of(Server::new)
    }

    fn of(server: impl FnOnce(&Path) -> Server) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut server = server(dir.path());
        server.start();
        let config = EtcdConfig {
            endpoints: vec![server.url()],
            prefix: "/consign/test".to_owned(),
            login: None,
            ca: None,
            identity: None,
        };
        Self {
            server,
            config,
            dir,
        }
    }

    /// Starts a node that reaches etcd through a gate of its own.
    async fn start_behind_a_gate(&mut self, own: Own) -> (Gate, Started) {
        let direct = self.config.clone();
        let at = direct.endpoints[0].strip_prefix("http://").unwrap();
        let gate = Gate::before(at.parse().unwrap()).await;
        self.config.endpoints = vec![format!("http://{}", gate.addr())];
        let started = self.start(own).await;
        self.config = direct;
        (gate, started)
    }
}

impl World for Registered {
    async fn start(&mut self, own: Own) -> Started {
        let member = own.member.clone();
        let source = Etcd::start(self.config.clone(), own, BTreeSet::new());
        Started::new(Arc::new(source), member, None)
    }

    fn break_source(&mut self) {
        self.server.kill();
    }

    fn mend_source(&mut self) {
        self.server.start();
    }
}

macro_rules! suite {
    ($($test:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            if let Some(world) = Registered::if_there(stringify!($test)) {
                suite::$test(world).await;
            }
        }
    )*};
}

suite! {
    members_that_join_are_heard
    changes_of_a_member_are_heard
    a_member_that_leaves_goes_and_may_return
    a_member_that_crashes_stays_and_returns
    a_member_that_restarts_at_once_has_its_name
    a_forgotten_member_goes_everywhere
    the_later_of_two_nodes_of_one_name_is_refused
    the_name_of_a_dead_node_may_be_used_by_another
    a_node_that_returns_with_a_new_disk_is_heard
    nobody_goes_while_the_source_is_away
}

/// Runs a client of etcd's own as far as tests need one: by the library.
async fn client(config: &EtcdConfig) -> etcd_client::Client {
    let options = config.login.as_ref().map(|(user, file)| {
        let password = std::fs::read_to_string(file).unwrap();
        etcd_client::ConnectOptions::new().with_user(user, password.trim())
    });
    etcd_client::Client::connect(&config.endpoints, options)
        .await
        .unwrap()
}
