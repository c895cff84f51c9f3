//! Keeping the log short: what is live in its oldest segments is written anew, so that they can go.

use crate::consumer::answer::slot_record;
use crate::consumer::state::{Body, Entry, SlotState};
use crate::consumer::{Consumer, Effect, Wanted};
use crate::ids::{NodeName, SlotId, Start};
use crate::log::{Payload, Position};
use crate::record::{
    self, PeerSeen, PublishingFile, Record, SlotAbandoned, SlotCarried, Watermark,
};
use crate::tree::CHUNK_HASH_BYTES;

/// Chunk hashes in one record, which has to stay below its limit.
const HASHES_PER_RECORD: usize = 16 << 10;

impl Consumer {
    /// Tells the driver from where on the log is needed, when that has changed.
    pub(super) fn tell_needed(&mut self) {
        if let Some(segment) = self.live.news() {
            self.out.push(Effect::NeedsFrom { segment });
        }
    }

    pub(super) fn on_carry(&mut self, through: u32) {
        let old = |position: Option<Position>| position.is_some_and(|p| p.segment <= through);
        let mut peers: Vec<NodeName> = Vec::new();
        let mut tables: Vec<(NodeName, Start)> = Vec::new();
        let mut entries: Vec<SlotId> = Vec::new();
        for (node, peer) in &self.peers {
            if old(peer.recorded) {
                peers.push(node.clone());
            }
            for (start, table) in &peer.tables {
                if old(table.recorded) {
                    tables.push((node.clone(), *start));
                }
                let carried = table
                    .entries
                    .iter()
                    .filter(|(_, entry)| old(entry.recorded));
                entries.extend(carried.map(|(slot, _)| SlotId {
                    producer: node.clone(),
                    start: *start,
                    slot: *slot,
                }));
            }
        }
        for node in peers {
            let incarnation = self.peers[&node].incarnation.0;
            let seen = PeerSeen {
                node: node.as_str().to_owned(),
                incarnation,
            };
            self.append_with(Record::PeerSeen(seen), Payload::None, Wanted::Peer(node));
        }
        for (node, start) in tables {
            self.write_closed(&node, start, false);
        }
        for slot in entries {
            self.carry_entry(&slot);
        }
    }

    fn carry_entry(&mut self, slot: &SlotId) {
        let entry = self.entry(slot).expect("just listed");
        let mut record = self.carried(slot, entry);
        let payload = match entry.body {
            Body::Small {
                bytes_at: Some(position),
            } if !entry.state.is_over() => Payload::CopyOf(position),
            Body::Small { .. } | Body::Large { .. } | Body::None => Payload::None,
        };
        let small = matches!(payload, Payload::CopyOf(_));
        // From the new record's place on, this is the oldest one that is needed.
        let entry = self.entry_mut(slot).expect("looked up above");
        let (old, bytes) = (entry.recorded.take(), std::mem::take(&mut entry.live_bytes));
        if let Some(old) = old {
            self.live.remove(old, bytes);
        }
        let wanted = match small {
            true => Wanted::Small(slot.clone()),
            false => Wanted::Entry(slot.clone()),
        };
        let later = split_hashes(&mut record);
        self.append_with(Record::SlotCarried(record), payload, wanted);
        for watermark in later {
            self.append(Record::Watermark(watermark));
        }
    }

    fn carried(&self, slot: &SlotId, entry: &Entry) -> SlotCarried {
        let over = entry.state.is_over();
        let digest = entry.state.digest();
        let digest = digest.map_or_else(Vec::new, |digest| digest.0.to_vec());
        let small = matches!(entry.body, Body::Small { .. });
        let watermark = match &entry.body {
            Body::Large { synced, hashes, .. } if !over => Some(Watermark {
                slot: slot_record(slot),
                offset: *synced,
                first_chunk: 0,
                hashes: hashes.clone(),
            }),
            Body::Large { .. } | Body::Small { .. } | Body::None => None,
        };
        // What was appended before this record is synced if this record is: whoever is about to be
        // `saved`, or to be renamed, counts as being so.
        let publishing = match &entry.state {
            SlotState::Publishing { path, .. }
            | SlotState::Staged { path, .. }
            | SlotState::Saving {
                path: Some(path), ..
            } => Some(PublishingFile {
                slot: slot_record(slot),
                staging: entry.staging.clone(),
                path: path.clone(),
                digest: digest.clone(),
            }),
            _ => None,
        };
        let saved_at = match &entry.state {
            SlotState::Saving { .. } => self.now.0.max(1),
            state => state.saved().map_or(0, |(_, at)| at.0.max(1)),
        };
        SlotCarried {
            slot: slot_record(slot),
            opened: (!small).then(|| self.opened_record(slot, entry)),
            watermark,
            small: small.then(|| record::SmallReceived {
                slot: slot_record(slot),
                start: entry.key.start.0,
                seq: entry.key.seq.0,
                incarnation: entry.fence.incarnation.0,
                attempt: entry.fence.attempt.0,
                spec: entry.spec.clone(),
                digest: digest.clone(),
            }),
            saved_at,
            publishing,
            published: matches!(entry.state, SlotState::Published { .. }),
            abandoned: matches!(entry.state, SlotState::Abandoned).then(|| SlotAbandoned {
                slot: slot_record(slot),
                incarnation: entry.fence.incarnation.0,
                attempt: entry.fence.attempt.0,
                at: self.now.0,
            }),
            digest,
        }
    }
}

/// Moves what is too much for one record of a carried slot's chunk hashes into records of their own,
/// each with as much of the watermark as its hashes reach.
fn split_hashes(record: &mut SlotCarried) -> Vec<Watermark> {
    let chunk_bytes = record
        .opened
        .as_ref()
        .map_or(0, |opened| opened.chunk_bytes);
    let Some(watermark) = record.watermark.as_mut() else {
        return Vec::new();
    };
    if watermark.hashes.len() <= HASHES_PER_RECORD * CHUNK_HASH_BYTES {
        return Vec::new();
    }
    let (hashes, synced) = (std::mem::take(&mut watermark.hashes), watermark.offset);
    watermark.offset = 0;
    let slot = watermark.slot.clone();
    let parts = hashes
        .chunks(HASHES_PER_RECORD * CHUNK_HASH_BYTES)
        .enumerate();
    parts
        .map(|(at, hashes)| {
            let first_chunk = (at * HASHES_PER_RECORD) as u64;
            let end = first_chunk + (hashes.len() / CHUNK_HASH_BYTES) as u64;
            Watermark {
                slot: slot.clone(),
                offset: synced.min(end.saturating_mul(chunk_bytes)),
                first_chunk,
                hashes: hashes.to_vec(),
            }
        })
        .collect()
}
