//! What is to be seen in inboxes: once, whole, and for as long as nobody takes it.

use std::path::PathBuf;

use consign_core::ids::SlotId;

use super::{Ledger, Shown, Violation};
use crate::promise::Promise;

impl Ledger {
    /// A file became visible at a consumer.
    pub fn became_visible(
        &mut self,
        consumer: usize,
        slot: &SlotId,
        path: PathBuf,
        identity: u64,
    ) -> Result<usize, Violation> {
        let Some(file) = self.file_at(consumer, slot) else {
            return Err(Violation {
                promise: Promise::NothingForeign,
                what: format!("{slot} was never placed here, and is at {}", path.display()),
                file: None,
            });
        };
        let shown = Shown {
            path,
            identity,
            settled: false,
            taken: false,
            may_repeat: false,
        };
        self.stats.shown += 1;
        let story = &mut self.stories[file];
        if !story.saved.contains(&consumer) {
            return Err(Violation {
                promise: Promise::ShownIsSaved,
                what: format!("{slot} is at {}", shown.path.display()),
                file: Some(file),
            });
        }
        if let Some(before) = story.shown.insert(consumer, shown) {
            if !before.may_repeat {
                return Err(Violation {
                    promise: Promise::ShownOnce,
                    what: format!("{slot} was shown at {} before", before.path.display()),
                    file: Some(file),
                });
            }
            self.stats.shown_again += 1;
        }
        Ok(file)
    }

    /// A file is visible, and its directories are synced.
    pub fn settled(&mut self, consumer: usize, slot: &SlotId) -> Result<(), Violation> {
        let Some(file) = self.file_at(consumer, slot) else {
            return Ok(());
        };
        match self.stories[file].shown.get_mut(&consumer) {
            // A power cut that undid nothing of what the application took leaves it gone for good.
            Some(shown) if !shown.may_repeat || shown.taken => {
                shown.settled = true;
                shown.may_repeat = false;
                Ok(())
            }
            Some(_) | None => Err(Violation {
                promise: Promise::SavedIsShown,
                what: format!("{slot} counts as published and is not in the inbox"),
                file: Some(file),
            }),
        }
    }

    /// The machine of `consumer` lost power; `is_there` tells what its inbox holds now.
    pub fn power_cut(
        &mut self,
        consumer: usize,
        is_there: impl Fn(&Shown) -> bool,
    ) -> Result<(), Violation> {
        for (file, story) in self.stories.iter_mut().enumerate() {
            let Some(shown) = story.shown.get_mut(&consumer) else {
                continue;
            };
            // The application's own removal may have been undone.
            shown.taken &= !is_there(shown);
            if !shown.settled && !is_there(shown) {
                shown.may_repeat = true;
            } else if shown.settled && !shown.taken && !is_there(shown) {
                return Err(Violation {
                    promise: Promise::ShownStays,
                    what: format!("{} is gone after a power cut", shown.path.display()),
                    file: Some(file),
                });
            }
        }
        Ok(())
    }
}
