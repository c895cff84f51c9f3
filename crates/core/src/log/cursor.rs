//! Reading records again in the order of the log, beside the writer: for who has missed some.

use std::sync::Arc;

use super::Position;
use super::error::{LogError, Unsound};
use super::format::{HEADER_BYTES, Previous};
use super::reader::LogReader;
use super::replay::decode;
use super::segment::{Segment, next_id};
use crate::record::Record;

/// A walk over the batches of a log, from the beginning of one segment on. Payloads are not read.
#[derive(Debug)]
pub struct LogCursor {
    reader: LogReader,
    segment: Arc<Segment>,
    /// Where the next batch begins.
    at: u32,
}

impl LogCursor {
    /// # Errors
    /// [`LogError::Gone`] when the segment is dropped; otherwise as [`LogReader::record`].
    pub(super) fn open(reader: LogReader, segment: u32) -> Result<Self, LogError> {
        Ok(Self {
            segment: reader.segment(segment)?,
            reader,
            at: HEADER_BYTES,
        })
    }

    /// The records of the next batch, verified; `None` when the record at `through`, which is
    /// written, was among those handed out before. May stop sooner or later from one call to the
    /// next.
    ///
    /// # Errors
    /// [`LogError::Gone`] when the writer has dropped the segment meanwhile; otherwise as
    /// [`LogReader::record`].
    pub fn next(&mut self, through: Position) -> Result<Option<Vec<(Position, Record)>>, LogError> {
        loop {
            let id = self.segment.header.id;
            let here = Position {
                segment: id,
                offset: self.at,
            };
            if here > through {
                return Ok(None);
            }
            // What a recovery cut is void, and only the next segment tells where that begins.
            if id < through.segment && self.at >= self.end()? {
                self.segment = self.reader.segment(next_id(id))?;
                self.at = HEADER_BYTES;
                continue;
            }
            let batch = self.batch();
            let (records, end) = batch.map_err(|unsound| {
                self.reader
                    .gone_or(id, unsound.into_damage(&self.segment.path))
            })?;
            self.at = end;
            if !records.is_empty() {
                return Ok(Some(records));
            }
        }
    }

    /// Where the batches of a segment that is not the newest end.
    fn end(&self) -> Result<u32, LogError> {
        let next = self.reader.segment(next_id(self.segment.header.id))?;
        match next.header.previous {
            Previous::Sealed { end, .. } | Previous::Cut { end, .. } => Ok(end),
            Previous::None => Err(LogError::damaged(
                &next.path,
                0u64,
                "the segment was not written behind another",
            )),
        }
    }

    fn batch(&self) -> Result<(Vec<(Position, Record)>, u32), Unsound> {
        let segment = &self.segment;
        let batch = segment.batch(self.at)?;
        let heads = segment.heads(&batch)?;
        let mut records = Vec::new();
        for raw in segment.records(&batch, &heads)? {
            let position = Position {
                segment: segment.header.id,
                offset: raw.at,
            };
            records.push((position, decode(&raw, &segment.path)?));
        }
        Ok((records, batch.end()))
    }
}
