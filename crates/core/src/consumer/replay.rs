//! After a restart: from the log's records to where the last life left off.

use std::collections::BTreeSet;

use crate::consumer::Consumer;
use crate::consumer::Effect;
use crate::consumer::state::{Body, Entry, SlotState};
use crate::ids::{
    Attempt, Digest, FeedName, Fence, Incarnation, Millis, NodeName, Sequence, Slot, SlotId, Start,
    TransferKey,
};
use crate::log::Position;
use crate::planted::{Planted, planted};
use crate::ranges::{RangeSet, SlotRange};
use crate::record::{
    self, InboxMarked, Publishing, Record, SlotCarried, SlotRecord, Slots, SlotsClosed, Watermark,
};
use crate::tree;
use crate::view::MemberState;

impl Consumer {
    /// Takes in one record of the log; in order, before [`Consumer::begin`]. The records that name
    /// this life's inboxes come last, once they are logged.
    pub fn replay(&mut self, position: Position, record: &Record) {
        self.me.incarnation = self.me.incarnation.max(record.incarnation_min());
        match record {
            Record::PeerSeen(seen) => {
                let Ok(node) = NodeName::new(&seen.node) else {
                    return;
                };
                if seen.incarnation == 0 {
                    self.unsee(&node);
                    return;
                }
                let peer = self.peers.entry(node.clone()).or_default();
                peer.incarnation = peer.incarnation.max(Incarnation(seen.incarnation));
                self.note_peer(&node, position);
            }
            Record::Opened(opened) => self.replay_opened(position, opened),
            Record::Watermark(watermark) => self.replay_watermark(watermark),
            Record::SmallReceived(received) => self.replay_small(position, received),
            Record::SmallSaved(slots) => self.replay_small_saved(slots),
            Record::Publishing(publishing) => self.replay_publishing(publishing),
            Record::Published(slots) => self.replay_published(slots),
            Record::SlotAbandoned(abandoned) => self.replay_abandoned(position, abandoned),
            Record::SlotsClosed(closed) => self.replay_closed(position, closed),
            Record::SlotCarried(carried) => self.replay_carried(position, carried),
            Record::InboxMarked(marked) => self.replay_inbox(marked),
            Record::StandingSet(set) => {
                self.standing = MemberState::from_number(set.state).unwrap_or(self.standing);
            }
            // The producer's, and the node's own.
            Record::Boot(_)
            | Record::Outlived(_)
            | Record::Reconciled(_)
            | Record::ViewSeen(_)
            | Record::Forgotten(_)
            | Record::PeerStanding(_)
            | Record::PeerLog(_)
            | Record::Claiming(_)
            | Record::Unclaimed(_)
            | Record::Submitted(_)
            | Record::Placed(_)
            | Record::AttemptStarted(_)
            | Record::Hashed(_)
            | Record::DigestKnown(_)
            | Record::LegsSettled(_)
            | Record::Done(_)
            | Record::Released(_)
            | Record::Failed(_)
            | Record::Retried(_)
            | Record::Cancelled(_) => {}
        }
    }

    /// Puts an entry in its place; one that is there already keeps its state but for the fence.
    fn replay_entry(&mut self, position: Position, slot: &SlotId, entry: Entry) {
        let bytes = match entry.body {
            Body::Small { .. } if !entry.state.is_over() => entry.spec.size,
            Body::Small { .. } | Body::Large { .. } | Body::None => 0,
        };
        let table = self.table(&slot.producer, slot.start);
        if let Some(old) = table.entries.get_mut(&slot.slot) {
            old.fence = old.fence.max(entry.fence);
            return;
        }
        table.entries.insert(
            slot.slot,
            Entry {
                recorded: Some(position),
                live_bytes: bytes,
                ..entry
            },
        );
        self.live.add(position, bytes);
    }

