//! What is started next, and what is sent together.
//!
//! Small files go before large ones and have windows of their own, so a large file is never in
//! front of a small one. What waits for one consumer waits in that consumer's own queues, so that
//! it delays nobody else's files.

use crate::ids::{NodeName, TransferKey};
use crate::limits;
use crate::planted::{Planted, planted};
use crate::producer::dormant::{Dormant, Rest};
use crate::producer::state::Stage;
use crate::producer::window::Load;
use crate::producer::{Effect, Producer, Then};
use crate::ranges::{RangeSet, SlotRange};
use crate::record::{Record, Transfers};
use crate::wire::{Hop, Message, SmallCommit, SmallQuery};

impl Producer {
    pub(super) fn pump(&mut self) {
        let ready: Vec<NodeName> = self
            .destinations
            .0
            .iter()
            .filter(|(_, d)| d.ready(self.now))
            .map(|(node, _)| node.clone())
            .collect();
        if ready.is_empty() {
            return;
        }
        for node in &ready {
            self.pump_blocked(node);
            self.pump_parked(node);
        }
        for small in [true, false] {
            self.pump_fresh(small);
        }
    }

    fn pump_blocked(&mut self, node: &NodeName) {
        let share = self.window.share(true);
        loop {
            let Some(destination) = self.destinations.get_mut(node) else {
                return;
            };
            if !destination.has_room(true, share) {
                return;
            }
            let Some(key) = destination.blocked.pop_front() else {
                return;
            };
            if self.stage_of(key) == Some(&Stage::Queued) {
                self.consider(key);
            }
        }
    }

    fn pump_parked(&mut self, node: &NodeName) {
        for small in [true, false] {
            // Those that are fetched now take their room only later; do not fetch more than fits.
            let mut fetched = 0;
            let share = self.window.share(small);
            while fetched < share.min(limits::SMALL_FRAME_FILES_MAX) && self.window_has_room(small)
            {
                let Some(destination) = self.destinations.get_mut(node) else {
                    return;
                };
                if !destination.has_room(small, share) {
                    break;
                }
                let Some(turn) = destination.first_parked(small, self.now) else {
                    break;
                };
                destination.unpark(&turn);
                let key = self.queue.key(turn);
                fetched += 1;
                self.fetch(key);
            }
        }
    }

    fn pump_fresh(&mut self, small: bool) {
        let mut order: Vec<(i32, u16)> = self
            .queue
            .feeds
            .iter()
            .enumerate()
            .filter(|(_, feed)| !feed.fresh.is_empty())
            .map(|(at, feed)| {
                (
                    feed.rules.as_ref().map_or(0, |r| -r.policy.priority),
                    at as u16,
                )
            })
            .collect();
        order.sort_unstable();
        for (_, at) in order {
            if !self.feed_can_start(at) {
                continue;
            }
            while self.window_has_room(small) {
                let Some(turn) = self.queue.first_fresh(at, small) else {
                    break;
                };
                self.queue.feeds[usize::from(at)].fresh.remove(&turn);
                let key = self.queue.key(turn);
                self.fetch(key);
            }
        }
    }

    /// Whether anybody who accepts the feed can be reached: until then its files wait unplaced, so
    /// that they spread over whoever comes.
    pub(super) fn feed_can_start(&self, feed: u16) -> bool {
        self.takers(&self.queue.feeds[usize::from(feed)].name)
            .any(|member| self.destinations.ready_for(&member.name, feed, self.now))
    }

    /// Asks for a transfer's records. From here on it counts as being in memory.
    pub(super) fn fetch(&mut self, key: TransferKey) {
        let Some(dormant) = self.queue.dormant.get(key) else {
            return;
        };
        if dormant.rest == Rest::Fetching {
            return;
        }
        let turn = self.queue.turn(key, &dormant);
        let feed = &mut self.queue.feeds[usize::from(dormant.feed)];
        feed.fresh.remove(&turn);
        let fetching = |dormant: &mut Dormant| dormant.rest = Rest::Fetching;
        self.queue.dormant.update(key, fetching);
        self.window.enter(match self.finished.contains_key(&key) {
            true => Load::Finished,
            false => Load::of_size(dormant.large),
        });
        // One that is being carried is on its way into memory, or will be read at its new place.
        if !self.carrying.contains_key(&key) {
            self.out.push(Effect::Fetch {
                key,
                submitted: dormant.submitted,
                placed: dormant.placed,
            });
        }
    }

    /// Sends what was gathered while one event was applied.
    pub(super) fn flush(&mut self) {
        for (route, files) in std::mem::take(&mut self.outgoing) {
            let route = route.iter().map(|node| self.hop(node)).collect();
            self.out.push(Effect::SendSmalls { route, files });
        }
        for ((node, start), slots) in std::mem::take(&mut self.queries) {
            for slots in slots.parts() {
                self.send(
                    &node,
                    Message::SmallQuery(SmallQuery {
                        slot_start: start.0,
                        slots,
                    }),
                );
            }
        }
        for ((node, start), slots) in std::mem::take(&mut self.commits) {
            for slots in slots.parts() {
                self.send(
                    &node,
                    Message::SmallCommit(SmallCommit {
                        slot_start: start.0,
                        slots,
                    }),
                );
            }
        }
        let done = std::mem::take(&mut self.done);
        if !done.is_empty() {
            for (start, seqs) in by_start(&done) {
                self.append(Record::Done(Transfers {
                    start: start.0,
                    seqs,
                    at: self.now.0,
                    reason: String::new(),
                }));
            }
            if planted(Planted::ReleaseBeforeSync) {
                return self.release(&done);
            }
            self.journal.when_synced(Then::Release(done));
        }
    }

    pub(super) fn hop(&self, node: &NodeName) -> Hop {
        Hop {
            node: node.as_str().to_owned(),
            addr: self.address_of(node),
        }
    }

    pub(super) fn address_of(&self, node: &NodeName) -> String {
        self.view
            .member(node)
            .map(|m| m.addr.clone())
            .unwrap_or_default()
    }
}

/// Transfers by their start, as ranges of sequences, in parts that fit in a record.
pub(super) fn by_start(keys: &[TransferKey]) -> Vec<(crate::ids::Start, Vec<SlotRange>)> {
    let mut sets: std::collections::BTreeMap<_, RangeSet> = std::collections::BTreeMap::new();
    for key in keys {
        sets.entry(key.start).or_default().insert(key.seq.0);
    }
    let parts =
        |(start, set): (_, RangeSet)| -> Vec<_> { set.parts().map(|part| (start, part)).collect() };
    sets.into_iter().flat_map(parts).collect()
}
