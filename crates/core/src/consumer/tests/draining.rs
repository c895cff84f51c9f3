//! A consumer on its way out of service.

use super::*;
use crate::view::MemberState;
use crate::wire::{Duties, Standing};

fn told(effects: &[Effect]) -> Vec<u32> {
    let said = effects.iter().filter_map(|effect| match effect {
        Effect::Send {
            message: Message::Standing(Standing { state, .. }),
            ..
        } => Some(*state),
        _ => None,
    });
    said.collect()
}

fn owes(node: &mut Node, slots: u64) {
    node.apply(Event::Message {
        from: cam(),
        session: Session(1),
        message: Message::Duties(Duties { slots, number: 1 }),
    });
}

#[test]
fn a_consumer_that_drains_tells_every_producer_and_waits_for_the_word_of_each() {
    let mut node = Node::new();
    let effects = node.apply(Event::Standing(MemberState::Draining));
    assert_eq!(told(&effects), [MemberState::Draining.number()]);
    let owed = node.consumer.owed_by();
    assert_eq!(
        (owed.len(), owed[0].files),
        (1, None),
        "nothing is said yet"
    );
    owes(&mut node, 3);
    assert_eq!(node.consumer.owed_by()[0].files, Some(3));
    owes(&mut node, 0);
    assert_eq!(node.consumer.owed_by(), []);

    // What was said of an earlier order is of that one only.
    node.apply(Event::Standing(MemberState::Active));
    node.apply(Event::Standing(MemberState::Draining));
    owes(&mut node, 0);
    assert_eq!(node.consumer.owed_by()[0].files, None);

    // What was said on an older connection may not be true any more.
    node.apply(Event::PeerDown {
        node: cam(),
        session: Session(1),
    });
    let owed = node.consumer.owed_by();
    assert!(!owed[0].connected && owed[0].files.is_none());
    let effects = node.apply(Event::PeerUp {
        node: cam(),
        session: Session(2),
        incarnation: Incarnation(1),
    });
    assert!(matches!(effects[0], Effect::Admit { .. }), "first of all");
    assert_eq!(told(&effects), [MemberState::Draining.number()]);
}

#[test]
fn a_producer_that_is_forgotten_is_not_waited_for() {
    let mut node = Node::new();
    node.apply(Event::Standing(MemberState::Draining));
    node.apply(Event::Forget {
        token: crate::producer::Token(1),
        node: cam(),
    });
    assert_eq!(node.consumer.owed_by(), []);
}
