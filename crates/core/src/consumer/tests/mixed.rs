//! A small file that is spoken of as a large one, and the other way round.

use super::{DIGEST, Node, SIZE, leg};
use crate::consumer::Effect;
use crate::ids::Attempt;
use crate::record::Record;
use crate::wire::{Commit, Message, Open};

use super::{CHUNK, slot, spec};

fn seals(effects: &[Effect]) -> bool {
    effects.iter().any(|e| matches!(e, Effect::Seal { .. }))
}

fn says_saved(effects: &[Effect]) -> bool {
    let saved = |effect: &Effect| {
        matches!(
            effect,
            Effect::Send {
                message: Message::Saved(_),
                ..
            }
        )
    };
    effects.iter().any(saved)
}

#[test]
fn a_small_file_that_is_committed_as_a_large_one_is_not_sealed() {
    let mut node = Node::new();
    node.small(3);
    let digest = DIGEST.0.to_vec();
    let commit = Commit {
        leg: leg(3, 1),
        digest,
    };
    let effects = node.hear(Message::Commit(commit));
    assert!(!seals(&effects), "nothing of it is in staging");
    assert!(says_saved(&node.commit_small(3)), "it is small as before");
}

#[test]
fn a_large_file_that_is_committed_as_a_small_one_is_not_said_to_be_saved() {
    let mut node = Node::new();
    node.open(1);
    node.ready(1, 0);
    node.apply(crate::consumer::Event::InflowComplete {
        slot: slot(0),
        attempt: Attempt(1),
        digest: DIGEST,
    });
    let effects = node.commit_small(0);
    assert!(!says_saved(&effects), "nothing of it is synced");
    let saved = |record: &(_, Record)| matches!(record.1, Record::SmallSaved(_));
    assert!(!node.log.iter().any(saved));
    assert_eq!(node.consumer.unpublished, 0, "and it takes nobody's room");
    let digest = DIGEST.0.to_vec();
    let commit = Commit {
        leg: leg(0, 1),
        digest,
    };
    assert!(
        seals(&node.hear(Message::Commit(commit))),
        "it is large as before"
    );
}

#[test]
fn a_small_file_that_is_opened_as_a_large_one_stays_what_it_is() {
    let mut node = Node::new();
    node.small(3);
    for size in [5, SIZE] {
        node.hear(Message::Open(Open {
            leg: leg(3, 2),
            spec: spec("small-3", size),
            chunk_bytes: CHUNK,
        }));
    }
    assert!(says_saved(&node.commit_small(3)));
}
