//! When what is live in the log's oldest segment is written anew, so that the segment can go.
//!
//! One pass asks for one segment. A pass may leave something behind: a transfer that was being read
//! back at that moment, or whose record was not synced. So the same segment is asked for again for
//! as long as it is the oldest, at distances that leave a pass time to finish.

use crate::ids::Millis;

/// How the log stands when it is asked whether to shorten it.
#[derive(Debug, Clone, Copy)]
pub struct LogLength {
    /// The oldest segment.
    pub first_segment: u32,
    /// The newest.
    pub current_segment: u32,
    /// Bytes that the log takes on disk.
    pub size_bytes: u64,
    /// Live records in it.
    pub live_records: u64,
    /// Bytes of their payloads.
    pub live_bytes: u64,
    /// Whether there is room for anything but completions.
    pub has_room: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Shortening {
    spare_bytes: u64,
    record_bytes: u64,
    again_ms: u64,
    /// The last pass: which segment, and when.
    asked: Option<(u32, Millis)>,
}

impl Shortening {
    /// A log is long when it takes more than twice what is live (a record counted as
    /// `record_bytes`) and `spare_bytes` beyond. A segment is asked for again after `again_ms`.
    #[must_use]
    pub fn new(spare_bytes: u64, record_bytes: u64, again_ms: u64) -> Self {
        Self {
            spare_bytes,
            record_bytes,
            again_ms,
            asked: None,
        }
    }

    /// The segment that a pass is to begin for now, if any.
    pub fn due(&mut self, now: Millis, log: &LogLength) -> Option<u32> {
        let first = log.first_segment;
        let waits = self
            .asked
            .is_some_and(|(asked, at)| asked == first && now.since(at) < self.again_ms);
        // What is carried is appended: a disk without room is not given more to hold.
        if waits || !log.has_room || first >= log.current_segment || !self.is_long(log) {
            return None;
        }
        self.asked = Some((first, now));
        Some(first)
    }

    fn is_long(&self, log: &LogLength) -> bool {
        // Records must count: a queue of a million large files is live in records alone, and
        // would otherwise be written round and round.
        let records = log.live_records.saturating_mul(self.record_bytes);
        let live = log.live_bytes.saturating_add(records);
        log.size_bytes > live.saturating_mul(2).saturating_add(self.spare_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: LogLength = LogLength {
        first_segment: 3,
        current_segment: 9,
        size_bytes: 7_000,
        live_records: 10,
        live_bytes: 500,
        has_room: true,
    };

    fn shortening() -> Shortening {
        Shortening::new(4_000, 10, 100)
    }

    #[test]
    fn a_segment_that_a_pass_could_not_empty_is_asked_for_again() {
        let mut shortening = shortening();
        assert_eq!(shortening.due(Millis(0), &LONG), Some(3));
        assert_eq!(shortening.due(Millis(99), &LONG), None);
        assert_eq!(shortening.due(Millis(100), &LONG), Some(3));
        let next = LogLength {
            first_segment: 4,
            ..LONG
        };
        assert_eq!(shortening.due(Millis(101), &next), Some(4));
    }

    #[test]
    fn nothing_is_carried_without_room_or_out_of_the_only_segment() {
        let full = LogLength {
            has_room: false,
            ..LONG
        };
        assert_eq!(shortening().due(Millis(0), &full), None);
        let only = LogLength {
            current_segment: 3,
            ..LONG
        };
        assert_eq!(shortening().due(Millis(0), &only), None);
    }

    #[test]
    fn a_log_that_is_long_because_much_is_live_is_not_written_round_and_round() {
        let payloads = LogLength {
            live_bytes: 1_500,
            ..LONG
        };
        assert_eq!(shortening().due(Millis(0), &payloads), None);
        let records = LogLength {
            live_records: 110,
            ..LONG
        };
        assert_eq!(shortening().due(Millis(0), &records), None);
    }
}
