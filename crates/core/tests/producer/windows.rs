//! One slow, full or dead part delays only its own files.

use consign_core::limits;
use consign_core::producer::Event;
use consign_core::spec::Replicas;
use consign_core::wire::{Holding, Message, OpenAnswer, RefusalCode, Refused};

use crate::desk::{Desk, member, rules};

/// Each of these consumers has a feed of its own, named as it is.
fn desk(nodes: &[&str]) -> Desk {
    let members = nodes.iter().map(|node| member(node, &[node])).collect();
    let feeds = nodes.iter().map(|node| rules(node, Replicas::Count(1)));
    let mut desk = Desk::new(members, feeds.collect());
    for node in nodes {
        desk.up(node);
    }
    desk
}

impl Desk {
    /// A consumer finds that it has saved a large file already.
    pub(crate) fn has_saved(&mut self, node: &str, key: consign_core::ids::TransferKey) {
        let answer = OpenAnswer {
            leg: self.wire_leg(node, key),
            holding: Holding::Saved.into(),
            receipt: Some(crate::desk::receipt(node)),
            ..OpenAnswer::default()
        };
        self.hear(node, Message::OpenAnswer(answer));
    }
}

#[test]
fn a_full_archive_holds_up_no_file_and_no_memory() {
    let mut desk = desk(&["a"]);
    desk.release_fails = true;
    let many = limits::LARGE_ACTIVE_MAX + 8;
    for number in 0..many {
        let key = desk.submit_large("a", &format!("{number}"));
        assert_eq!(desk.opened("a").last(), Some(&key), "file {number}");
        desk.has_saved("a", key);
        assert!(desk.is_done(key));
    }
    assert_eq!(desk.producer.transfers().count(), 0, "they wait in the log");
    desk.segment = 2;
    desk.apply(Event::Carry { through: 1 });
    assert_eq!(desk.needs_from, 2);

    desk.restart();
    desk.release_fails = false;
    desk.tick_after(limits::SETTLE_EVERY_MS);
    desk.tick_after(limits::SETTLE_EVERY_MS);
    assert_eq!(desk.released.len(), many);
    assert_eq!(desk.producer.unfinished(), 0);
}

#[test]
fn slow_consumers_leave_room_for_another_ones_large_files() {
    let mut desk = desk(&["slow-1", "slow-2", "swift"]);
    for number in 0..limits::LARGE_ACTIVE_MAX {
        desk.submit_large("slow-1", &format!("{number}"));
        desk.submit_large("slow-2", &format!("{number}"));
    }
    let key = desk.submit_large("swift", "one");
    assert_eq!(desk.opened("swift"), [key]);
}

#[test]
fn slow_consumers_leave_room_for_a_large_file_of_one_that_comes_later() {
    let mut desk = desk(&["slow-1", "slow-2"]);
    for number in 0..limits::LARGE_ACTIVE_MAX {
        desk.submit_large("slow-1", &format!("{number}"));
        desk.submit_large("slow-2", &format!("{number}"));
    }
    let (slow_1, slow_2) = (member("slow-1", &["slow-1"]), member("slow-2", &["slow-2"]));
    desk.set_members(vec![slow_1, slow_2, member("swift", &["swift"])]);
    let feeds = ["slow-1", "slow-2", "swift"].map(|feed| rules(feed, Replicas::Count(1)));
    desk.set_rules(feeds.to_vec());
    desk.up("swift");
    let key = desk.submit_large("swift", "one");
    assert_eq!(desk.opened("swift"), [key]);
}

#[test]
fn slow_consumers_leave_room_for_another_ones_small_files() {
    let mut desk = desk(&["slow-1", "slow-2", "slow-3", "swift"]);
    for slow in ["slow-1", "slow-2", "slow-3"] {
        for number in 0..limits::SMALL_ACTIVE_MAX / 2 {
            desk.submit_small(slow, &format!("{number}"));
        }
    }
    let key = desk.submit_small("swift", "one");
    assert_eq!(desk.sent("swift"), [key]);
}

#[test]
fn a_full_inbox_of_one_feed_delays_no_other_feed_on_the_same_machine() {
    let members = vec![member("a", &["full", "free"])];
    let feeds = ["full", "free"].map(|feed| rules(feed, Replicas::Count(1)));
    let mut desk = Desk::new(members, feeds.to_vec());
    desk.up("a");
    let refused = desk.submit_large("full", "one");
    let no_space = Refused {
        code: RefusalCode::NoSpace.into(),
        retry_after_ms: limits::NO_SPACE_RETRY_MS,
        ..Refused::default()
    };
    desk.refuses("a", refused, no_space);
    let free = desk.submit_large("free", "two");
    assert_eq!(desk.opened("a"), [refused, free]);
    desk.has_saved("a", free);
    let waits = desk.submit_large("full", "three");
    assert_eq!(desk.opened("a"), [refused, free]);
    desk.tick_after(limits::RETRY_DELAY_MAX_MS);
    assert_eq!(desk.opened("a")[2..], [refused, waits]);
}
