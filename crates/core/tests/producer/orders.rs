//! What a person orders.

use consign_core::ids::TransferKey;
use consign_core::limits;
use consign_core::producer::{Answer, Event, Refusal, Token};
use consign_core::spec::Replicas;
use consign_core::wire::{Abandoned, Message, RefusalCode, Refused, SmallReceived};

use crate::desk::{Desk, member, name, one, rules};

fn desk() -> Desk {
    let mut desk = Desk::new(
        vec![member("a", &["f"])],
        vec![rules("f", Replicas::Count(1))],
    );
    desk.up("a");
    desk
}

/// The desk asserts that no record holds too many ranges.
#[test]
fn however_many_files_failed_they_can_be_retried_together() {
    let mut desk = desk();
    let refused = Refused {
        code: RefusalCode::BadName.into(),
        ..Refused::default()
    };
    let failed = limits::RANGES_PER_MESSAGE_MAX + 1;
    for _ in 0..failed {
        let fails = desk.submit_small("f", "bad");
        desk.refuses("a", fails, refused.clone());
        let arrives = desk.submit_small("f", "good");
        desk.takes_small("a", arrives);
    }
    let (token, key) = (Token(1), None);
    desk.apply(Event::Retry { token, key });
    assert_eq!(desk.answers.last(), Some(&Answer::Retried(failed as u64)));
}

#[test]
fn a_failed_file_that_somebody_has_stays_failed_when_it_cannot_be_cancelled() {
    let members = vec![member("a", &["f"]), member("b", &["f"])];
    let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(2))]);
    desk.up("a");
    desk.up("b");
    let key = desk.submit_small("f", "one");
    desk.takes_small("a", key);
    let refused = Refused {
        code: RefusalCode::BadName.into(),
        ..Refused::default()
    };
    desk.refuses("b", key, refused);
    let failed = |desk: &Desk| desk.producer.feeds()[0].failed;
    assert_eq!(failed(&desk), 1);

    let token = Token(1);
    desk.apply(Event::Cancel { token, key });
    assert!(matches!(desk.answers.last(), Some(Answer::Refused(_))));
    assert_eq!(failed(&desk), 1, "nobody retried it");
    desk.apply(Event::Retry {
        token,
        key: Some(key),
    });
    assert_eq!(desk.answers.last(), Some(&Answer::Retried(1)));
    assert_eq!(failed(&desk), 0);
}

#[test]
fn nobody_is_waited_for_who_is_forgotten_when_a_file_is_cancelled() {
    let members = vec![member("a", &["f"]), member("b", &["f"])];
    let mut desk = Desk::new(members, vec![rules("f", Replicas::All)]);
    desk.up("a");
    desk.up("b");
    let key = desk.submit_small("f", "one");
    desk.hold_syncs = true;
    let (token, node) = (Token(1), name("b"));
    desk.apply(Event::Forget { token, node });
    desk.apply(Event::Cancel { token, key });
    desk.hold_syncs = false;
    desk.settle();
    let leg = desk.abandons("a")[0];
    desk.hear("a", Message::Abandoned(Abandoned { leg }));
    assert_eq!(desk.producer.unfinished(), 0);
    assert_eq!(desk.producer.live_records(), 0, "nothing waits for b");
}

fn not_in_progress(key: TransferKey) -> Answer {
    Answer::Refused(Refusal::NoSuchTransfer { key })
}

#[test]
fn a_file_that_is_being_claimed_cannot_be_cancelled_and_is_delivered() {
    let mut desk = desk();
    let key = desk.claim("f", "one");
    desk.apply(Event::Cancel {
        token: Token(2),
        key,
    });
    assert_eq!(desk.answers, [not_in_progress(key)]);
    desk.taken(key);
    assert_eq!(desk.answers.last(), Some(&Answer::Submitted(key)));
    assert_eq!(desk.opened("a"), [key]);
}

#[test]
fn what_consumers_were_told_to_publish_cannot_be_cancelled() {
    let mut desk = desk();
    let key = desk.submit_small("f", "one");
    let leg = desk.leg(key, "a");
    let received = SmallReceived {
        slot_start: leg.start,
        slots: one(leg.slot),
    };
    desk.hear("a", Message::SmallReceived(received));
    let token = Token(1);
    desk.apply(Event::Cancel { token, key });
    let refusal = Refusal::AlreadySaved { key, saved: 1 };
    assert_eq!(desk.answers.last(), Some(&Answer::Refused(refusal)));
    desk.saves("a", key);
    assert!(desk.is_done(key));
}

#[test]
fn what_has_failed_takes_orders_as_soon_as_that_is_synced() {
    for orders in [
        |token, key| Event::Cancel { token, key },
        |token, key| Event::Retry {
            token,
            key: Some(key),
        },
    ] {
        let mut desk = desk();
        let key = desk.submit_small("f", "one");
        desk.hold_syncs = true;
        let refused = Refused {
            code: RefusalCode::BadName.into(),
            ..Refused::default()
        };
        desk.refuses("a", key, refused);
        desk.apply(orders(Token(1), key));
        assert_eq!(desk.answers.last(), Some(&not_in_progress(key)));
        assert_eq!(desk.producer.feeds()[0].failed, 1);
        desk.hold_syncs = false;
        desk.settle();
        desk.apply(orders(Token(2), key));
        assert!(!matches!(desk.answers.last(), Some(Answer::Refused(_))));
        assert_eq!(desk.producer.feeds()[0].failed, 0);
    }
}
