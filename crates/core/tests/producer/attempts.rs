//! The tries of one transfer, and what is told of them.

use consign_core::ids::{Attempt, Digest, Slot, Start, TransferKey};
use consign_core::limits;
use consign_core::producer::{Event, StreamFault};
use consign_core::record::Record;
use consign_core::spec::Replicas;
use consign_core::wire::{LinkLost, Message, Received, SmallMissing, SmallReceived};

use crate::desk::{Desk, member, name, one, rules};

fn desk(nodes: &[&str]) -> Desk {
    let members = nodes.iter().map(|node| member(node, &["f"])).collect();
    let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(nodes.len()))]);
    for node in nodes {
        desk.up(node);
    }
    desk
}

impl Desk {
    /// Why each attempt of a transfer was needed, as the log has it.
    fn reasons(&self, key: TransferKey) -> Vec<&str> {
        let records = self.log.iter().map(|(_, record)| record);
        let started = records.filter_map(|record| match record {
            Record::AttemptStarted(started) => Some(started),
            _ => None,
        });
        started
            .filter(|started| (started.start, started.seq) == (key.start.0, key.seq.0))
            .map(|started| started.reason.as_str())
            .collect()
    }

    fn attempt(&self, key: TransferKey) -> Attempt {
        self.producer.transfer(key).expect("it is active").attempt
    }

    fn link_breaks(&mut self, key: TransferKey, why: &str) {
        self.apply(Event::StreamFailed {
            key,
            attempt: self.attempt(key),
            fault: StreamFault::Link(why.to_owned()),
        });
    }

    /// Waits until the consumer is tried again, which then opens.
    fn opens_again(&mut self, node: &str, key: TransferKey) {
        self.tick_after(limits::RETRY_DELAY_MAX_MS);
        self.opens(node, key);
    }
}

#[test]
fn each_attempt_of_a_large_file_says_why_it_was_needed() {
    let mut desk = desk(&["a"]);
    let key = desk.submit_large("f", "one");
    desk.opens("a", key);
    // It leaves memory meanwhile: nobody else is to have it.
    desk.link_breaks(key, "connection reset");
    assert!(desk.producer.transfer(key).is_none());
    desk.segment = 2;
    desk.apply(Event::Carry { through: 1 });
    desk.opens_again("a", key);
    desk.tick_after(limits::PROGRESS_DEADLINE_MS);
    desk.opens_again("a", key);
    desk.restart();
    desk.up("a");
    desk.opens("a", key);
    desk.link_breaks(key, &"x".repeat(9_000));
    desk.opens_again("a", key);
    let reasons = desk.reasons(key);
    assert_eq!(
        reasons[..4],
        [
            "",
            "a: connection reset",
            "a: no progress for too long",
            "the producer was started anew"
        ]
    );
    assert_eq!(reasons[4].len(), limits::REASON_CHARS_MAX);
}

#[test]
fn an_attempt_without_a_consumer_says_what_was_reported_of_it() {
    let mut desk = desk(&["a", "b"]);
    let key = desk.submit_large("f", "one");
    desk.opens("a", key);
    desk.opens("b", key);
    let lost = LinkLost {
        leg: desk.wire_leg("a", key),
        to: "b".to_owned(),
        reason: "no route to host".to_owned(),
    };
    desk.hear("a", Message::LinkLost(lost));
    desk.opens("a", key);
    assert_eq!(desk.reasons(key), ["", "b: no route to host"]);
}

#[test]
fn each_further_attempt_of_a_small_file_says_why_it_was_needed() {
    let mut desk = desk(&["a"]);
    let key = desk.submit_small("f", "one");
    let leg = desk.leg(key, "a");
    desk.apply(Event::SmallsNotSent {
        to: name("a"),
        slots: vec![(Start(leg.start), Slot(leg.slot))],
        reason: "connection refused".to_owned(),
    });
    desk.tick_after(limits::RETRY_DELAY_MAX_MS);
    let missing = SmallMissing {
        slot_start: leg.start,
        slots: one(leg.slot),
    };
    desk.hear("a", Message::SmallMissing(missing));
    assert_eq!(desk.reasons(key), ["a: connection refused"]);
}

#[test]
fn what_went_wrong_for_the_first_time_is_tried_again_within_the_shortest_delay() {
    let mut desk = desk(&["a"]);
    let key = desk.submit_large("f", "one");
    desk.opens("a", key);
    desk.link_breaks(key, "connection reset");
    desk.tick_after(limits::RETRY_DELAY_MIN_MS);
    assert_eq!(desk.opened("a"), [key, key]);
}

#[test]
fn a_consumer_that_can_take_a_file_does_not_wait_for_the_slow_commit_of_another() {
    let mut desk = desk(&["a", "b"]);
    let key = desk.submit_large("f", "one");
    desk.opens("a", key);
    desk.opens("b", key);
    let lost = LinkLost {
        leg: desk.wire_leg("a", key),
        to: "b".to_owned(),
        reason: "connection reset".to_owned(),
    };
    desk.hear("a", Message::LinkLost(lost));
    desk.opens("a", key);
    let digest = Digest([7; 32]);
    desk.apply(Event::DigestKnown { key, digest });
    let leg = desk.wire_leg("a", key);
    let digest = digest.0.to_vec();
    desk.hear("a", Message::Received(Received { leg, digest }));
    let stage = |desk: &Desk| {
        desk.producer
            .transfer(key)
            .expect("it is active")
            .stage
            .name()
    };
    assert_eq!(stage(&desk), "committing");
    desk.said.clear();
    desk.tick_after(limits::COMMIT_ALONE_MS - 1);
    assert_eq!(stage(&desk), "committing", "it may be quick");
    desk.tick_after(1);
    assert_eq!(desk.opened("b"), [key]);
    // Whoever was slow says so in the end, and is not asked again.
    desk.saves("a", key);
    desk.opens("b", key);
    desk.saves("b", key);
    assert!(desk.is_done(key));
}

#[test]
fn a_slow_commit_that_nobody_waits_for_keeps_its_deadline() {
    let mut desk = desk(&["a"]);
    let key = desk.submit_small("f", "one");
    let leg = desk.leg(key, "a");
    let received = SmallReceived {
        slot_start: leg.start,
        slots: one(leg.slot),
    };
    desk.hear("a", Message::SmallReceived(received));
    desk.tick_after(limits::COMMIT_DEADLINE_MS - 1);
    let transfer = desk.producer.transfer(key).expect("it is active");
    assert_eq!(transfer.stage.name(), "committing");
}

#[test]
fn a_question_about_a_small_file_that_is_lost_is_asked_again() {
    let mut desk = desk(&["a"]);
    let key = desk.submit_small("f", "one");
    let leg = desk.leg(key, "a");
    desk.apply(Event::SmallsNotSent {
        to: name("a"),
        slots: vec![(Start(leg.start), Slot(leg.slot))],
        reason: "connection refused".to_owned(),
    });
    let asked = |desk: &Desk| {
        let told = desk.said.iter();
        told.filter(|(_, message)| matches!(message, Message::SmallQuery(_)))
            .count()
    };
    desk.tick_after(limits::RETRY_DELAY_MAX_MS);
    assert_eq!(asked(&desk), 1);
    desk.tick_after(limits::PROGRESS_DEADLINE_MS);
    desk.tick_after(limits::RETRY_DELAY_MAX_MS);
    assert_eq!(asked(&desk), 2, "nothing was heard of it");
}
