//! Disks that fill up.

use consign_core::log::{LogError, LogSettings};
use consign_sim::disk::SimDisk;

use crate::world::{append, new_disk, open};

const SEGMENT: u64 = 8 * LogSettings::SEGMENT_BYTES_LEAST;

/// What a recovery on a full disk lives on: a segment, and room for a start behind it.
const REFUGE: u64 = SEGMENT + 1024;

/// Appends and commits one record after the other until `until` says so or the log is full. Returns
/// the number of the next record.
fn fill(
    log: &mut consign_core::log::Log,
    mut seq: u64,
    until: impl Fn(&consign_core::log::Log) -> bool,
) -> u64 {
    while !until(log) {
        match append(log, seq) {
            Ok(_) => seq += 1,
            Err(LogError::Full { .. }) => break,
            Err(other) => panic!("{other}"),
        }
        let _ = log.commit().unwrap();
    }
    seq
}

fn full_disk() -> (SimDisk, consign_core::log::Log, u64) {
    let disk = new_disk(1);
    disk.set_capacity(Some(3 * SEGMENT + REFUGE));
    let mut log = open(&disk, SEGMENT).unwrap().log;
    assert!(log.has_room());
    let next = fill(&mut log, 0, |log| !log.has_room());
    (disk, log, next)
}

#[test]
fn on_a_full_disk_completions_go_on_into_the_reserve_and_new_work_is_refused() {
    let (disk, mut log, begun) = full_disk();
    assert!(!log.ensure_reserve().unwrap(), "there is still no room");
    let current = log.current_segment();
    let completed = fill(&mut log, begun, |_| false);
    assert!(
        completed > begun + 10,
        "a whole segment was left: {begun} to {completed}"
    );
    assert!(log.current_segment() >= current);
    disk.power_cut(&mut consign_sim::rng::Rng::new(1));
    disk.set_capacity(None);
    assert_eq!(
        open(&disk, SEGMENT).unwrap().seqs(),
        (0..completed).collect::<Vec<_>>()
    );
}

#[test]
fn a_full_log_changes_nothing_and_goes_on_when_there_is_space() {
    let (disk, mut log, begun) = full_disk();
    let next = fill(&mut log, begun, |_| false);
    let synced = log.commit().unwrap();
    assert!(matches!(append(&mut log, next), Err(LogError::Full { .. })));
    assert_eq!(log.commit().unwrap(), synced);
    disk.set_capacity(None);
    assert!(log.ensure_reserve().unwrap() && log.has_room());
    append(&mut log, next).unwrap();
    assert!(log.commit().unwrap() > synced);
}

#[test]
fn dropping_segments_makes_room_even_when_the_log_is_full_to_the_brim() {
    let (_disk, mut log, begun) = full_disk();
    fill(&mut log, begun, |_| false);
    // The smallest record, until not even that fits.
    while append(&mut log, 0).is_ok() {
        let _ = log.commit().unwrap();
    }
    log.mark_idle().unwrap();
    assert!(!log.has_room());
    log.drop_below(log.current_segment()).unwrap();
    assert!(log.ensure_reserve().unwrap());
    append(&mut log, 0).unwrap();
}

#[test]
fn the_reserve_survives_power_cuts() {
    for seed in 0..30 {
        let disk = new_disk(seed);
        drop(open(&disk, SEGMENT).unwrap());
        disk.power_cut(&mut consign_sim::rng::Rng::new(seed));
        disk.set_capacity(Some(disk.used_bytes()));
        let opened = open(&disk, SEGMENT).unwrap();
        assert_eq!(opened.log.size_bytes(), disk.used_bytes());
    }
}

#[test]
fn the_log_opens_on_a_full_disk_more_than_once() {
    let (disk, log, begun) = full_disk();
    drop(log);
    disk.set_capacity(Some(disk.used_bytes()));
    for _ in 0..3 {
        disk.kill();
        let mut opened = open(&disk, SEGMENT).unwrap();
        assert_eq!(
            opened.seqs()[..begun as usize],
            (0..begun).collect::<Vec<_>>()
        );
        let next = opened.records.len() as u64;
        append(&mut opened.log, next).unwrap();
        let _ = opened.log.commit().unwrap();
    }
}

