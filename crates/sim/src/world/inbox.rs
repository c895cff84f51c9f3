//! Inboxes: staging small files, looking, and publishing, with the code that ships.

use std::path::{Path, PathBuf};

use consign_core::consumer::{self, PublishOrder, StageOrder};
use consign_core::disk::Attributes;
use consign_core::ids::{FeedName, SlotId};
use consign_core::limits;
use consign_core::publish::{self, PublishFile, PublishOutcome};
use consign_core::spec::OnConflict;

use super::World;
use super::happening::Work;
use super::inflow::{fault_of, staged};
use super::node::inbox_of;
use crate::disk::{Beneath, is_crash};
use crate::ledger::Violation;
use crate::promise::Promise;

impl World {
    fn inbox(&mut self, node: usize, feed: &FeedName) -> Beneath {
        Beneath::new(self.life(node).disk.clone(), inbox_of(feed.as_str()))
    }

    pub(super) fn seal(
        &mut self,
        node: usize,
        slot: SlotId,
        feed: &FeedName,
        staging: &str,
        path: &str,
        attributes: &Attributes,
    ) {
        let inbox = self.inbox(node, feed);
        let disk = self.life(node).disk.clone();
        let sealed = Self::sync_staging(&*disk, feed, staging)
            .and_then(|file| file.set_attributes(attributes));
        let outcome = sealed.and_then(|()| publish::is_taken(&inbox, path).map(|taken| !taken));
        if let Err(error) = &outcome {
            if is_crash(error) {
                return;
            }
            if error.kind() != std::io::ErrorKind::NotFound {
                // A failed sync is final.
                self.life(node).stops = true;
                return;
            }
        }
        let outcome = outcome.map_err(|error| fault_of(&error));
        self.after_disk(node, consumer::Event::Sealed { slot, outcome });
    }

    pub(super) fn look(&mut self, node: usize, files: Vec<(SlotId, FeedName, String)>) {
        let mut found = Vec::new();
        for (slot, feed, path) in files {
            match publish::is_taken(&self.inbox(node, &feed), &path) {
                Ok(taken) => found.push((slot, !taken)),
                Err(_) => return,
            }
        }
        self.after_disk(node, consumer::Event::Looked(found));
    }

    pub(super) fn stage(&mut self, node: usize, orders: Vec<StageOrder>) {
        let (mut written, mut failed) = (Vec::new(), Vec::new());
        for order in orders {
            let inbox = self.inbox(node, &order.feed);
            let bytes = self.life(node).reader.read(order.bytes_at);
            let staged = match bytes {
                Ok((_, Some(bytes))) => {
                    publish::stage_small(&inbox, &order.staging, &bytes, &order.attributes)
                        .map_err(|error| error.to_string())
                }
                Ok((_, None)) => Err("its record has no bytes".to_owned()),
                Err(error) => Err(error.to_string()),
            };
            match staged {
                Ok(()) => written.push(order),
                Err(why) => failed.push((order.slot, why)),
            }
        }
        let mut files = Vec::new();
        for order in &written {
            let inbox = self.inbox(node, &order.feed);
            if publish::sync_staged(&inbox).is_err() {
                self.life(node).stops = true;
                return;
            }
            match publish::is_taken(&inbox, &order.path) {
                Ok(taken) => files.push((order.slot.clone(), !taken)),
                Err(error) => failed.push((order.slot.clone(), error.to_string())),
            }
        }
        if !self.nodes[node].disk.has_crashed() {
            self.after_disk(node, consumer::Event::Staged { files, failed });
        }
    }

    fn after_disk(&mut self, node: usize, event: consumer::Event) {
        let delay = self.disk_time(node);
        self.do_after(node, delay, Work::Consumer(event));
    }

