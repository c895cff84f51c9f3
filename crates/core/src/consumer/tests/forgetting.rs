//! A producer that a person declared gone, and that is not.

use super::*;
use crate::producer::Token;

fn published(node: &mut Node, at: u64) {
    node.small(at);
    node.commit_small(at);
    node.apply(Event::Staged {
        files: vec![(slot(at), true)],
        failed: Vec::new(),
    });
    node.apply(Event::Published {
        done: vec![slot(at)],
        conflicts: Vec::new(),
        failed: Vec::new(),
    });
}

fn forget() -> Event {
    Event::Forget {
        token: Token(7),
        node: cam(),
    }
}

fn come_back(node: &mut Node) {
    node.apply(Event::PeerUp {
        node: cam(),
        session: Session(1),
        incarnation: Incarnation(1),
    });
}

#[test]
fn what_a_forgotten_producer_offers_again_is_not_published_twice() {
    let mut node = Node::new();
    published(&mut node, 1);
    node.small(2);
    node.apply(forget());
    assert_eq!(node.consumer.entries().count(), 0, "nothing is held for it");
    for restarted in [false, true] {
        if restarted {
            node.restart(&[]);
        }
        come_back(&mut node);
        let mut said = node.small(1);
        said.extend(node.small(2));
        said.extend(node.commit_small(1));
        let stages = |effect: &Effect| matches!(effect, Effect::Stage(_));
        assert!(!said.iter().any(stages), "{said:?}");
        assert_eq!(node.consumer.entries().count(), 0);
    }
    // What it has not offered before is new.
    node.small(3);
    let saved = node.commit_small(3);
    assert!(
        saved
            .iter()
            .any(|effect| matches!(effect, Effect::Stage(_)))
    );
}

#[test]
fn a_forgotten_producers_slots_are_forgotten_when_it_says_that_they_are_over() {
    let mut node = Node::new();
    published(&mut node, 1);
    node.apply(forget());
    come_back(&mut node);
    node.hear(Message::OpenStarts(crate::wire::OpenStarts {
        starts: Vec::new(),
    }));
    assert!(node.consumer.peers[&cam()].tables.is_empty());
}

#[test]
fn a_small_file_that_comes_after_the_end_of_its_start_is_not_taken_for_a_new_one() {
    let mut node = Node::new();
    published(&mut node, 1);
    node.hear(Message::OpenStarts(crate::wire::OpenStarts {
        starts: Vec::new(),
    }));
    node.small(1);
    assert_eq!(node.consumer.entries().count(), 0);
}

#[test]
fn a_small_file_of_a_closed_slot_is_refused_and_of_an_abandoned_one_answered() {
    let mut node = Node::new();
    published(&mut node, 1);
    node.apply(forget());
    come_back(&mut node);
    let refused = |effect: &Effect| match effect {
        Effect::Send {
            message: Message::Refused(refused),
            ..
        } => refused.reason.contains("closed before") && refused.reason.contains("hint:"),
        _ => false,
    };
    assert!(node.small(1).iter().any(refused));
    let leg = leg(5, 1);
    node.hear(Message::Abandon(crate::wire::Abandon { leg }));
    let abandoned = |effect: &Effect| {
        let message = match effect {
            Effect::Send { message, .. } => message,
            _ => return false,
        };
        matches!(message, Message::Abandoned(abandoned) if abandoned.leg.slot == 5)
    };
    assert!(node.small(5).iter().any(abandoned));
}

#[test]
fn a_late_small_file_of_a_forgotten_producer_is_taken_by_no_later_life_either() {
    let mut node = Node::new();
    published(&mut node, 1);
    node.apply(forget());
    // Another consumer passes it on, long after its producer is gone.
    let said = node.small(3);
    assert!(said.is_empty(), "{said:?}");
    let mut later = consumer();
    for (position, record) in &node.log {
        later.replay(*position, record);
    }
    assert_eq!(later.peers[&cam()].incarnation, Incarnation(0));
    // The word itself is not kept for longer than what it takes back.
    let said = later.apply(Millis(2), Event::Carry { through: u32::MAX });
    let seen = |effect: &Effect| matches!(effect, Effect::Append(_, Record::PeerSeen(_), _));
    assert!(!said.iter().any(seen), "{said:?}");
}

#[test]
fn a_start_that_is_spoken_of_once_more_is_forgotten_after_a_restart_too() {
    let mut node = Node::new();
    published(&mut node, 1);
    let closed = |low| {
        Message::Closed(crate::wire::Closed {
            slot_start: leg(1, 1).slot_start,
            low,
            slots: Vec::new(),
        })
    };
    node.hear(closed(u64::MAX));
    assert!(node.consumer.peers[&cam()].tables.is_empty());
    node.hear(closed(2));
    node.hear(Message::Abandon(crate::wire::Abandon { leg: leg(5, 1) }));
    assert_eq!(node.consumer.entries().count(), 1);
    node.restart(&[]);
    come_back(&mut node);
    node.hear(closed(u64::MAX));
    assert_eq!(node.consumer.entries().count(), 0);
}
