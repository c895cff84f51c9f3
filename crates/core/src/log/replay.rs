//! Handing out what the log holds, in order.

use std::collections::BTreeMap;
use std::path::Path;

use super::Position;
use super::batch::{BatchHeader, RawRecord};
use super::error::{LogError, Unsound};
use super::format::{HEADER_BYTES, Previous, SegmentHeader};
use super::recovery::Recovery;
use super::segment::{Segment, path_of};
use crate::disk::Disk;
use crate::record::{RECORD_VERSION, Record};

/// What is called with each record of the log, in order: where it is, what it is, and the length of
/// its payload in bytes, 0 when it has none.
pub(super) type Replay<'a> = &'a mut dyn FnMut(Position, Record, u32);

/// Hands out records, and counts.
pub(super) struct Replayer<'a> {
    pub(super) disk: &'a dyn Disk,
    pub(super) dir: &'a Path,
    pub(super) replay: Replay<'a>,
    pub(super) recovery: Recovery,
}

impl Replayer<'_> {
    /// Replays every segment before the newest one. Returns those that a recovery cut, with where.
    pub(super) fn older(
        &mut self,
        newest: &Segment,
        oldest: u32,
        present: &BTreeMap<u32, u64>,
    ) -> Result<Vec<(u32, u32)>, LogError> {
        let missing = (oldest..newest.header.id).find(|id| !present.contains_key(id));
        if let Some(id) = missing {
            let path = path_of(self.dir, id);
            return Err(LogError::damaged(&path, 0u64, "the segment is missing"));
        }
        let mut cuts = Vec::new();
        let mut segment = Segment::open(self.disk, self.dir, oldest)?;
        while segment.header.id < newest.header.id {
            let next = Segment::open(self.disk, self.dir, segment.header.id + 1)?;
            if let Some(end) = self.whole(&segment, &next.header)? {
                cuts.push((segment.header.id, end));
            }
            segment = next;
        }
        Ok(cuts)
    }

    /// Replays a segment up to where the next one says that it ends. Returns where it was cut, if it
    /// was.
    fn whole(&mut self, segment: &Segment, next: &SegmentHeader) -> Result<Option<u32>, LogError> {
        let damage = |unsound: Unsound| unsound.into_damage(&segment.path);
        self.recovery.segments += 1;
        match next.previous {
            Previous::Sealed { end, salt, seal } if salt == segment.header.salt => {
                self.sealed(segment, end, seal).map_err(damage)?;
                Ok(None)
            }
            Previous::Cut { end, salt } if salt == segment.header.salt => {
                self.cut(segment, end).map_err(damage)?;
                Ok(Some(end))
            }
            Previous::None | Previous::Sealed { .. } | Previous::Cut { .. } => Err(damage(
                Unsound::flaw(0, "the next segment was not written behind this one"),
            )),
        }
    }

    fn sealed(&mut self, segment: &Segment, end: u32, seal: u32) -> Result<(), Unsound> {
        let (entries, sum) = segment.seal()?;
        let index_end = entries
            .last()
            .map_or(HEADER_BYTES, |last| last.at + last.total_bytes);
        if sum != seal || index_end != end {
            return Err(Unsound::flaw(
                end,
                "the seal is not the one that the next segment names",
            ));
        }
        for entry in &entries {
            let (batch, heads) = segment.indexed(entry)?;
            self.batch(segment, &batch, &heads)?;
        }
        Ok(())
    }

    fn cut(&mut self, segment: &Segment, end: u32) -> Result<(), Unsound> {
        if segment.len < end {
            return Err(Unsound::flaw(
                segment.len,
                "the file ends before its batches do",
            ));
        }
        let mut at = HEADER_BYTES;
        while at < end {
            let batch = segment.batch(at)?;
            let heads = segment.heads(&batch)?;
            self.batch(segment, &batch, &heads)?;
            at = batch.end();
        }
        if at != end {
            return Err(Unsound::flaw(end, "a batch reaches beyond the cut"));
        }
        Ok(())
    }

    pub(super) fn batch(
        &mut self,
        segment: &Segment,
        batch: &BatchHeader,
        heads: &[u8],
    ) -> Result<(), Unsound> {
        for raw in segment.records(batch, heads)? {
            let record = decode(&raw, &segment.path)?;
            self.hand_out(segment.header.id, raw.at, &raw, record);
            self.found(segment.header.id, raw.at);
        }
        self.recovery.batches += 1;
        Ok(())
    }

    /// Notes where a record was found.
    pub(super) fn found(&mut self, segment: u32, offset: u32) {
        self.recovery.found_to = Some(Position { segment, offset });
    }

    pub(super) fn hand_out(
        &mut self,
        segment: u32,
        offset: u32,
        raw: &RawRecord<'_>,
        record: Record,
    ) {
        let payload_bytes = raw.payload.map_or(0, |payload| payload.bytes);
        (self.replay)(Position { segment, offset }, record, payload_bytes);
        self.recovery.records += 1;
    }
}

/// Decodes a verified record of the segment at `path`.
pub(super) fn decode(raw: &RawRecord<'_>, path: &Path) -> Result<Record, LogError> {
    if raw.version > RECORD_VERSION {
        return Err(LogError::NewerFormat {
            path: path.to_owned(),
            found: raw.version.into(),
            supported: RECORD_VERSION.into(),
        });
    }
    Record::read(raw.kind, raw.body).map_err(|source| LogError::Unreadable {
        path: path.to_owned(),
        offset: raw.at,
        source,
    })
}
