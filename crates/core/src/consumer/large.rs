//! Large files: opened, received in chunks, sealed and saved.

use crate::consumer::state::{Body, Entry, SlotState, staging_name};
use crate::consumer::{Consumer, Effect, InflowFault, InflowOrder, Then, Wanted};
use crate::ids::{
    Attempt, Digest, FeedName, Fence, NodeName, Sequence, Slot, SlotId, Start, TransferKey,
};
use crate::limits;
use crate::log::Payload;
use crate::record::{self, Publishing, PublishingFile, Receipt, Record, SlotRecord, Watermark};
use crate::tree;
use crate::wire::{
    Commit, Forward, Holding, Leg, LinkLost, Message, Open, OpenAnswer, Progress, Received,
    RefusalCode, Refused,
};

impl Entry {
    /// Forgets that its staging file is open.
    pub(super) fn shut(&mut self) {
        if let Body::Large {
            open, fence_synced, ..
        } = &mut self.body
        {
            *open = None;
            *fence_synced = false;
        }
    }

    /// Forgets what was reported of its staging file, and will be until it is opened again: goes
    /// with [`Effect::CloseInflow`].
    pub(super) fn let_go(&mut self) {
        self.shut();
        let fence = self.fence;
        if let Body::Large { let_go, .. } = &mut self.body {
            *let_go = Some(fence);
        }
    }

    fn is_current(&self, attempt: Attempt) -> bool {
        self.fence.attempt == attempt
    }
}

/// The leg of a slot as messages name it.
pub(super) fn leg_of(slot: &SlotId, entry: &Entry) -> Leg {
    Leg {
        start: entry.key.start.0,
        seq: entry.key.seq.0,
        slot_start: slot.start.0,
        slot: slot.slot.0,
        attempt: entry.fence.attempt.0,
    }
}

pub(super) fn slot_of(producer: &NodeName, leg: &Leg) -> SlotId {
    SlotId {
        producer: producer.clone(),
        start: Start(leg.slot_start),
        slot: Slot(leg.slot),
    }
}

pub(super) fn slot_record(slot: &SlotId) -> SlotRecord {
    SlotRecord {
        producer: slot.producer.as_str().to_owned(),
        start: slot.start.0,
        slot: slot.slot.0,
    }
}

pub(super) fn key_of(leg: &Leg) -> TransferKey {
    TransferKey {
        start: Start(leg.start),
        seq: Sequence(leg.seq),
    }
}

impl Consumer {
    pub(super) fn refuse(&mut self, to: &NodeName, leg: Leg, code: RefusalCode, reason: String) {
        let retry_after_ms = match code {
            RefusalCode::NoSpace | RefusalCode::Disk => limits::NO_SPACE_RETRY_MS,
            RefusalCode::Busy
            | RefusalCode::NotConsumed
            | RefusalCode::Mismatch
            | RefusalCode::NotAllowed
            | RefusalCode::BadName
            | RefusalCode::Conflict => 0,
        };
        self.send(
            to,
            Message::Refused(Refused {
                leg,
                code: code.into(),
                reason,
                retry_after_ms,
            }),
        );
    }

    pub(super) fn on_open(&mut self, from: &NodeName, open: Open) {
        let slot = slot_of(from, &open.leg);
        let fence = Fence {
            incarnation: self.peers[from].incarnation,
            attempt: Attempt(open.leg.attempt),
        };
        if self.table(from, slot.start).is_closed(slot.slot) {
            let why = format!(
                "slot {slot} was closed before; hint: was the disk of {from} restored from an old image?"
            );
            return self.refuse(from, open.leg, RefusalCode::NotAllowed, why);
        }
        if self.entry(&slot).is_some() {
            return self.open_again(&slot, fence, &open);
        }
        let size = open.spec.size;
        let acceptable = tree::is_chunk_size(open.chunk_bytes)
            && (limits::CHUNK_BYTES_MIN..=limits::CHUNK_BYTES_MAX).contains(&open.chunk_bytes)
            && (limits::SMALL_FILE_BYTES_MAX + 1..=limits::FILE_BYTES_MAX).contains(&size);
        if !acceptable {
            let why = format!(
                "a file of {size} bytes in chunks of {} is not acceptable; hint: check the version of {from}",
                open.chunk_bytes
            );
            return self.refuse(from, open.leg, RefusalCode::BadName, why);
        }
        if let Err((code, why)) = self.judge(from, key_of(&open.leg), &open.spec) {
            return self.refuse(from, open.leg, code, why);
        }
        let entry = Entry {
            key: key_of(&open.leg),
            spec: open.spec,
            fence,
            state: SlotState::Receiving,
            body: Body::Large {
                chunk_bytes: open.chunk_bytes,
                synced: 0,
                hashes: Vec::new(),
                written: 0,
                fence_synced: false,
                open: None,
                let_go: None,
            },
            staging: staging_name(&slot),
            closed: false,
            recorded: None,
            live_bytes: 0,
        };
        self.table(from, slot.start)
            .entries
            .insert(slot.slot, entry);
        self.receiving.insert(slot.clone());
        self.open_inflow(&slot);
    }

