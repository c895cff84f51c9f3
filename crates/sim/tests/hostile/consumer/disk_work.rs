//! What a node does for its consumer on disk: staging, sealing, publishing, with the code that ships.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use consign_core::consumer::{Event, InflowFault, InflowOrder, PublishOrder, StageOrder};
use consign_core::disk::{Attributes, Disk, File, OpenMode};
use consign_core::ids::{Digest, FeedName, SlotId};
use consign_core::publish::{self, PublishFile, PublishOutcome, STAGING_DIR};
use consign_sim::disk::Beneath;

use super::{Bench, digest_of};

pub(super) fn inbox_of(feed: &str) -> PathBuf {
    Path::new("/inboxes").join(feed)
}

/// A large file that is being received.
pub(super) struct Inflow {
    order: InflowOrder,
    file: Arc<dyn File>,
    written: u64,
}

impl Bench {
    fn inbox(&mut self, feed: &FeedName) -> Beneath {
        Beneath::new(self.life().disk.clone(), inbox_of(feed.as_str()))
    }

    pub(super) fn open_inflow(&mut self, order: InflowOrder) {
        let inbox = self.inbox(&order.feed);
        let path = publish::staging_path(&order.staging);
        let known = self.life().inflows.remove(&order.slot);
        let written = match &known {
            Some(inflow) => inflow.written,
            None => order.synced,
        };
        let file = match inbox.open(&path, OpenMode::Write) {
            Ok(file) => file,
            Err(_) if order.synced == 0 => inbox
                .open(&path, OpenMode::CreateNew)
                .expect("nothing is in its place"),
            Err(_) => {
                let failed = Event::InflowFailed {
                    slot: order.slot,
                    attempt: order.attempt,
                    fault: InflowFault::Missing,
                };
                return self.life().done.push_back(failed);
            }
        };
        file.set_len(written).expect("no disk fails here");
        let ready = Event::InflowReady {
            slot: order.slot.clone(),
            attempt: order.attempt,
            from: written,
        };
        self.life().done.push_back(ready);
        let slot = order.slot.clone();
        let inflow = Inflow {
            order,
            file,
            written,
        };
        self.life().inflows.insert(slot.clone(), inflow);
        self.complete(&slot);
    }

    /// Bytes of a large file arrive, verified as far as they go; none beyond its length are taken.
    pub(super) fn receive(&mut self, slot: &SlotId, bytes: &Bytes, upto: u64) {
        let Some(inflow) = self.life().inflows.get_mut(slot) else {
            return;
        };
        let upto = upto.min(inflow.order.size).min(bytes.len() as u64);
        if upto > inflow.written {
            let part = &bytes[inflow.written as usize..upto as usize];
            let at = inflow.written;
            inflow
                .file
                .write_all_at(part, at)
                .expect("no disk fails here");
            inflow.written = upto;
            let progress = Event::InflowProgress {
                slot: slot.clone(),
                attempt: inflow.order.attempt,
                bytes: upto,
            };
            self.life().done.push_back(progress);
        }
        self.complete(slot);
    }

    fn complete(&mut self, slot: &SlotId) {
        let inflow = &self.life().inflows[slot];
        if inflow.written < inflow.order.size {
            return;
        }
        let mut bytes = vec![0; inflow.written as usize];
        inflow
            .file
            .read_exact_at(&mut bytes, 0)
            .expect("no disk fails here");
        let complete = Event::InflowComplete {
            slot: slot.clone(),
            attempt: inflow.order.attempt,
            digest: Digest(digest_of(&bytes)),
        };
        self.life().done.push_back(complete);
    }

    pub(super) fn any_inflow(&mut self) -> Option<SlotId> {
        let many = self.life().inflows.len() as u64;
        let at = self.rng.below(many.max(1)) as usize;
        self.life().inflows.keys().nth(at).cloned()
    }

    pub(super) fn seal(
        &mut self,
        slot: SlotId,
        feed: &FeedName,
        staging: &str,
        path: &str,
        attributes: &Attributes,
    ) {
        let inbox = self.inbox(feed);
        let file = inbox
            .open(&publish::staging_path(staging), OpenMode::Write)
            .expect("what was received is in staging");
        file.set_attributes(attributes).expect("no disk fails here");
        file.sync().expect("no disk fails here");
        inbox
            .sync_dir(Path::new(STAGING_DIR))
            .expect("no disk fails here");
        let free = !publish::is_taken(&inbox, path).expect("no disk fails here");
        let sealed = Event::Sealed {
            slot,
            outcome: Ok(free),
        };
        self.life().done.push_back(sealed);
    }

    pub(super) fn look(&mut self, files: Vec<(SlotId, FeedName, String)>) {
        let mut found = Vec::new();
        for (slot, feed, path) in files {
            let taken = publish::is_taken(&self.inbox(&feed), &path);
            found.push((slot, !taken.expect("no disk fails here")));
        }
        self.life().done.push_back(Event::Looked(found));
    }

    pub(super) fn stage(&mut self, orders: Vec<StageOrder>) {
        let mut files = Vec::new();
        for order in orders {
            let inbox = self.inbox(&order.feed);
            let read = self.life().reader.read(order.bytes_at);
            let (_, bytes) = read.expect("what is saved is in the log");
            let bytes = bytes.expect("a small file's record has its bytes");
            publish::stage_small(&inbox, &order.staging, &bytes, &order.attributes)
                .expect("no disk fails here");
            publish::sync_staged(&inbox).expect("no disk fails here");
            let taken = publish::is_taken(&inbox, &order.path).expect("no disk fails here");
            files.push((order.slot, !taken));
        }
        let staged = Event::Staged {
            files,
            failed: Vec::new(),
        };
        self.life().done.push_back(staged);
    }

    pub(super) fn publish(&mut self, orders: Vec<PublishOrder>) {
        let (mut done, mut conflicts, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for order in orders {
            let file = PublishFile {
                staging: &order.staging,
                path: &order.path,
            };
            let outcomes = publish::publish(&self.inbox(&order.feed), &[file]);
            match outcomes.expect("no sync fails here").remove(0) {
                PublishOutcome::Published | PublishOutcome::AlreadyGone => done.push(order.slot),
                PublishOutcome::Conflict => conflicts.push(order.slot),
                PublishOutcome::Failed(error) => failed.push((order.slot, error.to_string())),
            }
        }
        let published = Event::Published {
            done,
            conflicts,
            failed,
        };
        self.life().done.push_back(published);
    }

    pub(super) fn discard(&mut self, slot: &SlotId, feed: &FeedName, staging: &str) {
        self.life().inflows.remove(slot);
        // An orphan that stays is removed by the next start.
        let _ = self.inbox(feed).remove(&publish::staging_path(staging));
    }
}
