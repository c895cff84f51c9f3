//! The bytes of a segment's header and of its seal, and the salted checksum of everything.
//!
//! All integers are little-endian. `docs/log-format.md` is the same in prose.

use super::Position;

/// The format that this program writes.
pub(super) const FORMAT: u32 = 1;
/// Length of a segment's header: a sector of its own, so that no batch is written into it.
pub(super) const HEADER_BYTES: u32 = 512;
/// Everything in a segment begins at a multiple of this.
pub(super) const ALIGN: u64 = 8;
/// Length of one entry of a seal's index.
pub(super) const INDEX_ENTRY_BYTES: u64 = 16;
/// Length of a seal without its index.
pub(super) const TRAILER_BYTES: u64 = 32;

const SEGMENT_MAGIC: [u8; 8] = *b"csgn-log";
const SEAL_MAGIC: [u8; 4] = *b"SEAL";
const HEADER_SUM_AT: usize = HEADER_BYTES as usize - 4;
const TRAILER_SUM_AT: usize = TRAILER_BYTES as usize - 4;

/// How many bytes are missing from `len` to the next multiple of [`ALIGN`].
pub(super) fn padding(len: u64) -> u64 {
    len.next_multiple_of(ALIGN) - len
}

/// Length of the seal of a segment with so many batches, in bytes.
pub(super) fn seal_bytes(batches: u64) -> u64 {
    TRAILER_BYTES + batches * INDEX_ENTRY_BYTES
}

/// A segment's salt: it enters every checksum in the segment, so that bytes of another segment, or
/// of an older life of the same one, are never taken for its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Salt(pub(super) u64);

impl Salt {
    /// The salt of segment `id` under a start's seed: the output function of SplitMix64
    /// (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    pub(super) fn draw(seed: u64, id: u32) -> Self {
        let mut z = seed.wrapping_add(u64::from(id).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Self(z ^ (z >> 31))
    }

    /// CRC32C of the salt, the offset that `bytes` belong to, and `bytes`.
    pub(super) fn sum(self, at: u32, bytes: &[u8]) -> u32 {
        let mut prefix = [0; 12];
        prefix[..8].copy_from_slice(&self.0.to_le_bytes());
        prefix[8..].copy_from_slice(&at.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c(&prefix), bytes)
    }
}

/// Reads `N` bytes at `at`, which the caller knows to be there.
pub(super) fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array_at(bytes, at))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array_at(bytes, at))
}

pub(super) fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// How the segment before this one ends. This is what proves it synced, and what cuts it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Previous {
    /// There never was one: this is the first.
    None,
    /// It was filled and sealed; its batches end at `end`, and `seal` is the seal's checksum.
    Sealed { end: u32, salt: Salt, seal: u32 },
    /// A recovery found it unsealed: its batches end at `end`, and whatever follows there is void.
    Cut { end: u32, salt: Salt },
}

/// What stands at the beginning of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    /// The segment's number.
    pub(super) id: u32,
    /// The lowest segment that still counts; whatever is below may be missing.
    pub(super) oldest: u32,
    pub(super) salt: Salt,
    /// Length of the file, in bytes, until a successor cuts it.
    pub(super) size: u32,
    /// Every byte below was synced before the file got its name.
    pub(super) born_end: u32,
    pub(super) previous: Previous,
}

