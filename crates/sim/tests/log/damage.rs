//! Damage: what was proven synced and is not there is reported, and nothing is cut for it.

use std::path::Path;

use consign_core::disk::OpenMode;
use consign_core::log::{LogError, LogSettings};
use consign_sim::disk::SimDisk;

use crate::world::{Model, Opened, Step, new_disk, open, record, segment, segment_files};

pub(crate) const SEGMENT: u64 = LogSettings::SEGMENT_BYTES_LEAST + 512;

/// A log in use: a sealed segment, one that a recovery cut, and one that is appended to, all
/// committed and proven.
pub(crate) fn proven_log() -> (SimDisk, Vec<u64>) {
    proven_log_after(0)
}

/// That log, on a disk that had done so many things before.
fn proven_log_after(ops: u64) -> (SimDisk, Vec<u64>) {
    let disk = new_disk(1);
    for _ in 0..ops {
        disk.mount().create_dir(Path::new("/data")).unwrap();
    }
    let mut model = Model::new();
    let run = |opened: &mut Opened, model: &mut Model, steps: &[Step]| {
        for &step in steps {
            model.step(&mut opened.log, step).unwrap();
        }
    };
    let mut opened = open(&disk, SEGMENT).unwrap();
    let first = [
        Step::Append(4),
        Step::Commit,
        Step::Append(11),
        Step::Commit,
        Step::Idle,
    ];
    run(&mut opened, &mut model, &first);
    assert_eq!(opened.log.current_segment(), 2, "the first segment is full");
    disk.kill();
    let mut opened = open(&disk, SEGMENT).unwrap();
    let second = [
        Step::Append(3),
        Step::Commit,
        Step::Append(5),
        Step::Commit,
        Step::Idle,
    ];
    run(&mut opened, &mut model, &second);
    assert_eq!(
        opened.log.current_segment(),
        3,
        "the second segment was cut"
    );
    disk.kill();
    (disk, model.appended.iter().map(|&(seq, _)| seq).collect())
}

/// What became of a log that was tampered with.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum Outcome {
    /// It was reported at the start.
    Reported,
    /// It was reported when a payload was read.
    ReportedByRead,
    /// It did not matter.
    Harmless,
}

/// Opens a log that was tampered with, and fails if anything was lost in silence.
fn outcome(disk: &SimDisk, committed: &[u64]) -> Outcome {
    let before = segment_files(disk);
    let opened = match open(disk, SEGMENT) {
        Ok(opened) => opened,
        Err(LogError::Damaged { .. }) => {
            assert_eq!(segment_files(disk), before, "nothing is cut or deleted");
            return Outcome::Reported;
        }
        Err(other) => panic!("{other}"),
    };
    assert_eq!(
        opened.seqs(),
        committed,
        "no committed record is lost in silence"
    );
    let reader = opened.log.reader();
    let mut outcome = Outcome::Harmless;
    for &(seq, position) in &opened.records {
        match reader.read(position) {
            Ok(found) => assert_eq!(found, record(seq)),
            Err(LogError::Damaged { .. }) => outcome = Outcome::ReportedByRead,
            Err(other) => panic!("{other}"),
        }
    }
    outcome
}

fn tampered(disk: &SimDisk, path: &Path, change: impl FnOnce(&mut Vec<u8>)) -> SimDisk {
    let disk = disk.fork();
    disk.tamper(path, change);
    disk
}

/// Every bit, but only one of each byte amid zeroes.
pub(crate) fn telling_bits(bytes: &[u8]) -> Vec<usize> {
    let amid_zeroes = |at: usize| {
        bytes[at.saturating_sub(64)..]
            .iter()
            .take(128)
            .all(|&b| b == 0)
    };
    let bits = (0..bytes.len() * 8).filter(|bit| bit % 8 == 0 || !amid_zeroes(bit / 8));
    bits.collect()
}

#[test]
fn no_flipped_bit_loses_a_committed_record_in_silence() {
    let (disk, committed) = proven_log();
    for (path, bytes) in segment_files(&disk) {
        let mut reported = 0;
        for bit in telling_bits(&bytes) {
            let disk = tampered(&disk, &path, |bytes| bytes[bit / 8] ^= 1 << (bit % 8));
            reported += usize::from(outcome(&disk, &committed) != Outcome::Harmless);
        }
        assert!(reported > 2000, "{reported} in {}", path.display());
    }
}

#[test]
fn no_truncation_loses_a_committed_record_in_silence() {
    let (disk, committed) = proven_log();
    for (path, bytes) in segment_files(&disk) {
        for len in 0..bytes.len() {
            let disk = tampered(&disk, &path, |bytes| bytes.truncate(len));
            assert_eq!(
                outcome(&disk, &committed),
                Outcome::Reported,
                "{} at {len}",
                path.display()
            );
        }
    }
}

#[test]
fn zeroed_sectors_below_a_proven_sync_are_reported() {
    let (disk, committed) = proven_log();
    for (path, bytes) in segment_files(&disk) {
        let written = bytes.iter().rposition(|&byte| byte != 0).unwrap();
        for at in (0..bytes.len()).step_by(512) {
            let end = bytes.len().min(at + 512);
            // The marker that proves the last commit must survive.
            let has_marker = path == segment(3) && (at..end).contains(&written);
            if has_marker || bytes[at..end].iter().all(|&byte| byte == 0) {
                continue;
            }
            let disk = tampered(&disk, &path, |bytes| bytes[at..end].fill(0));
            let outcome = outcome(&disk, &committed);
            assert_ne!(outcome, Outcome::Harmless, "{} at {at}", path.display());
        }
    }
}

