//! Opening a log: what was promised is read back, and what is not proven synced is written again.
//!
//! Every start begins a new segment N+1. What is valid in N but not proven to be synced is copied
//! into a provisional file; its header says that N ends where the proof does. One rename gives the
//! file its name, and so adds the copies and voids the originals at once. A crash before it leaves
//! the log as it was, a crash after it leaves a log whose recovery is over; whatever is tidied up
//! afterwards is void already.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::batch::{BatchBuilder, BatchHeader, RawRecord};
use super::error::{LogError, Unsound};
use super::format::{ALIGN, HEADER_BYTES, Previous, Salt, SegmentHeader, first_position};
use super::segment::{Segment, Unnamed, id_of, path_of, predecessor};
use super::tail::{Tail, survey};
use super::writer::{Active, room_bytes};
use super::{Log, LogSettings, Position, reserve};
use crate::disk::{Disk, EntryKind, OpenMode};
use crate::record::{RECORD_VERSION, Record};

/// What is called with each record of the log, in order: where it is, what it is, and the length of
/// its payload in bytes, 0 when it has none.
pub(super) type Replay<'a> = &'a mut dyn FnMut(Position, Record, u32);

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
    /// Bytes at the end that were no whole batch, and are void now. Nothing in them had been
    /// committed.
    pub cut_bytes: u64,
    /// Files of segments that had been dropped already and were still there.
    pub removed_segments: u32,
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
        replay,
        recovery: Recovery::default(),
    };
    let (active, oldest) = match segments.last_key_value() {
        None => (opening.create()?, 1),
        Some((&id, _)) => {
            let newest = Segment::open(&*disk, dir, id)?;
            let tail = survey(&newest)?;
            let void = opening.replay_older(&newest, tail.oldest, &segments)?;
            let active = opening.supersede(&newest, &tail)?;
            opening.trim(&void, &mut segments)?;
            opening.trim(&[(id, tail.proven_end)], &mut segments)?;
            opening.remove_dropped(tail.oldest, &mut segments)?;
            (active, tail.oldest)
        }
    };
    let recovery = opening.recovery;
    segments.insert(active.id, active.size.into());
    let log = Log::assemble(disk, dir, settings, active, oldest, segments)?;
    Ok((log, recovery))
}

/// The segments in the log's directory with their lengths, after their entries and the directory's
/// own have been made durable.
fn list(disk: &dyn Disk, dir: &Path) -> Result<BTreeMap<u32, u64>, LogError> {
    let parent = match dir.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
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
    replay: Replay<'a>,
    recovery: Recovery,
}

impl Opening<'_> {
    /// Makes the first segment of a new log.
    fn create(&mut self) -> Result<Active, LogError> {
        self.recovery.created = true;
        let file = self.space_for(0)?;
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

    /// A file for a new segment of at least `needed` bytes: the spare, or else the refuge.
    fn space_for(&self, needed: u64) -> Result<Unnamed, LogError> {
        let whole = needed.max(self.settings.segment_bytes);
        let small = needed.max(reserve::refuge_bytes(&self.settings));
        match reserve::make(
            self.disk,
            self.dir,
            reserve::SPARE,
            whole.next_multiple_of(ALIGN),
        ) {
            Err(LogError::Full { .. }) => reserve::make(
                self.disk,
                self.dir,
                reserve::REFUGE,
                small.next_multiple_of(ALIGN),
            ),
            made => made,
        }
    }

    /// Replays every segment before the newest one. Returns those that a recovery cut, with where.
    fn replay_older(
        &mut self,
        newest: &Segment,
        oldest: u32,
        present: &BTreeMap<u32, u64>,
    ) -> Result<Vec<(u32, u32)>, LogError> {
        let mut void = Vec::new();
        let ids = oldest..newest.header.id;
        if let Some(missing) = ids.clone().find(|id| !present.contains_key(id)) {
            let path = path_of(self.dir, missing);
            return Err(LogError::damaged(&path, 0u64, "the segment is missing"));
        }
        let mut segment = match ids.is_empty() {
            true => return Ok(void),
            false => Segment::open(self.disk, self.dir, ids.start)?,
        };
        for id in ids.clone() {
            let successor = match id + 1 == ids.end {
                true => None,
                false => Some(Segment::open(self.disk, self.dir, id + 1)?),
            };
            let next = successor.as_ref().map_or(newest.header, |next| next.header);
            let (end, salt) = predecessor(&next).unwrap_or((0, Salt(0)));
            if salt != segment.header.salt {
                let what = "the next segment was written behind another one";
                return Err(LogError::damaged(&segment.path, 0u64, what));
            }
            match next.previous {
                Previous::Sealed { seal, .. } => self.replay_sealed(&segment, end, seal),
                Previous::None | Previous::Cut { .. } => {
                    void.push((id, end));
                    self.replay_cut(&segment, end)
                }
            }
            .map_err(|unsound| unsound.into_damage(&segment.path))?;
            self.recovery.segments += 1;
            let Some(successor) = successor else { break };
            segment = successor;
        }
        Ok(void)
    }

    fn replay_sealed(&mut self, segment: &Segment, end: u32, seal: u32) -> Result<(), Unsound> {
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
            self.replay_batch(segment, &batch, &heads)?;
        }
        Ok(())
    }

    fn replay_cut(&mut self, segment: &Segment, end: u32) -> Result<(), Unsound> {
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
            self.replay_batch(segment, &batch, &heads)?;
            at = batch.end();
        }
        if at != end {
            return Err(Unsound::flaw(end, "a batch reaches beyond the cut"));
        }
        Ok(())
    }

    fn replay_batch(
        &mut self,
        segment: &Segment,
        batch: &BatchHeader,
        heads: &[u8],
    ) -> Result<(), Unsound> {
        for raw in segment.records(batch, heads)? {
            let record = decode(&raw, &segment.path)?;
            self.hand_out(segment.header.id, raw.at, &raw, record);
        }
        self.recovery.batches += 1;
        Ok(())
    }

    fn hand_out(&mut self, segment: u32, offset: u32, raw: &RawRecord<'_>, record: Record) {
        let payload_bytes = raw.payload.map_or(0, |payload| payload.bytes);
        (self.replay)(Position { segment, offset }, record, payload_bytes);
        self.recovery.records += 1;
    }

    /// Replays the newest segment and makes its successor, which holds what is not proven synced in
    /// the newest.
    fn supersede(&mut self, newest: &Segment, tail: &Tail) -> Result<Active, LogError> {
        for batch in &tail.proven {
            newest
                .heads(batch)
                .and_then(|heads| self.replay_batch(newest, batch, &heads))
                .map_err(|unsound| unsound.into_damage(&newest.path))?;
        }
        self.recovery.segments += 1;
        self.recovery.cut_bytes = tail.cut_bytes;

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
        let file = self.space_for(needed)?;
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
        file.install(self.disk, self.dir, &header)?;
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
            self.hand_out(id, at, &raw, record);
            self.recovery.rewritten_records += 1;
        }
        self.recovery.batches += 1;
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
            self.recovery.removed_segments += 1;
        }
        *segments = kept;
        Ok(())
    }
}

/// The number after `id`.
pub(super) fn next_id(id: u32) -> u32 {
    id.checked_add(1)
        .expect("four thousand million segments are never written")
}

/// Removes a file; one that is gone already is fine.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io("remove", path, error))
        }
        _ => Ok(()),
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
    Record::decode(raw.kind, raw.body).map_err(|source| LogError::Unreadable {
        path: path.to_owned(),
        offset: raw.at,
        source,
    })
}