/// Why a segment header was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    Newer(u32),
    Flaw(&'static str),
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> [u8; HEADER_BYTES as usize] {
        let (kind, end, salt, seal) = match self.previous {
            Previous::None => (0u32, 0, Salt(0), 0),
            Previous::Sealed { end, salt, seal } => (1, end, salt, seal),
            Previous::Cut { end, salt } => (2, end, salt, 0),
        };
        let mut out = [0; HEADER_BYTES as usize];
        put(&mut out, 0, &SEGMENT_MAGIC);
        put(&mut out, 8, &FORMAT.to_le_bytes());
        put(&mut out, 12, &self.id.to_le_bytes());
        put(&mut out, 16, &self.salt.0.to_le_bytes());
        put(&mut out, 24, &self.size.to_le_bytes());
        put(&mut out, 28, &self.oldest.to_le_bytes());
        put(&mut out, 32, &self.born_end.to_le_bytes());
        put(&mut out, 36, &kind.to_le_bytes());
        put(&mut out, 40, &salt.0.to_le_bytes());
        put(&mut out, 48, &end.to_le_bytes());
        put(&mut out, 52, &seal.to_le_bytes());
        let sum = crc32c::crc32c(&out[..HEADER_SUM_AT]);
        put(&mut out, HEADER_SUM_AT, &sum.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8; HEADER_BYTES as usize], id: u32) -> Result<Self, BadHeader> {
        use BadHeader::Flaw;
        if bytes[..8] != SEGMENT_MAGIC {
            return Err(Flaw("this is no segment header"));
        }
        if u32_at(bytes, HEADER_SUM_AT) != crc32c::crc32c(&bytes[..HEADER_SUM_AT]) {
            return Err(Flaw("the segment header's checksum is wrong"));
        }
        let format = u32_at(bytes, 8);
        if format > FORMAT {
            return Err(BadHeader::Newer(format));
        }
        let (salt, end, seal) = (
            Salt(u64_at(bytes, 40)),
            u32_at(bytes, 48),
            u32_at(bytes, 52),
        );
        let previous = match u32_at(bytes, 36) {
            0 => Previous::None,
            1 => Previous::Sealed { end, salt, seal },
            2 => Previous::Cut { end, salt },
            _ => {
                return Err(Flaw(
                    "the segment header does not say how the previous one ends",
                ));
            }
        };
        let header = Self {
            id: u32_at(bytes, 12),
            oldest: u32_at(bytes, 28),
            salt: Salt(u64_at(bytes, 16)),
            size: u32_at(bytes, 24),
            born_end: u32_at(bytes, 32),
            previous,
        };
        if header.id != id {
            return Err(Flaw("the segment header belongs to another segment"));
        }
        if header.born_end < HEADER_BYTES || header.born_end > header.size {
            return Err(Flaw("the segment header's lengths are impossible"));
        }
        Ok(header)
    }
}

/// Where one batch of a sealed segment is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    pub(super) at: u32,
    /// Length of the batch.
    pub(super) total_bytes: u32,
    /// Length of its record headers and bodies.
    pub(super) heads_bytes: u32,
    /// The checksum in its header.
    pub(super) sum: u32,
}

/// Encodes the seal of a segment: its index and trailer, which fill the file up to its end. Returns
/// the bytes and their checksum.
pub(super) fn encode_seal(
    id: u32,
    salt: Salt,
    size: u32,
    entries: &[IndexEntry],
) -> (Vec<u8>, u32) {
    let len = seal_bytes(entries.len() as u64) as usize;
    let mut out = Vec::with_capacity(len);
    for entry in entries {
        for field in [entry.at, entry.total_bytes, entry.heads_bytes, entry.sum] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
    let end = entries
        .last()
        .map_or(HEADER_BYTES, |last| last.at + last.total_bytes);
    out.extend_from_slice(&SEAL_MAGIC);
    for field in [id, entries.len() as u32, end, 0, 0, 0] {
        out.extend_from_slice(&field.to_le_bytes());
    }
    let sum = salt.sum(size - len as u32, &out);
    out.extend_from_slice(&sum.to_le_bytes());
    (out, sum)
}

/// How many batches a trailer says that its index has; `None` when it is no trailer of this segment
/// or its index could not fit. Not verified beyond that: only to know how much to read.
pub(super) fn trailer_batches(
    trailer: &[u8; TRAILER_BYTES as usize],
    id: u32,
    size: u32,
) -> Option<u32> {
    let batches = u32_at(trailer, 8);
    let ours = trailer[..4] == SEAL_MAGIC && u32_at(trailer, 4) == id;
    let fits = u64::from(HEADER_BYTES) + seal_bytes(batches.into()) <= u64::from(size);
    (ours && fits).then_some(batches)
}

/// Decodes a seal whose trailer has passed [`trailer_batches`]. Returns its index and its checksum.
pub(super) fn decode_seal(
    seal: &[u8],
    salt: Salt,
    size: u32,
) -> Result<(Vec<IndexEntry>, u32), &'static str> {
    let (covered, _) = seal.split_at(seal.len() - 4);
    let (index, trailer) = seal.split_at(seal.len() - TRAILER_BYTES as usize);
    let sum = u32_at(trailer, TRAILER_SUM_AT);
    if sum != salt.sum(size - seal.len() as u32, covered) {
        return Err("the seal's checksum is wrong");
    }
    let entries: Vec<IndexEntry> = index
        .chunks_exact(INDEX_ENTRY_BYTES as usize)
        .map(|entry| IndexEntry {
            at: u32_at(entry, 0),
            total_bytes: u32_at(entry, 4),
            heads_bytes: u32_at(entry, 8),
            sum: u32_at(entry, 12),
        })
        .collect();
    let mut next = u64::from(HEADER_BYTES);
    for entry in &entries {
        if u64::from(entry.at) != next {
            return Err("the seal's index leaves something out");
        }
        next += u64::from(entry.total_bytes);
    }
    if next != u64::from(u32_at(trailer, 12)) || next > u64::from(size) - seal.len() as u64 {
        return Err("the seal's index does not end where the batches do");
    }
    Ok((entries, sum))
}

