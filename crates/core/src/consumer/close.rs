//! Slots that are over: abandoned, closed by their producer, forgotten.

use crate::consumer::answer::{key_of, slot_of, slot_record};
use crate::consumer::state::{Body, Entry, SlotState, staging_name};
use crate::consumer::{Consumer, Effect, Then, Wanted};
use crate::ids::{Attempt, Fence, NodeName, Slot, SlotId, Start};
use crate::limits;
use crate::log::{Payload, Position};
use crate::planted::{Planted, planted};
use crate::producer::Token;
use crate::record::{PeerSeen, Record, SlotAbandoned, SlotsClosed};
use crate::spec::FileSpec;
use crate::wire::{Abandoned, Closed, Leg, Message, OpenStarts};

/// Ranges of closed slots above the low watermark that are remembered as such.
pub(super) const CLOSED_RANGES_MAX: usize = 16 << 10;

impl Consumer {
    pub(super) fn on_abandon(&mut self, from: &NodeName, leg: Leg) {
        let slot = slot_of(from, &leg);
        let incarnation = self.peers[from].incarnation;
        if self.is_closed(from, slot.start, slot.slot) {
            return self.send(from, Message::Abandoned(Abandoned { leg }));
        }
        let fence = Fence {
            incarnation,
            attempt: Attempt(leg.attempt),
        };
        match self.entry(&slot).map(|entry| entry.state.clone()) {
            Some(SlotState::Abandoned) => {
                return self.send_when_synced(from, Message::Abandoned(Abandoned { leg }));
            }
            // It is about to say `saved`, or has: an extra copy, and no error.
            Some(SlotState::Saving { .. }) => return,
            Some(state) => {
                if let Some((_, at)) = state.saved() {
                    return self.tell_saved(from, slot.start, &[slot.slot], at);
                }
                let entry = self.entry_mut(&slot).expect("looked up above");
                if fence < entry.fence {
                    return;
                }
                entry.fence = fence;
                entry.become_(SlotState::Abandoned);
                entry.shut();
                let (feed, staging, large) =
                    (entry.feed(), entry.staging.clone(), entry.is_large());
                entry.body = Body::None;
                self.receiving.remove(&slot);
                self.unpromise(&slot);
                let large = large && !planted(Planted::StagingNotDiscarded);
                if let Some(feed) = feed.filter(|_| large) {
                    self.out.push(Effect::Discard {
                        slot: slot.clone(),
                        feed,
                        staging,
                    });
                }
            }
            // It must be remembered all the same: its bytes may still be on their way.
            None => {
                // Unanswered it is asked again, on the next connection.
                if !self.can_remember(from, slot.start) {
                    return;
                }
                let entry = Entry {
                    key: key_of(&leg),
                    spec: FileSpec::default(),
                    fence,
                    state: SlotState::Abandoned,
                    body: Body::None,
                    staging: staging_name(&slot),
                    closed: false,
                    recorded: None,
                    live_bytes: 0,
                };
                self.table(from, slot.start)
                    .entries
                    .insert(slot.slot, entry);
            }
        }
        let record = SlotAbandoned {
            slot: slot_record(&slot),
            incarnation: fence.incarnation.0,
            attempt: fence.attempt.0,
            at: self.now.0,
        };
        self.append_with(
            Record::SlotAbandoned(record),
            Payload::None,
            Wanted::Entry(slot),
        );
        self.send_when_synced(from, Message::Abandoned(Abandoned { leg }));
    }

    fn unpromise(&mut self, slot: &SlotId) {
        self.promised.retain(|_, holder| holder != slot);
    }

    pub(super) fn on_closed(&mut self, from: &NodeName, closed: &Closed) {
        let start = Start(closed.slot_start);
        if closed.low == u64::MAX
            && let Some(peer) = self.peers.get_mut(from)
            && let Some(open) = &mut peer.open_starts
        {
            open.remove(&start);
        }
        // What is not remembered as closed was never opened here either.
        if !self.can_remember_start(from, start) {
            return;
        }
        let table = self.table(from, start);
        let before = (table.low, table.closed.len());
        table.low = table.low.max(closed.low);
        for range in &closed.slots {
            // Remembering a closed slot for longer than needed is harmless, a record too large for
            // the log is not.
            if table.closed.range_count() < CLOSED_RANGES_MAX {
                table.closed.insert_range(range.from, range.to);
            }
        }
        let low = table.low;
        table.closed.remove_below(low);
        if (table.low, table.closed.len()) == before {
            return;
        }
        self.write_closed(from, start, false);
        self.drop_closed(from, start);
    }

    /// Every start that is not among these is over.
    pub(super) fn on_open_starts(&mut self, from: &NodeName, open: &OpenStarts) {
        // More than can be remembered are no hint at all which of them are over.
        if open.starts.len() > limits::STARTS_PER_PRODUCER_MAX {
            return;
        }
        let Some(peer) = self.peers.get_mut(from) else {
            return;
        };
        peer.open_starts = Some(open.starts.iter().copied().map(Start).collect());
        let over: Vec<Start> = peer
            .tables
            .keys()
            .filter(|start| !open.starts.contains(&start.0))
            .copied()
            .collect();
        for start in over {
            self.close_start(from, start);
        }
    }

    fn close_start(&mut self, from: &NodeName, start: Start) {
        let table = self.table(from, start);
        if table.low != u64::MAX {
            table.low = u64::MAX;
            table.closed = crate::ranges::RangeSet::new();
            self.write_closed(from, start, true);
        }
        self.drop_closed(from, start);
    }

