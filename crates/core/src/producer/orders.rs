//! What a person orders: retry, cancel, forget.

use crate::ids::{NodeName, TransferKey};
use crate::log::Payload;
use crate::producer::destination::Abandonment;
use crate::producer::dormant::Rest;
use crate::producer::state::{LegState, Stage};
use crate::producer::{Answer, Effect, Producer, Refusal, Then, Token, Wanted};
use crate::ranges::RangeSet;
use crate::record::{Forgotten, LegRung, Record, Transfers};

impl Producer {
    pub(super) fn on_retry(&mut self, token: Token, key: Option<TransferKey>) {
        let failed = |rest: Rest| rest == Rest::Failed;
        let keys: Vec<TransferKey> = match key {
            Some(key) => match self.queue.dormant.get(key) {
                Some(dormant) if failed(dormant.rest) => vec![key],
                Some(_) | None => {
                    let refusal = Refusal::NoSuchTransfer { key };
                    self.out
                        .push(Effect::Answer(token, Answer::Refused(refusal)));
                    return;
                }
            },
            None => self
                .queue
                .dormant
                .iter()
                .filter(|(_, dormant)| failed(dormant.rest))
                .map(|(key, _)| key)
                .collect(),
        };
        for &key in &keys {
            self.failures.remove(&key);
            let dormant = self.queue.dormant.get(key).expect("it was just found");
            let feed = usize::from(dormant.feed);
            self.queue.feeds[feed].failed = self.queue.feeds[feed].failed.saturating_sub(1);
            self.queue.make_fresh(key);
        }
        for (start, seqs) in super::pump::by_start(&keys) {
            self.append(Record::Retried(Transfers {
                start: start.0,
                seqs,
                at: self.now.0,
                reason: String::new(),
            }));
        }
        let answer = Answer::Retried(keys.len() as u64);
        self.journal.when_synced(Then::Answer(token, answer));
    }

    /// A transfer is cancelled only as long as nobody has saved it. One that is not in memory is
    /// read first.
    pub(super) fn on_cancel(&mut self, token: Token, key: TransferKey) {
        if let Some(dormant) = self.queue.dormant.get(key)
            && !self.finished.contains_key(&key)
        {
            self.cancelling.entry(key).or_default().push(token);
            if dormant.rest != Rest::Fetching {
                let turn = self.queue.turn(key, &dormant);
                for destination in self.destinations.0.values_mut() {
                    destination.unpark(&turn);
                }
                self.queue.feeds[usize::from(dormant.feed)]
                    .fresh
                    .remove(&turn);
                self.fetch(key);
            }
            return;
        }
        let refusal = match self.active.get(&key) {
            None => Some(Refusal::NoSuchTransfer { key }),
            Some(transfer) => {
                let saved = transfer
                    .kept()
                    .filter(|leg| leg.state == LegState::Saved || leg.state == LegState::Committing)
                    .count();
                let finished = matches!(
                    transfer.stage,
                    Stage::Done | Stage::Cancelled | Stage::Claiming | Stage::Failed { .. }
                );
                if finished || transfer.submitted.is_none() {
                    Some(Refusal::NoSuchTransfer { key })
                } else if saved > 0 {
                    Some(Refusal::AlreadySaved { key, saved })
                } else {
                    None
                }
            }
        };
        match refusal {
            Some(refusal) => self
                .out
                .push(Effect::Answer(token, Answer::Refused(refusal))),
            None => self.cancel(key, token),
        }
    }

    fn cancel(&mut self, key: TransferKey, token: Token) {
        let now = self.now;
        let transfer = self.active.get_mut(&key).expect("its caller looked it up");
        let (small, bytes, feed) = (
            transfer.is_small(),
            transfer.spec.size,
            transfer.feed.clone(),
        );
        let attempt = crate::ids::Attempt(transfer.attempt.0 + 1);
        transfer.attempt = attempt;
        let mut told = Vec::new();
        for leg in transfer
            .legs
            .iter_mut()
            .filter(|leg| leg.state != LegState::Dropped)
        {
            if leg.state != LegState::Owed {
                leg.become_(LegState::Owed);
            }
            leg.become_(LegState::Dropped);
            told.push((leg.node.clone(), (leg.start, leg.slot), leg.tried));
        }
        let stream = std::mem::take(&mut transfer.streaming);
        let was_placed = !transfer.legs.is_empty();
        self.become_finished(key, Stage::Cancelled);
        if stream {
            self.out.push(Effect::StopStream { key });
        }
        let mut close_at_once = Vec::new();
        for (node, slot, tried) in told {
            let destination = self.destinations.at(&node, now);
            destination.land(key, small, bytes);
            if !tried || self.forgotten.contains(&node) {
                close_at_once.push((node, slot));
                continue;
            }
            let abandonment = Abandonment {
                key,
                attempt,
                decided: None,
            };
            self.abandon(&node, slot, abandonment);
        }
        let had_failed = self.failures.remove(&key).is_some();
        if let Some(feed) = self.queue.feed_mut(&feed) {
            feed.queued_bytes = feed.queued_bytes.saturating_sub(bytes);
            feed.queued_files = feed.queued_files.saturating_sub(1);
            feed.failed -= u64::from(had_failed);
        }
        self.short.remove(&key);
        if was_placed {
            let placed = self.placed_record(key, "cancelled", false);
            self.append_with(Record::Placed(placed), Payload::None, Wanted::Placed(key));
        }
        self.close_untold(close_at_once);
        self.append(Record::Cancelled(Transfers {
            start: key.start.0,
            seqs: RangeSet::from_iter([key.seq.0]).ranges().collect(),
            at: now.0,
            reason: String::new(),
        }));
        self.journal.when_synced(Then::Release(vec![key]));
        self.journal
            .when_synced(Then::Answer(token, Answer::Cancelled));
    }

    /// A consumer is gone for good: what is owed to it is placed elsewhere, and its slots close
    /// without its word.
    pub(super) fn on_forget(&mut self, token: Token, node: NodeName) {
        let known = self.view.member(&node).is_some() || self.destinations.get(&node).is_some();
        if !known {
            let refusal = Refusal::NoSuchNode { node };
            self.out
                .push(Effect::Answer(token, Answer::Refused(refusal)));
            return;
        }
        self.append(Record::Forgotten(Forgotten {
            node: node.as_str().to_owned(),
            at: self.now.0,
        }));
        self.forgotten.insert(node.clone());
        self.close_abandoned(&node);
        let in_flight: Vec<TransferKey> = self
            .destinations
            .get(&node)
            .map(|d| d.in_flight.iter().copied().collect())
            .unwrap_or_default();
        for key in in_flight {
            self.lose_leg(key, &node, "it was forgotten");
        }
        self.place_anew(&node);
        self.journal
            .when_synced(Then::Answer(token, Answer::Forgotten));
    }

    fn close_abandoned(&mut self, node: &NodeName) {
        let Some(destination) = self.destinations.get(node) else {
            return;
        };
        let mut by_start = std::collections::BTreeMap::new();
        for (start, slot) in destination.abandons.keys() {
            by_start
                .entry(*start)
                .or_insert_with(RangeSet::new)
                .insert(slot.0);
        }
        for (start, slots) in by_start {
            self.write_settled(node, start, slots, LegRung::Abandoned, "");
        }
    }
}