/// The position at which the batches of segment `id` begin.
pub(super) fn first_position(id: u32) -> Position {
    Position {
        segment: id,
        offset: HEADER_BYTES,
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn header() -> impl Strategy<Value = SegmentHeader> {
        let previous = prop_oneof![
            Just(Previous::None),
            any::<(u32, u64, u32)>().prop_map(|(end, salt, seal)| Previous::Sealed {
                end,
                salt: Salt(salt),
                seal
            }),
            any::<(u32, u64)>().prop_map(|(end, salt)| Previous::Cut {
                end,
                salt: Salt(salt)
            }),
        ];
        let born_end = HEADER_BYTES..=1 << 20;
        let numbers = (any::<u32>(), any::<u32>(), any::<u64>(), born_end);
        (numbers, previous).prop_map(|((id, oldest, salt, born_end), previous)| SegmentHeader {
            id,
            oldest,
            salt: Salt(salt),
            size: 1 << 20,
            born_end,
            previous,
        })
    }

    proptest! {
        #[test]
        fn a_segment_header_is_read_as_it_was_written(header in header()) {
            prop_assert_eq!(SegmentHeader::decode(&header.encode(), header.id), Ok(header));
        }

        #[test]
        fn a_segment_header_with_any_bit_flipped_is_damage(
            header in header(),
            bit in 0usize..HEADER_BYTES as usize * 8,
        ) {
            let mut bytes = header.encode();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let read = SegmentHeader::decode(&bytes, header.id);
            prop_assert!(matches!(read, Err(BadHeader::Flaw(_))), "{:?}", read);
        }

        #[test]
        fn a_seal_is_read_as_it_was_written_and_not_otherwise(
            lengths in vec((0u32..50, 0u32..50), 0..20),
            salt in any::<u64>(),
            bit in any::<prop::sample::Index>(),
        ) {
            let (id, size, salt) = (3, 1 << 16, Salt(salt));
            let mut at = HEADER_BYTES;
            let entries: Vec<_> = lengths
                .into_iter()
                .map(|(total, heads_bytes)| {
                    let entry = IndexEntry { at, total_bytes: 48 + total * 8, heads_bytes, sum: at ^ 1 };
                    at += entry.total_bytes;
                    entry
                })
                .collect();
            let (mut bytes, sum) = encode_seal(id, salt, size, &entries);
            let trailer = bytes.last_chunk().unwrap();
            prop_assert_eq!(trailer_batches(trailer, id, size), Some(entries.len() as u32));
            prop_assert_eq!(decode_seal(&bytes, salt, size), Ok((entries, sum)));
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(decode_seal(&bytes, salt, size).is_err());
        }
    }

    #[test]
    fn a_newer_format_is_named_as_such() {
        let header = SegmentHeader {
            id: 1,
            oldest: 1,
            salt: Salt(1),
            size: 4096,
            born_end: HEADER_BYTES,
            previous: Previous::None,
        };
        let mut bytes = header.encode();
        put(&mut bytes, 8, &(FORMAT + 1).to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..HEADER_SUM_AT]);
        put(&mut bytes, HEADER_SUM_AT, &sum.to_le_bytes());
        let read = SegmentHeader::decode(&bytes, 1);
        assert_eq!(read, Err(BadHeader::Newer(FORMAT + 1)));
    }
}
