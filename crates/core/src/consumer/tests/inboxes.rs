//! An inbox whose disk is not there.

use super::*;

fn is_of_the_disk(effect: &Effect) -> bool {
    let touches = matches!(
        effect,
        Effect::OpenInflow(_)
            | Effect::Seal { .. }
            | Effect::Look(_)
            | Effect::Stage(_)
            | Effect::Publish(_)
    );
    touches
}

/// A node whose inbox is lost, with a file in every state that a record can say.
fn lost() -> (Node, Vec<Effect>) {
    let mut node = Node::new();
    node.open(1);
    for at in 1..4 {
        node.small(at);
    }
    node.commit_small(2);
    node.commit_small(3);
    node.apply(Event::Staged {
        files: vec![(slot(3), true)],
        failed: Vec::new(),
    });
    let begun = node.restart(&["images"]);
    (node, begun)
}

#[test]
fn a_lost_inbox_publishes_nothing_and_names_what_was_saved() {
    let (mut node, begun) = lost();
    let ticked = node.consumer.apply(Millis(60_000), Event::Tick);
    let touched = begun.iter().chain(&ticked).any(is_of_the_disk);
    assert!(!touched, "{begun:?} {ticked:?}");
    let problems = node.consumer.problems().into_iter();
    let named: Vec<_> = problems.map(|problem| problem.slot).collect();
    assert_eq!(named, [slot(2), slot(3)]);
    let begun = node.restart(&[]);
    assert_eq!(begun.iter().filter(|e| is_of_the_disk(e)).count(), 2);
}

#[test]
fn a_lost_inbox_takes_nothing_and_asks_to_be_tried_again() {
    let (mut node, _) = lost();
    let mut said = node.open(2);
    said.extend(node.small(9));
    said.extend(node.commit_small(1));
    assert!(!said.iter().any(is_of_the_disk), "{said:?}");
    let refused = refusals(&said);
    assert_eq!(refused.len(), 3, "{said:?}");
    for (code, why) in refused {
        assert!(!code.is_final() && why.contains("hint: mount"), "{why}");
    }
    assert!(node.consumer.entries().all(|(at, _)| at != slot(9)));
    assert_eq!(node.commit_small(2).len(), 1, "what was saved stays so");
}
