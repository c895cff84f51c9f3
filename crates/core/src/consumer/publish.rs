//! From `saved` to visible: small files through staging in batches, and the renames.

use crate::consumer::answer::slot_record;
use crate::consumer::state::{Body, Entry, SlotState};
use crate::consumer::{Consumer, Effect, PublishOrder, StageOrder, Then};
use crate::ids::{NodeName, SlotId, Start};
use crate::planted::{Planted, planted};
use crate::ranges::RangeSet;
use crate::record::{Publishing, PublishingFile, Record, Slots};
use std::collections::BTreeMap;

/// Small files that are staged under one sync of the filesystem.
const BATCH_FILES: usize = 1024;

/// Files in one record: with the longest names it stays far below its limit, and with usual ones it fits
/// into the smallest segment of a log.
const FILES_PER_RECORD: usize = 16;

/// Batches under way at once: one is being staged while another is renamed.
const BATCHES: usize = 2;

/// How long after a failure of an inbox it is tried again, in ms.
const RETRY_MS: u64 = 1_000;

/// Slots whose problems are named at once; what is the matter with one is mostly the matter with
/// all.
const PROBLEMS_MAX: usize = 1000;

impl Consumer {
    /// Stages what is saved, if not enough is under way.
    pub(super) fn stage_next(&mut self) {
        while self.batches < BATCHES && !self.to_stage.is_empty() {
            let mut orders = Vec::new();
            while orders.len() < BATCH_FILES {
                let Some(slot) = self.to_stage.pop_front() else {
                    break;
                };
                orders.extend(self.stage_order(slot));
            }
            if orders.is_empty() {
                return;
            }
            self.batches += 1;
            self.out.push(Effect::Stage(orders));
        }
    }

    /// `None` for what cannot be published in this life.
    fn stage_order(&mut self, slot: SlotId) -> Option<StageOrder> {
        let entry = self.entry(&slot)?;
        let (SlotState::Saved { digest, at }, Body::Small { bytes_at }) =
            (&entry.state, &entry.body)
        else {
            return None;
        };
        let (digest, at) = (*digest, *at);
        let bytes_at = bytes_at.expect("what is saved is synced");
        let (spec, staging) = (entry.spec.clone(), entry.staging.clone());
        let (feed, path) = match self.place_of(&slot) {
            Ok(place) => place,
            Err((_, no)) => {
                let why = self.homeless(&spec);
                let why = why.unwrap_or_else(|| format!("it is saved, and {no}"));
                self.park(&slot, spec.size, why);
                return None;
            }
        };
        let attributes = self.attributes(&spec);
        let entry = self.entry_mut(&slot).expect("looked up above");
        entry.become_(SlotState::Staging { digest, at });
        Some(StageOrder {
            slot,
            bytes_at,
            feed,
            staging,
            path,
            attributes,
        })
    }

    /// What cannot be published in this life is not on its way, and holds back nobody.
    fn park(&mut self, slot: &SlotId, bytes: u64, why: String) {
        self.name_problem(slot, why);
        self.unpublished = self.unpublished.saturating_sub(1);
        self.unpublished_bytes = self.unpublished_bytes.saturating_sub(bytes);
    }

    pub(super) fn on_staged(&mut self, files: Vec<(SlotId, bool)>, failed: Vec<(SlotId, String)>) {
        self.batches = self.batches.saturating_sub(1);
        for (slot, why) in failed {
            if let Some(entry) = self.entry_mut(&slot)
                && let SlotState::Staging { digest, at } = entry.state
            {
                entry.become_(SlotState::Saved { digest, at });
                self.fail_for_now(&slot, why);
                if !planted(Planted::FullDiskIsFinal) {
                    self.restage.insert(slot);
                }
            }
        }
        let mut publishing = Vec::new();
        let mut slots = Vec::new();
        for (slot, free) in files {
            let Some(SlotState::Staging { digest, at }) =
                self.entry(&slot).map(|e| e.state.clone())
            else {
                continue;
            };
            // It is saved already: what conflicts now is renamed, whatever the policy says.
            let Some(path) = self.decide_path(&slot, free, true) else {
                // Its feed is gone since: staging it again finds out.
                let entry = self.entry_mut(&slot).expect("looked up above");
                entry.become_(SlotState::Saved { digest, at });
                self.restage.insert(slot);
                continue;
            };
            let entry = self.entry_mut(&slot).expect("looked up above");
            publishing.push(PublishingFile {
                slot: slot_record(&slot),
                staging: entry.staging.clone(),
                path: path.clone(),
                digest: digest.0.to_vec(),
            });
            entry.become_(SlotState::Staged { digest, at, path });
            slots.push(slot);
        }
        self.write_publishing(publishing, slots);
    }

    fn write_publishing(&mut self, files: Vec<PublishingFile>, slots: Vec<SlotId>) {
        if files.is_empty() {
            return;
        }
        // A crash before this sync stages the files again from the log; after it, recovery can tell
        // a file that was never shown (its staging file is there) from one that was.
        for files in files.chunks(FILES_PER_RECORD) {
            self.append(Record::Publishing(Publishing {
                files: files.to_vec(),
                at: self.now.0,
            }));
        }
        if planted(Planted::PublishBeforeLogged) {
            return self.publish(slots);
        }
        self.journal.when_synced(Then::Publish(slots));
    }

