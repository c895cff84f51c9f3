//! What becomes of the files that the scanner comes by.

use std::path::Path;
use std::time::Instant;

use consign_core::spec::Stamp;
use tokio::sync::mpsc::error::TrySendError;

use super::{Offer, Scanner};
use crate::watch::Ready;
use crate::watch::names::Judged;
use crate::watch::problems::Whole;
use crate::watch::waiting::{Wait, Why};
use crate::watch::walk::{Found, look_at};

impl Scanner {
    /// Decides about an entry that a walk or a hint came by.
    pub(super) fn consider(&mut self, found: Found, whole: bool, now: Instant) {
        match found.judged {
            Judged::Ignored | Judged::Dir => {}
            Judged::Odd(why) => {
                self.problems
                    .found(&self.config.root.join(found.path), &why);
            }
            Judged::File { name, stamp } => {
                if let Some(offer) = self.on_offer.get_mut(&name) {
                    offer.whole_again |= whole;
                    return;
                }
                if self.is_kept(&name, &stamp) {
                    self.waiting.remove(&name);
                    return;
                }
                self.consider_file(&name, stamp, whole, now);
            }
        }
    }

    fn consider_file(&mut self, name: &str, stamp: Stamp, whole: bool, now: Instant) {
        let unchanged = self.waiting.get(name).filter(|wait| wait.stamp == stamp);
        match unchanged.map(|wait| wait.why) {
            Some(Why::Refused) => self.problems.still(&self.config.root.join(name)),
            Some(Why::Settling) if !whole => {}
            _ if whole || self.config.settle.is_zero() => self.offer(name, stamp, now),
            _ => self.settle(name, stamp, self.settled_from(now)),
        }
    }

    /// When a file has settled that has just been looked at, in a turn that began at `now`: others
    /// were looked at before it, and their time is not its own.
    fn settled_from(&self, now: Instant) -> Instant {
        now.max(Instant::now()) + self.config.settle
    }

    fn settle(&mut self, name: &str, stamp: Stamp, due: Instant) {
        let wait = Wait {
            stamp,
            due,
            why: Why::Settling,
        };
        if !self.waiting.put(name, wait) {
            self.missed = true;
        }
    }

    /// Offers what has waited for its time, if it still looks as it did then.
    pub(super) fn offer_due(&mut self, now: Instant) {
        while self.has_room() {
            let Some((name, wait)) = self.waiting.pop_due(now) else {
                return;
            };
            let Some(opened) = &self.opened else { return };
            let path = Path::new(&*name);
            match look_at(&opened.root, path, &self.config.include) {
                Some(Judged::File { stamp, .. }) if self.is_kept(&name, &stamp) => {}
                Some(Judged::File { stamp, .. }) if stamp == wait.stamp => {
                    self.offer(&name, stamp, now);
                }
                Some(Judged::File { stamp, .. }) => {
                    self.settle(&name, stamp, self.settled_from(now));
                }
                Some(judged) => {
                    let path = path.to_owned();
                    self.consider(Found { path, judged }, false, now);
                }
                None => self.vanished(path),
            }
        }
    }

    fn offer(&mut self, name: &str, stamp: Stamp, now: Instant) {
        if !self.has_room() {
            return self.settle(name, stamp, now);
        }
        self.waiting.remove(name);
        let offer = Offer {
            stamp,
            whole_again: false,
        };
        self.on_offer.insert(name.to_owned(), offer);
        let sent = self.ready.try_send(Ready {
            feed: self.config.feed.clone(),
            path: self.config.root.join(name),
            relative_name: name.to_owned(),
            stamp,
        });
        assert!(
            !matches!(sent, Err(TrySendError::Full(_))),
            "each file on offer has a place in the channel"
        );
    }

    /// Whether the file was taken and stays. When the set cannot be asked, nothing is offered:
    /// late is better than twice.
    fn is_kept(&mut self, name: &str, stamp: &Stamp) -> bool {
        let feed = self.config.feed.as_str();
        match self.kept.contains_unchanged(feed, name, stamp) {
            Ok(is_kept) => {
                self.problems.clear(Whole::Kept);
                is_kept
            }
            Err(error) => {
                let why = error.to_string();
                self.problems.set(Whole::Kept, &self.config.root, &why);
                true
            }
        }
    }
}
