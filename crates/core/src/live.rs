//! Which segments of the log still hold something live, so that the others can go.

use std::collections::BTreeMap;

use crate::log::Position;

/// How much in each segment is live.
#[derive(Debug, Default)]
pub(crate) struct LiveSegments {
    /// Segment → live records, and the bytes of their payloads.
    segments: BTreeMap<u32, (u64, u64)>,
    told: Option<u32>,
}

impl LiveSegments {
    pub(crate) fn add(&mut self, position: Position, bytes: u64) {
        let live = self.segments.entry(position.segment).or_default();
        live.0 += 1;
        live.1 += bytes;
    }

    pub(crate) fn remove(&mut self, position: Position, bytes: u64) {
        let Some(live) = self.segments.get_mut(&position.segment) else {
            panic!("segment {} has nothing live", position.segment);
        };
        live.0 -= 1;
        live.1 -= bytes;
        if live.0 == 0 {
            assert_eq!(live.1, 0, "no record, no payload");
            self.segments.remove(&position.segment);
        }
    }

    /// Bytes of live payloads.
    pub(crate) fn bytes(&self) -> u64 {
        self.segments.values().map(|(_, bytes)| bytes).sum()
    }

    /// Live records.
    pub(crate) fn records(&self) -> u64 {
        self.segments.values().map(|(records, _)| records).sum()
    }

    /// The lowest segment with anything live, when it has changed since it was last told.
    pub(crate) fn news(&mut self) -> Option<u32> {
        let first = self.segments.keys().next().copied().unwrap_or(u32::MAX);
        (self.told.replace(first) != Some(first)).then_some(first)
    }
}