    fn replay_opened(&mut self, position: Position, opened: &record::Opened) {
        let Some(slot) = slot_of(&opened.slot) else {
            return;
        };
        let body = Body::Large {
            chunk_bytes: opened.chunk_bytes,
            synced: 0,
            hashes: Vec::new(),
            written: 0,
            fence_synced: false,
            open: None,
            let_go: None,
        };
        let entry = Entry {
            key: TransferKey {
                start: Start(opened.start),
                seq: Sequence(opened.seq),
            },
            spec: opened.spec.clone(),
            fence: fence_of(opened.incarnation, opened.attempt),
            state: SlotState::Receiving,
            body,
            staging: opened.staging.clone(),
            closed: false,
            recorded: None,
            live_bytes: 0,
        };
        self.replay_entry(position, &slot, entry);
    }

    /// A watermark speaks of the file in the staging directory that was in use when it was logged. In
    /// another one, and also in the first when that comes back, the file begins anew.
    fn replay_inbox(&mut self, marked: &InboxMarked) {
        let Ok(feed) = FeedName::new(&marked.feed) else {
            return;
        };
        let before = self.staged_in.insert(feed, marked.marker.clone());
        if before.is_none_or(|before| before == marked.marker) {
            return;
        }
        let tables = self
            .peers
            .values_mut()
            .flat_map(|peer| peer.tables.values_mut());
        for entry in tables.flat_map(|table| table.entries.values_mut()) {
            if let Body::Large {
                synced,
                hashes,
                written,
                ..
            } = &mut entry.body
                && entry.state == SlotState::Receiving
                && entry.spec.feed == marked.feed
            {
                (*synced, *written) = (0, 0);
                hashes.clear();
            }
        }
    }

    fn replay_watermark(&mut self, watermark: &Watermark) {
        let Some(entry) = slot_of(&watermark.slot).and_then(|slot| self.entry_mut(&slot)) else {
            return;
        };
        let Body::Large {
            synced,
            hashes,
            written,
            ..
        } = &mut entry.body
        else {
            return;
        };
        let at = usize::try_from(watermark.first_chunk)
            .unwrap_or(usize::MAX)
            .saturating_mul(tree::CHUNK_HASH_BYTES);
        // It falls back only to nothing, when the file begins anew. What else says less than is known
        // is a part of what was carried forward, and the rest may not have become durable.
        let is_part = watermark.offset > 0 && watermark.offset <= *synced;
        if at <= hashes.len() && !is_part && !planted(Planted::WatermarkGoneAtRestart) {
            hashes.truncate(at);
            hashes.extend_from_slice(&watermark.hashes);
            *synced = watermark.offset;
            *written = watermark.offset;
        }
    }

    fn replay_small(&mut self, position: Position, received: &record::SmallReceived) {
        let Some(slot) = slot_of(&received.slot) else {
            return;
        };
        let Some(digest) = Digest::from_slice(&received.digest) else {
            return;
        };
        let entry = Entry {
            key: TransferKey {
                start: Start(received.start),
                seq: Sequence(received.seq),
            },
            spec: received.spec.clone(),
            fence: fence_of(received.incarnation, received.attempt),
            state: SlotState::Received { digest },
            body: Body::Small {
                bytes_at: Some(position),
            },
            staging: super::state::staging_name(&slot),
            closed: false,
            recorded: None,
            live_bytes: 0,
        };
        self.replay_entry(position, &slot, entry);
    }

    fn replay_small_saved(&mut self, slots: &Slots) {
        for slot in slots_of(&slots.producer, slots.start, &slots.slots) {
            if let Some(entry) = self.entry_mut(&slot)
                && let SlotState::Received { digest } = entry.state
            {
                entry.state = SlotState::Saved {
                    digest,
                    at: Millis(slots.at),
                };
            }
        }
    }

    fn replay_publishing(&mut self, publishing: &Publishing) {
        for file in &publishing.files {
            let Some(slot) = slot_of(&file.slot) else {
                continue;
            };
            let Some(digest) = Digest::from_slice(&file.digest) else {
                continue;
            };
            let Some(entry) = self.entry_mut(&slot) else {
                continue;
            };
            let at = entry
                .state
                .saved()
                .map_or(Millis(publishing.at), |(_, at)| at);
            if planted(Planted::IntentIsDeed) && !entry.state.is_over() {
                entry.state = SlotState::Published { digest, at };
                self.replay_payload_gone(&slot);
            } else if !entry.state.is_over() {
                entry.state = SlotState::Publishing {
                    digest,
                    at,
                    path: file.path.clone(),
                };
            }
        }
    }

