//! Which consumers a transfer gets, and which it loses: decided once, logged, and changed only by
//! another logged decision.

use std::collections::BTreeSet;

use crate::ids::{Attempt, FeedName, NodeName, TransferKey};
use crate::log::{Payload, Position};
use crate::placement;
use crate::planted::{Planted, planted};
use crate::producer::destination::Abandonment;
use crate::producer::dormant::Rest;
use crate::producer::state::{LegState, Stage, Transfer, TransferLeg};
use crate::producer::{Producer, Then, Wanted};
use crate::record::{LegRecord, Placed, Record};
use crate::spec::Replicas;
use crate::view::MemberState;

/// Consumers that are named one by one among the reasons of a decision; the others are counted.
const DROPPED_NAMED_MAX: usize = 4;

/// A change of placement.
#[derive(Debug, Default)]
pub(super) struct Plan {
    add: Vec<NodeName>,
    drop: Vec<NodeName>,
    short: bool,
    reason: String,
}

/// What consumers are chosen by.
#[derive(Debug)]
struct Wish<'a> {
    key: &'a str,
    feed: &'a FeedName,
    /// Those that have the file, or had it and may not have it again.
    had: BTreeSet<NodeName>,
    /// For how long one may have been away and is chosen all the same, in milliseconds; without end
    /// when `None`.
    patience: Option<u64>,
}

impl Producer {
    /// Takes a queued transfer a step further: places it, or starts an attempt.
    pub(super) fn consider(&mut self, key: TransferKey) {
        let Some(transfer) = self.active.get(&key) else {
            return;
        };
        if transfer.is_delivered() {
            return self.finish(key);
        }
        match self.plan(transfer) {
            Some(plan) => self.place(key, plan),
            None if transfer.legs.is_empty() => self.rest_unplaced(key),
            None => self.start_attempt(key),
        }
    }

    /// Nobody accepts the feed at all: it waits, unplaced.
    fn rest_unplaced(&mut self, key: TransferKey) {
        let transfer = &self.active[&key];
        // Before its submission is synced its place is not known; `note_submitted` sees to it.
        if transfer.submitted.is_some() {
            self.put_to_rest(key, Rest::Fresh);
        }
    }

    /// What should change about a transfer's consumers; `None` when nothing.
    pub(super) fn plan(&self, transfer: &Transfer) -> Option<Plan> {
        let rules = self
            .queue
            .feed(&transfer.feed)
            .and_then(|f| f.rules.as_ref());
        let patience = rules.and_then(|r| r.policy.replace_after_ms);
        let first = transfer.legs.is_empty();
        let unsettled = |leg: &&TransferLeg| leg.state == LegState::Owed;
        let lost: Vec<NodeName> = transfer
            .kept()
            .filter(unsettled)
            .filter(|leg| self.will_never_take(&leg.node, &transfer.feed))
            .map(|leg| leg.node.clone())
            .collect();
        let replicas = rules.map(|r| r.policy.replicas).or(transfer.replicas);
        // `all` means everybody, reachable or not: nobody stands in for another.
        let replaceable = replicas != Some(Replicas::All);
        let overdue: Vec<NodeName> = transfer
            .kept()
            .filter(|_| replaceable)
            .filter(unsettled)
            .filter(|leg| !lost.contains(&leg.node) && self.is_overdue(&leg.node, patience))
            .map(|leg| leg.node.clone())
            .collect();
        let kept = transfer.kept().count() - lost.len();
        let wanted = match replicas {
            Some(Replicas::Count(count)) => count,
            // It is decided once: who joins later gets later placements. Once nobody is left of
            // that decision it is made again, and it is never one for nobody.
            Some(Replicas::All) if kept == 0 => self.count_accepting(&transfer.feed).max(1),
            Some(Replicas::All) => kept,
            None => kept.max(1),
        };
        let sure = wanted.saturating_sub(kept);
        let kept_nodes: BTreeSet<NodeName> = transfer
            .kept()
            .map(|leg| leg.node.clone())
            .filter(|node| !lost.contains(node) && !overdue.contains(node))
            .collect();
        let wish = self.wish(transfer, patience);
        let found = self.choose(&wish, &kept_nodes, sure, overdue.len());
        // An overdue consumer is given up only for another; it keeps its duty otherwise.
        let replaced = found.len().saturating_sub(sure).min(overdue.len());
        let short = kept + found.len() - replaced < wanted;
        let mut drop = lost;
        drop.extend(overdue.into_iter().take(replaced));
        if found.is_empty() && drop.is_empty() && short == transfer.short {
            return None;
        }
        if first && found.is_empty() {
            return None;
        }
        let reason = self.reason_of(transfer, &drop);
        Some(Plan {
            add: found,
            drop,
            short,
            reason,
        })
    }

