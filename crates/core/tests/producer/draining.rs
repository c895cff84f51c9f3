//! Nodes on their way out of service.

use consign_core::limits;
use consign_core::producer::{Answer, Event, Refusal, Token};
use consign_core::spec::{FileSpec, Replicas, Source};
use consign_core::view::MemberState;
use consign_core::wire::{Message, Standing};

use crate::desk::{Desk, member, rules};

fn says(desk: &mut Desk, node: &str, state: MemberState) {
    let (state, number) = (state.number(), 1);
    desk.hear(node, Message::Standing(Standing { state, number }));
}

/// What a consumer was told to be owed, oldest first.
fn told(desk: &Desk, node: &str) -> Vec<u64> {
    let to = desk.said.iter().filter(|(to, _)| to.as_str() == node);
    let duties = to.filter_map(|(_, message)| match message {
        Message::Duties(duties) => Some(duties.slots),
        _ => None,
    });
    duties.collect()
}

#[test]
fn a_consumer_that_drains_gets_what_it_was_given_and_nothing_new_and_hears_when_that_is_all() {
    let members = vec![member("a", &["f"])];
    let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(1))]);
    desk.up("a");
    says(&mut desk, "a", MemberState::Active);
    let given = desk.submit_small("f", "given");
    assert_eq!(told(&desk, "a"), [], "it does not drain");

    says(&mut desk, "a", MemberState::Draining);
    assert_eq!(told(&desk, "a"), [1]);
    let new = desk.submit_small("f", "new");
    assert_eq!(desk.placement(new), None, "there is nobody else");
    desk.takes_small("a", given);
    assert!(desk.is_done(given));
    desk.tick_after(limits::SETTLE_EVERY_MS);
    assert_eq!(told(&desk, "a"), [1, 0]);

    // On a new connection it is told again.
    desk.down("a");
    desk.up("a");
    says(&mut desk, "a", MemberState::Draining);
    assert_eq!(told(&desk, "a"), [1, 0, 0]);

    says(&mut desk, "a", MemberState::Active);
    desk.takes_small("a", new);
    assert!(desk.is_done(new), "it takes part again");
}

#[test]
fn a_consumer_that_drains_is_known_to_after_a_restart_and_not_told_before_that_is_so() {
    let members = vec![member("a", &["f"]), member("b", &["f"])];
    let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(1))]);
    desk.up("a");
    desk.hold_syncs = true;
    says(&mut desk, "a", MemberState::Draining);
    desk.tick_after(limits::SETTLE_EVERY_MS);
    assert_eq!(told(&desk, "a"), [], "a restart would place files there");
    desk.hold_syncs = false;
    desk.settle();
    assert_eq!(told(&desk, "a"), [0]);

    desk.restart();
    desk.up("b");
    for file in 0..20 {
        let key = desk.submit_small("f", &format!("{file}"));
        assert_eq!(desk.placement(key).unwrap().legs[0].node, "b");
    }
}

/// Nothing new is placed there; what was placed goes there, though its feed has nobody else.
#[test]
fn a_file_that_lacks_a_copy_goes_to_the_one_that_drains_also_after_a_restart() {
    for restarts in [false, true] {
        let members = vec![member("a", &["f"])];
        let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(2))]);
        desk.up("a");
        let key = desk.submit_small("f", "one");
        assert_eq!(desk.placement(key).unwrap().legs.len(), 1, "one is owed");
        desk.down("a");
        if restarts {
            desk.up("a");
            says(&mut desk, "a", MemberState::Draining);
            desk.restart();
        }
        desk.said.clear();
        desk.up("a");
        says(&mut desk, "a", MemberState::Draining);
        desk.tick_after(limits::SETTLE_EVERY_MS);
        let is_asked = |(_, message): &(_, Message)| matches!(message, Message::SmallQuery(_));
        assert!(desk.said.iter().any(is_asked), "restarted: {restarts}");
        desk.takes_small("a", key);
        desk.tick_after(limits::SETTLE_EVERY_MS);
        assert_eq!(told(&desk, "a").last(), Some(&0), "restarted: {restarts}");
    }
}

#[test]
fn files_that_lack_a_consumer_get_the_one_that_takes_part_again() {
    let members = vec![member("a", &["f"]), member("b", &["f"])];
    let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(2))]);
    desk.up("a");
    desk.up("b");
    says(&mut desk, "b", MemberState::Draining);
    let key = desk.submit_small("f", "one");
    desk.takes_small("a", key);
    assert!(!desk.is_done(key), "two copies are wanted");
    says(&mut desk, "b", MemberState::Active);
    desk.takes_small("b", key);
    assert!(desk.is_done(key));
}

#[test]
fn a_node_that_drains_takes_nothing_in_until_it_is_taken_back_also_after_a_restart() {
    let members = vec![member("a", &["f"])];
    let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(1))]);
    let order = |state| Event::Drain {
        token: Token(7),
        state,
    };
    let submit = || Event::Claim {
        token: Token(8),
        spec: FileSpec {
            feed: "f".into(),
            name: "one".into(),
            ..FileSpec::default()
        },
        source: Source::default(),
    };
    let key = desk.submit_small("f", "before");
    desk.hold_syncs = true;
    desk.apply(order(MemberState::Draining));
    // Nor is one that repeats the order answered by what may be forgotten.
    desk.apply(order(MemberState::Draining));
    assert!(desk.answers.iter().all(|answer| *answer != Answer::Drained));
    desk.hold_syncs = false;
    desk.settle();
    assert_eq!(desk.answers.last(), Some(&Answer::Drained));

    desk.restart();
    desk.apply(submit());
    let refused = Answer::Refused(Refusal::Draining);
    assert_eq!(desk.answers.last(), Some(&refused));
    desk.up("a");
    desk.takes_small("a", key);
    assert!(desk.is_done(key), "what it had taken in is delivered");

    desk.apply(order(MemberState::Active));
    desk.restart();
    desk.apply(submit());
    assert_eq!(desk.answers.last(), Some(&Answer::Drained), "it is claimed");
}
