//! After the last record of the log was replayed: from where the last life left off, on.

use crate::ids::{FeedName, Millis, NodeName, Sequence, Start, TransferKey};
use crate::log::Position;
use crate::producer::dormant::{Dormant, Rest};
use crate::producer::releasing::Finished;
use crate::producer::replay::Replayed;
use crate::producer::replaying::{Fate, Replay};
use crate::producer::state::{LegState, Stage, Transfer};
use crate::producer::{Effect, Producer};
use crate::record::Claiming;
use crate::spec::Replicas;
use crate::view::View;

impl Producer {
    /// Takes the members that the log knew last. To be called, if at all, between the last record and
    /// [`Producer::begin`].
    pub fn resume_view(&mut self, view: View) {
        self.view = view;
    }

    /// Goes on after the last record: releases what is done, takes up what was claimed, and queues
    /// the rest.
    pub fn begin(&mut self, now: Millis) -> Vec<Effect> {
        self.now = now;
        for destination in self.destinations.0.values_mut() {
            destination.down_since = Some(now);
        }
        let members: Vec<NodeName> = self.view.members().iter().map(|m| m.name.clone()).collect();
        for node in members {
            self.destinations.at(&node, now);
        }
        let mut replay = std::mem::take(&mut self.replay);
        for key in replay.claimed() {
            let claim = replay
                .remove(key)
                .and_then(|mut entry| entry.take_more().claim);
            if let Some(claim) = claim {
                self.begin_claim(key, claim);
            }
        }
        let mut from = TransferKey {
            start: Start(0),
            seq: Sequence(0),
        };
        while let Some((key, dormant)) = self.queue.dormant.first_from(from) {
            self.begin_transfer(key, dormant, &mut replay);
            from.start = key.start;
            from.seq = Sequence(key.seq.0.saturating_add(1));
        }
        self.release_more();
        self.flush();
        std::mem::take(&mut self.out)
    }

    fn begin_claim(&mut self, key: TransferKey, (claim, position): (Claiming, Position)) {
        let Ok(feed) = FeedName::new(&claim.spec.feed) else {
            return;
        };
        self.queue.feed_index(&feed);
        let mut transfer = Transfer::new(key, feed, claim.spec, claim.source);
        transfer.stage = Stage::Claiming;
        transfer.replicas = Replicas::from_record(claim.replicas);
        transfer.claimed = Some(position);
        self.live.add(position, 0);
        self.activate(transfer);
        self.take(key);
    }

    fn begin_transfer(&mut self, key: TransferKey, dormant: Dormant, replay: &mut Replay) {
        let (entry, fate) = replayed(key, replay);
        let feed = usize::from(dormant.feed);
        if fate != Fate::Done && fate != Fate::Cancelled {
            let feed = &mut self.queue.feeds[feed];
            feed.queued_bytes += dormant.bytes;
            feed.queued_files += 1;
        }
        match fate {
            Fate::Done => self.rest_finished(key, Finished::Done),
            Fate::Cancelled => self.rest_finished(key, Finished::Cancelled),
            Fate::Failed(reason) => {
                self.failures.insert(key, reason);
                let failed = |dormant: &mut Dormant| dormant.rest = Rest::Failed;
                self.queue.dormant.update(key, failed);
                self.queue.feeds[feed].failed += 1;
                self.keep_news(key, entry);
            }
            // Whatever its consumers have to be asked for, the queue brings it back.
            Fate::Live => {
                let owed = entry.as_ref().map(owed_to).unwrap_or_default();
                let is_short = entry.as_ref().is_some_and(|entry| entry.short);
                self.keep_news(key, entry);
                self.await_owners(key, &dormant, &owed, is_short);
            }
        }
    }

    /// Remembers what the records of a transfer do not say, until they are read.
    fn keep_news(&mut self, key: TransferKey, entry: Option<Replayed>) {
        if let Some(entry) = entry.filter(|entry| entry.dirty || !entry.hashes.is_empty()) {
            self.replayed.insert(key, entry);
        }
    }

    /// A placed transfer goes on with its own consumers, whoever else accepts its feed by now. Where it
    /// is to be placed, for the first time or anew, its turn in the queue brings it back as well.
    fn await_owners(
        &mut self,
        key: TransferKey,
        dormant: &Dormant,
        owners: &[NodeName],
        is_short: bool,
    ) {
        let turn = self.queue.turn(key, dormant);
        let feed = &self.queue.feeds[usize::from(dormant.feed)].name;
        let stays = |node: &&NodeName| !self.will_never_take(node, feed);
        let staying: Vec<_> = owners.iter().filter(stays).collect();
        let is_settled = dormant.placed.is_some() && !is_short && staying.len() == owners.len();
        for node in staying {
            self.destinations.at(node, self.now).park(turn, false);
        }
        match (is_settled, owners) {
            (false, _) => self.queue.make_fresh(key),
            // Everybody has answered already: only its end was not written any more.
            (true, []) => self.fetch(key),
            (true, _) => {}
        }
    }
}

/// Those that have not answered yet.
fn owed_to(entry: &Replayed) -> Vec<NodeName> {
    let owed = entry.legs.iter().filter(|leg| leg.state == LegState::Owed);
    owed.map(|leg| leg.node.clone()).collect()
}

/// What was replayed of a transfer beyond its submission, and how it stands.
fn replayed(key: TransferKey, replay: &mut Replay) -> (Option<Replayed>, Fate) {
    let Some(mut entry) = replay.remove(key) else {
        return (None, Fate::Live);
    };
    let more = entry.take_more();
    let replayed = Replayed {
        legs: replay.legs(&entry),
        short: entry.short,
        attempt: entry.attempt,
        digest: more.digest,
        hashes: more.hashes,
        dirty: entry.dirty,
    };
    (Some(replayed), more.fate)
}
