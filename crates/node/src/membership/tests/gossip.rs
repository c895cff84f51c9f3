//! The suite over gossip: each node has a net of its own, and the first ones are everybody's seeds.
//! What all depend on, and what is broken, is every connection at once: each node is behind a gate.

use std::collections::BTreeSet;
use std::sync::Arc;

use consign_core::ids::{Incarnation, NodeName};
use tokio::sync::mpsc;

use super::super::bounds::FORGOTTEN_MAX;
use super::super::gossip::Gossip;
use super::gate::Gate;
use super::{Own, Started, World, name, suite};
use crate::net::{Identity, Net, NetConfig};

#[derive(Default)]
struct Mesh {
    /// In front of the nodes that were started, in this order. A seed that is dead is none, so later
    /// ones have two.
    gates: Vec<Gate>,
    /// Whom the next one knows to be gone for good when it starts.
    forgotten: BTreeSet<NodeName>,
}

impl Mesh {
    /// Starts one that asks these first.
    async fn start_with(&mut self, mut own: Own, seeds: Vec<String>) -> Started {
        let net = net(&own).await;
        let gate = Gate::before(net.local_addr()).await;
        own.member.addr = gate.addr().to_string();
        self.gates.push(gate);
        let member = own.member.clone();
        let mail = net.mail().expect("it is asked once");
        let forgotten = std::mem::take(&mut self.forgotten);
        let source = Gossip::start(seeds, own, forgotten, mail);
        Started::new(Arc::new(source), member, Some(net))
    }

    fn addr(&self, of: usize) -> String {
        self.gates[of].addr().to_string()
    }
}

impl World for Mesh {
    async fn start(&mut self, own: Own) -> Started {
        let seeds = (0..self.gates.len().min(2)).map(|of| self.addr(of));
        let seeds = seeds.collect();
        self.start_with(own, seeds).await
    }

    fn break_source(&mut self) {
        self.gates.iter().for_each(Gate::shut);
    }

    fn mend_source(&mut self) {
        self.gates.iter().for_each(Gate::open);
    }
}

async fn net(own: &Own) -> Arc<Net> {
    let (audits, _) = mpsc::channel(1);
    let config = NetConfig {
        me: Identity {
            node: own.member.name.clone(),
            incarnation: Incarnation(own.incarnation.0),
            start: own.start,
            lives: Vec::new(),
            reconciled: Incarnation(0),
        },
        listen: "127.0.0.1:0".into(),
        seen: Vec::new(),
        set_apart: false,
        spool: std::env::temp_dir(),
        audits,
        keyring: None,
        open_files_max: 256,
    };
    let (events, _) = mpsc::channel(16);
    Arc::new(Net::start(config, events).await.unwrap())
}

macro_rules! suite {
    ($($test:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            suite::$test(Mesh::default()).await;
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

/// With everybody else gone nobody goes, and that is said; whoever comes back is heard again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lonely_node_keeps_its_members_and_says_that_it_hears_nobody() {
    let mut world = Mesh::default();
    let a = world.start(super::own("a", 1)).await;
    let mut b = world.start(super::own("b", 1)).await;
    b.until_live("a", true).await;
    drop(a);
    b.until("that it is alone", |heard, _| {
        !heard.standing.reachable && heard.standing.error.is_some()
    })
    .await;
    b.until_members(&["a", "b"]).await;
    // The seed is at another address now: it asks b, which is its seed.
    let b_at = world.addr(1);
    let _a = world.start_with(super::own("a", 2), vec![b_at]).await;
    b.until_live("a", true).await;
    b.until("that it hears somebody", |heard, _| {
        heard.standing.reachable
    })
    .await;
}

/// Whoever is asked first by all others asks nobody: it can tell all the same when they are gone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_is_its_own_only_seed_says_that_it_hears_nobody() {
    let mut world = Mesh::default();
    let mut a = world.start(super::own("a", 1)).await;
    let b = world.start(super::own("b", 1)).await;
    a.until("that it hears somebody", |heard, _| {
        heard.standing.reachable && heard.sighting.is_live(&name("b")) == Some(true)
    })
    .await;
    drop(b);
    a.until("that it is alone", |heard, _| !heard.standing.reachable)
        .await;
}

/// As many names as are kept, of machines that come and go by the hundred: more than one letter holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_that_are_forgotten_are_told_of_however_many_letters_it_takes() {
    let mut world = Mesh::default();
    let gone = |n: usize| name(&format!("machine-{n:05}.eu-central.example"));
    world.forgotten = (0..FORGOTTEN_MAX - 1).map(gone).collect();
    let a = world.start(super::own("a", 1)).await;
    let mut b = world.start(super::own("b", 1)).await;
    b.until_live("a", true).await;
    a.source.forget(&name("z"));
    b.until("all of them", |heard, _| {
        heard.sighting.forgotten.len() == FORGOTTEN_MAX
            && heard.sighting.forgotten.contains(&name("z"))
    })
    .await;
    let mut late = world.start(super::own("late", 1)).await;
    late.until("all of them", |heard, _| {
        heard.sighting.forgotten.len() == FORGOTTEN_MAX
    })
    .await;
    late.until_members(&["a", "b", "late"]).await;
}
