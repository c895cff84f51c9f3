//! An inbox whose disk is not there, or that is not in the configuration any more.

use super::large::{opened_at, synced};
use super::*;
use crate::record::InboxMarked;

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

/// Whether a file for slot 1 is refused for want of space.
fn has_no_room_for(node: &mut Node, size: u64) -> bool {
    let effects = node.hear(Message::Open(Open {
        leg: leg(1, 1),
        spec: spec("next", size),
        chunk_bytes: CHUNK,
    }));
    let refused = refusals(&effects);
    refused
        .iter()
        .any(|(code, _)| *code == RefusalCode::NoSpace)
}

#[test]
fn min_free_is_kept_when_a_file_follows_another_before_space_is_measured_again() {
    let measured = |node: &mut Node, free: u64| {
        node.apply(Event::Space {
            feed: "images".parse().unwrap(),
            free,
        })
    };
    let mut node = Node::new();
    measured(&mut node, 2 * SIZE - 1);
    node.receive(1, DIGEST);
    node.apply(Event::Sealed {
        slot: slot(0),
        outcome: Ok(true),
    });
    assert!(
        has_no_room_for(&mut node, SIZE),
        "the first one is on the disk"
    );
    // A measurement that began before the last byte was written.
    measured(&mut node, 2 * SIZE - 1);
    assert!(has_no_room_for(&mut node, SIZE));
    measured(&mut node, 2 * SIZE - 1);
    assert!(!has_no_room_for(&mut node, SIZE), "the application took it");
}

/// What the agent logs when it opens the inbox with this marker.
fn opens_inbox(node: &mut Node, marker: u8) {
    let marked = InboxMarked {
        inbox: "/in".to_owned(),
        marker: vec![marker; 16],
        feed: "images".to_owned(),
    };
    let position = Position {
        segment: node.segment,
        offset: 0,
    };
    node.log.push((position, Record::InboxMarked(marked)));
    node.restart(&[]);
}

