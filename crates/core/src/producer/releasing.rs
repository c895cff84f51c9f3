//! Lets go of the sources of what is done or cancelled, a window's worth at a time.

use crate::ids::TransferKey;
use crate::planted::{Planted, planted};
use crate::producer::dormant::{Dormant, Rest};
use crate::producer::pump::by_start;
use crate::producer::replay::payload_bytes;
use crate::producer::state::Stage;
use crate::producer::window::Load;
use crate::producer::{Effect, Producer, Release};
use crate::record::{Record, Transfers};
use crate::spec::After;

/// Finished transfers that one event takes up again; a disk that is still full turns down no more.
const RELEASED_AT_ONCE: usize = 64;

/// How a transfer ended whose source is still to be released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finished {
    Done,
    Cancelled,
}

impl Finished {
    pub(super) fn stage(self) -> Stage {
        match self {
            Self::Done => Stage::Done,
            Self::Cancelled => Stage::Cancelled,
        }
    }

    fn of(stage: &Stage) -> Option<Self> {
        match stage {
            Stage::Done => Some(Self::Done),
            Stage::Cancelled => Some(Self::Cancelled),
            Stage::Claiming
            | Stage::Queued
            | Stage::Placing
            | Stage::Opening { .. }
            | Stage::Streaming
            | Stage::Committing { .. }
            | Stage::Parking
            | Stage::Failed { .. } => None,
        }
    }
}

impl Producer {
    /// `done` or `cancelled` is synced: the sources may go.
    pub(super) fn release(&mut self, keys: &[TransferKey]) {
        let mut releases = Vec::new();
        let mut nothing_to_do = Vec::new();
        let mut later = Vec::new();
        for &key in keys {
            let Some(transfer) = self.active.get(&key) else {
                continue;
            };
            let source = &transfer.source;
            let give_back = transfer.stage == Stage::Cancelled;
            let kept_in_place =
                source.spool.is_empty() && !source.watched || planted(Planted::SourceNotReleased);
            if kept_in_place {
                nothing_to_do.push(key);
                continue;
            }
            assert!(
                give_back || transfer.stage == Stage::Done,
                "only what is done or cancelled is released"
            );
            if self.window.is_over_full() {
                later.push(key);
                continue;
            }
            releases.push(Release {
                key,
                feed: transfer.feed.clone(),
                name: transfer.spec.name.clone(),
                source: source.clone(),
                give_back: give_back && source.after() != After::Keep,
            });
        }
        if !releases.is_empty() {
            self.out.push(Effect::Release(releases));
        }
        self.forget_released(&nothing_to_do);
        self.release_later(&later);
    }

    pub(super) fn on_released(&mut self, keys: Vec<TransferKey>, failed: Vec<TransferKey>) {
        self.forget_released(&keys);
        // A tick tries again. Whatever the disk lacks is lacking for the others, too.
        self.release_paused |= !failed.is_empty();
        self.release_later(&failed);
    }

    /// Finished transfers leave memory until their sources can be released.
    fn release_later(&mut self, keys: &[TransferKey]) {
        for &key in keys {
            if let Some(finished) = self.stage_of(key).and_then(Finished::of) {
                self.put_to_rest(key, Rest::Unreleased);
                self.rest_finished(key, finished);
            }
        }
    }

    pub(super) fn rest_finished(&mut self, key: TransferKey, finished: Finished) {
        let resting = |dormant: &mut Dormant| dormant.rest = Rest::Unreleased;
        let rests = self.queue.dormant.update(key, resting);
        assert!(rests.is_some(), "it was just put to rest");
        self.finished.insert(key, finished);
        self.unreleased.push_back(key);
    }

    /// Takes up finished transfers whose sources are still there, as far as there is room.
    pub(super) fn release_more(&mut self) {
        for _ in 0..RELEASED_AT_ONCE {
            if self.release_paused || !self.window.has_room(Load::Finished) {
                return;
            }
            let Some(key) = self.unreleased.pop_front() else {
                return;
            };
            self.fetch(key);
        }
    }

    fn forget_released(&mut self, keys: &[TransferKey]) {
        let mut gone = Vec::new();
        for &key in keys {
            let finished = matches!(self.stage_of(key), Some(Stage::Done | Stage::Cancelled));
            if !finished {
                continue;
            }
            let transfer = self.deactivate(key).expect("it has a stage");
            let bytes = payload_bytes(transfer.spec.size);
            if let Some(position) = transfer.submitted {
                self.live.remove(position, bytes);
            }
            if let Some(position) = transfer.placed {
                self.live.remove(position, 0);
            }
            gone.push(key);
        }
        for (start, seqs) in by_start(&gone) {
            // No sync waits for it: a crash before one releases the source again, which is harmless.
            self.append(Record::Released(Transfers {
                start: start.0,
                seqs,
                at: self.now.0,
                reason: String::new(),
            }));
        }
    }
}