#[test]
fn a_missing_segment_is_reported() {
    let (disk, committed) = proven_log();
    for id in [1, 2] {
        let disk = disk.fork();
        disk.lose(&segment(id));
        assert_eq!(
            outcome(&disk, &committed),
            Outcome::Reported,
            "without segment {id}"
        );
    }
}

/// What the log is when its newest segment is lost whole is what it was before that one was begun:
/// no file of it can tell. Peers can, since they have seen a later incarnation.
#[test]
fn without_its_newest_segment_a_log_is_an_older_one_or_damaged() {
    let (disk, committed) = proven_log();
    let disk = disk.fork();
    disk.lose(&segment(3));
    match open(&disk, SEGMENT) {
        Ok(opened) => {
            let seqs = opened.seqs();
            assert!(committed.starts_with(&seqs), "{seqs:?}");
            assert!(seqs.len() >= 15, "the first life's are all there");
            opened.assert_readable();
        }
        Err(error) => assert!(matches!(error, LogError::Damaged { .. }), "{error}"),
    }
}

#[test]
fn swapped_segments_are_reported() {
    let (disk, committed) = proven_log();
    let [a, b, c] = [1, 2, 3].map(|id| disk.bytes(&segment(id)).unwrap());
    let orders = [
        [&a, &c, &b],
        [&b, &a, &c],
        [&b, &c, &a],
        [&c, &a, &b],
        [&c, &b, &a],
    ];
    for (number, order) in orders.into_iter().enumerate() {
        let disk = disk.fork();
        for (id, bytes) in (1..).zip(order) {
            disk.tamper(&segment(id), |own| own.clone_from(bytes));
        }
        assert_eq!(
            outcome(&disk, &committed),
            Outcome::Reported,
            "order {number}"
        );
    }
}

#[test]
fn a_segment_under_the_name_of_another_is_reported() {
    let (disk, committed) = proven_log();
    for from in 1..=3 {
        for to in (1..=3).filter(|to| *to != from) {
            let bytes = disk.bytes(&segment(from)).unwrap();
            let disk = tampered(&disk, &segment(to), |own| *own = bytes);
            assert_eq!(
                outcome(&disk, &committed),
                Outcome::Reported,
                "{from} also as {to}"
            );
        }
    }
}

#[test]
fn a_segment_under_a_second_name_is_reported_or_harmless() {
    let (disk, committed) = proven_log();
    for from in 1..=3 {
        for to in [0, 4, 5, u32::MAX] {
            let disk = disk.fork();
            let bytes = disk.bytes(&segment(from)).unwrap();
            let mount = disk.mount();
            let file = mount.open(&segment(to), OpenMode::CreateNew).unwrap();
            file.write_all_at(&bytes, 0).unwrap();
            // The newest name is what recovery begins with: a stranger there is damage.
            let expected = match to {
                0 => Outcome::Harmless,
                _ => Outcome::Reported,
            };
            assert_eq!(outcome(&disk, &committed), expected, "{from} also as {to}");
        }
    }
}

#[test]
fn a_segment_of_another_log_is_reported() {
    let (disk, committed) = proven_log();
    for id in [1, 2, 3] {
        // The same records, under other salts.
        let (other, _) = proven_log_after(1);
        let bytes = other.bytes(&segment(id)).unwrap();
        let disk = tampered(&disk, &segment(id), |own| *own = bytes);
        assert_eq!(
            outcome(&disk, &committed),
            Outcome::Reported,
            "segment {id}"
        );
    }
}

#[test]
fn damage_to_the_last_commit_is_told_from_a_torn_tail_by_its_marker() {
    for marked in [false, true] {
        let disk = new_disk(1);
        let mut opened = open(&disk, SEGMENT).unwrap();
        let mut model = Model::new();
        for step in [Step::Append(2), Step::Commit, Step::Append(1), Step::Commit] {
            model.step(&mut opened.log, step).unwrap();
        }
        if marked {
            assert!(
                opened.log.mark_idle().unwrap(),
                "the last commit was not proven"
            );
            assert!(!opened.log.mark_idle().unwrap(), "it is now");
        }
        disk.kill();
        let last = model.appended[2].1;
        disk.tamper(&segment(1), |bytes| bytes[last.offset as usize] ^= 1);
        match open(&disk, SEGMENT) {
            Err(LogError::Damaged { offset, .. }) => {
                assert!(marked);
                assert_eq!(offset, u64::from(last.offset));
            }
            Ok(opened) => {
                assert!(!marked, "a proven commit is never cut");
                assert_eq!(opened.seqs(), [0, 1]);
                assert!(opened.recovery.cut_bytes > 0);
            }
            Err(other) => panic!("{other}"),
        }
    }
}

#[test]
fn valid_batches_behind_a_torn_one_are_not_believed() {
    let disk = new_disk(1);
    let mut opened = open(&disk, SEGMENT).unwrap();
    let mut model = Model::new();
    let steps = [
        Step::Append(2),
        Step::Commit,
        Step::Append(1),
        Step::Flush,
        Step::Append(1),
        Step::Flush,
    ];
    for step in steps {
        model.step(&mut opened.log, step).unwrap();
    }
    disk.kill();
    let torn = model.appended[2].1.offset as usize;
    disk.tamper(&segment(1), |bytes| bytes[torn] ^= 1);
    let opened = open(&disk, SEGMENT).unwrap();
    assert_eq!(opened.seqs(), [0, 1]);
    disk.kill();
    let again = open(&disk, SEGMENT).unwrap();
    assert_eq!((again.seqs(), again.recovery.cut_bytes), (vec![0, 1], 0));
}
