//! The keys in etcd: lost, overwritten, strange, many, and of those that left.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use consign_core::ids::FeedName;
use consign_core::view::MemberState;
use etcd_client::{Txn, TxnOp};

use super::super::super::bounds::LEFT_SECONDS;
use super::super::{DEADLINE, World, name, own};
use super::{Registered, client};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_and_a_lease_that_were_lost_are_there_again() {
    let Some(mut world) = Registered::if_there("a_key_and_a_lease_that_were_lost_are_there_again")
    else {
        return;
    };
    let mut a = world.start(own("a", 1)).await;
    let _b = world.start(own("b", 1)).await;
    a.until_live("b", true).await;
    let mut etcd = client(&world.config).await;
    let key = "/consign/test/members/b";
    etcd.delete(key, None).await.unwrap();
    a.until_live("b", true).await;
    let found = etcd.get(key, None).await.unwrap();
    let lease = found.kvs().first().map(etcd_client::KeyValue::lease);
    if let Some(lease) = lease {
        etcd.lease_revoke(lease).await.unwrap();
    }
    a.until_live("b", true).await;
    let until = Instant::now() + DEADLINE;
    loop {
        let found = etcd.get(key, None).await.unwrap();
        match found.kvs().first() {
            Some(kv) if Some(kv.lease()) != lease => break,
            _ => assert!(Instant::now() < until, "the key does not come back"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What a person wrote over a key is not another node.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_that_was_overwritten_by_hand_is_its_nodes_again() {
    let Some(mut world) =
        Registered::if_there("a_key_that_was_overwritten_by_hand_is_its_nodes_again")
    else {
        return;
    };
    let mut a = world.start(own("a", 1)).await;
    let mut b = world.start(own("b", 1)).await;
    for node in [&mut a, &mut b] {
        node.until_members(&["a", "b"]).await;
    }
    let mut other = own("b", 7);
    other.member.weight = 77;
    let mut etcd = client(&world.config).await;
    let key = "/consign/test/members/b";
    etcd.put(key, other.text(), None).await.unwrap();
    a.until("what was written", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 77)
    })
    .await;
    a.until("what the node says", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 100)
    })
    .await;
    assert_eq!(b.heard.borrow().standing.name_taken, None);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_values_under_the_prefix_harm_nobody() {
    let Some(mut world) = Registered::if_there("strange_values_under_the_prefix_harm_nobody")
    else {
        return;
    };
    let mut a = world.start(own("a", 1)).await;
    a.until_members(&["a"]).await;
    let mut etcd = client(&world.config).await;
    for (key, value) in [
        ("/consign/test/members/x", "{}"),
        ("/consign/test/members/../y", "no"),
        ("/consign/test/members/", ""),
        ("/consign/test/other", "yes"),
        ("/consign/test/forgotten/../z", ""),
        ("/consign/test2/members/q", "{}"),
    ] {
        etcd.put(key, value, None).await.unwrap();
    }
    let _b = world.start(own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
}

/// That somebody left outlives it, and does not stay for ever.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_word_of_a_node_that_left_ends() {
    let Some(mut world) = Registered::if_there("the_word_of_a_node_that_left_ends") else {
        return;
    };
    let mut a = world.start(own("a", 1)).await;
    let b = world.start(own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
    let mut leaving = b.member.clone();
    leaving.state = MemberState::Left;
    world.announce(&b, leaving);
    a.until_members(&["a"]).await;
    drop(b);
    let mut etcd = client(&world.config).await;
    let found = etcd.get("/consign/test/members/b", None).await.unwrap();
    let lease = found.kvs()[0].lease();
    assert_ne!(lease, 0, "it is under a lease");
    let lease = etcd.lease_time_to_live(lease, None).await.unwrap();
    assert_eq!(lease.granted_ttl(), LEFT_SECONDS);
}

/// More than the client reads at once, if it is not told to: 4 MiB.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_of_thousands_is_read() {
    const FLEET: usize = 3_000;
    let Some(mut world) = Registered::if_there("a_fleet_of_thousands_is_read") else {
        return;
    };
    let mut etcd = client(&world.config).await;
    let feeds = (0..60).map(|n| FeedName::new(&format!("measurements-of-hall-{n}")).unwrap());
    let feeds: BTreeSet<_> = feeds.collect();
    let mut bytes = 0;
    let puts: Vec<_> = (0..FLEET)
        .map(|n| {
            let mut own = own(&format!("node-{n:04}"), 1);
            own.member.feeds.clone_from(&feeds);
            let key = format!("/consign/test/members/{}", own.member.name);
            bytes += own.text().len();
            TxnOp::put(key, own.text(), None)
        })
        .collect();
    assert!(bytes > 4 << 20, "{bytes}");
    for some in puts.chunks(100) {
        etcd.txn(Txn::new().and_then(some)).await.unwrap();
    }
    let mut a = world.start(own("a", 1)).await;
    a.until("all of them", |_, view| view.members().len() == FLEET + 1)
        .await;
}

/// It has the earlier lives of the node that it was copied from, and so their starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_node_that_runs_does_not_take_its_name() {
    let Some(mut world) = Registered::if_there("a_copy_of_a_node_that_runs_does_not_take_its_name")
    else {
        return;
    };
    let mut original = world.start(own("b", 1)).await;
    original.until_live("b", true).await;
    let mut a = world.start(own("a", 1)).await;
    a.until_live("b", true).await;
    let mut copy = world.start(own("b", 2)).await;
    copy.until("that its name is taken", |heard, _| {
        heard.standing.name_taken.is_some()
    })
    .await;
    let heard = original.source.heard().borrow().clone();
    assert_eq!(heard.standing.name_taken, None);
}
