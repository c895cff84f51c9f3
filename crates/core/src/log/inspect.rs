//! Looking at a log without opening it: what is sound in it, what is damaged, and where.
//!
//! For `consign doctor`, when a node cannot tell what it promised. Recovery stops at the first
//! damage; this goes on behind it, and hands out every record whose checksum is right. Salted
//! checksums that cover the place make that safe: no bytes of another segment, of another place in
//! this one, or of a file that was delivered through the log can pose as a record.
//!
//! Nothing is written, synced, cut or removed. What is handed out is evidence for a person, and no
//! state to go on from: what stood in the damage is not known.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::Position;
use super::batch::{BATCH_HEADER_BYTES, BATCH_MAGIC, BatchHeader, RawRecord, head_bytes};
use super::error::{LogError, Unsound};
use super::format::{ALIGN, HEADER_BYTES, Previous, SegmentHeader, seal_bytes};
use super::replay::decode;
use super::segment::{Segment, id_of, path_of};
use super::tail::{survey, verify};
use crate::disk::{Disk, EntryKind};
use crate::limits;
use crate::record::Record;

/// How many bytes are read at once in the search for the next sound batch.
const HUNT_STEP_BYTES: u32 = 64 << 10;

/// What a log looks like from outside.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Inspection {
    /// The lowest segment that counts; 0 when there is no log.
    pub oldest: u32,
    /// The newest segment; 0 when there is no log.
    pub newest: u32,
    /// Sound batches.
    pub batches: u64,
    /// Sound records.
    pub records: u64,
    /// Sound records, of those above, that no later batch or segment proves to be synced.
    pub unproven_records: u64,
    /// Bytes at the end that are no whole batch: a torn tail, which recovery cuts. No damage.
    pub torn_bytes: u64,
    /// What was proven synced and is not what was written; in the log's order.
    pub damage: Vec<Damage>,
}

/// A stretch of a log that was proven synced and cannot be read any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The segment's file.
    pub path: PathBuf,
    /// Where it begins, in bytes.
    pub offset: u64,
    /// Up to the next thing that is sound, in bytes; 0 when that is not known.
    pub bytes: u64,
    /// What is wrong there.
    pub what: String,
}

/// The payload of an inspected record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum InspectedPayload {
    /// It has none.
    None,
    /// Its bytes, verified.
    Sound(Bytes),
    /// It has one that cannot be read any more. It is in the list of damage as well.
    Damaged,
}

/// What is called with every sound record, in the log's order.
pub type Inspect<'a> = &'a mut dyn FnMut(Position, Record, InspectedPayload);

/// Inspects the log in `dir`. Beside a running writer it may find damage that is none.
///
/// # Errors
/// [`LogError::Io`] when the directory cannot be listed. Whatever else cannot be read is damage.
pub fn inspect(disk: &dyn Disk, dir: &Path, found: Inspect<'_>) -> Result<Inspection, LogError> {
    let entries = disk
        .list(dir)
        .map_err(|source| LogError::io("list", dir, source))?;
    let files = entries.iter().filter(|entry| entry.kind == EntryKind::File);
    let ids: Vec<u32> = files.filter_map(|entry| id_of(&entry.name)).collect();
    let (Some(&first), Some(&newest)) = (ids.iter().min(), ids.iter().max()) else {
        return Ok(Inspection::default());
    };
    let mut segments: BTreeMap<u32, Result<Segment, LogError>> = ids
        .iter()
        .map(|&id| (id, Segment::open(disk, dir, id)))
        .collect();
    let rebuilt = rebuild_headers(disk, dir, &mut segments);
    // A newest segment that cannot be read does not say what is dropped: all that is there counts.
    let oldest = segments[&newest].as_ref().map_or(first, oldest_of);
    let mut inspector = Inspector {
        dir,
        found,
        report: Inspection {
            oldest,
            newest,
            ..Inspection::default()
        },
    };
    for id in oldest..=newest {
        let next = segments.get(&(id + 1)).and_then(|next| next.as_ref().ok());
        match segments.get(&id) {
            None => inspector.lost(id, 0, "the segment is missing"),
            Some(Err(error)) => inspector.lost(id, 0, &cause(error)),
            Some(Ok(segment)) if id == newest => inspector.newest(segment),
            Some(Ok(segment)) => {
                if rebuilt.contains(&id) {
                    let what = "the segment header is damaged";
                    inspector.damaged(&segment.path, 0, HEADER_BYTES.into(), what);
                }
                inspector.older(segment, next.map(|next| next.header));
            }
        }
    }
    let mut report = inspector.report;
    report
        .damage
        .sort_by(|a, b| (&a.path, a.offset).cmp(&(&b.path, b.offset)));
    Ok(report)
}

