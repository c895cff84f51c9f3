//! Walking the directory when it is time to.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Instant;

use consign_core::spec::Stamp;
use rustix::fs::AtFlags;
use rustix::io::Errno;

use super::{Opened, RESUBSCRIBE_EVERY, STEP_ENTRIES, Scanner};
use crate::os_disk::Root;
use crate::outbox::{RootId, stamp_of};
use crate::watch::hints::subscribe;
use crate::watch::problems::Whole;
use crate::watch::walk::Walk;

impl Scanner {
    /// Begins the walk that is due, if one is: of the whole, else of a new directory.
    pub(super) fn begin_walk(&mut self, now: Instant) {
        if !self.has_room() {
            return;
        }
        if self.scan_at() <= now {
            self.begin_scan(now);
            return;
        }
        while let Some((_, path)) = self.dirs.pop_front_if(|(at, _)| *at <= now) {
            let Some(opened) = &self.opened else { return };
            // Gone, or unreadable: then the next scan says so.
            if let Ok(walk) = Walk::begin(&opened.root, &path) {
                self.walk = Some(walk);
                return;
            }
        }
    }

    fn begin_scan(&mut self, now: Instant) {
        self.missed = false;
        self.walk_began = now;
        self.next_scan = now + self.config.scan_every;
        let begun = self.open_root(now).and_then(|()| match &self.opened {
            Some(opened) => Walk::begin(&opened.root, Path::new("")).map(Some),
            None => Ok(None),
        });
        match begun {
            Ok(walk) => {
                self.problems.clear(Whole::Root);
                self.problems.begin_scan();
                self.walk = walk;
            }
            Err(error) => {
                let why = format!(
                    "cannot be watched: {error}; hint: create the directory, or mount what belongs there"
                );
                self.problems.set(Whole::Root, &self.config.root, &why);
                self.opened = None;
                self.next_scan = now + self.scan_every();
            }
        }
    }

    /// Opens the directory, and subscribes to its events, where it is not the same one as before.
    fn open_root(&mut self, now: Instant) -> io::Result<()> {
        let meta = std::fs::metadata(&self.config.root)?;
        if let Some(opened) = &self.opened {
            let same = (opened.dev, opened.ino) == (meta.dev(), meta.ino());
            let complete = opened.resubscribe_at.is_none_or(|at| now < at);
            if same && complete {
                return Ok(());
            }
        }
        // The old subscription first: it counts against the same limits.
        self.opened = None;
        let root = Root::open(&self.config.root)?;
        let (events, outcome) = subscribe(&self.config.root, &self.flow);
        self.opened = Some(Opened {
            root,
            dev: meta.dev(),
            ino: meta.ino(),
            _events: events,
            resubscribe_at: None,
        });
        match outcome {
            Ok(()) => self.problems.clear(Whole::Events),
            Err(why) => self.degrade(&why, now),
        }
        Ok(())
    }

    /// Events are incomplete from now on.
    pub(super) fn degrade(&mut self, why: &str, now: Instant) {
        self.problems.set(Whole::Events, &self.config.root, why);
        if let Some(opened) = &mut self.opened {
            opened.resubscribe_at = Some(now + RESUBSCRIBE_EVERY);
        }
        self.next_scan = self.next_scan.min(now + self.scan_every());
    }

    /// Goes on with the walk, as far as there is room.
    pub(super) fn step(&mut self, now: Instant) {
        for _ in 0..STEP_ENTRIES {
            if !self.has_room() {
                return;
            }
            let Some(walk) = &mut self.walk else { return };
            match walk.next(&self.config.include) {
                Some(found) => self.consider(found, false, now),
                None => return self.end_walk(),
            }
        }
    }

    fn end_walk(&mut self) {
        let Some(walk) = self.walk.take().filter(|walk| walk.full) else {
            return;
        };
        self.problems.end_scan();
        // Lost again meanwhile: then the next scan clears it.
        if self.overflowed && !self.missed {
            self.overflowed = false;
            self.problems.clear(Whole::Overflow);
        }
        let now = Instant::now();
        if now >= self.forget_at {
            self.forget_at = now + self.config.forget_every;
            self.forget_kept(!walk.saw_any);
        }
        let took = now - self.walk_began;
        self.rest_until = now + took;
        self.next_scan = now + self.scan_every().max(took);
    }

    fn forget_kept(&mut self, empty: bool) {
        let Some(opened) = &self.opened else { return };
        let root = RootId {
            ino: opened.ino,
            empty,
        };
        let feed = self.config.feed.as_str();
        let forgotten = self
            .kept
            .forget_missing(feed, root, |name| present(&opened.root, name));
        match forgotten {
            Ok(0) => {}
            Ok(forgotten) => tracing::debug!(feed, forgotten, "kept files are gone"),
            Err(error) => {
                let why = error.to_string();
                self.problems.set(Whole::Kept, &self.config.root, &why);
            }
        }
    }
}

/// The stamp of what is at a name; `None` only when it is certain that nothing is.
fn present(root: &Root, name: &str) -> io::Result<Option<Stamp>> {
    let (dir, base) = match root.parent(Path::new(name)) {
        Ok(found) => found,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match rustix::fs::statat(&dir, base, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stamp_of(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}