    fn open_again(&mut self, slot: &SlotId, fence: Fence, open: &Open) {
        let entry = self.entry_mut(slot).expect("its caller looked it up");
        if entry.key != key_of(&open.leg) || entry.spec.size != open.spec.size {
            let why = format!(
                "slot {slot} is of transfer {}; hint: report this as a bug",
                entry.key
            );
            return self.refuse(&slot.producer, open.leg, RefusalCode::NotAllowed, why);
        }
        if fence <= entry.fence {
            return;
        }
        let answer = |holding: Holding| OpenAnswer {
            leg: open.leg,
            holding: holding.into(),
            from: 0,
            digest: Vec::new(),
            receipt: None,
        };
        match entry.state.clone() {
            SlotState::Abandoned => {
                self.send(
                    &slot.producer,
                    Message::OpenAnswer(answer(Holding::Abandoned)),
                );
            }
            SlotState::Receiving | SlotState::Received { .. } => {
                if let Err((code, why)) = self.must_be_here(&open.spec) {
                    return self.refuse(&slot.producer, open.leg, code, why);
                }
                let entry = self.entry_mut(slot).expect("looked up above");
                entry.fence = fence;
                entry.become_(SlotState::Receiving);
                entry.shut();
                self.open_inflow(slot);
            }
            // It is on its way to `saved`, which is told without being asked for.
            SlotState::Checking { .. } | SlotState::Sealing { .. } | SlotState::Saving { .. } => {}
            SlotState::Saved { digest, at }
            | SlotState::Staging { digest, at }
            | SlotState::Staged { digest, at, .. }
            | SlotState::Publishing { digest, at, .. }
            | SlotState::Published { digest, at } => {
                let answer = OpenAnswer {
                    digest: digest.0.to_vec(),
                    receipt: Some(self.receipt(at)),
                    ..answer(Holding::Saved)
                };
                self.send(&slot.producer, Message::OpenAnswer(answer));
            }
        }
    }

    /// Logs the fence and opens the staging file; the producer is answered when both are done.
    fn open_inflow(&mut self, slot: &SlotId) {
        let entry = self.entry(slot).expect("its caller looked it up");
        let Body::Large {
            chunk_bytes,
            synced,
            hashes,
            ..
        } = &entry.body
        else {
            return;
        };
        let fence = entry.fence;
        let feed = FeedName::new(&entry.spec.feed).expect("checked when it was opened first");
        let order = InflowOrder {
            slot: slot.clone(),
            incarnation: fence.incarnation,
            attempt: fence.attempt,
            feed,
            staging: entry.staging.clone(),
            size: entry.spec.size,
            chunk_bytes: *chunk_bytes,
            synced: *synced,
            hashes: hashes.clone(),
        };
        // A crash before this sync forgets the fence; the older attempt then cannot speak either,
        // since its connection is gone with this node.
        let record = self.opened_record(slot, entry);
        self.append_with(
            Record::Opened(record),
            Payload::None,
            Wanted::Entry(slot.clone()),
        );
        self.journal
            .when_synced(Then::FenceSynced(slot.clone(), fence));
        self.out.push(Effect::OpenInflow(order));
    }

