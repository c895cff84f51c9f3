//! Opening a log: what was promised is read back, and what is not proven synced is written again.
//!
//! Every start begins a new segment N+1. What is valid in N but not proven to be synced is copied
//! into a provisional file; its header says that N ends where the proof does. One rename gives the
//! file its name, and so adds the copies and voids the originals at once. A crash before it leaves
//! the log as it was, a crash after it leaves a log whose recovery is over; whatever is tidied up
//! afterwards is void already.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::active::{Active, room_bytes};
use super::batch::BatchHeader;
use super::builder::BatchBuilder;
use super::error::{LogError, Unsound};
use super::format::{ALIGN, HEADER_BYTES, Previous, Salt, SegmentHeader, first_position};
use super::replay::{Replay, Replayer, decode};
use super::segment::{Segment, Unnamed, id_of, next_id, path_of, remove};
use super::tail::{Tail, survey};
use super::{Log, LogSettings, Position, reserve};
use crate::disk::{Disk, EntryKind, OpenMode};
use crate::planted::{Planted, planted};

/// What opening a log found and did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Recovery {
    /// Whether there was no log, so that an empty one was made.
    pub created: bool,
    /// Segments that were replayed.
    pub segments: u32,
    /// Batches that were replayed.
    pub batches: u64,
    /// Records that were replayed.
    pub records: u64,
    /// Of these, records that were not proven synced and have been written again.
    pub rewritten_records: u64,
    /// Bytes at the end that were no whole batch, and are void now. No sync of them is proven.
    pub cut_bytes: u64,
    /// Files of segments that had been dropped already and were still there.
    pub removed_segments: u32,
    /// Where the last record stood that was found, before any was written again.
    pub found_to: Option<Position>,
}

/// Opens the log in `dir`, or makes an empty one.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    settings: LogSettings,
    replay: Replay<'_>,
) -> Result<(Log, Recovery), LogError> {
    settings.assert_valid();
    let mut segments = list(&*disk, dir)?;
    let mut opening = Opening {
        disk: &*disk,
        dir,
        settings,
        replayer: Replayer {
            disk: &*disk,
            dir,
            replay,
            recovery: Recovery::default(),
        },
    };
    let (active, oldest) = match segments.last_key_value() {
        None => (opening.create()?, 1),
        Some((&id, _)) => {
            let newest = Segment::open(&*disk, dir, id)?;
            let tail = survey(&newest)?;
            let cuts = opening.replayer.older(&newest, tail.oldest, &segments)?;
            // A recovery that was cut short may have left these untrimmed, and have taken the refuge:
            // on a full disk this is where the space for the next segment comes from.
            opening.trim(&cuts, &mut segments)?;
            let active = opening.supersede(&newest, &tail)?;
            opening.trim(&[(id, tail.proven_end)], &mut segments)?;
            opening.remove_dropped(tail.oldest, &mut segments)?;
            (active, tail.oldest)
        }
    };
    let recovery = opening.replayer.recovery;
    segments.insert(active.id, active.size.into());
    let log = Log::assemble(disk, dir, settings, active, oldest, segments)?;
    Ok((log, recovery))
}

/// The segments in the log's directory with their lengths, after their entries and the directory's
/// own have been made durable.
fn list(disk: &dyn Disk, dir: &Path) -> Result<BTreeMap<u32, u64>, LogError> {
    // The empty path is the disk's own root.
    let parent = dir.parent().unwrap_or(Path::new(""));
    disk.create_dir(dir)
        .map_err(|source| LogError::io("create", dir, source))?;
    // A crash before this sync may lose a new, still empty directory. An old one is synced again,
    // since the life that made it may have been killed right here.
    disk.sync_dir(parent)
        .map_err(|source| LogError::sync(parent, source))?;
    // A crash before this sync loses nothing that was acknowledged. Without it a segment that only
    // the cache knows could vanish from between two that are durable.
    disk.sync_dir(dir)
        .map_err(|source| LogError::sync(dir, source))?;
    let entries = disk
        .list(dir)
        .map_err(|source| LogError::io("list", dir, source))?;
    let segments = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    Ok(segments
        .filter_map(|entry| Some((id_of(&entry.name)?, entry.len)))
        .collect())
}

/// A recovery under way.
struct Opening<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    settings: LogSettings,
    replayer: Replayer<'a>,
}

