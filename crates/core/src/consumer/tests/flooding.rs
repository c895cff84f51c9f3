//! A producer that says more than can be remembered.

use super::{CHUNK, Node, SIZE, START, leg, refusals, spec};
use crate::consumer::{Consumer, Event};
use crate::limits;
use crate::ranges::SlotRange;
use crate::spec::ConsumePolicy;
use crate::wire::{Abandon, Closed, Leg, Message, Open, OpenStarts, RefusalCode};

fn tables(consumer: &Consumer) -> usize {
    consumer.peers.values().map(|peer| peer.tables.len()).sum()
}

fn leg_of_start(start: u64) -> Leg {
    Leg {
        slot_start: start,
        ..leg(1, 1)
    }
}

#[test]
fn slots_beyond_the_bound_are_refused_until_some_close() {
    let mut node = Node::new();
    let most = limits::SLOTS_PER_PRODUCER_MAX as u64;
    for slot in 1..=most + 10 {
        let leg = leg(slot, 1);
        node.hear(Message::Abandon(Abandon { leg }));
    }
    assert_eq!(node.consumer.entries().count() as u64, most);
    let refused = node.open(1);
    assert_eq!(refusals(&refused)[0].0, RefusalCode::Busy);
    let refused = node.small(most + 20);
    assert_eq!(refusals(&refused)[0].0, RefusalCode::Busy);
    node.hear(Message::Closed(Closed {
        slot_start: START,
        low: 0,
        slots: vec![SlotRange { from: 1, to: 100 }],
    }));
    assert!(refusals(&node.open(2)).is_empty(), "there is room again");
}

#[test]
fn starts_beyond_the_bound_are_not_remembered() {
    let mut node = Node::new();
    for start in 0..2 * limits::STARTS_PER_PRODUCER_MAX as u64 {
        let leg = leg_of_start(start);
        node.hear(Message::Closed(Closed {
            slot_start: start,
            low: 1,
            slots: Vec::new(),
        }));
        node.hear(Message::Abandon(Abandon { leg }));
        node.hear(Message::Open(Open {
            leg: Leg { slot: 2, ..leg },
            spec: spec("large", SIZE),
            chunk_bytes: CHUNK,
        }));
    }
    assert_eq!(tables(&node.consumer), limits::STARTS_PER_PRODUCER_MAX);
    let starts = (0..=limits::STARTS_PER_PRODUCER_MAX as u64).collect();
    node.hear(Message::OpenStarts(OpenStarts { starts }));
    assert_eq!(tables(&node.consumer), limits::STARTS_PER_PRODUCER_MAX);
}

#[test]
fn the_last_number_is_no_slot() {
    let mut node = Node::new();
    let refused = node.hear(Message::Open(Open {
        leg: leg(u64::MAX, 1),
        spec: spec("large", SIZE),
        chunk_bytes: CHUNK,
    }));
    assert_eq!(refusals(&refused)[0].0, RefusalCode::NotAllowed);
    node.small(u64::MAX);
    let leg = leg(u64::MAX, 1);
    node.hear(Message::Abandon(Abandon { leg }));
    assert_eq!(node.consumer.entries().count(), 0);
}

#[test]
fn what_is_refused_is_not_remembered() {
    let mut node = Node::new();
    for start in 0..10 {
        let refused = node.hear(Message::Open(Open {
            leg: leg_of_start(start),
            spec: spec("../out", SIZE),
            chunk_bytes: CHUNK,
        }));
        assert_eq!(refusals(&refused)[0].0, RefusalCode::BadName);
    }
    assert_eq!(tables(&node.consumer), 0);
}

#[test]
fn commits_that_are_held_back_are_no_more_than_files_that_are_held() {
    let mut node = Node::new();
    node.small(1);
    node.consumer.unpublished = limits::UNPUBLISHED_FILES_MAX;
    for slot in 0..1_000 {
        node.commit_small(slot);
        node.commit_small(1);
    }
    let held: u64 = node
        .consumer
        .held
        .iter()
        .map(|(_, _, slots)| slots.len())
        .sum();
    assert_eq!((node.consumer.held.len(), held), (1, 1));
}

#[test]
fn a_producer_that_a_feed_does_not_name_brings_nothing_into_it() {
    let mut node = Node::new();
    let from = vec!["lab-*".parse().unwrap()];
    let only_labs = ConsumePolicy {
        from,
        ..node.policies[0].clone()
    };
    node.apply(Event::Policies(vec![only_labs]));
    let large = node.hear(Message::Open(Open {
        leg: leg(1, 1),
        spec: spec("large", SIZE),
        chunk_bytes: CHUNK,
    }));
    let small = node.small(2);
    for (refused, what) in [(large, "large"), (small, "small")] {
        let [(code, why)] = refusals(&refused)[..] else {
            panic!("{what}: {refused:?}");
        };
        assert_eq!(code, RefusalCode::NotAllowed, "{what}");
        assert!(why.contains("does not take feed images from cam"), "{why}");
    }
    assert_eq!(node.consumer.entries().count(), 0);
}