    pub(super) fn opened_record(&self, slot: &SlotId, entry: &Entry) -> record::Opened {
        let chunk_bytes = match entry.body {
            Body::Large { chunk_bytes, .. } => chunk_bytes,
            Body::Small { .. } | Body::None => 0,
        };
        record::Opened {
            slot: slot_record(slot),
            start: entry.key.start.0,
            seq: entry.key.seq.0,
            incarnation: entry.fence.incarnation.0,
            attempt: entry.fence.attempt.0,
            spec: entry.spec.clone(),
            staging: entry.staging.clone(),
            chunk_bytes,
        }
    }

    pub(super) fn fence_synced(&mut self, slot: &SlotId, fence: Fence) {
        if let Some(entry) = self.entry_mut(slot)
            && entry.fence == fence
            && let Body::Large { fence_synced, .. } = &mut entry.body
        {
            *fence_synced = true;
            self.answer_open(slot);
        }
    }

    pub(super) fn on_inflow_ready(&mut self, slot: &SlotId, attempt: Attempt, from: u64) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !entry.is_current(attempt) || entry.state != SlotState::Receiving {
            return;
        }
        let fence = entry.fence;
        if let Body::Large {
            open,
            written,
            let_go,
            ..
        } = &mut entry.body
        {
            if *let_go == Some(fence) {
                return;
            }
            *open = Some(from);
            (*written, *let_go) = (from, None);
        }
        self.answer_open(slot);
    }

    /// Answers an `Open`, once its fence is synced and its staging file is open.
    fn answer_open(&mut self, slot: &SlotId) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let Body::Large {
            fence_synced: true,
            open: Some(from),
            ..
        } = entry.body
        else {
            return;
        };
        let leg = leg_of(slot, entry);
        let answer = match &entry.state {
            SlotState::Received { digest } => OpenAnswer {
                leg,
                holding: Holding::Received.into(),
                from: entry.spec.size,
                digest: digest.0.to_vec(),
                receipt: None,
            },
            // All there, and its digest is being computed: that will answer.
            SlotState::Receiving if from >= entry.spec.size => return,
            SlotState::Receiving => OpenAnswer {
                leg,
                holding: Holding::Part.into(),
                from,
                digest: Vec::new(),
                receipt: None,
            },
            SlotState::Checking { .. }
            | SlotState::Sealing { .. }
            | SlotState::Saving { .. }
            | SlotState::Saved { .. }
            | SlotState::Staging { .. }
            | SlotState::Staged { .. }
            | SlotState::Publishing { .. }
            | SlotState::Published { .. }
            | SlotState::Abandoned => return,
        };
        self.send(&slot.producer, Message::OpenAnswer(answer));
    }

    pub(super) fn on_forward(&mut self, from: &NodeName, forward: Forward) {
        let slot = slot_of(from, &forward.leg);
        let Ok(to) = NodeName::new(&forward.to) else {
            return;
        };
        let attempt = Attempt(forward.leg.attempt);
        let Some(entry) = self.entry(&slot) else {
            return;
        };
        let holds = matches!(
            entry.state,
            SlotState::Receiving | SlotState::Received { .. }
        );
        if entry.is_current(attempt) && holds {
            self.out.push(Effect::Forward {
                slot,
                attempt,
                to,
                addr: forward.addr,
                from: forward.from,
                to_leg: forward.to_leg,
            });
        }
    }

    pub(super) fn on_forward_lost(
        &mut self,
        slot: &SlotId,
        attempt: Attempt,
        to: &NodeName,
        reason: String,
    ) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        if entry.is_current(attempt) {
            let lost = LinkLost {
                leg: leg_of(slot, entry),
                to: to.as_str().to_owned(),
                reason,
            };
            self.send(&slot.producer, Message::LinkLost(lost));
        }
    }

    pub(super) fn on_inflow_progress(&mut self, slot: &SlotId, attempt: Attempt, bytes: u64) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !entry.is_current(attempt) || entry.state != SlotState::Receiving {
            return;
        }
        if let Body::Large { written, .. } = &mut entry.body {
            *written = bytes;
        }
        let leg = leg_of(slot, entry);
        self.send(&slot.producer, Message::Progress(Progress { leg, bytes }));
    }

    pub(super) fn on_inflow_synced(
        &mut self,
        slot: &SlotId,
        offset: u64,
        first_chunk: u64,
        hashes_new: Vec<u8>,
    ) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !matches!(
            entry.state,
            SlotState::Receiving | SlotState::Received { .. }
        ) {
            return;
        }
        let Body::Large {
            synced,
            hashes,
            let_go: None,
            ..
        } = &mut entry.body
        else {
            return;
        };
        let at = usize::try_from(first_chunk)
            .unwrap_or(usize::MAX)
            .saturating_mul(tree::CHUNK_HASH_BYTES);
        if offset <= *synced || at > hashes.len() {
            return;
        }
        hashes.truncate(at);
        hashes.extend_from_slice(&hashes_new);
        *synced = offset;
        // The bytes below are synced already. A crash before this record is loses only the
        // knowledge of it.
        let record = Watermark {
            slot: slot_record(slot),
            offset,
            first_chunk,
            hashes: hashes_new,
        };
        self.append(Record::Watermark(record));
    }

    pub(super) fn on_inflow_complete(&mut self, slot: &SlotId, attempt: Attempt, digest: Digest) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !entry.is_current(attempt) || entry.state != SlotState::Receiving {
            return;
        }
        entry.become_(SlotState::Received { digest });
        let size = entry.spec.size;
        let Body::Large { open, written, .. } = &mut entry.body else {
            return;
        };
        *written = size;
        let was_all_there = *open == Some(size);
        let leg = leg_of(slot, entry);
        if was_all_there {
            self.answer_open(slot);
        } else {
            let digest = digest.0.to_vec();
            self.send(&slot.producer, Message::Received(Received { leg, digest }));
        }
    }

    pub(super) fn on_inflow_failed(&mut self, slot: &SlotId, attempt: Attempt, fault: InflowFault) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        if !entry.is_current(attempt) || !matches!(entry.state, SlotState::Receiving) {
            return;
        }
        entry.shut();
        let leg = leg_of(slot, entry);
        let node = self.me.node.clone();
        let (code, reason) = match fault {
            InflowFault::Full => (
                RefusalCode::NoSpace,
                format!("the inbox's disk at {node} is full; hint: free some space there"),
            ),
            InflowFault::Missing => {
                self.start_over(slot);
                (
                    RefusalCode::Busy,
                    format!(
                        "the staging file at {node} is gone, it begins anew; hint: nothing may be removed from an inbox's .consign directory"
                    ),
                )
            }
            InflowFault::Disk(why) => (
                RefusalCode::Disk,
                format!("{why} at {node}; hint: check the disk there"),
            ),
        };
        self.refuse(&slot.producer, leg, code, reason);
    }

    /// Throws away what was received of a file: it begins from its first byte again.
    pub(super) fn start_over(&mut self, slot: &SlotId) {
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        entry.become_(SlotState::Receiving);
        entry.let_go();
        if let Body::Large {
            synced,
            hashes,
            written,
            ..
        } = &mut entry.body
        {
            (*synced, *written) = (0, 0);
            hashes.clear();
        }
        // A crash before it is synced finds a watermark without its bytes, and begins anew too.
        self.append(Record::Watermark(Watermark {
            slot: slot_record(slot),
            offset: 0,
            first_chunk: 0,
            hashes: Vec::new(),
        }));
        // The staging file stays, and the next opening cuts it back to nothing. Removing it here
        // would race with that opening: the name is the same, and it might be the new file's.
        self.out.push(Effect::CloseInflow(slot.clone()));
    }

    pub(super) fn on_commit(&mut self, from: &NodeName, commit: &Commit) {
        let slot = slot_of(from, &commit.leg);
        let Some(entry) = self.entry_mut(&slot) else {
            return;
        };
        if !entry.is_current(Attempt(commit.leg.attempt)) {
            return;
        }
        if let Some((_, at)) = entry.state.saved() {
            return self.tell_saved(from, slot.start, &[slot.slot], at);
        }
        let SlotState::Received { digest } = entry.state else {
            return;
        };
        if Digest::from_slice(&commit.digest) != Some(digest) {
            let leg = commit.leg;
            let reason = format!(
                "{} received {digest}, the producer sent other bytes; hint: a link or a memory on the way damages data",
                self.me.node
            );
            self.start_over(&slot);
            return self.refuse(from, leg, RefusalCode::Mismatch, reason);
        }
        entry.become_(SlotState::Sealing { digest });
        let (spec, staging, feed) = (entry.spec.clone(), entry.staging.clone(), entry.feed());
        let Some((feed, path)) = feed.zip(self.wished_path(&slot)) else {
            return;
        };
        let attributes = self.attributes(&spec);
        self.out.push(Effect::Seal {
            slot,
            feed,
            staging,
            path,
            attributes,
        });
    }

    pub(super) fn on_sealed(&mut self, slot: &SlotId, outcome: Result<bool, InflowFault>) {
        let Some(entry) = self.entry(slot) else {
            return;
        };
        let SlotState::Sealing { digest } = entry.state else {
            return;
        };
        let leg = leg_of(slot, entry);
        match outcome {
            Ok(free) => match self.decide_path(slot, free, false) {
                Some(path) => self.save_large(slot, digest, path),
                None => {
                    // What is synced of it stays, for when a person has cleared the path; but nobody
                    // knows when that will be, and until then no file is held open for it.
                    let entry = self.entry_mut(slot).expect("looked up above");
                    entry.become_(SlotState::Receiving);
                    entry.let_go();
                    self.out.push(Effect::CloseInflow(slot.clone()));
                    let path = self.wished_path(slot).unwrap_or_default();
                    let why = format!(
                        "{path} is taken in the inbox at {}; hint: move what is there away, then `consign retry`",
                        self.me.node
                    );
                    self.refuse(&slot.producer, leg, RefusalCode::Conflict, why);
                }
            },
            Err(fault) => {
                let entry = self.entry_mut(slot).expect("looked up above");
                entry.become_(SlotState::Receiving);
                let attempt = entry.fence.attempt;
                self.on_inflow_failed(slot, attempt, fault);
            }
        }
    }

    fn save_large(&mut self, slot: &SlotId, digest: Digest, path: String) {
        let at = self.now;
        let entry = self.entry_mut(slot).expect("its caller looked it up");
        let file = PublishingFile {
            slot: slot_record(slot),
            staging: entry.staging.clone(),
            path: path.clone(),
            digest: digest.0.to_vec(),
        };
        entry.become_(SlotState::Saving {
            digest,
            path: Some(path),
        });
        // A crash before this sync finds the staging file sealed and nobody told: it is received
        // again from its watermark. From this sync on it is `saved`.
        self.append(Record::Publishing(Publishing {
            files: vec![file],
            at: at.0,
        }));
        self.journal.when_synced(Then::Saved(slot.clone()));
    }

    pub(super) fn large_saved(&mut self, slot: &SlotId) {
        let at = self.now;
        let Some(entry) = self.entry_mut(slot) else {
            return;
        };
        let SlotState::Saving {
            digest,
            path: Some(path),
        } = entry.state.clone()
        else {
            return;
        };
        entry.become_(SlotState::Publishing { digest, at, path });
        self.receiving.remove(slot);
        self.out.push(Effect::CloseInflow(slot.clone()));
        self.tell_saved(&slot.producer, slot.start, &[slot.slot], at);
        self.publish(vec![slot.clone()]);
    }

    pub(super) fn tell_saved(
        &mut self,
        to: &NodeName,
        start: Start,
        slots: &[Slot],
        at: crate::ids::Millis,
    ) {
        let set: crate::ranges::RangeSet = slots.iter().map(|slot| slot.0).collect();
        let receipt = self.receipt(at);
        let ranges: Vec<_> = set.ranges().collect();
        for part in ranges.chunks(limits::RANGES_PER_MESSAGE_MAX) {
            let saved = crate::wire::Saved {
                slot_start: start.0,
                slots: part.to_vec(),
                receipt: receipt.clone(),
            };
            self.send(to, Message::Saved(saved));
        }
    }

    /// This node's word. It is signed once nodes have keys.
    pub(super) fn receipt(&self, at: crate::ids::Millis) -> Receipt {
        Receipt {
            consumer: self.me.node.as_str().to_owned(),
            incarnation: self.me.incarnation.0,
            at: at.0,
            root: Vec::new(),
            signature: Vec::new(),
        }
    }
}