/// What went wrong, without the path, and without advice that is not for a reader of a report.
fn cause(error: &LogError) -> String {
    match error {
        LogError::Damaged { what, .. } => (*what).to_owned(),
        LogError::Io { source, .. } => format!("it cannot be read: {source}"),
        other => {
            let text = other.to_string();
            text.split("; hint: ").next().unwrap_or_default().to_owned()
        }
    }
}

/// The oldest segment that counts, as the newest one says.
fn oldest_of(newest: &Segment) -> u32 {
    if let Ok(tail) = survey(newest) {
        return tail.oldest;
    }
    let pieces = sweep(newest, newest.len);
    let proven_end = proven_end(newest, &pieces);
    let proven = batches(&pieces).filter(|batch| batch.at < proven_end);
    proven
        .map(|batch| batch.oldest)
        .fold(newest.header.oldest, u32::max)
}

/// Everything below it in the newest segment was synced, as its batches say.
fn proven_end(newest: &Segment, pieces: &[Piece]) -> u32 {
    batches(pieces)
        .map(|batch| batch.synced_through)
        .filter(|claim| claim.segment == newest.header.id)
        .map(|claim| claim.offset)
        .fold(newest.header.born_end, u32::max)
}

fn batches(pieces: &[Piece]) -> impl Iterator<Item = &BatchHeader> {
    pieces.iter().filter_map(|piece| match piece {
        Piece::Batch(batch) => Some(batch),
        Piece::Gap { .. } => None,
    })
}

/// Gives segments with a damaged header another one, from what their successors say of them. Which
/// of two damaged ones comes first does not matter: a successor whose header is damaged says nothing.
/// Returns which.
fn rebuild_headers(
    disk: &dyn Disk,
    dir: &Path,
    segments: &mut BTreeMap<u32, Result<Segment, LogError>>,
) -> BTreeSet<u32> {
    let mut done = BTreeSet::new();
    let known: BTreeMap<u32, SegmentHeader> = segments
        .iter()
        .filter_map(|(&id, segment)| Some((id, segment.as_ref().ok()?.header)))
        .collect();
    for (&id, segment) in segments.iter_mut() {
        let Err(LogError::Damaged { .. }) = segment else {
            continue;
        };
        let salt = match known.get(&(id + 1)).map(|next| next.previous) {
            Some(Previous::Sealed { salt, .. } | Previous::Cut { salt, .. }) => salt,
            Some(Previous::None) | None => continue,
        };
        if let Ok(rebuilt) = Segment::open_as(disk, dir, id, salt) {
            *segment = Ok(rebuilt);
            done.insert(id);
        }
    }
    done
}

/// Something between two offsets of a segment.
#[derive(Debug, Clone, Copy)]
enum Piece {
    /// A batch whose header is sound.
    Batch(BatchHeader),
    /// Anything else.
    Gap {
        at: u32,
        bytes: u32,
        what: &'static str,
    },
}

/// Takes a segment apart up to `end`. A last gap that is only zeroes, space not used yet, is left out.
fn sweep(segment: &Segment, end: u32) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut at = HEADER_BYTES;
    while at < end {
        let what = match segment.batch(at) {
            Ok(batch) if batch.end() <= end => {
                at = batch.end();
                pieces.push(Piece::Batch(batch));
                continue;
            }
            Ok(_) => "a batch reaches beyond the end",
            Err(Unsound::Flaw { what, .. }) => what,
            Err(Unsound::Error(_)) => "it cannot be read",
        };
        let (next, is_zero) = hunt(segment, at, end);
        if !(is_zero && next == end) {
            pieces.push(Piece::Gap {
                at,
                bytes: next - at,
                what,
            });
        }
        at = next;
    }
    pieces
}

