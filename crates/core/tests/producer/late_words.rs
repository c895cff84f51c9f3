//! What consumers and disks say too late, twice, or out of turn.

use consign_core::ids::{Attempt, Digest, NodeName, TransferId, TransferKey};
use consign_core::limits;
use consign_core::producer::{Event, StreamFault};
use consign_core::receipt;
use consign_core::record::{LegRung, Receipt, Record};
use consign_core::spec::Replicas;
use consign_core::wire::{
    Abandoned, Holding, Message, OpenAnswer, Received, RefusalCode, Refused, Saved, SmallLinkLost,
    SmallReceived,
};

use crate::desk::{Desk, member, one, rules};

fn desk(nodes: &[&str], replicas: usize) -> Desk {
    let members = nodes.iter().map(|node| member(node, &["f"])).collect();
    let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(replicas))]);
    for node in nodes {
        desk.up(node);
    }
    desk
}

fn bad_name() -> Refused {
    Refused {
        code: RefusalCode::BadName.into(),
        ..Refused::default()
    }
}

#[test]
fn saved_right_behind_a_final_refusal_ends_nobody() {
    let mut desk = desk(&["a"], 1);
    let key = desk.submit_small("f", "one");
    desk.hold_syncs = true;
    desk.refuses("a", key, bad_name());
    desk.saves("a", key);
    desk.hold_syncs = false;
    desk.settle();
    assert_eq!(desk.producer.feeds()[0].failed, 1);
    let token = consign_core::producer::Token(1);
    desk.apply(Event::Retry { token, key: None });
    assert!(desk.is_done(key), "a has it");
}

/// The receipt of `a` for a file of that name and digest.
fn receipt_for(desk: &Desk, key: TransferKey, name: &str, digest: &Digest) -> Receipt {
    let transfer = desk.producer.transfer(key).expect("it is under way");
    let id = TransferId {
        producer: NodeName::new("cam").expect("it is clean"),
        key,
    };
    let leaf = receipt::leaf(&id, &transfer.spec.feed, name, transfer.spec.size, digest);
    Receipt {
        leaves: leaf.to_vec(),
        ..crate::desk::receipt("a")
    }
}

fn says_saved(desk: &mut Desk, key: TransferKey, receipt: Receipt) {
    let leg = desk.leg(key, "a");
    let saved = Saved {
        slot_start: leg.start,
        slots: one(leg.slot),
        receipt,
    };
    desk.hear("a", Message::Saved(saved));
}

#[test]
fn a_receipt_for_other_bytes_or_another_name_than_were_sent_is_no_receipt() {
    let mut desk = desk(&["a"], 1);
    let key = desk.submit_small("f", "one");
    let sent = desk.producer.transfer(key).expect("it is under way");
    let (name, digest) = (sent.spec.name.clone(), sent.digest.expect("it is small"));
    let right = receipt_for(&desk, key, &name, &digest);
    let wrong = [
        receipt_for(&desk, key, "other", &digest),
        receipt_for(&desk, key, &name, &Digest([9; 32])),
    ];
    let token = consign_core::producer::Token(1);
    for (failed, receipt) in wrong.into_iter().enumerate() {
        says_saved(&mut desk, key, receipt);
        assert!(!desk.is_done(key));
        assert_eq!(desk.producer.feeds()[0].failed, 1, "failure {failed}");
        desk.apply(Event::Retry { token, key: None });
    }
    says_saved(&mut desk, key, right);
    assert!(desk.is_done(key), "a has it");
}

#[test]
fn a_source_that_fails_after_its_transfer_has_failed_ends_nobody() {
    let mut desk = desk(&["a"], 1);
    let key = desk.submit_large("f", "one");
    desk.opens("a", key);
    let digest = Digest([7; 32]);
    desk.apply(Event::DigestKnown { key, digest });
    desk.hold_syncs = true;
    desk.apply(Event::StreamFailed {
        key,
        attempt: Attempt(1),
        fault: StreamFault::Source("it was changed".to_owned()),
    });
    let other = Digest([8; 32]);
    desk.apply(Event::DigestKnown { key, digest: other });
    desk.hold_syncs = false;
    desk.settle();
    assert_eq!(desk.producer.feeds()[0].failed, 1);
}

