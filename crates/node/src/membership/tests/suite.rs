//! The suite itself. Each test is a function over a [`World`].

use consign_core::view::MemberState;

use super::{World, name, own};

/// Everybody who joins is heard by everybody.
pub(super) async fn members_that_join_are_heard(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let mut b = world.start(own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
    b.until_members(&["a", "b"]).await;
    let mut c = world.start(own("c", 1)).await;
    for node in [&mut a, &mut b, &mut c] {
        node.until_members(&["a", "b", "c"]).await;
        node.until_live("c", true).await;
    }
}

/// Weight, zone, feeds and state change while the node runs.
pub(super) async fn changes_of_a_member_are_heard(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let b = world.start(own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
    let mut changed = b.member.clone();
    changed.weight = 7;
    changed.zone = Some("z".to_owned());
    changed.feeds.clear();
    changed.state = MemberState::Draining;
    world.announce(&b, changed.clone());
    a.until("the change", move |_, view| {
        view.member(&changed.name) == Some(&changed)
    })
    .await;
}

/// Who says that it leaves is no member any more, for those who hear it later too, and may come
/// again.
pub(super) async fn a_member_that_leaves_goes_and_may_return(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let b = world.start(own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
    let mut leaving = b.member.clone();
    leaving.state = MemberState::Left;
    world.announce(&b, leaving);
    a.until_members(&["a"]).await;
    drop(b);
    let mut late = world.start(own("late", 1)).await;
    late.until_members(&["a", "late"]).await;
    let _b = world.start(own("b", 2)).await;
    a.until_members(&["a", "b", "late"]).await;
}

/// Who crashes is not heard, and stays a member; after its return it is heard in its new life.
pub(super) async fn a_member_that_crashes_stays_and_returns(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let b = world.start(own("b", 1)).await;
    a.until_live("b", true).await;
    drop(b);
    a.until_live("b", false).await;
    a.until_members(&["a", "b"]).await;
    let mut again = own("b", 2);
    again.member.weight = 9;
    let mut b = world.start(again).await;
    a.until_live("b", true).await;
    a.until("its new life", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 9)
    })
    .await;
    b.until_members(&["a", "b"]).await;
}

/// A crash and a return so fast that nobody has noticed the crash.
pub(super) async fn a_member_that_restarts_at_once_has_its_name(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let b = world.start(own("b", 1)).await;
    a.until_live("b", true).await;
    drop(b);
    let mut again = own("b", 2);
    again.member.weight = 9;
    let b = world.start(again).await;
    a.until("its new life", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 9)
    })
    .await;
    assert_eq!(b.heard.borrow().standing.name_taken, None);
}

/// Who was forgotten goes at everybody, also at those that come later, and although it runs.
pub(super) async fn a_forgotten_member_goes_everywhere(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let mut b = world.start(own("b", 1)).await;
    let mut c = world.start(own("c", 1)).await;
    for node in [&mut a, &mut b, &mut c] {
        node.until_members(&["a", "b", "c"]).await;
    }
    a.source.forget(&name("c"));
    a.until_members(&["a", "b"]).await;
    b.until_members(&["a", "b"]).await;
    let forgotten = |heard: &super::Heard, _: &_| heard.sighting.forgotten.contains(&name("c"));
    c.until("that it was forgotten", forgotten).await;
    drop(a);
    let mut late = world.start(own("late", 1)).await;
    late.until_members(&["a", "b", "late"]).await;
}

/// The later of two nodes of one name is refused, and the record of the first stays.
pub(super) async fn the_later_of_two_nodes_of_one_name_is_refused(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let mut first = own("b", 1);
    first.member.weight = 11;
    let first = world.start(first).await;
    a.until_live("b", true).await;
    // Another data directory: it knows nothing of the first one's lives.
    let mut second = own("b", 1);
    second.start.0 ^= 0xffff;
    second.member.weight = 22;
    let mut second = world.start(second).await;
    second
        .until("that its name is taken", |heard, _| {
            let taken = heard.standing.name_taken.as_deref();
            taken.is_some_and(|why| why.contains("called b runs already") && why.contains("hint:"))
        })
        .await;
    drop(second);
    assert_eq!(first.heard.borrow().standing.name_taken, None);
    a.until("still the first", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 11)
    })
    .await;
}

/// A name whose node is dead, and whose disk is lost, may be used again.
pub(super) async fn the_name_of_a_dead_node_may_be_used_by_another(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let b = world.start(own("b", 1)).await;
    a.until_live("b", true).await;
    drop(b);
    let mut other = own("b", 5);
    other.earlier.clear();
    other.member.weight = 33;
    let _other = world.start(other).await;
    a.until("the other", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 33)
    })
    .await;
}

/// A new disk knows nothing of the lives before, and counts its own from 1 again. Those who know the
/// earlier ones hear it all the same, and go on doing so when it is dead too.
pub(super) async fn a_node_that_returns_with_a_new_disk_is_heard(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let b = world.start(own("b", 5)).await;
    a.until_live("b", true).await;
    drop(b);
    let mut renewed = own("b", 1);
    renewed.member.weight = 33;
    let b = world.start(renewed).await;
    a.until("the new disk", |heard, view| {
        let known = view.member(&name("b"));
        known.is_some_and(|b| b.weight == 33) && heard.sighting.is_live(&name("b")) != Some(false)
    })
    .await;
    drop(b);
    a.until_live("b", false).await;
    let known = a.view.member(&name("b"));
    assert!(known.is_some_and(|b| b.weight == 33), "{known:?}");
    let mut again = own("b", 2);
    again.member.weight = 44;
    let _b = world.start(again).await;
    a.until("its next life", |_, view| {
        view.member(&name("b")).is_some_and(|b| b.weight == 44)
    })
    .await;
}

/// While the source is away nobody goes, and that is said; when it is back, what changed meanwhile
/// is heard.
pub(super) async fn nobody_goes_while_the_source_is_away(mut world: impl World) {
    let mut a = world.start(own("a", 1)).await;
    let b = world.start(own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
    world.break_source();
    a.until("that it is away", |heard, _| {
        let error = heard.standing.error.as_deref();
        !heard.standing.reachable && error.is_none_or(|why| why.contains("hint:"))
    })
    .await;
    a.until_members(&["a", "b"]).await;
    let mut changed = b.member.clone();
    changed.weight = 44;
    world.announce(&b, changed);
    world.mend_source();
    a.until("what changed meanwhile", |heard, view| {
        heard.standing.reachable && view.member(&name("b")).is_some_and(|b| b.weight == 44)
    })
    .await;
    let _c = world.start(own("c", 1)).await;
    a.until_members(&["a", "b", "c"]).await;
}
