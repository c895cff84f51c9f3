//! Disks that fail.

use consign_core::log::{LogError, LogSettings};
use consign_sim::rng::Rng;

use crate::world::{Model, Step, append, new_disk, open};

const SEGMENT: u64 = LogSettings::SEGMENT_BYTES_LEAST;

#[test]
fn a_failed_sync_is_final_and_never_tried_again() {
    let disk = new_disk(1);
    let mut log = open(&disk, SEGMENT).unwrap().log;
    append(&mut log, 0).unwrap();
    let _ = log.commit().unwrap();
    append(&mut log, 1).unwrap();
    disk.fail_sync(0);
    let first = log.commit().unwrap_err();
    assert!(matches!(first, LogError::SyncFailed { .. }), "{first}");
    let ops = disk.ops();
    let later = [
        log.commit().map(drop),
        log.flush(),
        append(&mut log, 2).map(drop),
        log.mark_idle().map(drop),
        log.ensure_reserve().map(drop),
        log.drop_below(1),
    ];
    for result in later {
        assert_eq!(result.unwrap_err().to_string(), first.to_string());
    }
    assert_eq!(disk.ops(), ops, "nothing touches the disk any more");
    disk.kill();
    assert_eq!(
        open(&disk, SEGMENT).unwrap().seqs()[..1],
        [0],
        "what was committed is there"
    );
}

#[test]
fn a_failed_write_poisons_the_log() {
    let disk = new_disk(1);
    let mut log = open(&disk, SEGMENT).unwrap().log;
    append(&mut log, 0).unwrap();
    disk.fail_write(0);
    let first = log.commit().unwrap_err();
    assert!(matches!(first, LogError::Io { .. }), "{first}");
    assert_eq!(log.flush().unwrap_err().to_string(), first.to_string());
}

#[test]
fn a_commit_of_nothing_touches_no_disk() {
    let disk = new_disk(1);
    let mut log = open(&disk, SEGMENT).unwrap().log;
    let mut model = Model::new();
    for step in [Step::Append(1), Step::Commit, Step::Idle] {
        model.step(&mut log, step).unwrap();
    }
    let ops = disk.ops();
    let _ = log.commit().unwrap();
    assert_eq!(disk.ops(), ops);
}

#[test]
fn every_error_ends_in_a_hint() {
    let disk = new_disk(1);
    let mut log = open(&disk, SEGMENT).unwrap().log;
    disk.fail_write(0);
    append(&mut log, 0).unwrap();
    assert!(log.flush().unwrap_err().to_string().contains("; hint: "));
}

/// A sync that fails as the spare is made leaves its length in the cache only, where the next life
/// finds it.
#[test]
fn a_spare_that_an_earlier_life_failed_to_sync_becomes_a_whole_segment() {
    for seed in 0..20 {
        for nth in 0..4 {
            let disk = new_disk(seed);
            disk.fail_sync(nth);
            drop(open(&disk, SEGMENT));
            disk.kill();
            let mut log = open(&disk, SEGMENT).unwrap().log;
            let mut model = Model::new();
            for step in [Step::Append(30), Step::Commit] {
                model.step(&mut log, step).unwrap();
            }
            disk.power_cut(&mut Rng::new(seed));
            let opened = open(&disk, SEGMENT).unwrap();
            model.check(&opened);
            opened.assert_readable();
        }
    }
}
