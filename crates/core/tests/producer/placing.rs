//! Placements, and when they are good enough.

use consign_core::producer::Event;
use consign_core::record::Record;
use consign_core::spec::Replicas;
use consign_core::view::{Member, MemberState};
use consign_core::wire::{Abandoned, Message};

use crate::desk::{Desk, member, rules};

fn fleet(names: &[&str]) -> Vec<Member> {
    names.iter().map(|name| member(name, &["f"])).collect()
}

fn left(name: &str) -> Member {
    Member {
        state: MemberState::Left,
        ..member(name, &["f"])
    }
}

#[test]
fn a_source_is_kept_as_long_as_nobody_has_the_file_although_all_that_should_are_gone() {
    let mut desk = Desk::new(fleet(&["a", "b"]), vec![rules("f", Replicas::All)]);
    desk.up("a");
    let key = desk.submit_small("f", "one");
    assert_eq!(desk.placement(key).unwrap().legs.len(), 2);
    desk.set_members(vec![left("a"), left("b")]);
    desk.restart();
    assert!(!desk.is_done(key), "nobody has it");
    assert!(desk.released.is_empty());

    desk.set_members(vec![left("a"), left("b"), member("c", &["f"])]);
    desk.up("c");
    assert!(!desk.is_done(key), "still nobody has it");
    desk.takes_small("c", key);
    assert!(desk.is_done(key));
}

#[test]
fn a_consumer_that_left_and_came_back_gets_the_file_once_its_old_slot_is_closed() {
    let mut desk = Desk::new(fleet(&["a"]), vec![rules("f", Replicas::All)]);
    desk.up("a");
    let key = desk.submit_small("f", "one");
    desk.set_members(vec![left("a")]);
    desk.down("a");
    desk.set_members(fleet(&["a"]));
    desk.up("a");
    let abandon = desk.abandons("a")[0];
    assert_eq!(desk.sent("a").len(), 1, "its first slot may be published");
    desk.hear("a", Message::Abandoned(Abandoned { leg: abandon }));
    desk.takes_small("a", key);
    assert!(desk.is_done(key));
}

#[test]
fn a_consumer_that_left_is_told_of_each_file_that_it_may_have_until_it_answers() {
    let mut desk = Desk::new(fleet(&["a"]), vec![rules("f", Replicas::Count(1))]);
    desk.up("a");
    let files = ["one", "two", "three"].map(|file| desk.submit_small("f", file));
    desk.set_members(vec![left("a"), member("b", &["f"])]);
    desk.down("a");
    desk.up("b");
    assert_eq!(desk.sent("b"), files);
    desk.up("a");
    let told = desk.abandons("a");
    assert_eq!(told.len(), files.len());
    desk.hear("a", Message::Abandoned(Abandoned { leg: told[0] }));

    desk.segment = 2;
    desk.apply(Event::Carry { through: 1 });
    desk.restart();
    desk.said.clear();
    desk.up("a");
    let told_again: Vec<u64> = desk.abandons("a").iter().map(|leg| leg.slot).collect();
    assert_eq!(told_again, [told[1].slot, told[2].slot]);
}

#[test]
fn a_placed_file_reaches_its_consumer_after_a_restart_although_others_take_the_new_ones() {
    let mut desk = Desk::new(fleet(&["a"]), vec![rules("f", Replicas::Count(1))]);
    desk.up("a");
    let key = desk.submit_small("f", "one");
    let drained = Member {
        state: MemberState::Draining,
        ..member("a", &["f"])
    };
    desk.set_members(vec![drained, member("b", &["f"])]);
    desk.restart();
    desk.up("a");
    desk.takes_small("a", key);
    assert!(desk.is_done(key), "b accepts the feed, and is down");
}

#[test]
fn what_is_owed_to_a_consumer_that_gives_up_the_feed_goes_to_another_at_once() {
    for restarts in [false, true] {
        let mut desk = Desk::new(fleet(&["a"]), vec![rules("f", Replicas::Count(1))]);
        desk.up("a");
        let key = desk.submit_small("f", "one");
        desk.down("a");
        assert_eq!(desk.placement(key).unwrap().legs[0].node, "a");
        if restarts {
            // It is told of the change by the list that it begins with.
            desk.restart_with(vec![member("a", &["other"]), member("b", &["f"])]);
        } else {
            desk.set_members(vec![member("a", &["other"]), member("b", &["f"])]);
        }
        desk.up("b");
        desk.takes_small("b", key);
        assert!(desk.is_done(key), "restarted: {restarts}");
        let why = "a does not take f any more";
        let is_why = |record: &Record| matches!(record, Record::Placed(one) if one.reason == why);
        assert!(desk.is_logged(is_why), "restarted: {restarts}");
    }
}

#[test]
fn a_consumer_that_was_replaced_may_say_twice_that_it_has_the_file() {
    let mut desk = Desk::new(fleet(&["a"]), vec![rules("f", Replicas::Count(1))]);
    desk.up("a");
    let key = desk.submit_small("f", "one");
    desk.set_members(vec![left("a"), member("b", &["f"])]);
    desk.down("a");
    desk.up("b");
    assert_eq!(desk.sent("b"), [key]);
    desk.up("a");
    assert_eq!(desk.abandons("a").len(), 1);
    // Its word crossed the order to abandon, which it answers too, before the first is synced.
    desk.hold_syncs = true;
    desk.saves("a", key);
    desk.saves("a", key);
    desk.hold_syncs = false;
    desk.settle();
    desk.takes_small("b", key);
    assert!(desk.is_done(key));
}

#[test]
fn a_feed_that_leaves_the_configuration_during_a_claim_gets_as_many_copies_as_it_wanted() {
    for restarts in [false, true] {
        let members = vec![member("a", &["f"]), member("b", &["f"])];
        let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(2))]);
        let key = desk.claim("f", "one");
        desk.set_rules(Vec::new());
        if restarts {
            desk.restart();
        }
        desk.up("a");
        desk.up("b");
        desk.taken(key);
        let placed = desk.placement(key).expect("it is placed");
        assert_eq!(placed.legs.len(), 2, "restarts: {restarts}");
    }
}
