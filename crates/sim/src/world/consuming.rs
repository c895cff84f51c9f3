//! A consumer's effects.

use consign_core::consumer::Effect;

use super::World;
use super::flow::{NewFlow, Origin};
use super::happening::Work;
use super::log::Owner;
use crate::coverage::{self, Subject};

impl World {
    pub(super) fn consumer_effects(&mut self, node: usize, effects: Vec<Effect>) {
        for effect in effects {
            if !self.lives(node) {
                return;
            }
            self.line(|| format!("{} C> {effect:?}", self.nodes[node].name));
            let number = coverage::consumer_effect(&effect);
            self.coverage.hit(Subject::ConsumerEffect, number);
            self.consumer_effect(node, effect);
        }
    }

    fn consumer_effect(&mut self, node: usize, effect: Effect) {
        let delay = self.disk_time(node);
        match effect {
            Effect::Append(ticket, record, payload) => {
                self.append(node, Owner::Consumer, ticket, record, payload);
            }
            Effect::Admit { session, .. } => self.admit(session),
            Effect::Reject { session, .. } => self.reject(session),
            Effect::Send {
                session, message, ..
            } => {
                self.check_word(node, session.0, &message);
                self.send(session, false, message);
            }
            Effect::OpenInflow(order) => self.order_inflow(node, order),
            Effect::CloseInflow(slot) => self.close_inflow(node, &slot),
            Effect::Forward {
                slot,
                attempt,
                to,
                from,
                to_leg,
                ..
            } => {
                let Some((incarnation, size, chunk_bytes)) = self.inflow_shape(node, &slot) else {
                    return;
                };
                self.begin_flow(NewFlow {
                    from: node,
                    to,
                    origin: Origin::Inflow(slot.clone()),
                    producer: slot.producer,
                    incarnation,
                    leg: to_leg,
                    attempt,
                    first: from,
                    size,
                    chunk_bytes,
                });
            }
            Effect::Seal {
                slot,
                feed,
                staging,
                path,
                attributes,
            } => {
                let seal = Work::Seal {
                    slot,
                    feed,
                    staging,
                    path,
                    attributes,
                };
                let delay = self.sync_time(node, 3);
                self.do_after(node, delay, seal);
            }
            Effect::Look(files) => {
                let delay = self.sync_time(node, 6);
                self.do_after(node, delay, Work::Look(files));
            }
            Effect::Stage(orders) => self.do_after(node, delay, Work::Stage(orders)),
            Effect::Publish(orders) => self.do_after(node, delay, Work::Publish(orders)),
            Effect::Discard {
                slot,
                feed,
                staging,
            } => self.discard(node, &slot, &feed, &staging),
            Effect::Forgotten { token, .. } => drop(self.forgotten(node, token)),
            Effect::NeedsFrom { segment } => self.life(node).needs[1] = segment,
        }
    }
}
