//! Transfers that are not in memory: what is known of each, and in what order they come back.
//!
//! A million queued files must not cost a million descriptions, so all that stays of a transfer
//! outside the active window is where its records lie in the log, and what decides its turn.

use std::collections::BTreeMap;

use crate::ids::{FeedName, Start, TransferKey};
use crate::producer::FeedRules;
use crate::producer::dormant::{Dormant, Dormants, Rest};
use crate::producer::turns::Turns;

/// A place in a queue: of one feed, small before large, then the higher priority, then the older.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Turn {
    /// Number of its feed. It comes first so that a queue of several feeds is one queue for each.
    pub(crate) feed: u16,
    /// Whether it is large.
    pub(crate) large: bool,
    /// Negated priority.
    pub(crate) rank: i32,
    /// Number of its start, counted in the order in which they happened.
    pub(crate) start_number: u32,
    /// Its sequence.
    pub(crate) seq: u64,
}

/// A feed's queue.
#[derive(Debug)]
pub(crate) struct Feed {
    pub(crate) name: FeedName,
    /// `None` for a feed that the configuration no longer has: what was submitted is delivered.
    pub(crate) rules: Option<FeedRules>,
    pub(crate) fresh: Turns,
    pub(crate) queued_bytes: u64,
    pub(crate) queued_files: u64,
    pub(crate) failed: u64,
    /// Done since this life began.
    pub(crate) done_files: u64,
    pub(crate) done_bytes: u64,
}

impl Turn {
    /// The first possible one of a feed.
    fn least(feed: u16, large: bool) -> Self {
        Self {
            feed,
            large,
            rank: i32::MIN,
            start_number: 0,
            seq: 0,
        }
    }

    /// The turn behind it in the same line.
    pub(crate) fn next(self) -> Self {
        Self {
            seq: self.seq.saturating_add(1),
            ..self
        }
    }

    /// What decides between turns of different feeds.
    fn urgency(&self) -> (i32, u32, u64) {
        (self.rank, self.start_number, self.seq)
    }
}

/// The first turn of a kind that a feed has in a queue.
pub(crate) fn first_turn(turns: &Turns, feed: u16, small: bool) -> Option<Turn> {
    let first = turns.first_from(Turn::least(feed, !small));
    first.filter(|turn| turn.feed == feed && turn.large != small)
}

/// The most urgent turn of a kind in a queue, of those feeds that may go on.
pub(crate) fn most_urgent(
    turns: &Turns,
    small: bool,
    may_go_on: impl Fn(u16) -> bool,
) -> Option<Turn> {
    let mut feed = turns.first().map(|turn| turn.feed);
    let feeds = std::iter::from_fn(|| {
        let this = feed?;
        let beyond = this.checked_add(1).map(|next| Turn::least(next, false));
        feed = beyond.and_then(|beyond| turns.first_from(beyond).map(|turn| turn.feed));
        Some(this)
    });
    feeds
        .filter(|&feed| may_go_on(feed))
        .filter_map(|feed| first_turn(turns, feed, small))
        .min_by_key(Turn::urgency)
}

/// Feeds, the dormant transfers, and how they are found.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) feeds: Vec<Feed>,
    pub(crate) dormant: Dormants,
    starts: Vec<Start>,
    start_numbers: BTreeMap<Start, u32>,
}

impl Queue {
    /// Numbers a start; the same one again is harmless.
    pub(crate) fn note_start(&mut self, start: Start) -> u32 {
        if let Some(&number) = self.start_numbers.get(&start) {
            return number;
        }
        let number = u32::try_from(self.starts.len()).expect("fewer than 2^32 starts");
        self.starts.push(start);
        self.start_numbers.insert(start, number);
        number
    }

    pub(crate) fn feed_index(&mut self, name: &FeedName) -> u16 {
        if let Some(number) = self.feed_number(name) {
            return number;
        }
        let at = u16::try_from(self.feeds.len()).expect("fewer than 65,536 feeds");
        self.feeds.push(Feed {
            name: name.clone(),
            rules: None,
            fresh: Turns::default(),
            queued_bytes: 0,
            queued_files: 0,
            failed: 0,
            done_files: 0,
            done_bytes: 0,
        });
        at
    }

    /// The number of a feed that was numbered before.
    pub(crate) fn feed_number(&self, name: &FeedName) -> Option<u16> {
        let at = self.feeds.iter().position(|feed| feed.name == *name)?;
        Some(u16::try_from(at).expect("checked when it was added"))
    }

    pub(crate) fn feed(&self, name: &FeedName) -> Option<&Feed> {
        self.feeds.iter().find(|feed| feed.name == *name)
    }

    /// Whose turn it is in a feed's own queue.
    pub(crate) fn first_fresh(&self, feed: u16, small: bool) -> Option<Turn> {
        first_turn(&self.feeds[usize::from(feed)].fresh, feed, small)
    }

    pub(crate) fn feed_mut(&mut self, name: &FeedName) -> Option<&mut Feed> {
        self.feeds.iter_mut().find(|feed| feed.name == *name)
    }

    pub(crate) fn turn(&mut self, key: TransferKey, dormant: &Dormant) -> Turn {
        Turn {
            feed: dormant.feed,
            large: dormant.large,
            rank: dormant.rank,
            start_number: self.note_start(key.start),
            seq: key.seq.0,
        }
    }

    pub(crate) fn key(&self, turn: Turn) -> TransferKey {
        TransferKey {
            start: self.starts[turn.start_number as usize],
            seq: crate::ids::Sequence(turn.seq),
        }
    }

    /// Puts a transfer that is not in memory in its feed's queue.
    pub(crate) fn make_fresh(&mut self, key: TransferKey) {
        let Some(dormant) = self
            .dormant
            .update(key, |dormant| dormant.rest = Rest::Fresh)
        else {
            return;
        };
        let turn = self.turn(key, &dormant);
        self.feeds[usize::from(turn.feed)].fresh.insert(turn);
    }
}
