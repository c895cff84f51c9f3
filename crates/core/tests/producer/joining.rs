//! A consumer that joins takes its share of what is queued and not placed yet, and of nothing else.

use std::collections::BTreeMap;

use consign_core::ids::TransferKey;
use consign_core::limits;
use consign_core::spec::Replicas;
use consign_core::wire::{RefusalCode, Refused};

use crate::desk::{Desk, member, rules};

/// Of each a third is 1,000, and σ 26.
const FILES: usize = 3_000;

/// Two consumers that can be reached.
fn desk() -> Desk {
    let members = vec![member("a", &["f"]), member("b", &["f"])];
    let mut desk = Desk::new(members, vec![rules("f", Replicas::Count(1))]);
    desk.up("a");
    desk.up("b");
    desk
}

/// A third consumer is a member now, and these can be reached, in this order.
fn come<const N: usize>(desk: &mut Desk, nodes: [&str; N]) {
    let all = ["a", "b", "c"].map(|node| member(node, &["f"]));
    desk.set_members(all.to_vec());
    for node in nodes {
        desk.up(node);
    }
}

/// On whom each of these is, if it is placed; with one copy each.
fn places(desk: &Desk, keys: &[TransferKey]) -> Vec<Option<String>> {
    let place = |&key| {
        let placed = desk.placement(key)?;
        let [leg] = placed.legs.as_slice() else {
            panic!("{key}: {placed:?}")
        };
        Some(leg.node.clone())
    };
    keys.iter().map(place).collect()
}

/// All are placed, and each of the three consumers has a third of them, within 4 σ.
#[track_caller]
fn are_thirds(places: &[Option<String>]) {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for place in places {
        let node = place.as_deref().expect("it is placed");
        *counts.entry(node).or_default() += 1;
    }
    let expected = places.len() as f64 / 3.0;
    let sigma = (expected * 2.0 / 3.0).sqrt();
    for node in ["a", "b", "c"] {
        let count = counts.get(node).copied().unwrap_or_default();
        let off = (count as f64 - expected).abs();
        assert!(
            off <= 4.0 * sigma,
            "{counts:?}, expected {expected} ± {sigma}"
        );
    }
}

#[test]
fn what_was_queued_while_nobody_could_be_reached_spreads_to_a_newcomer_and_what_was_placed_stays() {
    // Whoever is back first, the newcomer or the others.
    for order in [["a", "b", "c"], ["c", "b", "a"]] {
        let mut desk = desk();
        let early: Vec<_> = (0..300)
            .map(|at| desk.submit_small("f", &format!("early-{at}")))
            .collect();
        let before = places(&desk, &early);
        assert!(before.iter().all(Option::is_some));
        desk.down("a");
        desk.down("b");
        let late: Vec<_> = (0..FILES)
            .map(|at| desk.submit_small("f", &format!("late-{at}")))
            .collect();
        assert!(places(&desk, &late).iter().all(Option::is_none));

        come(&mut desk, order);
        are_thirds(&places(&desk, &late));
        assert_eq!(places(&desk, &early), before);
    }
}

/// What was placed on a consumer without space for the feed waits for it; what follows waits unplaced.
#[test]
fn what_is_queued_behind_full_consumers_spreads_to_a_newcomer_and_what_was_placed_stays() {
    let mut desk = desk();
    let early: Vec<_> = (0..300)
        .map(|at| desk.submit_large("f", &format!("early-{at}")))
        .collect();
    let before = places(&desk, &early);
    for node in ["a", "b"] {
        let opened = desk.opened(node)[0];
        let no_space = Refused {
            code: RefusalCode::NoSpace.into(),
            retry_after_ms: limits::NO_SPACE_RETRY_MS,
            ..Refused::default()
        };
        desk.refuses(node, opened, no_space);
    }
    let late: Vec<_> = (0..FILES)
        .map(|at| desk.submit_small("f", &format!("late-{at}")))
        .collect();
    assert!(places(&desk, &late).iter().all(Option::is_none));

    come(&mut desk, ["c"]);
    are_thirds(&places(&desk, &late));
    assert_eq!(places(&desk, &early), before);
}

/// Windows bound what is on its way. What waits for a place in one of those is placed; once all of them are
/// full nothing is, until somebody has finished something.
#[test]
fn what_is_queued_behind_full_windows_spreads_to_a_newcomer_and_what_was_placed_stays() {
    let mut desk = desk();
    let early: Vec<_> = (0..300)
        .map(|at| desk.submit_large("f", &format!("early-{at}")))
        .collect();
    let before = places(&desk, &early);
    assert!(before.iter().all(Option::is_some));
    come(&mut desk, ["c"]);
    let late: Vec<_> = (0..FILES / 2)
        .map(|at| desk.submit_large("f", &format!("late-{at}")))
        .collect();
    let unplaced = places(&desk, &late);
    let unplaced = unplaced.iter().filter(|place| place.is_none()).count();
    assert!(unplaced > FILES / 4, "only {unplaced} wait for a place");

    all_take_all(&mut desk);
    are_thirds(&places(&desk, &late));
    assert_eq!(places(&desk, &early), before);
    assert!(early.iter().chain(&late).all(|&key| desk.is_done(key)));
}

/// Each finds that it has whatever it is asked to take, until it is asked no more.
fn all_take_all(desk: &mut Desk) {
    loop {
        let opened = ["a", "b", "c"].map(|node| (node, desk.opened(node)));
        // What they were told of is not looked at twice.
        desk.said.clear();
        for (node, keys) in opened {
            keys.into_iter().for_each(|key| desk.has_saved(node, key));
        }
        if desk.said.is_empty() {
            return;
        }
    }
}