    pub(super) fn publish(&mut self, node: usize, orders: Vec<PublishOrder>) {
        let (mut done, mut conflicts, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for order in orders {
            // One at a time, so that what each does to the inbox can be told.
            let inbox = self.inbox(node, &order.feed);
            let from = staged(&order.feed, &order.staging);
            let to = inbox_of(order.feed.as_str()).join(&order.path);
            let before = self.nodes[node].disk.identity(&from);
            let file = PublishFile {
                staging: &order.staging,
                path: &order.path,
            };
            let published = publish::publish(&inbox, &[file]);
            let shown = before.filter(|_| self.nodes[node].disk.identity(&to) == before);
            if let Some(identity) = shown {
                self.line(|| {
                    format!(
                        "{} shows {} at {}",
                        self.nodes[node].name,
                        order.slot,
                        to.display()
                    )
                });
                self.shown(node, &order.slot, to, identity);
            }
            match published.map(|mut outcomes| outcomes.remove(0)) {
                Ok(PublishOutcome::Published | PublishOutcome::AlreadyGone) => {
                    let found = self.ledger.settled(node, &order.slot);
                    self.check(found);
                    self.forget_inflow(node, &order.slot);
                    done.push(order.slot);
                }
                Ok(PublishOutcome::Conflict) => conflicts.push(order.slot),
                Ok(PublishOutcome::Failed(error)) => failed.push((order.slot, error.to_string())),
                Err(_) => {
                    self.life(node).stops = true;
                    return;
                }
            }
        }
        if self.nodes[node].disk.has_crashed() {
            return;
        }
        self.after_disk(
            node,
            consumer::Event::Published {
                done,
                conflicts,
                failed,
            },
        );
    }

    fn shown(&mut self, node: usize, slot: &SlotId, path: PathBuf, identity: u64) {
        match self
            .ledger
            .became_visible(node, slot, path.clone(), identity)
        {
            Ok(file) => {
                let story = &self.ledger.stories[file];
                let whole = self.nodes[node].disk.holds(&path, story.content.bytes());
                let large = story.plan.size > limits::SMALL_FILE_BYTES_MAX;
                // A consumer that refuses a taken path waits for a person, and nobody for it.
                let feed = &self.plan.feeds[story.plan.feed];
                let refusing = feed.on_conflict == OnConflict::Reject;
                if !whole && self.ledger.rotten.contains(&(node, file)) {
                    // Found by comparing inboxes with the producers' digests: `audit`.
                    self.ledger.stats.rotten += 1;
                } else if !whole {
                    self.violate(not_whole(&path, file));
                }
                if large && !refusing && self.plan.is_calm() && self.plan.is_swift() {
                    self.check_two_phases(node, slot, file);
                }
            }
            Err(violation) => self.violate(violation),
        }
    }

    /// Without faults nobody shows a file before all of its chain have received it.
    fn check_two_phases(&mut self, node: usize, slot: &SlotId, file: usize) {
        let story = &self.ledger.stories[file];
        let (Some(key), kept) = (story.key, story.kept.clone()) else {
            return;
        };
        let attempt_of = |world: &Self, node: usize| {
            let life = world.nodes[node].life.as_ref()?;
            let mut entries = life.consumer.entries();
            let (_, entry) = entries.find(|(at, _)| at == slot)?;
            Some(entry.fence)
        };
        let fence = attempt_of(self, node);
        for consumer in kept.into_keys() {
            let Some(life) = &self.nodes[consumer].life else {
                continue;
            };
            let waiting = life.consumer.entries().any(|(_, entry)| {
                let same = entry.key == key && Some(entry.fence) == fence;
                same && entry.state == consumer::state::SlotState::Receiving
            });
            if waiting {
                self.violate(Violation {
                    promise: Promise::TwoPhases,
                    what: format!(
                        "{} shows {key} and {} still receives it",
                        self.nodes[node].name, self.nodes[consumer].name
                    ),
                    file: Some(file),
                });
            }
        }
    }

    /// After a power cut every file that is visible is still whole.
    pub(super) fn check_shown(&mut self, node: usize) {
        let mut broken = None;
        for (number, story) in self.ledger.stories.iter().enumerate() {
            let Some(shown) = story.shown.get(&node).filter(|shown| !shown.taken) else {
                continue;
            };
            let disk = &self.nodes[node].disk;
            let there = disk.identity(&shown.path) == Some(shown.identity);
            let rotten = self.ledger.rotten.contains(&(node, number));
            if there && !rotten && !disk.holds(&shown.path, story.content.bytes()) {
                broken = Some(not_whole(&shown.path, number));
            }
        }
        if let Some(violation) = broken {
            self.violate(violation);
        }
    }
}

fn not_whole(path: &Path, file: usize) -> Violation {
    Violation {
        promise: Promise::Whole,
        what: format!("{} has other bytes than the file", path.display()),
        file: Some(file),
    }
}
