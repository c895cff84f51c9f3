//! What is over changes nothing (S6): messages of an older life, an older connection, or an older
//! attempt leave the machine that hears them as it was.

use consign_core::consumer;
use consign_core::ids::{Fence, SlotId, TransferKey};
use consign_core::producer::{self, Session};
use consign_core::wire::{Leg, Message};

use super::World;
use crate::ledger::Violation;
use crate::promise::Promise;

/// What a message could change at a consumer.
type Slots = Vec<(SlotId, consumer::state::SlotState, Fence)>;

impl World {
    fn slots_at(&self, node: usize) -> Slots {
        let life = self.nodes[node].life.as_ref();
        let entries = life.into_iter().flat_map(|life| life.consumer.entries());
        entries
            .map(|(slot, entry)| (slot, entry.state.clone(), entry.fence))
            .collect()
    }

    /// Gives a consumer an event; when `is_old`, one that must change nothing.
    pub(super) fn consume_heard(&mut self, node: usize, is_old: bool, event: consumer::Event) {
        let before = is_old.then(|| self.slots_at(node));
        self.consume(node, event);
        if let Some(before) = before
            && self.lives(node)
            && self.slots_at(node) != before
        {
            self.not_fenced(format!("{} heard what is over", self.nodes[node].name));
        }
    }

    /// Gives a producer a message of a consumer.
    pub(super) fn produce_heard(
        &mut self,
        node: usize,
        from: usize,
        session: Session,
        message: Message,
    ) {
        let older = leg_of(&message).filter(|leg| self.is_older(node, leg));
        let key = older.map(key_of);
        let before = key.and_then(|key| self.transfer_at(node, key));
        let from = self.name(from);
        self.produce(
            node,
            producer::Event::Message {
                from,
                session,
                message,
            },
        );
        if before.is_some() && key.and_then(|key| self.transfer_at(node, key)) != before {
            self.not_fenced(format!("{} heard an older attempt", self.nodes[node].name));
        }
    }

    /// Whether a message is about an older attempt than the one that is under way.
    fn is_older(&self, node: usize, leg: &Leg) -> bool {
        let life = self.nodes[node].life.as_ref();
        let transfer = life.and_then(|life| life.producer.transfer(key_of(*leg)));
        transfer.is_some_and(|transfer| {
            let under_way = transfer.legs.iter().any(|leg| leg.state.in_flight());
            under_way && leg.attempt < transfer.attempt.0
        })
    }

    /// How a transfer stands, in words.
    fn transfer_at(&self, node: usize, key: TransferKey) -> Option<String> {
        let life = self.nodes[node].life.as_ref()?;
        let transfer = life.producer.transfer(key)?;
        Some(format!("{:?} {:?}", transfer.stage, transfer.legs))
    }

    fn not_fenced(&mut self, what: String) {
        self.violate(Violation {
            promise: Promise::Fenced,
            what,
            file: None,
        });
    }
}

fn key_of(leg: Leg) -> TransferKey {
    TransferKey {
        start: consign_core::ids::Start(leg.start),
        seq: consign_core::ids::Sequence(leg.seq),
    }
}

/// The leg of a message that counts only under the attempt that it names. Who refuses, or has saved
/// or abandoned something, says so for good.
fn leg_of(message: &Message) -> Option<Leg> {
    match message {
        Message::OpenAnswer(answer) => Some(answer.leg),
        Message::Progress(progress) => Some(progress.leg),
        Message::Received(received) => Some(received.leg),
        Message::LinkLost(lost) => Some(lost.leg),
        _ => None,
    }
}
