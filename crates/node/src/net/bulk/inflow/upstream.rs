//! Who sends us a transfer, and what we say to him.

use std::sync::Arc;

use consign_core::ids::NodeName;
use consign_core::producer::Session;
use consign_core::wire::{Credit, Leg, Message, Stop};

use crate::net::conn::SendQueue;

/// The connection that a transfer arrives on.
#[derive(Debug, Clone)]
pub(in crate::net::bulk) struct Upstream {
    /// The node that sends.
    pub(in crate::net::bulk) node: NodeName,
    /// The connection.
    pub(in crate::net::bulk) session: Session,
    /// Where answers go.
    pub(in crate::net::bulk) send_queue: Arc<SendQueue>,
    /// Whose transfer it is.
    pub(in crate::net::bulk) producer: String,
    /// How the sender labels it.
    pub(in crate::net::bulk) leg: Leg,
}

impl Upstream {
    /// Grants credit.
    pub(super) fn credit(&self, through: u64, verified: u64) {
        self.send_queue.push(&Message::Credit(Credit {
            producer: self.producer.clone(),
            leg: self.leg,
            through,
            verified,
        }));
    }

    /// Takes no more.
    pub(in crate::net::bulk) fn stop(&self, reason: String) {
        self.send_queue.push(&Message::Stop(Stop {
            producer: self.producer.clone(),
            leg: self.leg,
            reason,
        }));
    }
}

/// Why bytes are not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::net::bulk) enum Refusal {
    /// They are not wanted: the sender is told, and the connection goes on.
    Stop(String),
    /// The sender breaks the rules: the connection ends.
    Violation(String),
}

/// What is said of a transfer that is not open.
pub(super) fn not_open() -> Refusal {
    Refusal::Stop("it is not open here; hint: the producer opens it again by itself".into())
}
