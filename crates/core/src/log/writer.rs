//! Appending to the log, and making it durable.

use std::collections::BTreeMap;
use std::mem;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::active::{Active, KEPT_MARKERS, room_bytes};
use super::batch::{BATCH_HEADER_BYTES, record_bytes};
use super::builder::BatchBuilder;
use super::error::LogError;
use super::format::{HEADER_BYTES, Salt, SegmentHeader};
use super::reader::{LogReader, Shared};
use super::recovery::{self, Recovery};
use super::reserve::Reserve;
use super::segment::{Unnamed, next_id, path_of, remove};
use super::{LogSettings, Payload, Position};
use crate::disk::Disk;
use crate::limits;
use crate::planted::{Planted, planted};
use crate::record::{RECORD_VERSION, Record};

/// Size at which a batch is written although nobody has asked for it, in bytes: large enough that
/// its header and its call cost nothing, small enough to be still in the processor's cache.
const BATCH_BYTES_AIM: u64 = 1 << 20;

/// The intent log, open for appending. One writer owns it; [`LogReader`]s may be anywhere.
///
/// After a write or sync has failed it is poisoned: every later call fails with the same error.
/// Dropping it does not sync and loses nothing that was committed.
#[derive(Debug)]
pub struct Log {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    settings: LogSettings,
    shared: Arc<Shared>,
    active: Active,
    /// Records that are not written yet. They always fit into the active segment.
    pending: BatchBuilder,
    /// Everything below is synced.
    synced: Position,
    /// The highest `synced_through` that is in the log, or follows from a segment's name.
    proven: Position,
    /// Whether records have been written since the last sync.
    dirty: bool,
    /// The lowest segment that counts.
    oldest: u32,
    /// The segments' files with their lengths, dropped ones that could not be removed included.
    segments: BTreeMap<u32, u64>,
    reserve: Reserve,
    poison: Option<LogError>,
}

