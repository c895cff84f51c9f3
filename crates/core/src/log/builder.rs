//! A batch in the making.

use bytes::Bytes;

use super::Position;
use super::batch::{BATCH_HEADER_BYTES, BatchHeader, RECORD_HEADER_BYTES};
use super::format::{IndexEntry, Salt, padding, put};

/// Collects a batch: records are encoded at once, payloads are held until it is finished.
#[derive(Debug, Default)]
pub(super) struct BatchBuilder {
    at: u32,
    heads: Vec<u8>,
    records: Vec<Pending>,
    payload_bytes: u64,
    out: Vec<u8>,
}

#[derive(Debug)]
struct Pending {
    /// Where its header is in `heads`.
    head: usize,
    payload: Option<Bytes>,
}

impl BatchBuilder {
    /// Begins a batch at offset `at`. What was in the builder is discarded, its memory kept.
    pub(super) fn begin(&mut self, at: u32) {
        self.at = at;
        self.heads.clear();
        self.records.clear();
        self.payload_bytes = 0;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Length of the batch if it were finished now, in bytes.
    pub(super) fn total_bytes(&self) -> u64 {
        u64::from(BATCH_HEADER_BYTES) + self.heads.len() as u64 + self.payload_bytes
    }

    /// Adds a record, whose body `encode` appends. Returns its offset in the segment. The caller has
    /// seen to it that the batch stays within its bounds.
    pub(super) fn push(
        &mut self,
        kind: u8,
        version: u8,
        payload: Option<Bytes>,
        encode: impl FnOnce(&mut Vec<u8>),
    ) -> u32 {
        let head = self.heads.len();
        let mut fixed = [0; RECORD_HEADER_BYTES as usize];
        fixed[8] = kind;
        fixed[9] = version;
        self.heads.extend_from_slice(&fixed);
        encode(&mut self.heads);
        let body_bytes = (self.heads.len() - head - fixed.len()) as u32;
        put(&mut self.heads[head..], 4, &body_bytes.to_le_bytes());
        let pad = padding(self.heads.len() as u64) as usize;
        self.heads.resize(self.heads.len() + pad, 0);
        if let Some(payload) = &payload {
            let len = payload.len() as u64;
            self.payload_bytes += len + padding(len);
        }
        self.records.push(Pending { head, payload });
        self.at + BATCH_HEADER_BYTES + head as u32
    }

    /// The whole batch, and its entry in the segment's index.
    pub(super) fn finish(
        &mut self,
        segment: u32,
        salt: Salt,
        synced_through: Position,
        oldest: u32,
    ) -> (&[u8], IndexEntry) {
        let header = BatchHeader {
            at: self.at,
            total_bytes: self.total_bytes() as u32,
            heads_bytes: self.heads.len() as u32,
            records: self.records.len() as u32,
            synced_through,
            oldest,
        };
        let (encoded, sum) = header.encode(segment, salt);
        self.out.clear();
        self.out.reserve(header.total_bytes as usize);
        self.out.extend_from_slice(&encoded);
        self.out.extend_from_slice(&self.heads);
        for (i, record) in self.records.iter().enumerate() {
            let record_at = header.heads_at() + record.head as u32;
            let head_end = self
                .records
                .get(i + 1)
                .map_or(self.heads.len(), |next| next.head);
            let head =
                BATCH_HEADER_BYTES as usize + record.head..BATCH_HEADER_BYTES as usize + head_end;
            if let Some(payload) = &record.payload {
                let from = self.out.len();
                self.out.extend_from_slice(payload);
                self.out.resize(
                    from + payload.len() + padding(payload.len() as u64) as usize,
                    0,
                );
                let sum = salt.sum(record_at, &self.out[from..]);
                let head = &mut self.out[head.clone()];
                put(head, 12, &(payload.len() as u32).to_le_bytes());
                put(head, 16, &(self.at + from as u32).to_le_bytes());
                put(head, 20, &sum.to_le_bytes());
            }
            let head = &mut self.out[head];
            let sum = salt.sum(record_at, &head[4..]);
            put(head, 0, &sum.to_le_bytes());
        }
        assert_eq!(
            self.out.len(),
            header.total_bytes as usize,
            "a batch's length"
        );
        let entry = IndexEntry {
            at: header.at,
            total_bytes: header.total_bytes,
            heads_bytes: header.heads_bytes,
            sum,
        };
        (&self.out, entry)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::log::batch::{RawRecord, decode_heads};

    const SEGMENT: u32 = 9;
    const SALT: Salt = Salt(0x5a17);

    /// A record as the builder takes it: kind, version, body, payload.
    type Given = (u8, u8, Vec<u8>, Option<Vec<u8>>);

    fn given() -> impl Strategy<Value = Vec<Given>> {
        let payload = proptest::option::of(vec(any::<u8>(), 0..100));
        vec(
            (any::<u8>(), any::<u8>(), vec(any::<u8>(), 0..60), payload),
            0..8,
        )
    }

    /// Builds a batch at `at`, whose bytes before are whatever. Returns it and the records' places.
    fn build(at: u32, given: &[Given]) -> (Vec<u8>, Vec<u32>) {
        let mut builder = BatchBuilder::default();
        builder.begin(at);
        let places = given.iter().map(|(kind, version, body, payload)| {
            let payload = payload.clone().map(Bytes::from);
            builder.push(*kind, *version, payload, |out| out.extend_from_slice(body))
        });
        let places = places.collect();
        let expected = builder.total_bytes();
        let (bytes, entry) = builder.finish(SEGMENT, SALT, Position::default(), 1);
        assert_eq!(bytes.len() as u64, expected);
        assert_eq!((entry.at, entry.total_bytes as usize), (at, bytes.len()));
        (bytes.to_vec(), places)
    }

    /// Reads a batch back as recovery does; `None` when anything in it is not sound.
    fn read(at: u32, bytes: &[u8]) -> Option<Vec<(u32, Given)>> {
        let (header, _) = BatchHeader::decode(bytes.first_chunk()?, SEGMENT, SALT, at).ok()?;
        let heads_end = (header.payload_at() - at) as usize;
        let heads = bytes.get(BATCH_HEADER_BYTES as usize..heads_end)?;
        let given = |raw: RawRecord<'_>| {
            let payload = match raw.payload {
                None => None,
                Some(payload) => {
                    let from = (payload.at - at) as usize;
                    let padded = bytes.get(from..from + payload.padded_bytes() as usize)?;
                    if !payload.is_sound(padded, SALT, raw.at) {
                        return None;
                    }
                    Some(padded[..payload.bytes as usize].to_vec())
                }
            };
            Some((raw.at, (raw.kind, raw.version, raw.body.to_vec(), payload)))
        };
        let records = decode_heads(&header, heads, SALT).ok()?;
        records.into_iter().map(given).collect()
    }

    proptest! {
        #[test]
        fn a_batch_is_read_as_it_was_built(given in given(), place in 64u32..10_000) {
            let at = place * 8;
            let (bytes, places) = build(at, &given);
            let expected: Vec<_> = places.into_iter().zip(given).collect();
            prop_assert_eq!(read(at, &bytes), Some(expected));
        }

        #[test]
        fn a_batch_with_any_bit_flipped_is_not_believed(given in given(), bit in any::<prop::sample::Index>()) {
            let (mut bytes, _) = build(512, &given);
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            prop_assert_eq!(read(512, &bytes), None);
        }

        #[test]
        fn a_batch_in_another_place_is_not_believed(given in given()) {
            let (bytes, _) = build(512, &given);
            prop_assert_eq!(read(1024, &bytes), None);
        }

        #[test]
        fn garbage_is_refused_and_never_panics(bytes in vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(read(512, &bytes), None);
        }
    }
}
