//! What gossip costs as a cluster grows: hundreds of nodes in one process, each with the whole of
//! [`Gossip`], whose letters go from hand to hand. Time is simulated, so how long something takes
//! is what the protocol needs on machines with time to spare, and does not depend on this one.
//!
//! `GOSSIP_NODES="50 100 200" cargo test -p consign --lib membership::tests::scale -- --ignored --nocapture`

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use consign_core::ids::NodeName;
use consign_core::view::{Sighted, Sighting};
use tokio::time::{Instant, sleep};

use super::super::MembershipSource as _;
use super::super::bounds::{GOSSIP_EVERY, LOOK_EVERY};
use super::super::gossip::Gossip;
use super::{Own, own};
use crate::net::{Exchange, Traffic};

/// How long a cluster at rest is watched.
const REST: Duration = Duration::from_secs(5);
/// Simulated time: it takes as long as the machine takes for it.
const DEADLINE: Duration = Duration::from_secs(120);
/// Who is asked first by everybody.
const SEEDS: usize = 2;

struct Crowd {
    exchange: Arc<Exchange>,
    /// Each with the life that it is in; `None` while it is dead.
    nodes: Vec<(u64, Option<Gossip>)>,
}

impl Crowd {
    fn of(nodes: usize) -> Self {
        Self {
            exchange: Arc::default(),
            nodes: (0..nodes).map(|_| (0, None)).collect(),
        }
    }

    /// Starts some within one round of gossip, in their next life.
    async fn start(&mut self, which: impl ExactSizeIterator<Item = usize>) {
        let between = GOSSIP_EVERY / u32::try_from(which.len()).unwrap();
        for at in which {
            let life = self.nodes[at].0 + 1;
            let own = announced(at, life);
            let mail = self.exchange.mail(&own.member.name, &own.member.addr);
            let seeds = (0..SEEDS).map(|at| announced(at, 1).member.addr).collect();
            let gossip = Gossip::start(seeds, own, BTreeSet::new(), mail);
            self.nodes[at] = (life, Some(gossip));
            sleep(between).await;
        }
    }

    /// How long it is until all that run see all that run, each in its life, and nobody else live.
    async fn until_equal(&self) -> Duration {
        let began = Instant::now();
        let lives: BTreeMap<NodeName, u64> = (0..self.nodes.len())
            .filter(|&at| self.nodes[at].1.is_some())
            .map(|at| (own(&name(at), 1).member.name, self.nodes[at].0))
            .collect();
        let sees_all = |gossip: &Gossip| {
            let heard = gossip.heard();
            live_in(&heard.borrow().sighting) == lives
        };
        let mut running = self.nodes.iter().filter_map(|(_, gossip)| gossip.as_ref());
        while !running.clone().all(sees_all) {
            assert!(began.elapsed() < DEADLINE, "the views are not equal");
            sleep(LOOK_EVERY).await;
        }
        assert!(running.next().is_some());
        began.elapsed()
    }

    /// What goes by in so long, for each node that runs.
    async fn rate(&self, within: Duration) -> Rate {
        self.exchange.take_traffic();
        sleep(within).await;
        self.rate_of(within)
    }

    fn rate_of(&self, within: Duration) -> Rate {
        let running = self
            .nodes
            .iter()
            .filter(|(_, gossip)| gossip.is_some())
            .count();
        let traffic = self.exchange.take_traffic();
        let each = traffic.bytes as f64 / running as f64 / within.as_secs_f64();
        Rate { each, traffic }
    }
}

/// Those that are heard, each with its life. Of an earlier one of the same name nothing counts.
pub(super) fn live_in(sighting: &Sighting) -> BTreeMap<NodeName, u64> {
    let mut last: BTreeMap<&NodeName, &Sighted> = BTreeMap::new();
    for one in &sighting.members {
        let known = last.entry(&one.member.name).or_insert(one);
        if one.incarnation > known.incarnation {
            *known = one;
        }
    }
    let live = last.values().filter(|one| one.live == Some(true));
    live.map(|one| (one.member.name.clone(), one.incarnation.0))
        .collect()
}

struct Rate {
    /// Bytes a second that each node sends.
    each: f64,
    traffic: Traffic,
}

pub(super) fn name(at: usize) -> String {
    format!("node-{at:04}")
}

pub(super) fn announced(at: usize, life: u64) -> Own {
    let mut own = own(&name(at), life);
    own.member.addr = format!("{}.lan:7420", name(at));
    own.member.zone = Some(format!("zone-{}", at % 10));
    own
}

/// Processor time of this thread, which runs all the nodes.
fn processor_time() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or(0))
}

async fn row(nodes: usize) {
    let mut crowd = Crowd::of(nodes);
    let began = Instant::now();
    crowd.start(0..nodes).await;
    crowd.until_equal().await;
    let joined = began.elapsed();
    let (before, rest) = (processor_time(), crowd.rate(REST).await);
    let each = (processor_time() - before).as_secs_f64() / REST.as_secs_f64() / nodes as f64;
    // A third at once: those that nobody asks first.
    let third = nodes - nodes / 3..nodes;
    let began = Instant::now();
    crowd.exchange.take_traffic();
    crowd.start(third.clone()).await;
    crowd.until_equal().await;
    let restarted = began.elapsed();
    let storm = crowd.rate_of(restarted);
    third.clone().for_each(|at| crowd.nodes[at].1 = None);
    let noticed = crowd.until_equal().await;
    let began = Instant::now();
    crowd.start(third).await;
    crowd.until_equal().await;
    let returned = began.elapsed();
    let after = crowd.rate(REST).await;
    println!(
        "| {nodes} | {:.1} s | {:.1} kB/s | {:.1} kB | {:.2} ms | {:.1} s | {:.1} kB/s, {} | {:.1} s | {:.1} s | {:.1} kB/s | {:.1} kB |",
        joined.as_secs_f64(),
        rest.each / 1e3,
        rest.traffic.largest as f64 / 1e3,
        each * 1e3,
        restarted.as_secs_f64(),
        storm.each / 1e3,
        storm.traffic.lost,
        noticed.as_secs_f64(),
        returned.as_secs_f64(),
        after.each / 1e3,
        after.traffic.largest as f64 / 1e3,
    );
}

#[tokio::test(start_paused = true)]
#[ignore = "it measures, for minutes"]
async fn what_gossip_costs() {
    println!(
        "| nodes | all start: views equal after | at rest a node sends | largest letter | processor time a node and second | a third restarts: equal after | in it a node sends, letters lost | a third dies: noticed by all after | it returns: equal after | at rest then | largest letter then |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    for nodes in sizes() {
        row(nodes).await;
    }
}

/// A cluster small enough for every run of the tests.
#[tokio::test(start_paused = true)]
async fn a_crowd_that_starts_and_restarts_at_once_agrees_soon() {
    let mut crowd = Crowd::of(30);
    crowd.start(0..30).await;
    assert!(crowd.until_equal().await < Duration::from_secs(10));
    crowd.start(20..30).await;
    assert!(crowd.until_equal().await < Duration::from_secs(10));
}

fn sizes() -> Vec<usize> {
    let text = std::env::var("GOSSIP_NODES").unwrap_or_else(|_| "50 100 200".to_owned());
    let sizes = text.split(' ').map(|size| size.parse().unwrap());
    sizes.collect()
}