    /// *Publishing* is synced: the renames are made.
    pub(super) fn publish(&mut self, slots: Vec<SlotId>) {
        let mut orders = Vec::with_capacity(slots.len());
        for slot in slots {
            let wished = self.wished_path(&slot);
            let Some(entry) = self.entry_mut(&slot) else {
                continue;
            };
            if let SlotState::Staged { digest, at, path } = entry.state.clone() {
                entry.become_(SlotState::Publishing { digest, at, path });
            }
            let (SlotState::Publishing { path, .. }, Some(feed)) = (&entry.state, entry.feed())
            else {
                continue;
            };
            orders.push(PublishOrder {
                id: entry.id(&slot.producer),
                feed,
                staging: entry.staging.clone(),
                path: path.clone(),
                instead_of: wished.filter(|wished| wished != path),
                slot,
            });
        }
        if !orders.is_empty() {
            self.out.push(Effect::Publish(orders));
        }
    }

    pub(super) fn on_published(
        &mut self,
        done: Vec<SlotId>,
        conflicts: Vec<SlotId>,
        failed: Vec<(SlotId, String)>,
    ) {
        let mut published: BTreeMap<(NodeName, Start), RangeSet> = BTreeMap::new();
        for slot in done {
            if self.published(&slot) {
                let at = (slot.producer.clone(), slot.start);
                published.entry(at).or_default().insert(slot.slot.0);
            }
        }
        for ((producer, start), slots) in published {
            // The directories are synced. A crash before this record looks for the staging files,
            // finds none, and knows.
            self.append(Record::Published(Slots {
                producer: producer.as_str().to_owned(),
                start: start.0,
                slots: slots.ranges().collect(),
                at: self.now.0,
            }));
            for slot in slots.iter() {
                let slot = SlotId {
                    producer: producer.clone(),
                    start,
                    slot: crate::ids::Slot(slot),
                };
                self.forget_if_closed(&slot);
            }
        }
        self.rename_conflicts(conflicts);
        for (slot, why) in failed {
            self.fail_for_now(&slot, why);
            self.republish.insert(slot);
        }
    }

    fn published(&mut self, slot: &SlotId) -> bool {
        let Some(entry) = self.entry_mut(slot) else {
            return false;
        };
        let SlotState::Publishing { digest, at, path } = entry.state.clone() else {
            return false;
        };
        entry.become_(SlotState::Published { digest, at });
        let (feed, size, small) = (entry.feed(), entry.spec.size, !entry.is_large());
        // Its bytes are not needed any more, only the memory of it.
        let (recorded, live_bytes) = (entry.recorded, std::mem::take(&mut entry.live_bytes));
        if let Some(position) = recorded {
            self.live.remove(position, live_bytes);
            self.live.add(position, 0);
        }
        if small {
            self.unpublished = self.unpublished.saturating_sub(1);
            self.unpublished_bytes = self.unpublished_bytes.saturating_sub(size);
            self.note_written(feed.as_ref(), size);
        }
        if let Some(feed) = feed {
            if let Some(inbox) = self.inboxes.get_mut(&feed) {
                inbox.published_files += 1;
                inbox.published_bytes += size;
            }
            self.promised.remove(&(feed, path));
        }
        self.problems.remove(slot);
        true
    }

    /// Something else took the path after it was promised: the file gets a name of its own.
    fn rename_conflicts(&mut self, conflicts: Vec<SlotId>) {
        let mut files = Vec::new();
        let mut slots = Vec::new();
        for slot in conflicts {
            let Some(SlotState::Publishing { digest, at, path }) =
                self.entry(&slot).map(|e| e.state.clone())
            else {
                continue;
            };
            let feed = self.entry(&slot).and_then(Entry::feed);
            let Some(next) = self.next_path(&slot, &path) else {
                self.fail_for_now(
                    &slot,
                    format!(
                        "{path} and the other names that it may get are taken; hint: move what is there away"
                    ),
                );
                self.republish.insert(slot);
                continue;
            };
            if let Some(feed) = feed {
                self.promised.remove(&(feed, path));
            }
            let entry = self.entry_mut(&slot).expect("looked up above");
            files.push(PublishingFile {
                slot: slot_record(&slot),
                staging: entry.staging.clone(),
                path: next.clone(),
                digest: digest.0.to_vec(),
            });
            entry.become_(SlotState::Publishing {
                digest,
                at,
                path: next,
            });
            slots.push(slot);
        }
        self.write_publishing(files, slots);
    }

    /// The path to try after `path`: a name of its own in the same directory; then, since a
    /// directory on the way may be what is taken, that name in the inbox itself.
    fn next_path(&mut self, slot: &SlotId, path: &str) -> Option<String> {
        let last = self.path_in_inbox(slot)?;
        if path == last {
            return None;
        }
        match self.decide_path(slot, false, true)? {
            same if same == path => {
                let feed = self.entry(slot)?.feed()?;
                self.promised.insert((feed, last.clone()), slot.clone());
                Some(last)
            }
            other => Some(other),
        }
    }

    /// Keeps a problem for people to see.
    pub(super) fn name_problem(&mut self, slot: &SlotId, why: String) {
        if self.problems.len() < PROBLEMS_MAX || self.problems.contains_key(slot) {
            self.problems.insert(slot.clone(), why);
        }
    }

    fn fail_for_now(&mut self, slot: &SlotId, why: String) {
        self.name_problem(slot, why);
        if self.retry_at <= self.now {
            self.retry_at = self.now.plus(RETRY_MS);
        }
    }

    pub(super) fn on_tick(&mut self) {
        if planted(Planted::DeduplicateByTime) {
            self.forget_by_age();
        }
        if self.retry_at > self.now {
            return;
        }
        self.retry_at = self.now.plus(RETRY_MS);
        self.to_stage.extend(std::mem::take(&mut self.restage));
        let again: Vec<SlotId> = std::mem::take(&mut self.republish).into_iter().collect();
        self.publish(again);
    }
}