#[test]
fn the_log_opens_on_a_full_disk_after_several_recoveries_were_cut_short() {
    let (disk, log, begun) = full_disk();
    drop(log);
    disk.set_capacity(Some(disk.used_bytes()));
    for crash_at in 0..40 {
        let disk = disk.fork();
        for _ in 0..4 {
            disk.kill();
            disk.crash_after(crash_at);
            let _ = open(&disk, SEGMENT);
        }
        disk.kill();
        let opened = open(&disk, SEGMENT).unwrap_or_else(|error| panic!("{crash_at}: {error}"));
        assert_eq!(
            opened.seqs()[..begun as usize],
            (0..begun).collect::<Vec<_>>()
        );
    }
}

#[test]
fn a_new_log_that_opens_on_a_nearly_full_disk_opens_again() {
    let mut opened = 0;
    for capacity in (0..5 * SEGMENT).step_by(1024) {
        let disk = new_disk(capacity);
        disk.set_capacity(Some(capacity));
        let Ok(first) = open(&disk, SEGMENT) else {
            assert!(crate::world::segment_files(&disk).is_empty(), "{capacity}");
            continue;
        };
        let mut log = first.log;
        opened += 1;
        for seq in 0..12 {
            append(&mut log, seq).unwrap();
            let _ = log.commit().unwrap();
            disk.power_cut(&mut consign_sim::rng::Rng::new(seq));
            // Whoever else is there takes what the log gives back.
            disk.set_capacity(Some(disk.used_bytes().max(capacity.min(3 * SEGMENT))));
            log = open(&disk, SEGMENT).expect("it opened before").log;
        }
    }
    assert!(opened > 30, "{opened}");
}

#[test]
fn what_filled_the_reserve_in_one_sync_is_recovered_on_a_full_disk() {
    let (disk, mut log, begun) = full_disk();
    let mut next = begun;
    let from = log.commit().unwrap();
    for _ in 0..20 {
        append(&mut log, next).unwrap();
        next += 1;
    }
    let to = log.commit().unwrap();
    assert!(to.segment == from.segment && to.offset > from.offset + SEGMENT as u32 / 8);
    disk.set_capacity(Some(disk.used_bytes()));
    disk.power_cut(&mut consign_sim::rng::Rng::new(1));
    assert_eq!(
        open(&disk, SEGMENT).unwrap().seqs(),
        (0..next).collect::<Vec<_>>()
    );
}

/// A recovery wants room for a start behind what it copies, and had just a segment.
#[test]
fn a_batch_that_fills_a_whole_segment_is_recovered_on_a_full_disk() {
    for records in 1..200 {
        let disk = new_disk(1);
        let mut log = open(&disk, SEGMENT).unwrap().log;
        for seq in 0..records {
            append(&mut log, seq).unwrap();
        }
        let end = log.commit().unwrap();
        drop(log);
        disk.set_capacity(Some(disk.used_bytes()));
        disk.kill();
        let opened = open(&disk, SEGMENT).unwrap_or_else(|error| panic!("{records}: {error}"));
        assert_eq!(opened.seqs(), (0..records).collect::<Vec<_>>());
        if end.segment > 1 {
            return;
        }
    }
    panic!("no batch was ever too large for what was left of the first segment");
}

#[test]
fn a_record_that_fits_nowhere_is_refused() {
    let disk = new_disk(1);
    let mut log = open(&disk, LogSettings::SEGMENT_BYTES_LEAST).unwrap().log;
    let (record, _) = crate::world::record(0);
    let payload = consign_core::log::Payload::Bytes(vec![0; 2000].into());
    assert!(matches!(
        log.append(&record, payload),
        Err(LogError::RecordTooLarge { .. })
    ));
    append(&mut log, 1).unwrap();
    let _ = log.commit().unwrap();
}

/// The segment that was written to was full as well, so that the first recovery gave next to nothing
/// back of it, and had taken all that was kept for recoveries: the second one found nothing.
#[test]
fn the_log_opens_again_and_again_on_a_disk_that_stays_full_while_tails_grow() {
    for cut in 0..20 {
        let (disk, mut log, begun) = full_disk();
        let mut next = fill(&mut log, begun, |_| false);
        drop(log);
        disk.set_capacity(Some(disk.used_bytes()));
        for tail in 1..=4 {
            disk.power_cut(&mut consign_sim::rng::Rng::new(cut));
            let opened = open(&disk, SEGMENT).unwrap_or_else(|error| panic!("{tail}: {error}"));
            assert_eq!(opened.seqs(), (0..next).collect::<Vec<_>>());
            log = opened.log;
            for _ in 0..tail {
                append(&mut log, next).unwrap();
                next += 1;
            }
            let _ = log.commit().unwrap();
        }
    }
}
