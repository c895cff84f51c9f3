//! What a person has to look at: it is listed, leaves memory, and can be retried.

use crate::ids::TransferKey;
use crate::log::Payload;
use crate::producer::dormant::Rest;
use crate::producer::state::{LegState, Stage};
use crate::producer::{Effect, Producer, Wanted};
use crate::ranges::RangeSet;
use crate::record::{Record, Transfers};

impl Producer {
    /// A person must act: the transfer is listed, and can be retried.
    pub(super) fn fail(&mut self, key: TransferKey, reason: String) {
        let Some(transfer) = self.active.get_mut(&key) else {
            return;
        };
        match transfer.stage {
            // What came of it is decided, and this word is late.
            Stage::Failed { .. } | Stage::Cancelled | Stage::Done => return,
            Stage::Claiming
            | Stage::Queued
            | Stage::Placing
            | Stage::Opening { .. }
            | Stage::Streaming
            | Stage::Committing { .. }
            | Stage::Parking => {}
        }
        let (small, bytes, feed) = (
            transfer.is_small(),
            transfer.spec.size,
            transfer.feed.clone(),
        );
        let mut landed = Vec::new();
        for leg in &mut transfer.legs {
            if leg.state.in_flight() {
                leg.become_(LegState::Owed);
                landed.push(leg.node.clone());
            }
        }
        if std::mem::take(&mut transfer.streaming) {
            self.out.push(Effect::StopStream { key });
        }
        let transfer = self.active.get_mut(&key).expect("looked up above");
        transfer.setback.clear();
        transfer.note_setback(&reason);
        transfer.become_(Stage::Failed {
            reason: reason.clone(),
        });
        for node in landed {
            if let Some(destination) = self.destinations.get_mut(&node) {
                destination.land(key, small, bytes);
            }
        }
        if let Some(feed) = self.queue.feed_mut(&feed) {
            feed.failed += 1;
        }
        self.failures.insert(key, reason.clone());
        self.append(Record::Failed(Transfers {
            start: key.start.0,
            seqs: RangeSet::from_iter([key.seq.0]).ranges().collect(),
            at: self.now.0,
            reason,
        }));
        self.rest_failed(key);
    }

    /// Moves a failed transfer out of memory as soon as its records' places are known.
    pub(super) fn rest_failed(&mut self, key: TransferKey) {
        let ready = self.active.get(&key).is_some_and(|t| {
            matches!(t.stage, Stage::Failed { .. })
                && t.submitted.is_some()
                && t.placings == 0
                && (t.placed.is_some() || t.legs.is_empty())
        });
        if ready && !self.active[&key].dirty {
            return self.put_to_rest(key, Rest::Failed);
        }
        if ready {
            let transfer = self.active.get_mut(&key).expect("looked up above");
            transfer.dirty = false;
            let record = self.carried_record(key);
            self.append_with(Record::Placed(record), Payload::None, Wanted::Placed(key));
        }
    }
}