impl Log {
    /// Opens the log in the directory `dir`, whose parent must exist, and hands every record to
    /// `replay`, in order: its position, the record, and the length of its payload in bytes. Makes an
    /// empty log where there is none.
    ///
    /// On return everything that was replayed is synced, at the positions given. When an error is
    /// returned, what `replay` was given must be forgotten. A crash at any point is fine.
    ///
    /// # Errors
    /// Any [`LogError`] but those about single records. Nothing that counts was changed.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: LogSettings,
        replay: &mut dyn FnMut(Position, Record, u32),
    ) -> Result<(Self, Recovery), LogError> {
        recovery::open(disk, dir, settings, replay)
    }

    pub(super) fn assemble(
        disk: Arc<dyn Disk>,
        dir: &Path,
        settings: LogSettings,
        active: Active,
        oldest: u32,
        segments: BTreeMap<u32, u64>,
    ) -> Result<Self, LogError> {
        let synced = active.position();
        let mut pending = BatchBuilder::default();
        pending.begin(synced.offset);
        let mut log = Self {
            shared: Arc::new(Shared::new(disk.clone(), dir.to_owned(), synced, oldest)),
            disk,
            dir: dir.to_owned(),
            settings,
            active,
            pending,
            synced,
            proven: synced,
            dirty: false,
            oldest,
            segments,
            reserve: Reserve::default(),
            poison: None,
        };
        log.refill()?;
        Ok(log)
    }

    /// Appends a record, in memory; a large batch is written at once, none is synced. Returns where
    /// the record is. It is durable when a later [`Self::commit`] has returned `Ok`, and readable
    /// after [`Self::flush`] or [`Self::commit`].
    ///
    /// # Errors
    /// [`LogError::Full`] and [`LogError::RecordTooLarge`] change nothing; nor does an error in reading
    /// the payload that is to be copied, or in making space for the next segment. All others poison
    /// the log.
    pub fn append(&mut self, record: &Record, payload: Payload) -> Result<Position, LogError> {
        self.check()?;
        let payload = self.resolve(payload)?;
        let needed = self.measure(record, payload.as_ref())?;
        if self.pending.total_bytes() + needed > limits::BATCH_BYTES_MAX {
            self.write_pending()?;
        }
        if !self
            .active
            .fits(self.pending.total_bytes() + needed, KEPT_MARKERS)
        {
            self.roll()?;
        }
        let offset = self
            .pending
            .push(record.kind(), RECORD_VERSION, payload, |out| {
                record.encode(out)
            });
        let position = Position {
            segment: self.active.id,
            offset,
        };
        if self.pending.total_bytes() >= BATCH_BYTES_AIM {
            let from = self.active.position();
            self.write_pending()?;
            self.active.write_behind(from);
        }
        Ok(position)
    }

    /// Makes everything that was appended durable, with one sync. Returns the position below which
    /// everything is synced.
    ///
    /// # Errors
    /// [`LogError::SyncFailed`] and [`LogError::Io`]; both poison the log.
    #[must_use = "nothing is durable unless this is Ok"]
    pub fn commit(&mut self) -> Result<Position, LogError> {
        self.flush()?;
        if self.dirty && planted(Planted::CommitWithoutSync) {
            self.synced = self.active.position();
            self.dirty = false;
        } else if self.dirty {
            // A crash before this sync loses the records since the last one; nobody has been told
            // of any of them.
            self.sync()?;
        }
        Ok(self.synced)
    }

    /// Writes what was appended, so that it can be read. Nothing becomes durable.
    ///
    /// # Errors
    /// [`LogError::Io`]; it poisons the log.
    pub fn flush(&mut self) -> Result<(), LogError> {
        self.check()?;
        self.write_pending()
    }

    /// Proves the last sync, when no later batch does so yet, by an empty batch; to be called when
    /// nothing is left to do. Without the proof, damage to the last commit looks like a torn tail.
    /// The marker itself needs no sync. Returns whether one was written.
    ///
    /// # Errors
    /// [`LogError::Io`]; it poisons the log.
    pub fn mark_idle(&mut self) -> Result<bool, LogError> {
        self.check()?;
        let idle = self.pending.is_empty() && !self.dirty;
        let marker_bytes = u64::from(BATCH_HEADER_BYTES);
        let fits = self.active.fits(marker_bytes, KEPT_MARKERS - 1);
        if !idle || self.proven == self.synced || !fits {
            return Ok(false);
        }
        self.write_batch()?;
        Ok(true)
    }

    /// Whether new work may be begun: the reserve is there, so that what is begun can be logged to
    /// its end, and a restart finds space. When not, refuse new work, and try
    /// [`Self::ensure_reserve`] from time to time.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.reserve.is_whole()
    }

    /// Makes what is missing of the reserve, up to a whole segment, which writes and syncs that many
    /// bytes. Returns whether the log has room now; a full disk is no error.
    ///
    /// # Errors
    /// [`LogError::Io`] leaves the log as it was, and may be tried again. [`LogError::SyncFailed`]
    /// poisons it.
    pub fn ensure_reserve(&mut self) -> Result<bool, LogError> {
        self.check()?;
        match self.reserve.fill(&*self.disk, &self.dir, &self.settings) {
            Ok(()) => Ok(self.has_room()),
            Err(error @ LogError::SyncFailed { .. }) => Err(self.poisoned(error)),
            Err(error) => Err(error),
        }
    }

    /// A reader of this log's records.
    #[must_use]
    pub fn reader(&self) -> LogReader {
        LogReader::new(self.shared.clone())
    }

    /// The oldest segment that is not dropped.
    #[must_use]
    pub fn first_segment(&self) -> u32 {
        self.oldest
    }

    /// The segment that is appended to.
    #[must_use]
    pub fn current_segment(&self) -> u32 {
        self.active.id
    }

    /// The length of all segments and the reserve, in bytes.
    #[must_use]
    pub fn size_bytes(&self) -> u64 {
        self.segments.values().sum::<u64>() + self.reserve.bytes()
    }

    /// Drops the segments below `segment`, or below the current one, in which nothing is live any
    /// more: commits what was appended (what was carried forward must not be later than the drop),
    /// together with the word that they no longer count, and removes their files. A crash in the
    /// middle leaves them all, or files that the next start removes.
    ///
    /// # Errors
    /// [`LogError::Full`] when that word finds no room: nothing was changed. [`LogError::Io`] from
    /// removing a file leaves the log as it is, and the next drop tries again. All others poison the
    /// log.
    pub fn drop_below(&mut self, segment: u32) -> Result<(), LogError> {
        self.check()?;
        let oldest = segment.min(self.active.id);
        if oldest > self.oldest {
            self.declare_oldest(oldest)?;
            self.shared.dropped_below(oldest);
        }
        while let Some(entry) = self.segments.first_entry()
            && *entry.key() < self.oldest
        {
            remove(&*self.disk, &path_of(&self.dir, *entry.key()))?;
            entry.remove();
        }
        Ok(())
    }

    fn declare_oldest(&mut self, oldest: u32) -> Result<(), LogError> {
        let before = mem::replace(&mut self.oldest, oldest);
        if self.pending.is_empty() && !self.active.fits(BATCH_HEADER_BYTES.into(), 0) {
            // The next segment's header says it then.
            return self.roll().inspect_err(|_| self.oldest = before);
        }
        self.write_batch()?;
        if planted(Planted::DropBeforeSync) {
            return Ok(());
        }
        // A crash before this sync leaves the old segments in force, and all of them are still there.
        self.sync()
    }

    fn check(&self) -> Result<(), LogError> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    fn poisoned(&mut self, error: LogError) -> LogError {
        self.poison = Some(error.clone());
        error
    }

    /// The bytes of a payload.
    fn resolve(&mut self, payload: Payload) -> Result<Option<Bytes>, LogError> {
        match payload {
            Payload::None => Ok(None),
            Payload::Bytes(bytes) => Ok(Some(bytes)),
            Payload::CopyOf(position) => {
                if position >= self.active.position() {
                    self.write_pending()?;
                }
                Ok(self.reader().read(position)?.1)
            }
        }
    }

    /// How much room a record takes in a batch, in bytes.
    fn measure(&self, record: &Record, payload: Option<&Bytes>) -> Result<u64, LogError> {
        let body = record.encoded_len() as u64;
        let bytes = record_bytes(body, payload.map_or(0, |payload| payload.len() as u64));
        let beside = u64::from(HEADER_BYTES) + room_bytes(1);
        let batch_max =
            limits::BATCH_BYTES_MAX.min(self.settings.segment_bytes.saturating_sub(beside));
        let max = batch_max.saturating_sub(BATCH_HEADER_BYTES.into());
        if body > limits::RECORD_BYTES_MAX as u64 || bytes > max {
            return Err(LogError::RecordTooLarge {
                kind: record.name(),
                bytes,
                max,
            });
        }
        Ok(bytes)
    }

    fn write_pending(&mut self) -> Result<(), LogError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.write_batch()
    }

    /// Writes the pending records as a batch, or a marker when there are none.
    fn write_batch(&mut self) -> Result<(), LogError> {
        self.dirty |= !self.pending.is_empty();
        let written = self
            .active
            .write(&mut self.pending, self.synced, self.oldest);
        written.map_err(|error| self.poisoned(error))?;
        self.proven = self.synced;
        self.shared.written_to(self.active.position());
        Ok(())
    }

    /// Syncs the active segment. What a crash before it loses, each caller says.
    fn sync(&mut self) -> Result<(), LogError> {
        self.active.sync().map_err(|error| self.poisoned(error))?;
        self.synced = self.active.position();
        self.dirty = false;
        Ok(())
    }

    /// Seals the active segment and begins the next one.
    fn roll(&mut self) -> Result<(), LogError> {
        let next = self.next_spare()?;
        self.write_pending()?;
        let previous = self.active.seal().map_err(|error| self.poisoned(error))?;
        // A crash before this sync loses records that nobody was told of, and perhaps the seal: the
        // segment is still the newest one then, and recovery needs no seal.
        self.sync()?;
        let id = next_id(self.active.id);
        let header = SegmentHeader {
            id,
            oldest: self.oldest,
            salt: Salt::draw(self.settings.seed, id),
            size: next.size,
            born_end: HEADER_BYTES,
            previous,
        };
        next.install(&*self.disk, &self.dir, &header)
            .map_err(|error| self.poisoned(error))?;
        self.active = Active::new(&self.dir, &next, &header, Vec::new());
        self.segments.insert(id, next.size.into());
        self.synced = self.active.position();
        self.proven = self.synced;
        self.pending.begin(self.synced.offset);
        self.shared.written_to(self.synced);
        self.refill()
    }

    /// The file for the next segment.
    fn next_spare(&mut self) -> Result<Unnamed, LogError> {
        if let Some(spare) = self.reserve.take_spare() {
            return Ok(spare);
        }
        self.ensure_reserve()?;
        self.reserve.take_spare().ok_or_else(|| LogError::Full {
            path: self.dir.clone(),
            needed_bytes: self.settings.segment_bytes,
        })
    }

    /// Makes the reserve where it can be made. Without one, `has_room` says so, and the caller's own
    /// try names the reason.
    fn refill(&mut self) -> Result<(), LogError> {
        match self.ensure_reserve() {
            Err(error @ LogError::SyncFailed { .. }) => Err(error),
            _ => Ok(()),
        }
    }
}
