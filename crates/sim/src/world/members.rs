//! Members that come, go, are drained, and change what they are.

use std::collections::BTreeSet;

use consign_core::ids::FeedName;
use consign_core::producer;
use consign_core::view::MemberState;

use super::faults::Aftermath;
use super::happening::End;
use super::node::Ask;
use super::{Happening, World};
use crate::ledger::Violation;
use crate::promise::Promise;

impl World {
    fn state_of(&self, node: usize) -> Option<MemberState> {
        let member = self.view.member(&self.nodes[node].name);
        member.map(|member| member.state)
    }

    /// Whether it has left for good.
    pub(super) fn has_left(&self, node: usize) -> bool {
        self.state_of(node) == Some(MemberState::Left)
    }

    /// A node is taken out of service: mostly by its own operator, else by who keeps the list.
    pub(super) fn drain(&mut self, node: usize) -> bool {
        if self.rng.one_in(3) {
            return self.list_as_draining(node);
        }
        if !self.lives(node) {
            return false;
        }
        self.order_standing(node, MemberState::Draining);
        let lasts = self.draw(4_000_000);
        self.after(lasts, Happening::Aftermath(Aftermath::TakeBack(node)));
        true
    }

    fn order_standing(&mut self, node: usize, state: MemberState) {
        let token = self.ask(node, Ask::Drain(state));
        self.produce(node, producer::Event::Drain { token, state });
    }

    /// Its operator takes a node back, again and again until it has answered.
    pub(super) fn take_back(&mut self, node: usize) {
        if self.nodes[node].gone {
            return;
        }
        if self.lives(node) {
            self.check_drained(node);
        }
        if self.lives(node) {
            let mut asks = self.life(node).asks.values();
            let unanswered = asks.any(|ask| matches!(ask, Ask::Drain(_)));
            if !unanswered && self.life(node).producer.standing() == MemberState::Active {
                return;
            }
            self.order_standing(node, MemberState::Active);
        }
        self.after_ms(400, Aftermath::TakeBack(node));
    }

    /// A node that says that it has drained is owed nothing by anybody who could still deliver.
    fn check_drained(&mut self, node: usize) {
        let life = self.life(node);
        let says_so =
            life.producer.standing() != MemberState::Active && life.consumer.owed_by().is_empty();
        if !says_so {
            return;
        }
        let name = self.name(node);
        let heard = self.life(node).consumer.producers();
        let living: Vec<usize> = (0..self.nodes.len())
            .filter(|&other| self.lives(other))
            .collect();
        for other in living {
            let known = heard
                .iter()
                .any(|(heard, _)| *heard == self.nodes[other].name);
            let destinations = self.life(other).producer.destinations();
            let owed = destinations
                .iter()
                .find(|d| d.node == name)
                .map_or(0, |d| d.owed);
            if known && owed > 0 {
                let what = format!(
                    "{name} has drained, and {} owes it {owed} file(s)",
                    self.nodes[other].name
                );
                self.violate(Violation {
                    promise: Promise::Drained,
                    what,
                    file: None,
                });
            }
        }
    }

    fn list_as_draining(&mut self, node: usize) -> bool {
        let active = self.state_of(node) == Some(MemberState::Active);
        if !active || self.plan.nodes[node].consumes.is_empty() {
            return false;
        }
        self.change_member(node, Some(MemberState::Draining));
        let lasts = self.draw(4_000_000);
        self.after(lasts, Happening::Aftermath(Aftermath::Undrain(node)));
        true
    }

    /// A member's share changes, down to nothing.
    pub(super) fn weigh(&mut self, node: usize) -> bool {
        self.nodes[node].weight = match self.rng.one_in(4) {
            true => 0,
            false => 1 + self.draw(500) as u32,
        };
        self.change_again(node)
    }

    pub(super) fn move_member(&mut self, node: usize) -> bool {
        self.nodes[node].zone = match self.rng.one_in(4) {
            true => None,
            false => Some(format!("z{}", self.draw(4))),
        };
        self.change_again(node)
    }