/// Where a file goes on that was received to one watermark here and to a higher one in another
/// inbox, after that inbox and this one were opened once more each.
#[test]
fn a_watermark_counts_only_in_the_inbox_that_it_was_synced_in() {
    let mut node = Node::new();
    let receive = |node: &mut Node, attempt: u32, offset: u64| {
        let began = opened_at(&node.open(attempt));
        node.ready(attempt, began);
        node.apply(synced(offset));
        began
    };
    opens_inbox(&mut node, 1);
    assert_eq!(receive(&mut node, 1, CHUNK), 0);
    opens_inbox(&mut node, 1);
    assert_eq!(opened_at(&node.open(2)), CHUNK, "the same directory");
    opens_inbox(&mut node, 2);
    assert_eq!(receive(&mut node, 3, 2 * CHUNK), 0, "another");
    opens_inbox(&mut node, 1);
    assert_eq!(opened_at(&node.open(4)), 0, "the first once more");
    // A crash at once, before anything new is logged.
    node.restart(&[]);
    assert_eq!(opened_at(&node.open(5)), 0);
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

#[test]
fn a_saved_file_of_a_feed_that_is_gone_is_named_and_holds_nobody_up() {
    let (mut node, _) = lost();
    let policies = std::mem::take(&mut node.policies);
    let begun = node.restart(&[]);
    let ticked = node.consumer.apply(Millis(60_000), Event::Tick);
    let touched = begun.iter().chain(&ticked).any(is_of_the_disk);
    assert!(!touched, "{begun:?} {ticked:?}");
    let problems = node.consumer.problems();
    let named: Vec<_> = problems.iter().map(|problem| &problem.slot).collect();
    assert_eq!(named, [&slot(2), &slot(3)]);
    for problem in &problems {
        let hint = "hint: add [[consume]] for it again and restart the agent";
        assert!(problem.what.ends_with(hint), "{}", problem.what);
    }
    assert_eq!(node.consumer.unpublished, 0, "commits are not held back");
    assert_eq!(node.consumer.unpublished_bytes, 0, "nor is room reserved");

    node.policies = policies;
    let begun = node.restart(&[]);
    assert_eq!(begun.iter().filter(|e| is_of_the_disk(e)).count(), 2);
}

#[test]
fn a_half_received_file_of_a_feed_that_is_gone_is_refused_with_the_reason() {
    let mut node = Node::new();
    node.open(1);
    let policies = std::mem::take(&mut node.policies);
    node.restart(&[]);
    let said = node.open(2);
    assert!(!said.iter().any(is_of_the_disk), "{said:?}");
    let [(code, why)] = refusals(&said)[..] else {
        panic!("{said:?}");
    };
    assert_eq!(code, RefusalCode::NotConsumed);
    assert!(why.contains("hint: add [[consume]]"), "{why}");
    node.policies = policies;
    node.restart(&[]);
    assert!(node.open(3).iter().any(is_of_the_disk), "and goes on later");
}

#[test]
fn a_commit_of_a_feed_that_is_gone_is_answered() {
    let mut node = Node::new();
    node.open(1);
    node.ready(1, 0);
    node.apply(Event::InflowSynced {
        slot: slot(0),
        offset: CHUNK,
        first_chunk: 0,
        hashes: vec![1; 32],
    });
    node.small(1);
    node.apply(Event::Policies(Vec::new()));
    let mut said = node.complete_and_commit(1, DIGEST);
    assert!(said.contains(&Effect::CloseInflow(slot(0))), "{said:?}");
    said.extend(node.commit_small(1));
    assert!(!said.iter().any(is_of_the_disk), "{said:?}");
    let codes: Vec<_> = refusals(&said).iter().map(|(code, _)| *code).collect();
    assert_eq!(codes, [RefusalCode::NotConsumed; 2]);

    node.apply(Event::Policies(node.policies.clone()));
    node.open(2);
    node.ready(2, CHUNK);
    let said = node.complete_and_commit(2, DIGEST);
    assert!(
        said.iter()
            .any(|effect| matches!(effect, Effect::Seal { .. }))
    );
    let said = node.commit_small(1);
    assert!(said.iter().any(|effect| matches!(effect, Effect::Stage(_))));
}

#[test]
fn a_commit_of_a_file_whose_path_cannot_be_made_any_more_is_refused() {
    let mut node = Node::new();
    node.small(1);
    for on_conflict in [OnConflict::Reject, OnConflict::Rename] {
        node.apply(Event::Policies(vec![ConsumePolicy {
            layout: "{meta.gone}/{name}".to_owned(),
            ..policy(on_conflict)
        }]));
        let refused = node.commit_small(1);
        assert_eq!(refusals(&refused)[0].0, RefusalCode::BadName, "{refused:?}");
    }
}

#[test]
fn a_saved_file_whose_directory_is_taken_goes_into_the_inbox_itself() {
    let mut node = Node::new();
    node.apply(Event::Policies(vec![ConsumePolicy {
        layout: "{feed}/{name}".to_owned(),
        ..policy(OnConflict::Reject)
    }]));
    node.small(1);
    node.commit_small(1);
    node.apply(Event::Looked(vec![(slot(1), true)]));
    let mut said = node.apply(Event::Staged {
        files: vec![(slot(1), true)],
        failed: Vec::new(),
    });
    let path = |said: &[Effect]| {
        said.iter().find_map(|effect| match effect {
            Effect::Publish(orders) => Some(orders[0].path.clone()),
            _ => None,
        })
    };
    let mut paths = Vec::new();
    while let Some(path) = path(&said) {
        paths.push(path);
        said = node.apply(Event::Published {
            done: Vec::new(),
            conflicts: vec![slot(1)],
            failed: Vec::new(),
        });
    }
    let id = "cam.000000000000feed.1";
    assert_eq!(
        paths,
        [
            "images/small-1".to_owned(),
            format!("images/small-1.{id}"),
            format!("small-1.{id}"),
        ]
    );
    let problems = node.consumer.problems();
    assert!(problems[0].what.contains("hint: move"), "{problems:?}");
}
