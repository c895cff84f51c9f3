//! The scanner without its thread, with times made up.

use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};

use super::Scanner;
use crate::watch::tests::Place;
use crate::watch::{Input, ProblemList, Ready};

fn by_hand(
    place: &Place,
) -> (
    Scanner,
    mpsc::Receiver<Ready>,
    watch::Receiver<Arc<ProblemList>>,
) {
    let (ready_in, ready) = mpsc::channel(place.config.in_flight_max);
    let (problems_in, problems) = watch::channel(Arc::default());
    let (inputs, _) = std::sync::mpsc::channel();
    let scanner = Scanner::new(
        place.config.clone(),
        place.kept.clone(),
        inputs,
        ready_in,
        problems_in,
    );
    (scanner, ready, problems)
}

fn whys(problems: &watch::Receiver<Arc<ProblemList>>) -> Vec<String> {
    let list = problems.borrow().clone();
    list.listed.iter().map(|p| p.why.clone()).collect()
}

#[test]
fn lost_events_are_said_and_made_up_for_by_a_scan() {
    let place = Place::new().without_scans();
    let (mut scanner, mut ready, problems) = by_hand(&place);
    let start = Instant::now();
    scanner.turn(start);
    place.write("a", b"");
    scanner.apply(Input::Overflow, start);
    scanner.problems.publish();
    assert!(whys(&problems)[0].contains("max_queued_events"));
    let later = start + Duration::from_secs(1);
    scanner.turn(later);
    assert!(whys(&problems).is_empty());
    scanner.turn(later + place.config.settle);
    assert_eq!(ready.try_recv().unwrap().relative_name, "a");
}

#[test]
fn incomplete_events_are_said_and_scans_come_more_often() {
    let place = Place::new().without_scans();
    let (mut scanner, mut ready, problems) = by_hand(&place);
    let start = Instant::now();
    scanner.turn(start);
    scanner.apply(Input::Degraded("limit; hint: raise it".to_owned()), start);
    place.write("a", b"");
    scanner.turn(start + Duration::from_secs(2));
    assert_eq!(whys(&problems), ["limit; hint: raise it"]);
    scanner.turn(start + Duration::from_secs(4));
    assert_eq!(ready.try_recv().unwrap().relative_name, "a");
    // Subscribed again after a while, and all is well.
    scanner.turn(start + Duration::from_secs(120));
    assert!(whys(&problems).is_empty());
}

#[test]
fn many_problems_are_counted_and_not_kept() {
    let place = Place::new();
    for n in 0..1100 {
        symlink("x", place.at(&n.to_string())).unwrap();
    }
    let (mut scanner, _ready, problems) = by_hand(&place);
    let now = Instant::now();
    for _ in 0..10 {
        scanner.turn(now);
    }
    let list = problems.borrow().clone();
    assert_eq!((list.listed.len(), list.more), (1000, 100));
}
