//! The list. Nothing is told between nodes: a test writes the lists, as a person does. So of the
//! suite only what a list can do is tried, in the list's own words.

use consign_core::view::MemberState;

use super::super::list::List;
use super::{Started, member};

fn listed(names: &[&str]) -> Started {
    let list = List::new(names.iter().map(|name| member(name)).collect());
    Started::new(Box::new(list), None)
}

#[tokio::test]
async fn members_that_are_listed_are_members_and_those_taken_out_are_not() {
    let mut a = listed(&["a", "b"]);
    a.until_members(&["a", "b"]).await;
    a.source.relist(["a", "c"].map(member).to_vec());
    a.until_members(&["a", "c"]).await;
    a.source.relist(["a", "b"].map(member).to_vec());
    a.until_members(&["a", "b"]).await;
}

#[tokio::test]
async fn changes_in_the_list_are_heard_and_one_that_left_is_known_as_such() {
    let mut a = listed(&["a", "b"]);
    a.until_members(&["a", "b"]).await;
    let mut changed = member("b");
    changed.weight = 7;
    changed.state = MemberState::Left;
    a.source.relist(vec![member("a"), changed.clone()]);
    a.until("the change", move |_, view| {
        view.member(&changed.name) == Some(&changed)
    })
    .await;
}

#[tokio::test]
async fn a_list_is_never_away_and_cannot_tell_who_runs() {
    let a = listed(&["a", "b"]);
    let heard = a.heard.borrow();
    assert!(heard.standing.reachable);
    assert!(heard.sighting.members.iter().all(|one| one.live.is_none()));
}

#[tokio::test]
async fn what_a_node_tells_changes_no_list() {
    let mut a = listed(&["a", "b"]);
    let mut changed = member("a");
    changed.weight = 7;
    a.source.announce(changed);
    a.source.forget(&super::name("b"));
    a.until("the list as it is", |_, view| {
        view.members() == [member("a"), member("b")]
    })
    .await;
}
