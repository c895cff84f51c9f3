//! What happens while a node does not reach etcd, or while etcd loses what it had.

use consign_core::view::MemberState;
use etcd_client::{EventType, WatchOptions};

use super::super::{DEADLINE, Heard, View, World, name, own};
use super::{Registered, client};

/// Who was not heard of for longer than its lease has lost its name to whoever came meanwhile. Two
/// would take each other's files, so it stops as the later one would have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_name_another_took_while_it_was_cut_off_stops() {
    let Some(mut world) =
        Registered::if_there("a_node_whose_name_another_took_while_it_was_cut_off_stops")
    else {
        return;
    };
    let mut a = world.start(own("a", 1)).await;
    let (gate, mut cut_off) = world.start_behind_a_gate(own("b", 1)).await;
    // The second of these is told when it knows that the first one was written.
    for weight in [11, 12] {
        let mut changed = cut_off.member.clone();
        changed.weight = weight;
        world.announce(&cut_off, changed);
        a.until("that it has its name", move |_, view| {
            let known = view.member(&name("b"));
            known.is_some_and(|b| b.weight == weight)
        })
        .await;
    }
    gate.shut();
    let mut other = own("b", 1);
    other.start.0 ^= 0xffff;
    other.member.weight = 22;
    let other = world.start(other).await;
    a.until("the other", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 22)
    })
    .await;
    gate.open();
    cut_off
        .until("that it lost its name", |heard, _| {
            let taken = heard.standing.name_taken.as_deref();
            taken.is_some_and(|why| why.contains("took the name b") && why.contains("hint:"))
        })
        .await;
    assert_eq!(other.heard.borrow().standing.name_taken, None);
}

/// A name that was lost to one that is dead by now is taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_name_another_took_and_gave_up_has_it_again() {
    let Some(mut world) =
        Registered::if_there("a_node_whose_name_another_took_and_gave_up_has_it_again")
    else {
        return;
    };
    let mut a = world.start(own("a", 1)).await;
    let (gate, cut_off) = world.start_behind_a_gate(own("b", 1)).await;
    a.until_live("b", true).await;
    gate.shut();
    let mut other = own("b", 1);
    other.start.0 ^= 0xffff;
    other.member.weight = 22;
    let other = world.start(other).await;
    a.until("the other", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 22)
    })
    .await;
    drop(other);
    gate.open();
    a.until("the first one", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 100)
    })
    .await;
    assert_eq!(cut_off.heard.borrow().standing.name_taken, None);
}

/// What it was before is never said again: a node that drains would be given files meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_became_while_etcd_was_away_is_the_first_that_is_told() {
    let Some(mut world) =
        Registered::if_there("what_a_node_became_while_etcd_was_away_is_the_first_that_is_told")
    else {
        return;
    };
    let mut a = world.start(own("a", 1)).await;
    let (gate, mut b) = world.start_behind_a_gate(own("b", 1)).await;
    a.until_live("b", true).await;
    let mut etcd = client(&world.config).await;
    let status = etcd.get("nothing", None).await.unwrap();
    let now = status.header().unwrap().revision();
    let from = WatchOptions::new().with_start_revision(now + 1);
    let key = "/consign/test/members/b";
    let mut told = etcd.watch(key, Some(from)).await.unwrap();
    gate.shut();
    b.until("that etcd is away", |heard, _| !heard.standing.reachable)
        .await;
    let mut draining = b.member.clone();
    draining.state = MemberState::Draining;
    world.announce(&b, draining);
    gate.open();
    let first = async {
        loop {
            let heard = told.message().await.unwrap().unwrap();
            let mut puts = (heard.events().iter()).filter(|e| e.event_type() == EventType::Put);
            if let Some(put) = puts.next() {
                return put.kv().unwrap().value_str().unwrap().to_owned();
            }
        }
    };
    let first = tokio::time::timeout(DEADLINE, first).await.unwrap();
    assert!(first.contains("draining"), "{first}");
}

/// An etcd that was set up anew, or from an old copy, is told again who is gone for good.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_etcd_that_lost_everything_hears_again_who_was_forgotten() {
    let Some(mut world) =
        Registered::if_there("an_etcd_that_lost_everything_hears_again_who_was_forgotten")
    else {
        return;
    };
    let mut a = world.start(own("a", 1)).await;
    a.until_members(&["a"]).await;
    a.source.forget(&name("c"));
    let forgotten = |heard: &Heard, _: &_| heard.sighting.forgotten.contains(&name("c"));
    let mut b = world.start(own("b", 1)).await;
    b.until("who was forgotten", forgotten).await;
    drop(b);
    world.server.wipe();
    world.server.start();
    let mut late = world.start(own("late", 1)).await;
    late.until("who was forgotten", forgotten).await;
}

/// Etcd keeps no history of what happened while a node was cut off: it reads everything again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_that_etcd_dropped_meanwhile_is_not_missed() {
    let Some(mut world) = Registered::if_there("history_that_etcd_dropped_meanwhile_is_not_missed")
    else {
        return;
    };
    let (gate, mut a) = world.start_behind_a_gate(own("a", 1)).await;
    let b = world.start(own("b", 1)).await;
    let c = world.start(own("c", 1)).await;
    a.until_members(&["a", "b", "c"]).await;
    gate.shut();
    a.until("that etcd is away", |heard, _| !heard.standing.reachable)
        .await;
    let mut watcher = world.start(own("w", 1)).await;
    watcher.until_members(&["a", "b", "c", "w"]).await;
    for weight in 1..20 {
        let mut changed = b.member.clone();
        changed.weight = weight;
        world.announce(&b, changed);
    }
    let mut leaving = c.member.clone();
    leaving.state = MemberState::Left;
    world.announce(&c, leaving);
    let is_last = |_: &Heard, view: &View| {
        let b = view.member(&name("b"));
        b.is_some_and(|b| b.weight == 19) && view.member(&name("c")).is_none()
    };
    watcher.until("the last change", is_last).await;
    let mut etcd = client(&world.config).await;
    let read = etcd.get("nothing", None).await.unwrap();
    let now = read.header().unwrap().revision();
    etcd.compact(now, None).await.unwrap();
    gate.open();
    a.until("the last change", is_last).await;
    // And its watch follows from there.
    let _d = world.start(own("d", 1)).await;
    a.until_live("d", true).await;
}
