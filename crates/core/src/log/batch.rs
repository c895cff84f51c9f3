//! The bytes of a batch: its header, its records' headers and bodies, its payloads; and what must
//! hold of them to be believed.

use super::Position;
use super::format::{ALIGN, Salt, padding, put, u32_at, u64_at};
use crate::limits;

/// Length of a batch header, and so of an empty batch, a marker.
pub(super) const BATCH_HEADER_BYTES: u32 = 48;
/// Length of a record header.
pub(super) const RECORD_HEADER_BYTES: u32 = 24;

/// What every batch header begins with; recovery hunts for it behind a bad batch.
pub(super) const BATCH_MAGIC: [u8; 4] = *b"BTCH";
const BATCH_SUM_AT: usize = BATCH_HEADER_BYTES as usize - 4;

/// Length of a record in its batch, with its payload and padding.
pub(super) fn record_bytes(body_bytes: u64, payload_bytes: u64) -> u64 {
    let head = u64::from(RECORD_HEADER_BYTES) + body_bytes;
    head + padding(head) + payload_bytes + padding(payload_bytes)
}

/// What stands before the records of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHeader {
    /// Its own offset in the segment.
    pub(super) at: u32,
    /// Length of the whole batch.
    pub(super) total_bytes: u32,
    /// Length of the record headers and bodies, which follow at once.
    pub(super) heads_bytes: u32,
    pub(super) records: u32,
    /// Everything below was synced when this batch was built.
    pub(super) synced_through: Position,
    /// The lowest segment that still counted when this batch was built.
    pub(super) oldest: u32,
}

impl BatchHeader {
    pub(super) fn heads_at(&self) -> u32 {
        self.at + BATCH_HEADER_BYTES
    }

    pub(super) fn payload_at(&self) -> u32 {
        self.heads_at() + self.heads_bytes
    }

    pub(super) fn end(&self) -> u32 {
        self.at + self.total_bytes
    }

    /// The encoded header and the checksum in it.
    pub(super) fn encode(
        &self,
        segment: u32,
        salt: Salt,
    ) -> ([u8; BATCH_HEADER_BYTES as usize], u32) {
        let mut out = [0; BATCH_HEADER_BYTES as usize];
        put(&mut out, 0, &BATCH_MAGIC);
        put(&mut out, 4, &segment.to_le_bytes());
        put(&mut out, 8, &self.at.to_le_bytes());
        put(&mut out, 12, &self.total_bytes.to_le_bytes());
        put(&mut out, 16, &self.heads_bytes.to_le_bytes());
        put(&mut out, 20, &self.records.to_le_bytes());
        put(&mut out, 24, &self.synced_through.pack().to_le_bytes());
        put(&mut out, 32, &self.oldest.to_le_bytes());
        let sum = salt.sum(self.at, &out[..BATCH_SUM_AT]);
        put(&mut out, BATCH_SUM_AT, &sum.to_le_bytes());
        (out, sum)
    }

    /// Decodes the header that belongs at `at` of segment `segment`, and the checksum in it.
    pub(super) fn decode(
        bytes: &[u8; BATCH_HEADER_BYTES as usize],
        segment: u32,
        salt: Salt,
        at: u32,
    ) -> Result<(Self, u32), &'static str> {
        if bytes[..4] != BATCH_MAGIC {
            return Err("there is no batch");
        }
        let sum = u32_at(bytes, BATCH_SUM_AT);
        if sum != salt.sum(at, &bytes[..BATCH_SUM_AT]) {
            return Err("a batch header's checksum is wrong");
        }
        let header = Self {
            at: u32_at(bytes, 8),
            total_bytes: u32_at(bytes, 12),
            heads_bytes: u32_at(bytes, 16),
            records: u32_at(bytes, 20),
            synced_through: Position::unpack(u64_at(bytes, 24)),
            oldest: u32_at(bytes, 32),
        };
        if u32_at(bytes, 4) != segment || header.at != at {
            return Err("a batch belongs to another place");
        }
        if header.synced_through
            > (Position {
                segment,
                offset: at,
            })
        {
            return Err("a batch claims to be synced before it was written");
        }
        header.check_lengths()?;
        Ok((header, sum))
    }

    /// Caps what is read and allocated on this header's word.
    fn check_lengths(&self) -> Result<(), &'static str> {
        let (total, heads) = (u64::from(self.total_bytes), u64::from(self.heads_bytes));
        let sound = total <= limits::BATCH_BYTES_MAX
            && u64::from(BATCH_HEADER_BYTES) + heads <= total
            && padding(total) + padding(heads) == 0
            && u64::from(self.records) * u64::from(RECORD_HEADER_BYTES) <= heads
            && u64::from(self.at) + total <= u64::from(u32::MAX);
        if sound {
            Ok(())
        } else {
            Err("a batch's lengths are impossible")
        }
    }
}