    /// How many there are to place a feed's files on.
    fn count_accepting(&self, feed: &FeedName) -> usize {
        self.takers(feed).count()
    }

    /// What a transfer's further consumers are chosen by.
    fn wish<'a>(&self, transfer: &'a Transfer, patience: Option<u64>) -> Wish<'a> {
        // Nobody gets a second slot before the first is closed by its own word: it may have
        // published it.
        let abandoning =
            |leg: &TransferLeg| self.is_abandoning(leg) && !planted(Planted::SecondSlot);
        let had = transfer
            .legs
            .iter()
            .filter(|leg| leg.state != LegState::Dropped || abandoning(leg));
        Wish {
            key: &transfer.spec.key,
            feed: &transfer.feed,
            had: had.map(|leg| leg.node.clone()).collect(),
            patience,
        }
    }

    /// Chooses `sure` further consumers, if there are as many, and up to `more` that have not been away
    /// for too long, each in chain order.
    fn choose(
        &self,
        wish: &Wish<'_>,
        kept: &BTreeSet<NodeName>,
        sure: usize,
        more: usize,
    ) -> Vec<NodeName> {
        let mut found = self.candidates(wish, kept, sure + more);
        if found.len() < sure {
            // Better a consumer that has been away for long than none at all: it is owed the file.
            let with_found = kept.iter().chain(&found).cloned().collect();
            let had = wish.had.clone();
            let patience = None;
            let wish = Wish {
                had,
                patience,
                ..*wish
            };
            found.extend(self.candidates(&wish, &with_found, sure - found.len()));
        }
        found
    }

    /// Up to `count` further consumers, in chain order.
    fn candidates(
        &self,
        wish: &Wish<'_>,
        kept: &BTreeSet<NodeName>,
        count: usize,
    ) -> Vec<NodeName> {
        if count == 0 {
            return Vec::new();
        }
        let accepting = self.view.accepting(wish.feed).map(|member| &member.name);
        let passed_over =
            accepting.filter(|node| self.is_out(node) || self.is_overdue(node, wish.patience));
        let excluded = wish.had.iter().chain(passed_over).cloned().collect();
        let own = planted(Planted::PlacementByOwnSeed).then(|| self.me.start.to_string());
        let ask = placement::Ask {
            key: own.as_deref().unwrap_or(wish.key),
            feed: wish.feed,
            replicas: Replicas::Count(kept.len() + count),
            kept,
            excluded: &excluded,
        };
        let placed = placement::place(&ask, &self.view);
        placement::chain_order(&placed.members, &self.view, self.me.zone.as_deref())
    }

    /// The consumers that a new file of a feed would be placed on now, in chain order.
    #[must_use]
    pub fn would_choose(&self, feed: &FeedName, key: &str) -> Vec<NodeName> {
        let rules = self.queue.feed(feed).and_then(|feed| feed.rules.as_ref());
        let wanted = match rules.map(|rules| rules.policy.replicas) {
            Some(Replicas::Count(count)) => count,
            Some(Replicas::All) => self.count_accepting(feed),
            None => 0,
        };
        let wish = Wish {
            key,
            feed,
            had: BTreeSet::new(),
            patience: rules.and_then(|rules| rules.policy.replace_after_ms),
        };
        self.choose(&wish, &BTreeSet::new(), wanted, 0)
    }

    /// Whether a consumer has been away for so long that a feed's files are placed without it.
    #[must_use]
    pub fn has_given_up(&self, node: &NodeName, feed: &FeedName) -> bool {
        let rules = self.queue.feed(feed).and_then(|feed| feed.rules.as_ref());
        self.is_overdue(node, rules.and_then(|rules| rules.policy.replace_after_ms))
    }

    pub(super) fn is_gone_for_good(&self, node: &NodeName) -> bool {
        self.forgotten.contains(node)
            || self
                .view
                .member(node)
                .is_none_or(|member| member.state == MemberState::Left)
    }

    /// Whether what is owed to a member is to be placed elsewhere at once: it is gone for good, or
    /// does not consume the feed any more.
    pub(super) fn will_never_take(&self, node: &NodeName, feed: &FeedName) -> bool {
        let member = self.view.member(node);
        self.is_gone_for_good(node) || member.is_some_and(|member| !member.feeds.contains(feed))
    }

    fn is_overdue(&self, node: &NodeName, patience: Option<u64>) -> bool {
        self.destinations
            .get(node)
            .is_some_and(|d| d.gone_longer_than(patience, self.now))
    }

    /// Writes a decision down; the attempt begins when it is synced.
    fn place(&mut self, key: TransferKey, plan: Plan) {
        let now = self.now;
        let mut transfer = self.active.remove(&key).expect("its caller looked it up");
        let first = transfer.legs.is_empty();
        let mut close_at_once = Vec::new();
        for node in &plan.drop {
            let at = transfer
                .leg_at(node)
                .expect("the plan is about this transfer");
            let leg = &mut transfer.legs[at];
            leg.become_(LegState::Dropped);
            let slot = (leg.start, leg.slot);
            // Who never heard of the slot, or never will again, need not be asked.
            let untold = !leg.tried || planted(Planted::ReplacedUnfenced);
            if untold || self.forgotten.contains(node) {
                close_at_once.push((node.clone(), slot));
            } else {
                let abandonment = Abandonment {
                    key,
                    attempt: Attempt(transfer.attempt.0 + 1),
                    decided: None,
                };
                self.abandon(node, slot, abandonment);
            }
        }
        for node in &plan.add {
            let destination = self.destinations.at(node, now);
            let slot = destination.draw_slot();
            destination.duties.insert((self.me.start, slot), key);
            // The slot that it had before, if any, is closed.
            transfer.legs.retain(|leg| leg.node != *node);
            transfer.chain.clear();
            transfer.legs.push(TransferLeg {
                node: node.clone(),
                start: self.me.start,
                slot,
                state: LegState::Owed,
                tried: false,
            });
        }
        transfer.short = plan.short;
        transfer.setback.clear();
        if !first {
            transfer.note_setback(&plan.reason);
        }
        transfer.attempt = Attempt(transfer.attempt.0 + 1);
        transfer.dirty = false;
        transfer.become_(Stage::Placing);
        self.active.insert(key, transfer);
        let record = self.placed_record(key, &plan.reason, false);
        self.append_with(Record::Placed(record), Payload::None, Wanted::Placed(key));
        self.close_untold(close_at_once);
        let transfer = &self.active[&key];
        if planted(Planted::SlotBeforeSync) && transfer.submitted.is_some() {
            return self.begin_placed(key);
        }
        self.journal.when_synced(Then::Begin(key));
    }

    /// A transfer's placement as the log has it: whole, as it stands now.
    pub(super) fn placed_record(&self, key: TransferKey, reason: &str, carried: bool) -> Placed {
        let transfer = &self.active[&key];
        Placed {
            start: key.start.0,
            seq: key.seq.0,
            attempt: transfer.attempt.0,
            epoch: self.view.epoch(),
            reason: reason.to_owned(),
            legs: self.leg_records(&transfer.legs),
            at: self.now.0,
            carried,
            short: transfer.short,
            digest: transfer.digest.map(|d| d.0.to_vec()).unwrap_or_default(),
        }
    }

    /// The same, carried out of memory or forward: no decision, but why it is tried again goes with
    /// it.
    pub(super) fn carried_record(&self, key: TransferKey) -> Placed {
        self.placed_record(key, &self.active[&key].setback, true)
    }

    /// Legs as the log has them.
    pub(super) fn leg_records(&self, legs: &[TransferLeg]) -> Vec<LegRecord> {
        let records = legs.iter().map(|leg| leg.record(self.is_abandoning(leg)));
        records.collect()
    }

    pub(super) fn begin_placed(&mut self, key: TransferKey) {
        // Whoever was dropped may have been the last that was waited for.
        if self.stage_of(key) == Some(&Stage::Placing) {
            self.conclude(key);
        }
    }

    /// A placement's place in the log is known.
    pub(super) fn note_placed(&mut self, key: TransferKey, position: Position) {
        let Some(transfer) = self.active.get_mut(&key) else {
            self.note_decided(key, position);
            return self.note_carried_placement(key, position);
        };
        if let Some(old) = transfer.placed.replace(position) {
            self.live.remove(old, 0);
        }
        self.live.add(position, 0);
        transfer.placings = transfer.placings.saturating_sub(1);
        // A newer one is on its way, and only that one says how it stands.
        if transfer.placings > 0 {
            return;
        }
        let stage = transfer.stage.clone();
        self.note_decided(key, position);
        let transfer = &self.active[&key];
        match stage {
            // A consumer answered while this was being written: whoever read it back would ask that
            // one about a slot that is closed by then, and wait for an answer that nobody can place.
            Stage::Parking if transfer.dirty => self.conclude(key),
            Stage::Parking if transfer.submitted.is_some() => self.put_to_rest(key, Rest::Parked),
            Stage::Failed { .. } => self.rest_failed(key),
            Stage::Parking
            | Stage::Claiming
            | Stage::Queued
            | Stage::Placing
            | Stage::Opening { .. }
            | Stage::Streaming
            | Stage::Committing { .. }
            | Stage::Done
            | Stage::Cancelled => {}
        }
    }

    /// Nothing can be done for a transfer now: it leaves memory until its consumers can take it.
    pub(super) fn park(&mut self, key: TransferKey) {
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        transfer.become_(Stage::Parking);
        // What is on its way into the log is newer than what is there: whoever read that back would
        // go on from an older decision. `note_placed` goes on when it is synced.
        if !transfer.dirty && transfer.placings > 0 {
            return;
        }
        if !transfer.dirty && transfer.placed.is_some() && transfer.submitted.is_some() {
            return self.put_to_rest(key, Rest::Parked);
        }
        transfer.dirty = false;
        let record = self.carried_record(key);
        self.append_with(Record::Placed(record), Payload::None, Wanted::Placed(key));
    }
}

impl Producer {
    /// Why a placement changes, for a person.
    fn reason_of(&self, transfer: &Transfer, drop: &[NodeName]) -> String {
        if transfer.legs.is_empty() {
            return "first placement".to_owned();
        }
        if drop.is_empty() {
            return "another consumer was wanted".to_owned();
        }
        let named = drop.iter().take(DROPPED_NAMED_MAX);
        let mut reasons: Vec<String> = named
            .map(|node| self.why_dropped(node, &transfer.feed))
            .collect();
        if drop.len() > DROPPED_NAMED_MAX {
            reasons.push(format!("and {} more", drop.len() - DROPPED_NAMED_MAX));
        }
        reasons.join(", ")
    }

    fn why_dropped(&self, node: &NodeName, feed: &FeedName) -> String {
        if self.forgotten.contains(node) {
            format!("{node} was forgotten")
        } else if self.is_gone_for_good(node) {
            format!("{node} is no member any more")
        } else if self.will_never_take(node, feed) {
            format!("{node} does not take {feed} any more")
        } else {
            format!("{node} has been away for longer than replace_after")
        }
    }
}
