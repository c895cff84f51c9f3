//! What etcd bears as a cluster grows: hundreds of nodes in one process, each with the whole of
//! [`Etcd`], on one real etcd. Bytes are those of the messages between etcd and all its clients, by
//! etcd's own counters: without what gRPC, TLS and TCP add. Time is real, of a machine that runs all
//! the nodes and etcd too, so it is more than these nodes would need on machines of their own.
//!
//! `ETCD_NODES="50 100 200" cargo test -p consign --lib membership::tests::etcd::scale -- --ignored --nocapture`

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use consign_core::ids::NodeName;
use etcd_client::GetOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use super::super::super::MembershipSource as _;
use super::super::super::bounds::{LOOK_EVERY, RENEW_EVERY};
use super::super::scale::{announced, live_in};
use super::super::{World as _, own};
use super::{Etcd, Registered, client};

/// How long a cluster at rest is watched: each node renews its lease exactly so often.
const RENEWALS: u32 = 4;
const DEADLINE: Duration = Duration::from_secs(300);

struct Crowd {
    world: Registered,
    /// Each with the life that it is in.
    nodes: Vec<(u64, Option<Etcd>)>,
}

impl Crowd {
    fn of(nodes: usize, world: Registered) -> Self {
        Self {
            world,
            nodes: (0..nodes).map(|_| (0, None)).collect(),
        }
    }

    /// Starts some at once, in their next life: those that run crash first.
    fn start(&mut self, which: impl Iterator<Item = usize>) {
        for at in which {
            let (life, running) = &mut self.nodes[at];
            drop(running.take());
            *life += 1;
            let config = self.world.config.clone();
            let own = announced(at, *life);
            *running = Some(Etcd::start(config, own, BTreeSet::new()));
        }
    }

    /// How long it is until every node reaches etcd and sees all, each in its life, or until none does.
    async fn until_all(&self, reachable: bool) -> Duration {
        let began = Instant::now();
        let name = |at| own(&super::super::scale::name(at), 1).member.name;
        let lives: BTreeMap<NodeName, u64> = (self.nodes.iter().enumerate())
            .map(|(at, (life, _))| (name(at), *life))
            .collect();
        let is_there = |(_, node): &(u64, Option<Etcd>)| {
            let heard = node.as_ref().expect("all run").heard();
            let heard = heard.borrow();
            let sees_all = || live_in(&heard.sighting) == lives;
            heard.standing.reachable == reachable && (!reachable || sees_all())
        };
        while !self.nodes.iter().all(is_there) {
            assert!(began.elapsed() < DEADLINE, "not all: reachable {reachable}");
            sleep(LOOK_EVERY).await;
        }
        began.elapsed()
    }

    async fn load(&self) -> Load {
        let url = &self.world.config.endpoints[0];
        let page = page(url.strip_prefix("http://").unwrap()).await;
        let value = |name: &str| {
            let line = page.lines().find(|line| line.starts_with(name));
            let value = line.and_then(|line| line.split(' ').nth(1)?.parse().ok());
            value.unwrap_or_else(|| panic!("no {name} in {page}"))
        };
        Load {
            sent: value("etcd_network_client_grpc_sent_bytes_total"),
            received: value("etcd_network_client_grpc_received_bytes_total"),
            written: value("etcd_server_proposals_committed_total"),
        }
    }
}

/// How long a member's key and text are, in bytes.
async fn announcement_bytes(world: &Registered, nodes: usize) -> usize {
    let all = Some(GetOptions::new().with_prefix());
    let prefix = format!("{}/members/", world.config.prefix);
    let read = client(&world.config).await.get(prefix, all).await.unwrap();
    assert_eq!(read.kvs().len(), nodes, "each has a key of its own");
    let bytes = read
        .kvs()
        .iter()
        .map(|kv| kv.key().len() + kv.value().len());
    bytes.sum::<usize>() / nodes
}

/// What etcd has borne since it was started.
#[derive(Clone, Copy)]
struct Load {
    /// Bytes to and from its clients.
    sent: f64,
    received: f64,
    /// Entries of its log.
    written: f64,
}

impl Load {
    fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent - before.sent,
            received: self.received - before.received,
            written: self.written - before.written,
        }
    }

    fn bytes(self) -> f64 {
        self.sent + self.received
    }
}

/// Etcd's metrics. They are plain text, and close the connection behind them.
async fn page(at: &str) -> String {
    let mut stream = TcpStream::connect(at).await.unwrap();
    let asked = format!("GET /metrics HTTP/1.0\r\nHost: {at}\r\n\r\n");
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    page
}

async fn row(nodes: usize, world: Registered) {
    let mut crowd = Crowd::of(nodes, world);
    let before = crowd.load().await;
    crowd.start(0..nodes);
    let joined = crowd.until_all(true).await;
    let start = crowd.load().await.since(before);
    let (before, rest) = (crowd.load().await, RENEW_EVERY * RENEWALS);
    sleep(rest).await;
    let at_rest = crowd.load().await.since(before);
    let each = at_rest.bytes() / nodes as f64 / rest.as_secs_f64();
    let before = crowd.load().await;
    crowd.start(nodes - nodes / 3..nodes);
    let restarted = crowd.until_all(true).await;
    let storm = crowd.load().await.since(before);
    crowd.world.break_source();
    crowd.until_all(false).await;
    crowd.world.mend_source();
    // Its counters are those of its new life.
    let mended = crowd.until_all(true).await;
    let back = crowd.load().await;
    let announcement = announcement_bytes(&crowd.world, nodes).await;
    println!(
        "| {nodes} | {:.1} s | {:.0} kB | {each:.1} B/s | {:.0} | {:.1} s | {:.0} kB | {:.1} s | {:.0} kB | {announcement} B |",
        joined.as_secs_f64(),
        start.bytes() / nodes as f64 / 1e3,
        at_rest.written,
        restarted.as_secs_f64(),
        storm.bytes() / nodes as f64 / 1e3,
        mended.as_secs_f64(),
        back.bytes() / nodes as f64 / 1e3,
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "it measures, for minutes"]
async fn what_etcd_bears() {
    println!(
        "| nodes | all start: views equal after | bytes for each node in it | at rest, each node | entries in etcd's log meanwhile | a third restarts: equal after | bytes for each node in it | etcd was killed and starts: all hear again after | bytes for each node in it | key and text of a member |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    let text = std::env::var("ETCD_NODES").unwrap_or_else(|_| "50 100 200".to_owned());
    for nodes in text.split(' ').map(|size| size.parse().unwrap()) {
        let Some(world) = Registered::if_there("what_etcd_bears") else {
            return;
        };
        row(nodes, world).await;
    }
}

/// A cluster small enough for every run of the tests.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crowd_that_starts_restarts_and_loses_etcd_agrees_and_costs_etcd_no_writes_at_rest() {
    let Some(world) = Registered::if_there("a_crowd_on_one_etcd") else {
        return;
    };
    let mut crowd = Crowd::of(20, world);
    crowd.start(0..20);
    crowd.until_all(true).await;
    let before = crowd.load().await;
    sleep(RENEW_EVERY).await;
    let at_rest = crowd.load().await.since(before);
    assert!(at_rest.written < 1.0, "leases are written when renewed");
    assert!(at_rest.bytes() < 20.0 * 1_000.0, "{}", at_rest.bytes());
    crowd.start(14..20);
    crowd.until_all(true).await;
    crowd.world.break_source();
    crowd.until_all(false).await;
    crowd.world.mend_source();
    crowd.until_all(true).await;
}
