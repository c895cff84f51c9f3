//! Carries out what the consumer wants done.

use std::sync::Arc;

use consign_core::consumer::{Effect, Event};

use crate::net::{ForwardOrder, SealOrder};

use super::{Driver, Worked, now};
use crate::log_writer::{Order, Role};

impl Driver {
    pub(super) fn consume(&mut self, event: Event) {
        let effects = self.consumer.apply(now(), event);
        self.carry_out_consumer(effects);
    }

    pub(super) fn carry_out_consumer(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append(_, record, payload) => {
                    self.log
                        .order(Order::Append(Role::Consumer, record, payload));
                }
                Effect::Admit { node, session } => self.net.admit(&node, session),
                Effect::Reject {
                    node,
                    session,
                    seen,
                } => self.net.reject(&node, session, seen),
                Effect::Send {
                    to,
                    session,
                    message,
                } => self.net.send(&to, session, &message),
                Effect::OpenInflow(order) => {
                    if let Some(inbox) = self.inboxes.get(&order.feed) {
                        self.net.open_inflow(order, Arc::clone(&inbox.disk));
                    }
                }
                Effect::CloseInflow(slot) => self.net.close_inflow(&slot),
                Effect::Forward {
                    slot,
                    attempt,
                    to,
                    addr,
                    from,
                    to_leg,
                } => {
                    self.net.forward(ForwardOrder {
                        slot,
                        attempt,
                        to,
                        addr,
                        from,
                        to_leg,
                    });
                }
                Effect::Seal {
                    slot,
                    feed,
                    staging,
                    path,
                    attributes,
                } => {
                    if let Some(inbox) = self.inboxes.get(&feed) {
                        let order = SealOrder {
                            slot,
                            staging,
                            path,
                            attributes,
                        };
                        self.net.seal(order, Arc::clone(&inbox.disk));
                    }
                }
                Effect::Look(files) => {
                    let inboxes = Arc::clone(&self.inboxes);
                    self.work(move || Worked::Consumer(inboxes.look(&files)));
                }
                Effect::Stage(orders) => {
                    let (inboxes, payloads) =
                        (Arc::clone(&self.inboxes), Arc::clone(&self.log.payloads));
                    self.work(move || fatal_or(inboxes.stage(&orders, &payloads)));
                }
                Effect::Publish(orders) => {
                    let inboxes = Arc::clone(&self.inboxes);
                    self.work(move || fatal_or(inboxes.publish(&orders)));
                }
                Effect::Discard {
                    slot,
                    feed,
                    staging,
                } => {
                    self.net.close_inflow(&slot);
                    let inboxes = Arc::clone(&self.inboxes);
                    self.work(move || {
                        inboxes.discard(&feed, &staging);
                        Worked::Nothing
                    });
                }
                Effect::Forgotten { token, known } => self.on_forgotten(token, known),
                Effect::NeedsFrom { segment } => self.consumer_needs(segment),
            }
        }
    }
}

fn fatal_or(outcome: Result<Event, consign_core::publish::SyncFailed>) -> Worked {
    match outcome {
        Ok(event) => Worked::Consumer(event),
        Err(error) => Worked::Fatal(error.to_string()),
    }
}
