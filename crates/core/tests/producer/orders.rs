//! What a person orders.

use consign_core::limits;
use consign_core::producer::{Answer, Event, Token};
use consign_core::spec::Replicas;
use consign_core::wire::{RefusalCode, Refused};

use crate::desk::{Desk, member, rules};

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