/// Where a payload is in its segment, with the padding that its checksum covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PayloadAt {
    pub(super) at: u32,
    pub(super) bytes: u32,
    sum: u32,
}

impl PayloadAt {
    pub(super) fn padded_bytes(&self) -> u64 {
        u64::from(self.bytes).next_multiple_of(ALIGN)
    }

    /// Whether `padded` is what was written for the record at `record_at`.
    pub(super) fn is_sound(&self, padded: &[u8], salt: Salt, record_at: u32) -> bool {
        self.sum == salt.sum(record_at, padded)
    }
}

/// A record whose checksum is right, not decoded yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct RawRecord<'a> {
    /// Its offset in the segment.
    pub(super) at: u32,
    pub(super) kind: u8,
    pub(super) version: u8,
    pub(super) body: &'a [u8],
    pub(super) payload: Option<PayloadAt>,
}

/// Length of the record whose header is `fixed`, with its body and padding. Capped, not verified.
pub(super) fn head_bytes(
    fixed: &[u8; RECORD_HEADER_BYTES as usize],
) -> Result<usize, &'static str> {
    let body = u32_at(fixed, 4) as usize;
    if body > limits::RECORD_BYTES_MAX {
        return Err("a record's length is impossible");
    }
    Ok((RECORD_HEADER_BYTES as usize + body).next_multiple_of(ALIGN as usize))
}

impl<'a> RawRecord<'a> {
    /// Verifies and takes apart the record at `at`, all of whose bytes are `head`.
    pub(super) fn decode(head: &'a [u8], salt: Salt, at: u32) -> Result<Self, &'static str> {
        if u32_at(head, 0) != salt.sum(at, &head[4..]) {
            return Err("a record's checksum is wrong");
        }
        let body_end = RECORD_HEADER_BYTES as usize + u32_at(head, 4) as usize;
        let payload = PayloadAt {
            at: u32_at(head, 16),
            bytes: u32_at(head, 12),
            sum: u32_at(head, 20),
        };
        Ok(Self {
            at,
            kind: head[8],
            version: head[9],
            body: &head[RECORD_HEADER_BYTES as usize..body_end],
            payload: (payload.at != 0).then_some(payload),
        })
    }
}

/// Verifies and takes apart all records of a batch, whose headers and bodies are `heads`.
pub(super) fn decode_heads<'a>(
    batch: &BatchHeader,
    heads: &'a [u8],
    salt: Salt,
) -> Result<Vec<RawRecord<'a>>, (u32, &'static str)> {
    let mut records = Vec::with_capacity(batch.records as usize);
    let mut rest = heads;
    let mut next_payload = u64::from(batch.payload_at());
    while !rest.is_empty() {
        let at = batch.payload_at() - rest.len() as u32;
        let fixed = rest.first_chunk().ok_or((at, "a record is cut off"))?;
        let len = head_bytes(fixed).map_err(|what| (at, what))?;
        let (head, after) = rest
            .split_at_checked(len)
            .ok_or((at, "a record is cut off"))?;
        let record = RawRecord::decode(head, salt, at).map_err(|what| (at, what))?;
        if let Some(payload) = record.payload {
            if u64::from(payload.at) != next_payload {
                return Err((at, "a record's payload is not where it belongs"));
            }
            next_payload += payload.padded_bytes();
        }
        records.push(record);
        rest = after;
    }
    if records.len() != batch.records as usize || next_payload != u64::from(batch.end()) {
        return Err((batch.at, "a batch does not hold what its header says"));
    }
    Ok(records)
}