    /// A member is listed without one of its feeds: what is owed to it goes elsewhere. Mostly not for
    /// long, so that it is wanted again before it has answered for what was taken from it.
    pub(super) fn unlist(&mut self, node: usize) -> bool {
        let consumes = self.plan.nodes[node].consumes.clone();
        let nth = self.draw(consumes.len() as u64) as usize;
        let Some(&feed) = consumes.get(nth) else {
            return false;
        };
        self.nodes[node].unlisted.insert(feed);
        let most_ms = match self.rng.one_in(2) {
            true => 4_000,
            false => 400,
        };
        self.after_ms(most_ms, Aftermath::List(node));
        self.change_again(node)
    }

    pub(super) fn list(&mut self, node: usize) {
        if !std::mem::take(&mut self.nodes[node].unlisted).is_empty() {
            self.change_again(node);
        }
    }

    /// The feeds that members are told a node consumes.
    pub(super) fn listed(&self, node: usize) -> BTreeSet<FeedName> {
        let unlisted = &self.nodes[node].unlisted;
        let feeds = self.plan.nodes[node].consumes.iter();
        let listed = feeds.filter(|feed| !unlisted.contains(feed));
        listed
            .map(|&feed| FeedName::new(&self.plan.feeds[feed].name).expect("a clean name"))
            .collect()
    }

    /// A member's description changes, and not its state.
    pub(super) fn change_again(&mut self, node: usize) -> bool {
        let state = self.state_of(node);
        if state.is_some() {
            self.change_member(node, state);
        }
        state.is_some()
    }

    /// A consumer that was there from the start, only consumes, and is still a member in good
    /// standing.
    pub(super) fn some_consumer(&mut self) -> Option<usize> {
        let consumers: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| !self.plan.nodes[node].produces && !self.plan.nodes[node].joins_late)
            .filter(|&node| !self.nodes[node].gone)
            .filter(|&node| self.state_of(node) != Some(MemberState::Left))
            .collect();
        let nth = self.draw(consumers.len() as u64) as usize;
        consumers.get(nth).copied()
    }

    pub(super) fn lose_consumer(&mut self) -> bool {
        let consumer = self.some_consumer();
        if let Some(node) = consumer {
            self.lose_node(node);
        }
        consumer.is_some()
    }

    /// A consumer leaves for good: it runs on, until nobody wants anything of it.
    pub(super) fn leave(&mut self) -> bool {
        let consumer = self.some_consumer();
        if let Some(node) = consumer {
            self.change_member(node, Some(MemberState::Left));
        }
        consumer.is_some()
    }

    pub(super) fn lose_producer(&mut self) -> bool {
        let producers: Vec<usize> = (0..self.nodes.len())
            .filter(|&node| {
                self.plan.nodes[node].produces && self.plan.nodes[node].consumes.is_empty()
            })
            .collect();
        let nth = self.draw(producers.len() as u64) as usize;
        if let Some(&node) = producers.get(nth) {
            self.lose_node(node);
        }
        nth < producers.len()
    }

    /// A machine is gone for good; its operator says so some time later.
    fn lose_node(&mut self, node: usize) {
        self.nodes[node].gone = true;
        if self.lives(node) {
            self.end(node, End::PowerCut);
        }
        let patience = self.draw(5_000_000);
        self.after(patience, Happening::Aftermath(Aftermath::Forget(node)));
    }

    pub(super) fn forget(&mut self, node: usize) {
        self.change_member(node, None);
        for other in 0..self.nodes.len() {
            if other != node {
                self.nodes[other].to_forget.insert(node);
            }
        }
    }

    pub(super) fn join(&mut self, node: usize) {
        if self.view.member(&self.nodes[node].name).is_none() {
            self.change_member(node, Some(MemberState::Active));
            self.after(1, Happening::Start(node));
        }
    }
}
