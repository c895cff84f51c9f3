//! Members that come, go, are drained, and change what they are.

use std::collections::BTreeSet;

use consign_core::ids::FeedName;
use consign_core::view::MemberState;

use super::faults::Aftermath;
use super::happening::End;
use super::{Happening, World};

impl World {
    fn state_of(&self, node: usize) -> Option<MemberState> {
        let member = self.view.member(&self.nodes[node].name);
        member.map(|member| member.state)
    }

    /// Whether it has left for good.
    pub(super) fn has_left(&self, node: usize) -> bool {
        self.state_of(node) == Some(MemberState::Left)
    }

    pub(super) fn drain(&mut self, node: usize) -> bool {
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
