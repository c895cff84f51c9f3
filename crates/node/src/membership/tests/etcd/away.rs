//! What happens while a node does not reach etcd.

use super::super::{World, name, own};
use super::server::is_there;
use super::Registered;

/// Who was not heard of for longer than its lease has lost its name to whoever came meanwhile. Two
/// would take each other's files, so it stops as the later one would have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_name_another_took_while_it_was_cut_off_stops() {
    if !is_there("a_node_whose_name_another_took_while_it_was_cut_off_stops") {
        return;
    }
    let mut world = Registered::new();
    let mut a = world.start(own("a", 1)).await;
    let (gate, mut cut_off) = world.start_behind_a_gate(own("b", 1)).await;
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
    if !is_there("a_node_whose_name_another_took_and_gave_up_has_it_again") {
        return;
    }
    let mut world = Registered::new();
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