    fn replay_published(&mut self, slots: &Slots) {
        for slot in slots_of(&slots.producer, slots.start, &slots.slots) {
            let Some(entry) = self.entry_mut(&slot) else {
                continue;
            };
            let Some((digest, at)) = entry.state.saved() else {
                continue;
            };
            entry.state = SlotState::Published { digest, at };
            self.replay_payload_gone(&slot);
            self.forget_if_closed(&slot);
        }
    }

    fn replay_payload_gone(&mut self, slot: &SlotId) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let (recorded, bytes) = (entry.recorded, std::mem::take(&mut entry.live_bytes));
        if let Some(position) = recorded {
            self.live.remove(position, bytes);
            self.live.add(position, 0);
        }
    }

    fn replay_abandoned(&mut self, position: Position, abandoned: &record::SlotAbandoned) {
        let Some(slot) = slot_of(&abandoned.slot) else {
            return;
        };
        let fence = fence_of(abandoned.incarnation, abandoned.attempt);
        if self.entry(&slot).is_some() {
            self.replay_payload_gone(&slot);
            let entry = self.entry_mut(&slot).expect("looked up above");
            entry.fence = entry.fence.max(fence);
            entry.state = SlotState::Abandoned;
            entry.body = Body::None;
            return;
        }
        let entry = Entry {
            key: TransferKey {
                start: Start(0),
                seq: Sequence(0),
            },
            spec: crate::spec::FileSpec::default(),
            fence,
            state: SlotState::Abandoned,
            body: Body::None,
            staging: super::state::staging_name(&slot),
            closed: false,
            recorded: None,
            live_bytes: 0,
        };
        self.replay_entry(position, &slot, entry);
    }

    fn replay_closed(&mut self, position: Position, closed: &SlotsClosed) {
        let Ok(node) = NodeName::new(&closed.producer) else {
            return;
        };
        let start = Start(closed.start);
        let table = self.table(&node, start);
        // Each record says all of it. One that says less than the one before is of a start that was
        // forgotten between them, and of which the producer spoke once more.
        table.low = match closed.gone {
            true => u64::MAX,
            false => closed.low,
        };
        table.closed = RangeSet::from_ranges(&closed.closed);
        self.note_table(&node, start, position);
        let table = self.table(&node, start);
        let over: Vec<Slot> = table
            .entries
            .keys()
            .filter(|slot| table.is_closed(**slot))
            .copied()
            .collect();
        for slot in over {
            let id = SlotId {
                producer: node.clone(),
                start,
                slot,
            };
            let entry = self.entry_mut(&id).expect("just listed");
            entry.closed = true;
            if entry.state.saved().is_none() {
                entry.state = SlotState::Abandoned;
            }
            self.forget_if_closed(&id);
        }
        // A start that is over is forgotten at the next closing of it, or when the producer says
        // which ones are open.
    }

    fn replay_carried(&mut self, position: Position, carried: &SlotCarried) {
        let Some(slot) = slot_of(&carried.slot) else {
            return;
        };
        // It replaces whatever earlier records said.
        let table = self.table(&slot.producer, slot.start);
        let old = table.entries.remove(&slot.slot);
        // The word that it is closed may come from a record before this one.
        let closed = table.is_closed(slot.slot) || old.as_ref().is_some_and(|entry| entry.closed);
        if let Some(old) = &old
            && let Some(recorded) = old.recorded
        {
            self.live.remove(recorded, old.live_bytes);
        }
        if let Some(small) = &carried.small {
            self.replay_small(position, small);
        } else if let Some(opened) = &carried.opened {
            self.replay_opened(position, opened);
        }
        if let Some(watermark) = &carried.watermark {
            // Where its hashes are too many for one record, this one has none and they follow in
            // others; a crash between them leaves what the older records said.
            if let Some(entry) = self.entry_mut(&slot)
                && let Some(old @ Body::Large { .. }) = old.map(|old| old.body)
            {
                entry.body = old;
            }
            if watermark.offset > 0 {
                self.replay_watermark(watermark);
            }
        }
        let digest = Digest::from_slice(&carried.digest).unwrap_or_default();
        let at = Millis(carried.saved_at);
        if let Some(entry) = self.entry_mut(&slot) {
            entry.closed = closed;
            if let Some(publishing) = &carried.publishing {
                entry.state = SlotState::Publishing {
                    digest,
                    at,
                    path: publishing.path.clone(),
                };
            } else if carried.published {
                entry.state = SlotState::Published { digest, at };
            } else if carried.saved_at > 0 {
                entry.state = SlotState::Saved { digest, at };
            }
        }
        if carried.published {
            self.replay_payload_gone(&slot);
        }
        if let Some(abandoned) = &carried.abandoned {
            self.replay_abandoned(position, abandoned);
        }
    }

    /// Goes on after the last record: what was saved is staged and published. Feeds in `lost` have
    /// another inbox than the one that their files were staged in: those files wait for a person,
    /// and no more are taken.
    ///
    /// Policies must have been given before.
    pub fn begin(&mut self, now: Millis, lost: BTreeSet<FeedName>) -> Vec<Effect> {
        self.now = now;
        self.lost = lost;
        let mut publish = Vec::new();
        for slot in self.all_slots() {
            let entry = self.entry(&slot).expect("just listed");
            let (small, size, feed) = (!entry.is_large(), entry.spec.size, entry.feed());
            let homeless = self.homeless(&entry.spec);
            match entry.state.clone() {
                SlotState::Receiving => {
                    self.receiving.insert(slot);
                }
                SlotState::Saved { .. } => {
                    self.unpublished += 1;
                    self.unpublished_bytes += size;
                    self.to_stage.push_back(slot);
                }
                SlotState::Publishing { path, .. } => {
                    if let Some(feed) = feed {
                        self.promised.insert((feed, path), slot.clone());
                    }
                    if let Some(why) = homeless {
                        self.name_problem(&slot, why);
                        continue;
                    }
                    if small {
                        self.unpublished += 1;
                        self.unpublished_bytes += size;
                    }
                    publish.push(slot);
                }
                SlotState::Received { .. } | SlotState::Published { .. } | SlotState::Abandoned => {
                }
                SlotState::Checking { .. }
                | SlotState::Sealing { .. }
                | SlotState::Saving { .. }
                | SlotState::Staging { .. }
                | SlotState::Staged { .. } => {
                    unreachable!("{slot} was replayed to a state that no record says")
                }
            }
        }
        self.publish(publish);
        self.stage_next();
        self.tell_needed();
        std::mem::take(&mut self.out)
    }

    pub(super) fn all_slots(&self) -> Vec<SlotId> {
        let mut slots = Vec::new();
        for (producer, peer) in &self.peers {
            for (&start, table) in &peer.tables {
                slots.extend(table.entries.keys().map(|&slot| SlotId {
                    producer: producer.clone(),
                    start,
                    slot,
                }));
            }
        }
        slots
    }
}

fn fence_of(incarnation: u64, attempt: u32) -> Fence {
    Fence {
        incarnation: Incarnation(incarnation),
        attempt: Attempt(attempt),
    }
}

fn slot_of(record: &SlotRecord) -> Option<SlotId> {
    Some(SlotId {
        producer: NodeName::new(&record.producer).ok()?,
        start: Start(record.start),
        slot: Slot(record.slot),
    })
}

fn slots_of(producer: &str, start: u64, slots: &[SlotRange]) -> Vec<SlotId> {
    let Ok(producer) = NodeName::new(producer) else {
        return Vec::new();
    };
    RangeSet::from_ranges(slots)
        .iter()
        .map(|slot| SlotId {
            producer: producer.clone(),
            start: Start(start),
            slot: Slot(slot),
        })
        .collect()
}
