//! What is written anew so that old segments of the log can go.

use consign_core::ids::{Slot, Start};
use consign_core::producer::Event;
use consign_core::record::{LegRung, Record};
use consign_core::spec::Replicas;

use crate::desk::{Desk, member, name, rules};

fn desk(nodes: &[&str]) -> Desk {
    desk_of(nodes, 1)
}

fn desk_of(nodes: &[&str], replicas: usize) -> Desk {
    let members = nodes.iter().map(|node| member(node, &["f"])).collect();
    Desk::new(members, vec![rules("f", Replicas::Count(replicas))])
}

#[test]
fn what_was_being_read_during_a_pass_is_carried_by_the_next() {
    let mut desk = desk(&["a"]);
    desk.submit_small("f", "one");
    desk.hold_fetches = true;
    desk.up("a");
    desk.segment = 2;
    desk.apply(Event::Carry { through: 1 });
    desk.hold_fetches = false;
    desk.settle();
    assert_eq!(desk.needs_from, 1, "the first pass could not take it");
    desk.apply(Event::Carry { through: 1 });
    assert_eq!(desk.needs_from, 2);
}

#[test]
fn a_consumer_that_may_have_a_file_is_asked_to_abandon_it_although_its_placement_was_carried() {
    let mut desk = desk(&["a"]);
    desk.up("a");
    let key = desk.submit_small("f", "one");
    assert_eq!(desk.sent("a"), [key]);
    desk.restart();
    desk.segment = 2;
    desk.apply(Event::Carry { through: 1 });
    desk.set_members(vec![member("b", &["f"])]);
    desk.up("b");
    assert_eq!(desk.sent("b"), [key]);
    desk.up("a");
    assert_eq!(desk.abandons("a").len(), 1, "it may have published it");
}

#[test]
fn what_is_hashed_is_not_hashed_again_although_it_was_carried() {
    let mut desk = desk(&["a"]);
    desk.up("a");
    let key = desk.submit_large("f", "one");
    desk.opens("a", key);
    let hashes = vec![7; 32];
    desk.apply(Event::Hashed {
        key,
        first_chunk: 0,
        hashes: hashes.clone(),
    });
    desk.restart();
    desk.segment = 2;
    desk.apply(Event::Carry { through: 1 });
    desk.drop_what_is_not_needed();
    desk.restart();
    desk.up("a");
    desk.opens("a", key);
    assert_eq!(desk.streamed_with, hashes);
}

#[test]
fn a_file_leaves_memory_as_it_stands_and_not_as_it_was_carried_before() {
    let mut desk = desk(&["a"]);
    desk.up("a");
    let key = desk.submit_small("f", "one");
    desk.hold_syncs = true;
    desk.segment = 2;
    desk.apply(Event::Carry { through: 1 });
    let carried = desk.log.len();
    desk.down("a");
    let parked = desk.log.len();
    assert!(parked > carried, "it is written anew in order to be parked");
    desk.sync_through(carried);
    assert!(desk.producer.transfer(key).is_some(), "it is not synced");
    desk.hold_syncs = false;
    desk.settle();
    assert!(desk.producer.transfer(key).is_none());
}

#[test]
fn a_file_leaves_memory_with_the_answers_that_came_while_its_state_was_written() {
    let mut desk = desk_of(&["a", "b"], 2);
    desk.up("a");
    desk.up("b");
    let key = desk.submit_small("f", "one");
    desk.down("b");
    desk.hold_syncs = true;
    let leg = desk.leg(key, "a");
    desk.apply(Event::SmallsNotSent {
        to: name("a"),
        slots: vec![(Start(leg.start), Slot(leg.slot))],
        reason: "the frame's end was not acknowledged".to_owned(),
    });
    let parked = desk.log.len();
    desk.saves("a", key);
    desk.sync_through(parked);
    desk.hold_syncs = false;
    desk.settle();
    assert!(desk.producer.transfer(key).is_none(), "b cannot take it");
    desk.up("b");
    desk.takes_small("b", key);
    assert!(desk.is_done(key), "a is not asked about its closed slot");
}

#[test]
fn who_has_answered_is_not_owed_to_again_when_a_finished_file_is_carried() {
    let mut desk = desk(&["a"]);
    desk.up("a");
    let key = desk.submit_small("f", "one");
    desk.release_fails = true;
    desk.takes_small("a", key);
    assert!(desk.is_done(key));
    desk.restart();
    desk.segment = 2;
    desk.apply(Event::Carry { through: 1 });
    let placed = desk.placement(key).expect("its source is still there");
    assert!(placed.carried);
    assert_eq!(desk.leg(key, "a").rung(), LegRung::Saved);
}

#[test]
fn a_placement_survives_a_crash_while_it_is_carried_and_what_is_dropped_after_it() {
    let mut desk = desk(&["a"]);
    let key = desk.submit_small("f", "one");
    desk.segment = 2;
    desk.up("a");
    let placed = desk.placement(key).expect("it was sent");
    desk.restart();
    desk.segment = 3;
    desk.apply(Event::Carry { through: 1 });
    // Of what was carried only the submission was synced when the process was killed.
    let carried = |record: &Record| matches!(record, Record::Placed(placed) if placed.carried);
    let kept = desk.log.iter().position(|(_, record)| carried(record));
    desk.log.truncate(kept.expect("its placement is carried"));
    desk.restart();
    desk.drop_what_is_not_needed();
    desk.restart();
    desk.up("a");
    let legs = desk.placement(key).expect("it is placed").legs;
    assert_eq!(
        (legs[0].start, legs[0].slot),
        (placed.legs[0].start, placed.legs[0].slot),
        "a new slot would have it published twice"
    );
}
