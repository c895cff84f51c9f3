//! What a consumer may be made to remember: bounded for each producer, so that none of them, however
//! broken or hostile, takes the memory that the others need.

use crate::consumer::inbox::No;
use crate::consumer::{Consumer, Peer};
use crate::ids::{NodeName, Slot, Start};
use crate::limits;
use crate::wire::RefusalCode;

impl Peer {
    /// Whether one more slot of a start can be remembered.
    fn has_room_for(&self, start: Start) -> bool {
        let known = self.tables.contains_key(&start);
        let slots: usize = self.tables.values().map(|table| table.entries.len()).sum();
        slots < limits::SLOTS_PER_PRODUCER_MAX
            && (known || self.tables.len() < limits::STARTS_PER_PRODUCER_MAX)
    }
}

impl Consumer {
    pub(super) fn is_closed(&self, producer: &NodeName, start: Start, slot: Slot) -> bool {
        let table = self.peers.get(producer).and_then(|p| p.tables.get(&start));
        slot.0 == u64::MAX || table.is_some_and(|table| table.is_closed(slot))
    }

    pub(super) fn can_remember(&self, producer: &NodeName, start: Start) -> bool {
        let peer = self.peers.get(producer);
        peer.is_none_or(|peer| peer.has_room_for(start))
    }

    /// Whether something may be said of a start: it is known, or may become so.
    pub(super) fn can_remember_start(&self, producer: &NodeName, start: Start) -> bool {
        self.peers.get(producer).is_none_or(|peer| {
            peer.tables.contains_key(&start) || peer.tables.len() < limits::STARTS_PER_PRODUCER_MAX
        })
    }

    /// A file that finds no place is tried again: slots close as the others are published.
    pub(super) fn place_for(&self, producer: &NodeName, start: Start) -> Result<(), No> {
        if self.can_remember(producer, start) {
            return Ok(());
        }
        let why = format!(
            "{} remembers as much of {producer} as it may, {} slots or {} starts; hint: if this lasts, check why {producer} closes none",
            self.me.node,
            limits::SLOTS_PER_PRODUCER_MAX,
            limits::STARTS_PER_PRODUCER_MAX
        );
        Err((RefusalCode::Busy, why))
    }
}
