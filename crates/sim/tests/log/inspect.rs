//! Inspecting a log: damage is named, and whatever is sound around it is found.

use std::collections::BTreeMap;
use std::path::Path;

use consign_core::log::{InspectedPayload, Inspection, Position, inspect};
use consign_core::record::Record;
use consign_sim::disk::SimDisk;

use crate::damage::{SEGMENT, proven_log, telling_bits};
use crate::world::{DIR, Model, Step, new_disk, open, record, segment, segment_files, seq_of};

/// Inspects a log, and fails when anything is handed out that nobody wrote. Returns which records
/// were found, and whether their payloads are sound.
fn inspected(disk: &SimDisk) -> (Inspection, BTreeMap<u64, bool>) {
    let before = segment_files(disk);
    let mut found = BTreeMap::new();
    let mut last = Position::default();
    let mut take = |position: Position, got: Record, payload: InspectedPayload| {
        assert!(position > last, "in the log's order, each once");
        last = position;
        let seq = seq_of(&got);
        let (expected, bytes) = record(seq);
        assert_eq!(got, expected);
        let sound = match payload {
            InspectedPayload::None => bytes.is_none(),
            InspectedPayload::Sound(payload) => Some(payload) == bytes,
            InspectedPayload::Damaged => false,
        };
        assert!(found.insert(seq, sound).is_none(), "record {seq} twice");
    };
    let report = inspect(&*disk.mount(), Path::new(DIR), &mut take).unwrap();
    assert_eq!(segment_files(disk), before, "nothing is changed");
    assert_eq!(report.records, found.len() as u64);
    (report, found)
}

#[test]
fn a_sound_log_has_no_damage_and_all_of_its_records_are_found() {
    let (disk, committed) = proven_log();
    let (report, found) = inspected(&disk);
    assert_eq!(report.damage, []);
    assert_eq!(report.torn_bytes, 0);
    assert!(found.values().all(|sound| *sound));
    assert!(found.into_keys().eq(committed));
}

#[test]
fn a_flipped_bit_is_named_and_costs_at_most_the_record_that_it_is_in() {
    let (disk, committed) = proven_log();
    for (path, bytes) in segment_files(&disk) {
        for bit in telling_bits(&bytes).into_iter().step_by(3) {
            let flipped = disk.fork();
            flipped.tamper(&path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            let (report, found) = inspected(&flipped);
            let lost = committed.len() - found.values().filter(|sound| **sound).count();
            // The header of the newest segment has no successor that repeats its salt.
            let is_newest_header = path == segment(3) && bit / 8 < 512;
            let opens = open(&flipped.fork(), SEGMENT).is_ok();
            if is_newest_header {
                assert!(!report.damage.is_empty(), "bit {bit}");
                continue;
            }
            assert!(lost <= 1, "bit {bit} of {}: {report:?}", path.display());
            assert!(lost == 0 || !report.damage.is_empty(), "bit {bit}");
            assert!(opens || !report.damage.is_empty(), "bit {bit}");
        }
    }
}

#[test]
fn a_truncated_segment_costs_only_what_was_behind_the_cut() {
    let (disk, committed) = proven_log();
    let (_, whole) = inspected(&disk);
    for (path, bytes) in segment_files(&disk) {
        let written = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        for len in (512..written).step_by(56) {
            let cut = disk.fork();
            cut.tamper(&path, |bytes| bytes.truncate(len));
            let (report, found) = inspected(&cut);
            assert!(!report.damage.is_empty(), "{} at {len}", path.display());
            assert!(found.len() <= whole.len());
        }
        let header_only = disk.fork();
        header_only.tamper(&path, |bytes| bytes.truncate(100));
        let (report, found) = inspected(&header_only);
        assert!(!report.damage.is_empty());
        assert!(!found.is_empty() && found.len() < committed.len());
    }
}

#[test]
fn a_missing_segment_is_named_and_the_others_are_found() {
    let (disk, committed) = proven_log();
    for id in [1, 2] {
        let lacking = disk.fork();
        lacking.lose(&segment(id));
        let (report, found) = inspected(&lacking);
        if id == 1 {
            // Segment 1 is the lowest one that counts.
            assert_eq!(report.oldest, 1);
        }
        let named = report
            .damage
            .iter()
            .any(|damage| damage.path == segment(id));
        assert!(named, "{report:?}");
        assert!(!found.is_empty() && found.len() < committed.len());
    }
}

#[test]
fn a_torn_tail_is_no_damage() {
    let disk = new_disk(1);
    let mut opened = open(&disk, SEGMENT).unwrap();
    let mut model = Model::new();
    for step in [Step::Append(2), Step::Commit, Step::Append(1), Step::Flush] {
        model.step(&mut opened.log, step).unwrap();
    }
    disk.kill();
    let torn = model.appended[2].1.offset as usize;
    disk.tamper(&segment(1), |bytes| bytes[torn] ^= 1);
    let (report, found) = inspected(&disk);
    assert_eq!(report.damage, []);
    assert!(report.torn_bytes > 0);
    assert!(found.into_keys().eq([0, 1]));
}

#[test]
fn a_directory_without_a_log_is_found_empty() {
    let disk = new_disk(1);
    disk.mount().create_dir(Path::new(DIR)).unwrap();
    assert_eq!(inspected(&disk).0, Inspection::default());
}
