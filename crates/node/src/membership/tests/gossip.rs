//! The suite over gossip: each node has a net of its own, and the first is everybody's seed. What
//! all depend on, and what is broken, is every connection at once: the nets go, and others with the
//! same names come.

use std::collections::BTreeSet;
use std::sync::Arc;

use consign_core::ids::Incarnation;
use tokio::sync::mpsc;

use super::super::gossip::Gossip;
use super::{Own, Started, World, suite};
use crate::net::{Identity, Net, NetConfig};

#[derive(Default)]
struct Mesh {
    /// Of the nodes that were started, in this order. A seed that is dead is none, so later ones
    /// have two.
    addrs: Vec<String>,
}

impl World for Mesh {
    async fn start(&mut self, mut own: Own) -> Started {
        let net = net(&own).await;
        let addr = net.local_addr().to_string();
        own.member.addr.clone_from(&addr);
        let mail = net.mail().expect("it is asked once");
        let seeds = self.addrs.iter().take(2).cloned().collect();
        self.addrs.push(addr);
        let source = Gossip::start(seeds, own, BTreeSet::new(), mail);
        Started::new(Box::new(source), Some(net))
    }

    async fn break_source(&mut self) {
        unreachable!("there is no server that could go: see the test of a lonely node")
    }

    async fn mend_source(&mut self) {}
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
    a_member_that_crashes_stays_and_returns
    a_member_that_restarts_at_once_has_its_name
    a_forgotten_member_goes_everywhere
    the_later_of_two_nodes_of_one_name_is_refused
    the_name_of_a_dead_node_may_be_used_by_another
    a_node_that_returns_with_a_new_disk_is_heard
}

/// Announcements name the node's own address, which a change in the suite does not know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_of_a_member_are_heard() {
    let mut world = Mesh::default();
    let mut a = world.start(super::own("a", 1)).await;
    let b = world.start(super::own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
    let mut changed = super::member("b");
    changed.addr.clone_from(&world.addrs[1]);
    changed.weight = 7;
    changed.zone = Some("z".to_owned());
    b.source.announce(changed.clone());
    a.until("the change", move |_, view| {
        view.member(&changed.name) == Some(&changed)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_leaves_goes_and_may_return() {
    suite::a_member_that_leaves_goes_and_may_return(Mesh::default()).await;
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
    let seeds = vec![world.addrs[1].clone()];
    world.addrs = seeds;
    let _a = world.start(super::own("a", 2)).await;
    b.until_live("a", true).await;
    b.until("that it hears somebody", |heard, _| {
        heard.standing.reachable
    })
    .await;
}
