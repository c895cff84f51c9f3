//! Consumers that come, go and change.

use crate::ids::{Incarnation, NodeName, TransferKey};
use crate::planted::{Planted, planted};
use crate::producer::destination::Destination;
use crate::producer::dormant::Rest;
use crate::producer::{FeedRules, Producer, Session};
use crate::view::View;
use crate::wire::{Closed, Message, OpenStarts};

impl Producer {
    pub(super) fn on_peer_up(
        &mut self,
        node: &NodeName,
        session: Session,
        incarnation: Incarnation,
    ) {
        let now = self.now;
        let old = self.destinations.at(node, now).session;
        if old.is_some_and(|(old, known)| session <= old || incarnation < known) {
            return;
        }
        self.lose_all_legs(node, "it connected anew");
        if self.was_given_up(node) {
            self.wake_short();
        }
        let destination = self.destinations.at(node, now);
        destination.session = Some((session, incarnation));
        destination.down_since = None;
        destination.start_afresh();
        destination.forget_told();
        self.count_consumers();
        let destination = self.destinations.at(node, now);
        let starts = destination
            .starts(self.me.start)
            .iter()
            .map(|start| start.0)
            .collect();
        self.send(node, Message::OpenStarts(OpenStarts { starts }));
        self.send_closed(node);
        self.send_abandons(node);
    }

    pub(super) fn on_peer_down(&mut self, node: &NodeName, session: Session) {
        if !self.destinations.session_is(node, session) {
            return;
        }
        let destination = self.destinations.at(node, self.now);
        destination.session = None;
        destination.down_since = Some(self.now);
        self.count_consumers();
        self.lose_all_legs(node, "the connection to it ended");
        self.unblock(node);
    }

    /// Whatever was under way with a consumer is owed to it again.
    fn lose_all_legs(&mut self, node: &NodeName, why: &str) {
        let Some(destination) = self.destinations.get(node) else {
            return;
        };
        let keys: Vec<TransferKey> = destination.in_flight.iter().copied().collect();
        for key in keys {
            self.lose_leg(key, node, why);
        }
    }

    /// What waited for a consumer's window goes on without it.
    fn unblock(&mut self, node: &NodeName) {
        let Some(destination) = self.destinations.get_mut(node) else {
            return;
        };
        let keys: Vec<TransferKey> = destination.blocked.drain(..).collect();
        self.wake_crowded(node);
        for key in keys {
            if self.stage_of(key) == Some(&crate::producer::state::Stage::Queued) {
                self.consider(key);
            }
        }
    }

    /// Tells a consumer which slots are closed, if there is news.
    pub(super) fn send_closed(&mut self, node: &NodeName) {
        let current = self.me.start;
        let Some(destination) = self.destinations.get_mut(node) else {
            return;
        };
        if !destination.connected() {
            return;
        }
        for (start, low, slots) in destination.closed_news(current) {
            self.send(
                node,
                Message::Closed(Closed {
                    slot_start: start.0,
                    low,
                    slots,
                }),
            );
        }
    }

    pub(super) fn on_view(&mut self, view: View) {
        let now = self.now;
        let before = std::mem::replace(&mut self.view, view);
        let members: Vec<NodeName> = self.view.members().iter().map(|m| m.name.clone()).collect();
        for node in members {
            self.destinations.at(&node, now);
        }
        let takes_less = |node| {
            let feeds = |view: &View| view.member(node).map(|member| member.feeds.clone());
            let (was, is) = (feeds(&before), feeds(&self.view));
            is.is_some_and(|is| was.is_some_and(|was| !was.is_subset(&is)))
        };
        let gone: Vec<NodeName> = self
            .destinations
            .0
            .keys()
            .filter(|node| self.is_gone_for_good(node) || takes_less(node))
            .cloned()
            .collect();
        for node in gone {
            self.place_anew(&node);
        }
        self.wake_short();
    }

    /// Whether placements have been made without a consumer since it was unreachable for longer
    /// than some feed's patience.
    fn was_given_up(&self, node: &NodeName) -> bool {
        self.queue
            .feeds
            .iter()
            .any(|feed| self.has_given_up(node, &feed.name))
    }

    /// There may be somebody for those that want more consumers than there were.
    pub(super) fn wake_short(&mut self) {
        for key in std::mem::take(&mut self.short) {
            self.wake(key);
        }
    }

    pub(super) fn on_policies(&mut self, rules: Vec<FeedRules>) {
        for feed in &mut self.queue.feeds {
            feed.rules = None;
        }
        for rules in rules {
            let name = rules.policy.feed.clone();
            self.queue.feed_index(&name);
            self.queue.feed_mut(&name).expect("just made").rules = Some(rules);
        }
    }

    /// Moves what is owed to a consumer back into the queues, to be placed anew.
    pub(super) fn place_anew(&mut self, node: &NodeName) {
        let Some(destination) = self.destinations.get_mut(node) else {
            return;
        };
        if planted(Planted::ForgetMovesNothing) {
            return;
        }
        let turns: Vec<_> = destination.parked.iter().collect();
        for turn in turns {
            let key = self.queue.key(turn);
            self.wake(key);
        }
    }

    /// What waited for nothing but room at a consumer goes on without it.
    pub(super) fn wake_crowded(&mut self, node: &NodeName) {
        let destination = self.destinations.get_mut(node);
        let crowded = destination.map(Destination::take_crowded);
        for turn in crowded.unwrap_or_default().iter() {
            let key = self.queue.key(turn);
            self.wake(key);
        }
    }

    /// Puts a parked transfer back in its feed's queue: its consumers are considered again. It stays with
    /// those that it is owed to, too: one that drains takes it, although its feed may have nobody else.
    pub(super) fn wake(&mut self, key: TransferKey) {
        let Some(dormant) = self.queue.dormant.get(key) else {
            return;
        };
        if dormant.rest != Rest::Parked {
            return;
        }
        self.queue.make_fresh(key);
    }
}
