//! What is written anew so that old segments of the log can go.

use consign_core::producer::Event;
use consign_core::spec::Replicas;

use crate::desk::{Desk, member, rules};

fn desk(nodes: &[&str]) -> Desk {
    let members = nodes.iter().map(|node| member(node, &["f"])).collect();
    Desk::new(members, vec![rules("f", Replicas::Count(1))])
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
