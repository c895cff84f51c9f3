//! Forwards an open transfer to the next in its chain.

use std::sync::Arc;

use consign_core::consumer::Event;
use consign_core::ids::Incarnation;

use crate::net::shared::Shared;
use crate::net::tasks::contained;

use super::super::links::Links;
use super::super::outflow::{Target, outflow};
use super::super::staged::Reading;
use super::ForwardOrder;

/// One forward. Whoever drops its run ends it without a report.
pub(super) struct Forward {
    pub(super) shared: Arc<Shared>,
    pub(super) links: Arc<Links>,
    /// The staging file.
    pub(super) reading: Reading,
    /// The producer's.
    pub(super) incarnation: Incarnation,
    pub(super) order: ForwardOrder,
}

impl Forward {
    /// Runs until the next has everything, or is lost, which is reported.
    pub(super) async fn run(self) {
        let order = self.order;
        let target = Target {
            node: order.to.clone(),
            addr: order.addr,
            producer: order.slot.producer.clone(),
            incarnation: self.incarnation,
            leg: order.to_leg,
            from: order.from,
        };
        let sent = contained(outflow(&self.links, &self.reading.0, target)).await;
        let reason = match sent {
            Ok(Ok(())) => return,
            Ok(Err(fault)) => fault.to_string(),
            Err(panicked) => panicked.to_string(),
        };
        let lost = Event::ForwardLost {
            slot: order.slot,
            attempt: order.attempt,
            to: order.to,
            reason,
        };
        self.shared.tell_consumer(lost).await;
    }
}