#[test]
fn a_slot_that_its_consumer_abandoned_is_drawn_anew_and_told_of_only_when_that_is_synced() {
    let mut desk = desk(&["a"], 1);
    let key = desk.submit_small("f", "one");
    let old = desk.wire_leg("a", key);
    assert_eq!(desk.sent("a").len(), 1);
    desk.hold_syncs = true;
    desk.hear("a", Message::Abandoned(Abandoned { leg: old }));
    let new = desk.leg(key, "a");
    assert_ne!((new.start, new.slot), (old.slot_start, old.slot));
    let asked = |desk: &Desk| {
        let told = desk.said.iter();
        told.filter(|(_, message)| matches!(message, Message::SmallQuery(_)))
            .count()
    };
    desk.tick_after(limits::RETRY_DELAY_MAX_MS * 2);
    assert_eq!((desk.sent("a").len(), asked(&desk)), (1, 0), "not synced");
    desk.hold_syncs = false;
    desk.settle();
    assert_eq!(desk.sent("a").len() + asked(&desk), 2);
    desk.takes_small("a", key);
    assert!(desk.is_done(key));
}

#[test]
fn hashes_of_a_huge_file_are_logged_in_records_that_fit() {
    let mut desk = desk(&["a"], 1);
    let key = desk.submit_large("f", "huge");
    desk.opens("a", key);
    // The desk refuses a record that is too large.
    let hashes = vec![7; 32 * 40_000];
    desk.apply(Event::Hashed {
        key,
        first_chunk: 0,
        hashes: hashes.clone(),
    });
    desk.restart();
    desk.up("a");
    desk.opens("a", key);
    assert_eq!(desk.streamed_with, hashes);
}

#[test]
fn the_digest_is_found_out_even_when_the_stream_that_read_the_source_was_lost() {
    let mut desk = desk(&["a", "b"], 2);
    let key = desk.submit_large("f", "one");
    desk.opens("a", key);
    desk.opens("b", key);
    let streams = desk.streams;
    for node in ["a", "b"] {
        let leg = desk.wire_leg(node, key);
        let digest = vec![7; 32];
        desk.hear(node, Message::Received(Received { leg, digest }));
    }
    let attempt = desk.producer.transfer(key).expect("it is sent").attempt;
    desk.apply(Event::StreamFailed {
        key,
        attempt,
        fault: StreamFault::Link("reset".to_owned()),
    });
    assert!(desk.streams > streams, "somebody reads the source again");
    let digest = Digest([7; 32]);
    desk.apply(Event::DigestKnown { key, digest });
    let commits = desk.said.iter();
    let commits = commits.filter(|(_, message)| matches!(message, Message::Commit(_)));
    assert_ne!(commits.count(), 0, "whoever is left is told to publish");
}

#[test]
fn what_is_owed_to_a_member_that_consumes_the_feed_no_more_is_placed_elsewhere() {
    let mut desk = desk(&["a"], 1);
    let key = desk.submit_large("f", "one");
    let leg = desk.wire_leg("a", key);
    assert_eq!(desk.opened("a"), [key]);
    desk.set_members(vec![member("a", &["other"]), member("b", &["f"])]);
    desk.up("b");
    let refused = Refused {
        leg,
        code: RefusalCode::NotConsumed.into(),
        ..Refused::default()
    };
    desk.hear("a", Message::Refused(refused));
    assert_eq!(desk.opened("b"), [key]);
    let placed = desk.placement(key).expect("it is placed");
    let at_a = placed.legs.iter().find(|leg| leg.node == "a");
    assert_eq!(at_a.map(|leg| leg.rung()), Some(LegRung::Abandoning));
    assert_eq!(desk.abandons("a").len(), 1);
}

#[test]
fn a_feed_that_left_the_configuration_keeps_its_word_to_what_was_submitted() {
    let mut desk = Desk::new(
        vec![member("a", &["f"]), member("b", &["f"])],
        vec![rules("f", Replicas::Count(2))],
    );
    let key = desk.submit_small("f", "one");
    let queued = desk.submit_large("f", "two");
    assert_eq!(desk.placement(key), None, "nobody can be reached");
    desk.set_rules(Vec::new());
    desk.restart();
    desk.up("a");
    desk.up("b");
    for transfer in [key, queued] {
        let placed = desk.placement(transfer).expect("it is placed");
        assert_eq!(placed.legs.len(), 2);
    }
    desk.takes_small("a", key);
    assert!(!desk.is_done(key), "two were promised");
    desk.takes_small("b", key);
    assert!(desk.is_done(key));
    let replicas = |record: &Record| match record {
        Record::Submitted(submitted) => submitted.replicas == 2,
        _ => false,
    };
    assert!(desk.is_logged(replicas));
}

