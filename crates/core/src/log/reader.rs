//! Reading single records by their positions, beside the writer.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::LogCursor;
use super::Position;
use super::batch::{PayloadAt, RECORD_HEADER_BYTES, RawRecord, head_bytes};
use super::error::{LogError, Unsound};
use super::replay::decode;
use super::segment::Segment;
use crate::disk::Disk;
use crate::limits;
use crate::record::Record;

/// Segments that are kept open for reading: enough for one that is written, one that is published
/// from and one that is carried forward, times a few, and far below any limit on descriptors.
const OPEN_SEGMENTS_MAX: usize = 16;

/// How much is read at a record's place before its length is known, in bytes: most records fit.
const READ_AHEAD_BYTES: u32 = 1024;

/// Reads records of a log, from any thread, while another one appends. Clones share their open
/// files.
#[derive(Debug, Clone)]
pub struct LogReader {
    shared: Arc<Shared>,
}

/// What the writer and the readers of a log share.
#[derive(Debug)]
pub(super) struct Shared {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The position up to which everything is written, packed.
    written: AtomicU64,
    /// The lowest segment that is not dropped.
    oldest: AtomicU32,
    /// The most recently used segments, the latest last.
    open: Mutex<Vec<Arc<Segment>>>,
}

impl Shared {
    pub(super) fn new(disk: Arc<dyn Disk>, dir: PathBuf, written: Position, oldest: u32) -> Self {
        Self {
            disk,
            dir,
            written: AtomicU64::new(written.pack()),
            oldest: AtomicU32::new(oldest),
            open: Mutex::default(),
        }
    }

    pub(super) fn written_to(&self, written: Position) {
        self.written.store(written.pack(), Ordering::Release);
    }

    pub(super) fn dropped_below(&self, oldest: u32) {
        self.oldest.store(oldest, Ordering::Release);
        self.lock().retain(|segment| segment.header.id >= oldest);
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<Segment>>> {
        // The list is whole at every step, so a reader that panicked has not broken it.
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_dropped(&self, segment: u32) -> bool {
        segment < self.oldest.load(Ordering::Acquire)
    }

    fn segment(&self, id: u32) -> Result<Arc<Segment>, LogError> {
        let mut open = self.lock();
        let segment = match open.iter().position(|segment| segment.header.id == id) {
            Some(at) => open.remove(at),
            None => Arc::new(Segment::open(&*self.disk, &self.dir, id)?),
        };
        if open.len() >= OPEN_SEGMENTS_MAX {
            open.remove(0);
        }
        open.push(segment.clone());
        Ok(segment)
    }
}

impl LogReader {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The record at `position`, and its payload if it has one. Both are verified. That a record can
    /// be read does not mean that it is synced.
    ///
    /// # Errors
    /// [`LogError::NotWritten`] and [`LogError::Gone`] for positions outside of what is on disk,
    /// [`LogError::Damaged`] when the bytes are not what was written, or the position is not a
    /// record's; [`LogError::Io`], [`LogError::NewerFormat`] and [`LogError::Unreadable`].
    pub fn read(&self, position: Position) -> Result<(Record, Option<Bytes>), LogError> {
        self.read_with(position, read_record)
    }

    /// The record at `position`, verified. Its payload is neither read nor verified, so that damage
    /// there keeps nobody from knowing what it is the payload of.
    ///
    /// # Errors
    /// As [`LogReader::read`].
    pub fn record(&self, position: Position) -> Result<Record, LogError> {
        let head = |segment: &Segment, at| read_body(segment, at).map(|(record, _)| record);
        self.read_with(position, head)
    }

    /// The place of the first record that is not dropped, or one before it.
    #[must_use]
    pub fn first(&self) -> Position {
        Position {
            segment: self.shared.oldest.load(Ordering::Acquire),
            offset: 0,
        }
    }

    /// Walks over the records from the beginning of `segment` on.
    ///
    /// # Errors
    /// [`LogError::Gone`] when it is dropped; otherwise as [`LogReader::record`].
    pub fn walk(&self, segment: u32) -> Result<LogCursor, LogError> {
        LogCursor::open(self.clone(), segment)
    }

    pub(super) fn segment(&self, id: u32) -> Result<Arc<Segment>, LogError> {
        self.shared
            .segment(id)
            .map_err(|error| self.gone_or(id, error))
    }

    /// What an error means that was met in a segment: the writer may have dropped it.
    pub(super) fn gone_or(&self, segment: u32, error: LogError) -> LogError {
        match self.shared.is_dropped(segment) {
            true => LogError::Gone {
                position: Position { segment, offset: 0 },
            },
            false => error,
        }
    }

    fn read_with<T>(
        &self,
        position: Position,
        read: impl FnOnce(&Segment, u32) -> Result<T, LogError>,
    ) -> Result<T, LogError> {
        let gone = || LogError::Gone { position };
        if self.shared.is_dropped(position.segment) {
            return Err(gone());
        }
        if position.pack() >= self.shared.written.load(Ordering::Acquire) {
            return Err(LogError::NotWritten { position });
        }
        let read = self
            .shared
            .segment(position.segment)
            .and_then(|segment| read(&segment, position.offset));
        // The writer may have dropped the segment in the meantime.
        read.map_err(|error| {
            if self.shared.is_dropped(position.segment) {
                gone()
            } else {
                error
            }
        })
    }
}

fn read_record(segment: &Segment, at: u32) -> Result<(Record, Option<Bytes>), LogError> {
    let damage = |unsound: Unsound| unsound.into_damage(&segment.path);
    let (record, payload) = read_body(segment, at)?;
    let payload = match payload {
        None => None,
        Some(payload) if u64::from(payload.bytes) > limits::BATCH_BYTES_MAX => {
            return Err(damage(Unsound::flaw(
                at,
                "a payload's length is impossible",
            )));
        }
        Some(payload) => Some(segment.payload(at, payload).map_err(damage)?.into()),
    };
    Ok((record, payload))
}

/// A record, and where its payload lies.
fn read_body(segment: &Segment, at: u32) -> Result<(Record, Option<PayloadAt>), LogError> {
    let damage = |unsound: Unsound| unsound.into_damage(&segment.path);
    let head = read_head(segment, at).map_err(damage)?;
    let raw = RawRecord::decode(&head, segment.header.salt, at)
        .map_err(|what| damage(Unsound::flaw(at, what)))?;
    Ok((decode(&raw, &segment.path)?, raw.payload))
}

/// A record's header, body and padding, not verified.
fn read_head(segment: &Segment, at: u32) -> Result<Vec<u8>, Unsound> {
    let ahead = READ_AHEAD_BYTES.min(segment.len.saturating_sub(at));
    let mut head = segment.read(at, ahead.max(RECORD_HEADER_BYTES).into())?;
    let fixed = head
        .first_chunk()
        .ok_or(Unsound::flaw(at, "a record is cut off"))?;
    let len = head_bytes(fixed).map_err(|what| Unsound::flaw(at, what))?;
    if len > head.len() {
        let rest = segment.read(at + head.len() as u32, (len - head.len()) as u64)?;
        head.extend_from_slice(&rest);
    }
    head.truncate(len);
    Ok(head)
}