    pub(super) fn write_closed(&mut self, node: &NodeName, start: Start, gone: bool) {
        let table = self.table(node, start);
        let record = SlotsClosed {
            producer: node.as_str().to_owned(),
            start: start.0,
            low: table.low,
            closed: table.closed.ranges().collect(),
            gone,
        };
        // Nothing waits for this sync: a crash before it remembers more than it must.
        let wanted = Wanted::Table(node.clone(), start);
        self.append_with(Record::SlotsClosed(record), Payload::None, wanted);
    }

    /// Forgets closed slots that are over, and gives up those that never came to anything.
    fn drop_closed(&mut self, node: &NodeName, start: Start) {
        let table = self.table(node, start);
        let closed: Vec<Slot> = table
            .entries
            .keys()
            .filter(|slot| table.is_closed(**slot))
            .copied()
            .collect();
        for slot in closed {
            let id = SlotId {
                producer: node.clone(),
                start,
                slot,
            };
            let entry = self.entry_mut(&id).expect("just listed");
            entry.closed = true;
            let promised =
                entry.state.saved().is_some() || matches!(entry.state, SlotState::Saving { .. });
            if !promised && entry.state != SlotState::Abandoned {
                entry.become_(SlotState::Abandoned);
                let (feed, staging, large) =
                    (entry.feed(), entry.staging.clone(), entry.is_large());
                self.receiving.remove(&id);
                self.unpromise(&id);
                if let Some(feed) = feed.filter(|_| large) {
                    self.out.push(Effect::Discard {
                        slot: id.clone(),
                        feed,
                        staging,
                    });
                }
            }
            self.forget_if_closed(&id);
        }
        self.forget_start_if_over(node, start);
    }

    /// What [`Planted::DeduplicateByTime`] does: a deduplication window of two seconds.
    pub(super) fn forget_by_age(&mut self) {
        let now = self.now;
        for slot in self.all_slots() {
            let entry = self.entry_mut(&slot).expect("just listed");
            if let SlotState::Published { at, .. } = entry.state
                && now.since(at) > 2_000
            {
                entry.closed = true;
                self.forget_if_closed(&slot);
            }
        }
    }

    /// A slot that is closed and over is only in the watermark from here on.
    pub(super) fn forget_if_closed(&mut self, slot: &SlotId) {
        let over = self
            .entry(slot)
            .is_some_and(|entry| entry.closed && entry.state.is_over());
        if !over {
            return;
        }
        let table = self.table(&slot.producer, slot.start);
        let entry = table.entries.remove(&slot.slot).expect("looked up above");
        let recorded = entry.recorded;
        if let Some(position) = recorded.filter(|_| !planted(Planted::ForgottenStaysLive)) {
            self.live.remove(position, entry.live_bytes);
        }
        self.forget_start_if_over(&slot.producer, slot.start);
    }

    fn forget_start_if_over(&mut self, node: &NodeName, start: Start) {
        let Some(peer) = self.peers.get_mut(node) else {
            return;
        };
        let over = peer
            .tables
            .get(&start)
            .is_some_and(|t| t.low == u64::MAX && t.entries.is_empty());
        if over && !planted(Planted::StartsNeverForgotten) {
            let table = peer.tables.remove(&start).expect("looked up above");
            if let Some(position) = table.recorded {
                self.live.remove(position, 0);
            }
        }
    }

    /// A producer is gone for good: what it left half done is given up, and of the rest only the
    /// slots' numbers are remembered, in a few ranges, once all that was saved is published. Should
    /// it be alive after all, what it offers again is not published twice; its next
    /// [`OpenStarts`] ends that memory.
    pub(super) fn on_forget(&mut self, token: Token, node: &NodeName) {
        let known = self.peers.contains_key(node);
        if known {
            self.close_peer(node);
        }
        self.journal.when_synced(Then::Forgotten { token, known });
    }

    fn close_peer(&mut self, node: &NodeName) {
        let Some(peer) = self.peers.get_mut(node) else {
            return;
        };
        // What of it is still on its way is of a life that this node has not heard of; and none that
        // a restart hears of, for as long as the log has an older word.
        peer.session = None;
        let starts: Vec<Start> = peer.tables.keys().copied().collect();
        if self.unsee(node) {
            self.append(Record::PeerSeen(PeerSeen {
                node: node.as_str().to_owned(),
                incarnation: 0,
            }));
        }
        for start in starts {
            self.table(node, start).close_all();
            self.write_closed(node, start, false);
            self.drop_closed(node, start);
        }
    }

    pub(super) fn note_table(&mut self, node: &NodeName, start: Start, position: Position) {
        let table = self
            .peers
            .get_mut(node)
            .and_then(|peer| peer.tables.get_mut(&start));
        if let Some(table) = table {
            if let Some(old) = table.recorded.replace(position) {
                self.live.remove(old, 0);
            }
            self.live.add(position, 0);
        }
    }

    /// A record of an entry is synced: the oldest that is needed is its first, or the one that
    /// carried it whole.
    pub(super) fn note_entry(&mut self, slot: &SlotId, position: Position, small: bool) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if small && let Body::Small { bytes_at } = &mut entry.body {
            *bytes_at = Some(position);
        }
        if entry.recorded.is_none() {
            entry.recorded = Some(position);
            let bytes = match &entry.body {
                Body::Small { .. } if entry.state.is_over() => 0,
                Body::Small { .. } => entry.spec.size,
                Body::Large { .. } | Body::None => 0,
            };
            entry.live_bytes = bytes;
            self.live.add(position, bytes);
        }
    }
}