#[test]
fn a_consumer_is_not_told_to_abandon_before_the_decision_is_synced_whatever_else_is() {
    let mut desk = Desk::new(
        vec![member("a", &["f"])],
        vec![rules("f", Replicas::Count(1))],
    );
    desk.up("a");
    let key = desk.submit_small("f", "one");
    let slots = desk.leg(key, "a").slot;
    let received = SmallReceived {
        slot_start: desk.leg(key, "a").start,
        slots: one(slots),
    };
    desk.hear("a", Message::SmallReceived(received));
    desk.hold_syncs = true;
    desk.segment = 2;
    // Its placement is carried forward, and not synced, when it is placed elsewhere.
    desk.apply(Event::Carry { through: 1 });
    let carried = desk.log.len();
    desk.set_members(vec![member("b", &["f"])]);
    desk.down("a");
    desk.up("b");
    if desk.log.len() > carried {
        desk.sync_through(carried);
    }
    desk.up("a");
    assert_eq!(desk.abandons("a"), [], "the decision is not synced");
    desk.hold_syncs = false;
    desk.settle();
    assert_eq!(desk.abandons("a").len(), 1);
}

#[test]
fn a_large_file_whose_slot_was_abandoned_gets_another_one() {
    let mut desk = desk(&["a"], 1);
    let key = desk.submit_large("f", "one");
    let old = desk.leg(key, "a");
    let answer = OpenAnswer {
        leg: desk.wire_leg("a", key),
        holding: Holding::Abandoned.into(),
        ..OpenAnswer::default()
    };
    desk.hear("a", Message::OpenAnswer(answer));
    assert_ne!(desk.leg(key, "a").slot, old.slot);
    assert_eq!(desk.opened("a").len(), 2);
}

/// What is closed is refused for good. After a crash here the transfer asks under the old slot again.
#[test]
fn an_abandoned_slot_stays_open_until_the_answer_is_synced() {
    let mut desk = desk(&["a"], 1);
    let key = desk.submit_small("f", "one");
    let old = desk.leg(key, "a");
    let leg = desk.wire_leg("a", key);
    desk.hold_syncs = true;
    desk.hear("a", Message::Abandoned(Abandoned { leg }));
    desk.tick_after(limits::RETRY_DELAY_MAX_MS);
    let closed = |desk: &Desk| {
        desk.said
            .iter()
            .any(|(_, message)| matches!(message, Message::Closed(closed) if closed.low > old.slot))
    };
    assert!(!closed(&desk), "nothing of it is synced");
    desk.hold_syncs = false;
    desk.settle();
    desk.tick_after(limits::RETRY_DELAY_MAX_MS);
    assert!(closed(&desk));
}

/// Its connection broke, so it is owed; the refusal was on its way.
#[test]
fn a_refusal_of_what_is_not_under_way_changes_nothing() {
    let mut desk = desk(&["a", "b"], 2);
    let key = desk.submit_small("f", "one");
    let slots = one(desk.leg(key, "a").slot);
    let slot_start = desk.leg(key, "a").start;
    let lost = SmallLinkLost {
        to: "a".to_owned(),
        slot_start,
        slots,
        reason: "cut".to_owned(),
    };
    desk.hear("b", Message::SmallLinkLost(lost));
    desk.refuses("a", key, bad_name());
    desk.takes_small("b", key);
    assert_eq!(desk.producer.feeds()[0].failed, 0);
    desk.tick_after(limits::RETRY_DELAY_MAX_MS * 2);
    desk.takes_small("a", key);
    assert!(desk.is_done(key), "a is asked again, and takes it");
}

/// It should have waited for the word to publish; the other one gets it all the same.
#[test]
fn a_consumer_that_refuses_what_it_has_received_is_believed() {
    let mut desk = desk(&["a", "b"], 2);
    let key = desk.submit_small("f", "one");
    let leg = desk.leg(key, "a");
    let received = SmallReceived {
        slot_start: leg.start,
        slots: one(leg.slot),
    };
    desk.hear("a", Message::SmallReceived(received));
    desk.refuses("a", key, bad_name());
    assert_eq!(desk.producer.feeds()[0].failed, 0, "b is still to answer");
    // b stood behind a in the route, and is asked what it has.
    desk.takes_small("b", key);
    assert_eq!(
        desk.producer.feeds()[0].failed,
        1,
        "a person has to look at a"
    );
    let token = consign_core::producer::Token(1);
    desk.apply(Event::Retry { token, key: None });
    desk.takes_small("a", key);
    assert!(desk.is_done(key));
}

/// It was told to publish in an earlier attempt, and says so while it is asked what it has.
#[test]
fn a_consumer_that_says_saved_instead_of_what_it_has_holds_up_nobody() {
    let mut desk = desk(&["a", "b"], 2);
    let key = desk.submit_large("f", "one");
    desk.opens("a", key);
    assert_eq!(desk.streams, 0, "b has not answered");
    desk.saves("b", key);
    assert_eq!(desk.streams, 1, "a gets the file");
}
