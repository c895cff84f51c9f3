//! Reading records by their positions.

use std::sync::atomic::{AtomicU64, Ordering};

use consign_core::log::{LogError, LogReader, LogSettings, Payload, Position};

use crate::world::{append, new_disk, open, record, seq_of};

const SEGMENT: u64 = LogSettings::SEGMENT_BYTES_LEAST;

#[test]
fn a_record_is_readable_once_it_is_written() {
    let disk = new_disk(1);
    let mut log = open(&disk, SEGMENT).unwrap().log;
    let reader = log.reader();
    let position = append(&mut log, 5).unwrap();
    assert!(matches!(
        reader.read(position),
        Err(LogError::NotWritten { .. })
    ));
    log.flush().unwrap();
    assert_eq!(reader.read(position).unwrap(), record(5));
}

#[test]
fn records_are_readable_from_another_thread_while_the_log_rolls_over() {
    const RECORDS: u64 = 600;
    let disk = new_disk(1);
    let mut log = open(&disk, SEGMENT).unwrap().log;
    let reader = log.reader();
    let positions: Vec<AtomicU64> = (0..RECORDS).map(|_| AtomicU64::new(0)).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for (seq, packed) in positions.iter().enumerate() {
                let position = append(&mut log, seq as u64).unwrap();
                log.flush().unwrap();
                packed.store(position.pack(), Ordering::Release);
            }
        });
        for (seq, packed) in positions.iter().enumerate() {
            let position = loop {
                match packed.load(Ordering::Acquire) {
                    0 => std::thread::yield_now(),
                    packed => break Position::unpack(packed),
                }
            };
            assert_eq!(reader.read(position).unwrap(), record(seq as u64));
        }
    });
    assert!(
        log.current_segment() > 20,
        "more segments than are kept open"
    );
    for (seq, packed) in positions.iter().enumerate().rev() {
        let position = Position::unpack(packed.load(Ordering::Relaxed));
        assert_eq!(reader.read(position).unwrap(), record(seq as u64));
    }
}

#[test]
fn a_payload_is_carried_forward_out_of_a_segment_that_is_then_dropped() {
    let disk = new_disk(1);
    let mut log = open(&disk, SEGMENT).unwrap().log;
    let old = append(&mut log, 5).unwrap();
    let (carried, payload) = record(5);
    let unwritten_copy = log.append(&carried, Payload::CopyOf(old)).unwrap();
    for seq in 6..20 {
        append(&mut log, seq).unwrap();
    }
    let new = log
        .append(&carried, Payload::CopyOf(unwritten_copy))
        .unwrap();
    assert!(new.segment > old.segment);
    log.drop_below(new.segment).unwrap();
    assert_eq!(log.first_segment(), new.segment);
    let reader = log.reader();
    assert!(matches!(reader.read(old), Err(LogError::Gone { .. })));
    assert_eq!(reader.read(new).unwrap(), (carried, payload));
    disk.power_cut(&mut consign_sim::rng::Rng::new(3));
    assert!(
        open(&disk, SEGMENT)
            .unwrap()
            .records
            .iter()
            .any(|&(seq, _)| seq == 5)
    );
}

#[test]
fn a_position_that_is_no_records_is_refused() {
    let disk = new_disk(1);
    let mut log = open(&disk, SEGMENT).unwrap().log;
    let position = append(&mut log, 5).unwrap();
    log.flush().unwrap();
    let reader = log.reader();
    for offset in (0..position.offset).chain(position.offset + 1..position.offset + 600) {
        let wrong = Position { offset, ..position };
        assert!(reader.read(wrong).is_err(), "{wrong}");
    }
}

/// Everything that a walk from `segment` on finds up to `through`.
fn walked(reader: &LogReader, segment: u32, through: Position) -> Vec<(Position, u64)> {
    let mut cursor = reader.walk(segment).unwrap();
    let mut found = Vec::new();
    while let Some(records) = cursor.next(through).unwrap() {
        found.extend(
            records
                .into_iter()
                .map(|(at, record)| (at, seq_of(&record))),
        );
    }
    found
}

#[test]
fn a_walk_finds_what_a_recovery_replays_and_nothing_that_it_cut() {
    let disk = new_disk(1);
    // Three lives, each of which leaves a segment that the next one cuts.
    for life in 0..3 {
        let mut log = open(&disk, SEGMENT).unwrap().log;
        for seq in 0..40 {
            append(&mut log, life * 100 + seq).unwrap();
            log.commit().unwrap();
        }
        append(&mut log, life * 100 + 99).unwrap();
        log.flush().unwrap();
        drop(log);
        disk.power_cut(&mut consign_sim::rng::Rng::new(life));
    }
    let opened = open(&disk, SEGMENT).unwrap();
    let replayed: Vec<_> = opened.records.iter().map(|&(seq, at)| (at, seq)).collect();
    let (reader, last) = (opened.log.reader(), replayed.last().unwrap().0);
    assert_eq!(walked(&reader, reader.first().segment, last), replayed);
    // From a segment in the middle, to a record in the middle.
    let middle = replayed[replayed.len() / 2].0;
    let some = walked(&reader, middle.segment, middle);
    let expected = replayed
        .iter()
        .filter(|(at, _)| at.segment == middle.segment);
    let expected: Vec<_> = expected.take(some.len()).copied().collect();
    assert_eq!(some, expected);
    assert!(some.contains(replayed.get(replayed.len() / 2).unwrap()));
}

#[test]
fn a_walk_beside_the_writer_ends_where_it_is_told_and_goes_on_from_there() {
    let disk = new_disk(1);
    let mut log = open(&disk, SEGMENT).unwrap().log;
    let reader = log.reader();
    let mut cursor = reader.walk(1).unwrap();
    let mut found = Vec::new();
    for seq in 0..100 {
        let last = append(&mut log, seq).unwrap();
        log.commit().unwrap();
        while let Some(records) = cursor.next(last).unwrap() {
            found.extend(records.iter().map(|(_, record)| seq_of(record)));
        }
        assert_eq!(found.len() as u64, seq + 1);
    }
    assert!(found.is_sorted() && log.current_segment() > 3);
    log.drop_below(log.current_segment()).unwrap();
    assert!(matches!(reader.walk(1), Err(LogError::Gone { .. })));
}
