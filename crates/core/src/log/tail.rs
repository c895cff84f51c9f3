//! The newest segment of an earlier life: how far it is proven synced, and where it ends.

use super::Position;
use super::batch::{BATCH_HEADER_BYTES, BATCH_MAGIC, BatchHeader};
use super::error::{LogError, Unsound};
use super::format::{ALIGN, seal_bytes};
use super::segment::Segment;

use crate::planted::{Planted, planted};
/// How many bytes are read, and passed over if zero, at once in the search for batches behind a bad
/// one.
const HUNT_STEP_BYTES: usize = 64 << 10;

/// What was found in the newest segment.
#[derive(Debug)]
pub(super) struct Tail {
    /// The batches below [`Self::proven_end`], not verified further than their headers.
    pub(super) proven: Vec<BatchHeader>,
    /// Everything below is proven synced.
    pub(super) proven_end: u32,
    /// The batches above, whole and verified: perhaps synced, perhaps only in the page cache.
    pub(super) unproven: Vec<BatchHeader>,
    /// How many bytes follow that are no whole batch: torn, or behind something torn.
    pub(super) cut_bytes: u64,
    /// The lowest segment that still counts.
    pub(super) oldest: u32,
}

/// Surveys the newest segment. Below the highest `synced_through` that any sound batch header in it
/// names, everything must be sound, else it is damage; above, the first bad batch ends the log.
pub(super) fn survey(segment: &Segment) -> Result<Tail, LogError> {
    if segment.len < segment.header.size {
        // The length was synced before the file got its name, and a torn write does not shorten.
        return Err(LogError::damaged(
            &segment.path,
            segment.len,
            "the file is shorter than its header says",
        ));
    }
    let (mut batches, walk_end) = walk(segment)?;
    let beyond = hunt(segment, walk_end)?;
    let claims = batches.iter().map(|batch| batch.synced_through);
    let mut proven_end = claims
        .chain(beyond.claim)
        .filter(|claim| claim.segment == segment.header.id)
        .map(|claim| claim.offset)
        .fold(segment.header.born_end, u32::max);
    if planted(Planted::RecoveryBelievesCache) {
        proven_end = walk_end;
    }
    let boundary = batches.partition_point(|batch| batch.at < proven_end);
    let proven_is = batches.get(boundary).map_or(walk_end, |batch| batch.at);
    if planted(Planted::DamageIsTail) {
        proven_end = proven_end.min(proven_is);
    }
    if proven_is != proven_end {
        let what = "a batch that was synced is missing or bad";
        return Err(LogError::damaged(
            &segment.path,
            proven_is.min(walk_end),
            what,
        ));
    }
    let mut unproven = batches.split_off(boundary);
    let sound = count_sound(segment, &unproven)?;
    unproven.truncate(sound);
    let end = unproven.last().map_or(proven_end, BatchHeader::end);
    let kept = batches.iter().chain(&unproven);
    Ok(Tail {
        oldest: kept
            .map(|batch| batch.oldest)
            .fold(segment.header.oldest, u32::max),
        cut_bytes: u64::from(beyond.written_end.max(walk_end) - end),
        proven: batches,
        proven_end,
        unproven,
    })
}

/// The batches that follow each other from the segment's beginning, and where they end.
fn walk(segment: &Segment) -> Result<(Vec<BatchHeader>, u32), LogError> {
    let mut batches = Vec::new();
    let mut at = super::format::HEADER_BYTES;
    loop {
        match segment.batch(at) {
            Ok(batch) if batch.end() <= segment.header.size => {
                at = batch.end();
                batches.push(batch);
            }
            Ok(_) | Err(Unsound::Flaw { .. }) => return Ok((batches, at)),
            Err(Unsound::Error(error)) => return Err(error),
        }
    }
}

/// How many of these batches, from the first one on, are whole.
fn count_sound(segment: &Segment, batches: &[BatchHeader]) -> Result<usize, LogError> {
    for (i, batch) in batches.iter().enumerate() {
        match verify(segment, batch) {
            Ok(()) => {}
            Err(unsound) if planted(Planted::TornTailIsDamage) => {
                return Err(unsound.into_damage(&segment.path));
            }
            Err(Unsound::Flaw { .. }) => return Ok(i),
            Err(Unsound::Error(error)) => return Err(error),
        }
    }
    Ok(batches.len())
}

/// Whether all of a batch is there, its payloads too.
pub(super) fn verify(segment: &Segment, batch: &BatchHeader) -> Result<(), Unsound> {
    let heads = segment.heads(batch)?;
    for record in segment.records(batch, &heads)? {
        if let Some(payload) = record.payload {
            segment.payload(record.at, payload)?;
        }
    }
    Ok(())
}

/// What lies behind the end of the walk.
#[derive(Debug, Default)]
struct Beyond {
    /// The highest `synced_through` of a sound batch header there.
    claim: Option<Position>,
    /// Where the last byte that is not zero ends, the seal left aside.
    written_end: u32,
}

/// Looks for batch headers anywhere behind `from`. A sound one was written by this segment's writer,
/// so what it says of syncs is true, whatever became of the bytes before it. The salt keeps payload
/// bytes from posing as one.
fn hunt(segment: &Segment, from: u32) -> Result<Beyond, LogError> {
    let mut beyond = Beyond::default();
    let end = match segment.seal() {
        Ok((entries, _)) => segment.header.size - seal_bytes(entries.len() as u64) as u32,
        Err(Unsound::Flaw { .. }) => segment.header.size,
        Err(Unsound::Error(error)) => return Err(error),
    };
    let zeroes = vec![0; HUNT_STEP_BYTES];
    let mut buffer = zeroes.clone();
    let mut at = from;
    while at < end {
        buffer.truncate((end - at) as usize);
        segment.read_into(&mut buffer, at)?;
        let words = match zeroes.starts_with(&buffer) {
            true => &[],
            false => &buffer[..],
        };
        for (i, word) in words.chunks(ALIGN as usize).enumerate() {
            if word.iter().all(|&byte| byte == 0) {
                continue;
            }
            let word_at = at + (i * ALIGN as usize) as u32;
            beyond.written_end = word_at + word.len() as u32;
            if word.starts_with(&BATCH_MAGIC) && word_at + BATCH_HEADER_BYTES <= end {
                match segment.batch(word_at) {
                    Ok(batch) => beyond.claim = beyond.claim.max(Some(batch.synced_through)),
                    Err(Unsound::Flaw { .. }) => {}
                    Err(Unsound::Error(error)) => return Err(error),
                }
            }
        }
        at += buffer.len() as u32;
    }
    Ok(beyond)
}
