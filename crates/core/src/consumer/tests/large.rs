//! Large files: what is thrown away, and what is kept.

use super::*;
use crate::consumer::InflowFault;

/// The watermark with which a file is opened.
pub(super) fn opened_at(effects: &[Effect]) -> u64 {
    let order = effects.iter().find_map(|effect| match effect {
        Effect::OpenInflow(order) => Some(order.synced),
        _ => None,
    });
    order.expect("it is opened")
}

pub(super) fn synced(offset: u64) -> Event {
    Event::InflowSynced {
        slot: slot(0),
        offset,
        first_chunk: 0,
        hashes: vec![1; (offset / CHUNK * 32) as usize],
    }
}

#[test]
fn a_file_that_begins_anew_is_not_removed_under_the_next_opening() {
    let mut node = Node::new();
    let effects = node.receive(1, Digest([8; 32]));
    assert_eq!(refusals(&effects)[0].0, RefusalCode::Mismatch);
    assert!(
        effects.contains(&Effect::CloseInflow(slot(0))),
        "{effects:?}"
    );
    let discards = |effect: &Effect| matches!(effect, Effect::Discard { .. });
    assert!(!effects.iter().any(discards), "{effects:?}");
    assert_eq!(opened_at(&node.open(2)), 0, "it is cut back to nothing");
}

#[test]
fn a_sync_of_what_was_thrown_away_counts_for_nothing() {
    let mut node = Node::new();
    node.receive(1, DIGEST);
    node.apply(Event::Sealed {
        slot: slot(0),
        outcome: Err(InflowFault::Missing),
    });
    // Both were on their way when the file was let go of.
    node.ready(1, SIZE);
    node.apply(synced(2 * CHUNK));
    assert_eq!(opened_at(&node.open(2)), 0);
    node.apply(synced(2 * CHUNK));
    node.ready(2, 0);
    node.apply(synced(CHUNK));
    assert_eq!(opened_at(&node.open(3)), CHUNK, "what is synced now counts");
    let watermarks = node.log.iter().filter_map(|(_, record)| match record {
        Record::Watermark(watermark) => Some(watermark.offset),
        _ => None,
    });
    assert_eq!(watermarks.collect::<Vec<_>>(), [0, CHUNK]);
}

#[test]
fn what_a_rejected_file_has_synced_is_kept_until_its_path_is_free() {
    let mut node = Node::new();
    node.apply(Event::Policies(vec![policy(OnConflict::Reject)]));
    node.open(1);
    node.ready(1, 0);
    node.apply(synced(2 * CHUNK));
    node.complete_and_commit(1, DIGEST);
    let effects = node.apply(Event::Sealed {
        slot: slot(0),
        outcome: Ok(false),
    });
    assert_eq!(refusals(&effects)[0].0, RefusalCode::Conflict);
    assert_eq!(opened_at(&node.open(2)), 2 * CHUNK);
}

/// Files with more chunk hashes than one record takes.
const HUGE_CHUNKS: u64 = 40_000;

#[test]
fn a_crash_while_a_huge_file_is_carried_forward_loses_no_synced_byte() {
    let mut node = Node::new();
    node.open_sized(1, HUGE_CHUNKS * CHUNK * 2);
    node.ready(1, 0);
    node.apply(synced(HUGE_CHUNKS * CHUNK));
    let before = node.log.len();
    node.segment = 2;
    node.apply(Event::Carry { through: 1 });
    let carried = node.log.split_off(before);
    assert!(carried.len() > 3, "{} records", carried.len());
    let old = node.log.clone();
    for count in 0..=carried.len() {
        node.log = [&old, &carried[..count]].concat();
        node.restart(&[]);
        let opened = node.open_sized(2, HUGE_CHUNKS * CHUNK * 2);
        assert_eq!(opened_at(&opened), HUGE_CHUNKS * CHUNK, "{count} records");
    }
    // And when the old segment is gone.
    node.log = carried;
    node.restart(&[]);
    let opened = node.open_sized(2, HUGE_CHUNKS * CHUNK * 2);
    assert_eq!(opened_at(&opened), HUGE_CHUNKS * CHUNK);
}