/// Where the first sound batch header behind `from` is, or `end`; and whether all before it is zero.
fn hunt(segment: &Segment, from: u32, end: u32) -> (u32, bool) {
    let mut is_zero = true;
    let mut step_at = from;
    while step_at < end {
        let len = HUNT_STEP_BYTES.min(end - step_at);
        let Ok(bytes) = segment.read(step_at, len.into()) else {
            is_zero = false;
            step_at += len;
            continue;
        };
        for (i, word) in bytes.chunks(ALIGN as usize).enumerate() {
            let at = step_at + (i * ALIGN as usize) as u32;
            let fits = at > from && at + BATCH_HEADER_BYTES <= end;
            let sound = |batch: BatchHeader| batch.end() <= end;
            if fits && word.starts_with(&BATCH_MAGIC) && segment.batch(at).is_ok_and(sound) {
                return (at, is_zero);
            }
            is_zero &= word.iter().all(|&byte| byte == 0);
        }
        step_at += len;
    }
    (end, is_zero)
}

/// An inspection under way.
struct Inspector<'a> {
    dir: &'a Path,
    found: Inspect<'a>,
    report: Inspection,
}

impl Inspector<'_> {
    fn lost(&mut self, id: u32, offset: u64, what: &str) {
        self.damaged(&path_of(self.dir, id), offset, 0, what);
    }

    fn damaged(&mut self, path: &Path, offset: u64, bytes: u64, what: &str) {
        self.report.damage.push(Damage {
            path: path.to_owned(),
            offset,
            bytes,
            what: what.to_owned(),
        });
    }

    /// A segment that has a successor: all of it was synced.
    fn older(&mut self, segment: &Segment, next: Option<SegmentHeader>) {
        let end = match next.map(|next| next.previous) {
            Some(Previous::Sealed { end, salt, seal }) if salt == segment.header.salt => {
                if !segment.seal().is_ok_and(|(_, sum)| sum == seal) {
                    let what = "the seal is not the one that the next segment names";
                    let bytes = segment.len.saturating_sub(end);
                    self.damaged(&segment.path, end.into(), bytes.into(), what);
                }
                end
            }
            Some(Previous::Cut { end, salt }) if salt == segment.header.salt => end,
            Some(Previous::None | Previous::Sealed { .. } | Previous::Cut { .. }) => {
                let what = "the next segment was not written behind this one";
                self.damaged(&segment.path, 0, 0, what);
                segment.len
            }
            // Its successor is missing or damaged, and that is said there.
            None => match segment.seal() {
                Ok((entries, _)) => segment.len - seal_bytes(entries.len() as u64) as u32,
                Err(_) => segment.len,
            },
        };
        if segment.len < end {
            let lost = u64::from(end - segment.len);
            let what = "the file ends before its batches do";
            self.damaged(&segment.path, segment.len.into(), lost, what);
        }
        for piece in sweep(segment, end.min(segment.len)) {
            match piece {
                Piece::Batch(batch) => self.batch(segment, &batch, true),
                Piece::Gap { at, bytes, what } => self.gap(segment, at, bytes, what),
            }
        }
    }

    /// The newest segment: what is bad above its last proven sync is a torn tail.
    fn newest(&mut self, segment: &Segment) {
        let seal = segment.seal();
        let end = match &seal {
            Ok((entries, _)) => segment.len - seal_bytes(entries.len() as u64) as u32,
            Err(_) => segment.len,
        };
        if segment.len < segment.header.size {
            let lost = u64::from(segment.header.size - segment.len);
            let what = "the file is shorter than its header says";
            self.damaged(&segment.path, segment.len.into(), lost, what);
        }
        let pieces = sweep(segment, end);
        let proven_end = proven_end(segment, &pieces);
        let mut torn = false;
        for piece in pieces {
            match piece {
                Piece::Batch(batch) if batch.at < proven_end => self.batch(segment, &batch, true),
                Piece::Batch(batch) if torn || verify(segment, &batch).is_err() => {
                    torn = true;
                    self.report.torn_bytes += u64::from(batch.total_bytes);
                }
                Piece::Batch(batch) => self.batch(segment, &batch, false),
                Piece::Gap { at, bytes, what } if at < proven_end => {
                    self.gap(segment, at, bytes.min(proven_end - at), what);
                }
                Piece::Gap { bytes, .. } => {
                    torn = true;
                    self.report.torn_bytes += u64::from(bytes);
                }
            }
        }
    }

    /// A stretch that is no sound batch: its records may be sound all the same.
    fn gap(&mut self, segment: &Segment, at: u32, bytes: u32, what: &str) {
        self.damaged(&segment.path, at.into(), bytes.into(), what);
        if let Ok(bytes) = segment.read(at, bytes.into()) {
            self.records(segment, &bytes, at, true);
        }
    }

    /// Hands out what is sound of a batch with a sound header.
    fn batch(&mut self, segment: &Segment, batch: &BatchHeader, proven: bool) {
        self.report.batches += 1;
        let (at, bytes) = (batch.heads_at(), batch.heads_bytes);
        let heads = match segment.heads(batch) {
            Ok(heads) => heads,
            Err(unsound) => {
                let what = cause(&unsound.into_damage(&segment.path));
                return self.damaged(&segment.path, at.into(), bytes.into(), &what);
            }
        };
        for (from, to) in self.records(segment, &heads, at, proven) {
            let what = "a record's checksum is wrong";
            let bytes = u64::from(to - from);
            self.damaged(&segment.path, from.into(), bytes, what);
        }
    }

    /// Hands out every sound record among these bytes, which lie at `at`. Returns the stretches that
    /// are none, as offsets in the segment.
    fn records(
        &mut self,
        segment: &Segment,
        bytes: &[u8],
        at: u32,
        proven: bool,
    ) -> Vec<(u32, u32)> {
        let mut bad: Vec<(u32, u32)> = Vec::new();
        let mut i = 0;
        while i < bytes.len() {
            let place = at + i as u32;
            if let Some((raw, len)) = record_at(&bytes[i..], segment, place) {
                self.record(segment, &raw, proven);
                i += len;
                continue;
            }
            let to = place + ALIGN as u32;
            match bad.last_mut() {
                Some(last) if last.1 == place => last.1 = to,
                _ => bad.push((place, to)),
            }
            i += ALIGN as usize;
        }
        bad
    }

    fn record(&mut self, segment: &Segment, raw: &RawRecord<'_>, proven: bool) {
        let record = match decode(raw, &segment.path) {
            Ok(record) => record,
            Err(error) => {
                let bytes = raw.body.len() as u64;
                return self.damaged(&segment.path, raw.at.into(), bytes, &cause(&error));
            }
        };
        let payload = match raw.payload {
            None => InspectedPayload::None,
            Some(at) if u64::from(at.bytes) > limits::BATCH_BYTES_MAX => InspectedPayload::Damaged,
            Some(at) => match segment.payload(raw.at, at) {
                Ok(bytes) => InspectedPayload::Sound(bytes.into()),
                Err(_) => InspectedPayload::Damaged,
            },
        };
        if payload == InspectedPayload::Damaged {
            let at = raw.payload.map_or((0, 0), |at| (at.at, at.bytes));
            let what = format!("the payload of a {} record is damaged", record.name());
            self.damaged(&segment.path, at.0.into(), at.1.into(), &what);
        }
        self.report.records += 1;
        self.report.unproven_records += u64::from(!proven);
        let position = Position {
            segment: segment.header.id,
            offset: raw.at,
        };
        (self.found)(position, record, payload);
    }
}

/// The record that begins `bytes`, which lie at `place`, and its length with its padding.
fn record_at<'a>(bytes: &'a [u8], segment: &Segment, place: u32) -> Option<(RawRecord<'a>, usize)> {
    let len = head_bytes(bytes.first_chunk()?).ok()?;
    let head = bytes.get(..len)?;
    let raw = RawRecord::decode(head, segment.header.salt, place).ok()?;
    Some((raw, len))
}