impl Opening<'_> {
    /// Makes the first segment of a new log. On a full disk there is none, while nothing is promised:
    /// a log that is begun without a refuge may not open again.
    fn create(&mut self) -> Result<Active, LogError> {
        self.replayer.recovery.created = true;
        let size = self.settings.segment_bytes;
        if !planted(Planted::RefugeForgotten) {
            let usual = reserve::refuge_bytes_usual(&self.settings);
            reserve::make(self.disk, self.dir, reserve::REFUGE, usual)?;
        }
        let file = reserve::make(self.disk, self.dir, reserve::SPARE, size)?;
        let header = SegmentHeader {
            id: 1,
            oldest: 1,
            salt: Salt::draw(self.settings.seed, 1),
            size: file.size,
            born_end: HEADER_BYTES,
            previous: Previous::None,
        };
        file.install(self.disk, self.dir, &header)?;
        Ok(Active::new(self.dir, &file, &header, Vec::new()))
    }

    /// A file for a new segment of at least `needed` bytes: the spare, or else of the refuge. And how
    /// much of the refuge is left.
    fn space_for(&self, needed: u64) -> Result<(Unnamed, u64), LogError> {
        let needed = needed + reserve::START_ROOM_BYTES;
        let size = needed.max(self.settings.segment_bytes);
        let size = size.next_multiple_of(ALIGN);
        match reserve::make(self.disk, self.dir, reserve::SPARE, size) {
            Err(LogError::Full { .. }) => {
                reserve::take_refuge(self.disk, self.dir, &self.settings, needed)
            }
            made => Ok((made?, 0)),
        }
    }

    /// Replays the newest segment and makes its successor, which holds what is not proven synced in
    /// the newest.
    fn supersede(&mut self, newest: &Segment, tail: &Tail) -> Result<Active, LogError> {
        for batch in &tail.proven {
            newest
                .heads(batch)
                .and_then(|heads| self.replayer.batch(newest, batch, &heads))
                .map_err(|unsound| unsound.into_damage(&newest.path))?;
        }
        self.replayer.recovery.segments += 1;
        self.replayer.recovery.cut_bytes = tail.cut_bytes;

        // Markers are not copied: what they prove, the new segment's name proves.
        let copied: Vec<_> = tail
            .unproven
            .iter()
            .filter(|batch| batch.records > 0)
            .collect();
        let copied_bytes: u64 = copied
            .iter()
            .map(|batch| u64::from(batch.total_bytes))
            .sum();
        let needed = u64::from(HEADER_BYTES) + copied_bytes + room_bytes(copied.len() as u64);
        let (file, refuge_left) = self.space_for(needed)?;
        let id = next_id(newest.header.id);
        let salt = Salt::draw(self.settings.seed, id);
        let mut index = Vec::with_capacity(copied.len());
        let mut builder = BatchBuilder::default();
        let mut end = HEADER_BYTES;
        for batch in copied {
            builder.begin(end);
            self.copy_batch(newest, batch, id, &mut builder)
                .map_err(|unsound| unsound.into_damage(&newest.path))?;
            let (bytes, entry) = builder.finish(id, salt, first_position(id), tail.oldest);
            file.file
                .write_all_at(bytes, end.into())
                .map_err(|source| LogError::io("write", &file.path, source))?;
            end += entry.total_bytes;
            index.push(entry);
        }
        let header = SegmentHeader {
            id,
            oldest: tail.oldest,
            salt,
            size: file.size,
            born_end: end,
            previous: Previous::Cut {
                end: tail.proven_end,
                salt: newest.header.salt,
            },
        };
        if planted(Planted::RecoveryCutsFirst) {
            let mut lengths = BTreeMap::from([(newest.header.id, newest.len.into())]);
            self.trim(&[(newest.header.id, tail.proven_end)], &mut lengths)?;
        }
        file.install(self.disk, self.dir, &header)?;
        reserve::leave_refuge(self.disk, self.dir, refuge_left)?;
        Ok(Active::new(self.dir, &file, &header, index))
    }

    /// Puts the records of a batch of the newest segment into the one that is built for segment
    /// `id`, byte for byte, and replays them from there.
    fn copy_batch(
        &mut self,
        newest: &Segment,
        batch: &BatchHeader,
        id: u32,
        builder: &mut BatchBuilder,
    ) -> Result<(), Unsound> {
        let heads = newest.heads(batch)?;
        for raw in newest.records(batch, &heads)? {
            let record = decode(&raw, &newest.path)?;
            let payload = match raw.payload {
                None => None,
                Some(payload) => Some(Bytes::from(newest.payload(raw.at, payload)?)),
            };
            let at = builder.push(raw.kind, raw.version, payload, |out| {
                out.extend_from_slice(raw.body)
            });
            self.replayer.hand_out(id, at, &raw, record);
            self.replayer.recovery.rewritten_records += 1;
            self.replayer.found(newest.header.id, raw.at);
        }
        self.replayer.recovery.batches += 1;
        Ok(())
    }

    /// Gives back the space behind the cuts. It is void whether or not this survives a crash.
    fn trim(&self, cuts: &[(u32, u32)], lengths: &mut BTreeMap<u32, u64>) -> Result<(), LogError> {
        for &(id, end) in cuts {
            let end = u64::from(end);
            let Some(len) = lengths.get_mut(&id).filter(|len| **len > end) else {
                continue;
            };
            let path = path_of(self.dir, id);
            let file = self.disk.open(&path, OpenMode::Write);
            file.and_then(|file| file.set_len(end))
                .map_err(|source| LogError::io("trim", &path, source))?;
            *len = end;
        }
        Ok(())
    }

    /// Removes what a drop that was cut short has left. Crashes may undo any of it; the header of
    /// the newest segment says that it does not count.
    fn remove_dropped(
        &mut self,
        oldest: u32,
        segments: &mut BTreeMap<u32, u64>,
    ) -> Result<(), LogError> {
        let kept = segments.split_off(&oldest);
        for &id in segments.keys() {
            remove(self.disk, &path_of(self.dir, id))?;
            self.replayer.recovery.removed_segments += 1;
        }
        *segments = kept;
        Ok(())
    }
}
