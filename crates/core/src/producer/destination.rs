//! What a producer knows of one consumer: the connection, what it owes it, and how much it may
//! have under way to it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::{Attempt, Incarnation, Millis, NodeName, Slot, Start, TransferKey};
use crate::limits;
use crate::log::Position;
use crate::planted::{Planted, planted};
use crate::producer::Session;
use crate::producer::duties::Duties;
use crate::producer::queue::{Turn, most_urgent};
use crate::producer::turns::Turns;
use crate::ranges::{RangeSet, SlotRange};
use crate::view::MemberState;

/// A slot whose transfer was placed elsewhere: its consumer is to be told so, and to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abandonment {
    /// Which transfer.
    pub(crate) key: TransferKey,
    /// The attempt that the decision began.
    pub(crate) attempt: Attempt,
    /// Where the decision lies in the log; `None` until it is synced.
    pub(crate) decided: Option<Position>,
}

/// How soon something may be tried again after it went wrong.
#[derive(Debug, Default)]
struct Pace {
    /// Nothing new is tried before.
    hold_off: Millis,
    /// Failures since it last went well.
    failures: u32,
}

impl Pace {
    /// Leave it alone for a while, longer each time. `jitter` is any number.
    fn back_off(&mut self, now: Millis, at_least_ms: u64, jitter: u64) {
        let delay = limits::retry_delay_ms(self.failures, jitter).max(at_least_ms);
        self.failures = self.failures.saturating_add(1);
        self.hold_off = self.hold_off.max(now.plus(delay));
    }
}

/// Why a consumer takes nothing for now, in its own words.
#[derive(Debug, Clone)]
pub(crate) struct Complaint {
    /// When it was first heard.
    pub(crate) since: Millis,
    /// As heard last.
    pub(crate) reason: String,
}

/// One consumer, as a producer sees it.
#[derive(Debug, Default)]
pub(crate) struct Destination {
    /// The control connection.
    pub(crate) session: Option<(Session, Incarnation)>,
    /// How far it takes part, in its own word.
    pub(crate) standing: MemberState,
    /// Which of its orders that was.
    pub(crate) standing_number: u64,
    /// Records of it that are not synced.
    pub(crate) standing_unsynced: usize,
    /// What it was told on this connection to have open.
    pub(crate) told_duties: Option<u64>,
    /// Since when there is none; `None` while there is one.
    pub(crate) down_since: Option<Millis>,
    /// Open slots, and what is to be delivered under each.
    pub(crate) duties: Duties,
    /// Open slots of transfers that were placed elsewhere.
    pub(crate) abandons: BTreeMap<(Start, Slot), Abandonment>,
    /// The next slot of the current start.
    next_slot: u64,
    /// Transfers that left memory and wait for it: they are owed to it, and nobody they are owed to
    /// can take them; or it is the one without room.
    pub(crate) parked: Turns,
    /// Of these, those that wait for nothing but room here.
    crowded: Turns,
    /// Where the last look for transfers to be placed elsewhere ended.
    pub(crate) replace_cursor: Option<Turn>,
    /// Small transfers in memory that wait for room in its window.
    pub(crate) blocked: VecDeque<TransferKey>,
    /// Transfers with something under way to it.
    pub(crate) in_flight: BTreeSet<TransferKey>,
    /// Bytes of small files under way to it.
    small_bytes: u64,
    /// Small files under way to it.
    small_files: usize,
    /// Large transfers under way to it.
    large: usize,
    /// Its own troubles.
    pace: Pace,
    /// Those of single feeds: each has an inbox of its own, which may be full, or not there.
    feed_paces: BTreeMap<u16, Pace>,
    /// Why it refused, by the feed concerned, until it takes something again.
    pub(crate) complaints: BTreeMap<Option<u16>, Complaint>,
    /// Slots closed since it was last told, by start.
    newly_closed: BTreeMap<Start, RangeSet>,
    /// Low watermarks as it was last told on this connection.
    told_low: BTreeMap<Start, u64>,
}

impl Destination {
    pub(crate) fn connected(&self) -> bool {
        self.session.is_some()
    }

    /// Whether something may be tried with it now.
    pub(crate) fn ready(&self, now: Millis) -> bool {
        self.connected() && self.pace.hold_off <= now
    }

    /// Whether something of a feed may be tried with it now.
    pub(crate) fn ready_for(&self, feed: u16, now: Millis) -> bool {
        let pace = self.feed_paces.get(&feed);
        self.ready(now) && pace.is_none_or(|pace| pace.hold_off <= now)
    }

    /// Until when nothing new is tried with it.
    pub(crate) fn hold_off(&self) -> Millis {
        self.pace.hold_off
    }

    /// A transfer waits for it; for room only, or for it to be reached at all.
    pub(crate) fn park(&mut self, turn: Turn, crowded: bool) {
        self.parked.insert(turn);
        if crowded {
            self.crowded.insert(turn);
        }
    }

    /// A transfer waits for it no more; again is harmless.
    pub(crate) fn unpark(&mut self, turn: &Turn) {
        self.parked.remove(turn);
        self.crowded.remove(turn);
    }

    /// What waits for nothing but room here, and would wait in vain when nothing goes to it.
    pub(crate) fn take_crowded(&mut self) -> Turns {
        std::mem::take(&mut self.crowded)
    }

    /// The most urgent transfer of those that wait for it and may be tried now.
    pub(crate) fn first_parked(&self, small: bool, now: Millis) -> Option<Turn> {
        most_urgent(&self.parked, small, |feed| self.ready_for(feed, now))
    }

    /// Whether it has been unreachable for longer than `patience_ms`.
    pub(crate) fn gone_longer_than(&self, patience_ms: Option<u64>, now: Millis) -> bool {
        match (self.down_since, patience_ms) {
            (Some(since), Some(patience)) => now.since(since) >= patience,
            (None, _) | (_, None) => false,
        }
    }

    /// Draws the next slot of the current start.
    pub(crate) fn draw_slot(&mut self) -> Slot {
        self.next_slot += 1;
        Slot(self.next_slot)
    }

    /// Whether more may be under way to it, of its `share` of all that may be.
    pub(crate) fn has_room(&self, small: bool, share: usize) -> bool {
        if small {
            let window = share - share / limits::SMALL_SHARE_BLOCKED;
            self.small_files < window.min(limits::SMALL_WINDOW_FILES)
                && self.small_bytes < limits::SMALL_WINDOW_BYTES
        } else {
            self.large < share.min(limits::LARGE_ACTIVE_PER_NODE_MAX)
        }
    }

    /// Counts a transfer as under way; again is harmless.
    pub(crate) fn take_off(&mut self, key: TransferKey, small: bool, bytes: u64) {
        if self.in_flight.insert(key) {
            if small {
                self.small_files += 1;
                self.small_bytes += bytes;
            } else {
                self.large += 1;
            }
        }
    }

    /// The opposite; again is harmless.
    pub(crate) fn land(&mut self, key: TransferKey, small: bool, bytes: u64) {
        if self.in_flight.remove(&key) && !planted(Planted::CreditLeak) {
            if small {
                self.small_files -= 1;
                self.small_bytes -= bytes;
            } else {
                self.large -= 1;
            }
        }
    }

    /// Slots of which it has not closed its part.
    pub(crate) fn open_slots(&self) -> u64 {
        (self.duties.len() + self.abandons.len()) as u64
    }

    /// Files that count as under way to it.
    pub(crate) fn under_way(&self) -> u64 {
        let counted = self.small_files + self.large;
        counted.max(self.in_flight.len()) as u64
    }

    /// Something went wrong with it although it is connected; with one feed of it, or as a whole.
    pub(crate) fn back_off(&mut self, feed: Option<u16>, now: Millis, at_least: u64, jitter: u64) {
        let pace = match feed {
            Some(feed) => self.feed_paces.entry(feed).or_default(),
            None => &mut self.pace,
        };
        pace.back_off(now, at_least, jitter);
    }

    /// It refused for now; one feed, or anything.
    pub(crate) fn complained(&mut self, feed: Option<u16>, now: Millis, reason: String) {
        let since = self.complaints.get(&feed).map_or(now, |old| old.since);
        self.complaints.insert(feed, Complaint { since, reason });
    }

    /// It saved something of a feed.
    pub(crate) fn did_well(&mut self, feed: u16) {
        self.complaints.remove(&None);
        self.complaints.remove(&Some(feed));
        self.pace.failures = 0;
        self.feed_paces.remove(&feed);
    }

    /// Whatever went wrong may be over.
    pub(crate) fn start_afresh(&mut self) {
        self.pace = Pace::default();
        self.feed_paces.clear();
        self.complaints.clear();
    }

    /// A slot is closed, durably.
    pub(crate) fn close(&mut self, start: Start, slot: Slot) -> Option<Abandonment> {
        let abandoned = self.abandons.remove(&(start, slot));
        self.duties.remove((start, slot));
        self.newly_closed.entry(start).or_default().insert(slot.0);
        abandoned
    }

    /// Every slot of `start` below this is closed: the low watermark.
    pub(crate) fn low(&self, start: Start, current: Start) -> u64 {
        let all = (start, Slot(0))..=(start, Slot(u64::MAX));
        let delivering = self.duties.first_of(start);
        let abandoning = self.abandons.range(all).next().map(|(at, _)| at.1);
        match delivering.into_iter().chain(abandoning).min() {
            Some(slot) => slot.0,
            None if start == current => self.next_slot + 1,
            None => u64::MAX,
        }
    }

    /// Starts with open slots, and the current one.
    pub(crate) fn starts(&self, current: Start) -> BTreeSet<Start> {
        let mut starts = BTreeSet::from([current]);
        starts.extend(self.duties.starts());
        starts.extend(starts_of(&self.abandons));
        starts
    }

    /// A new connection has heard nothing yet.
    pub(crate) fn forget_told(&mut self) {
        self.told_low.clear();
        self.newly_closed.clear();
        self.told_duties = None;
    }

    /// What is to be told about closed slots: start, low watermark, and further closed slots.
    pub(crate) fn closed_news(&mut self, current: Start) -> Vec<(Start, u64, Vec<SlotRange>)> {
        let mut news = Vec::new();
        for start in self.starts(current) {
            let low = self.low(start, current);
            let mut closed = self.newly_closed.remove(&start).unwrap_or_default();
            closed.remove_below(low);
            if self.told_low.get(&start) != Some(&low) || !closed.is_empty() {
                self.told_low.insert(start, low);
                let ranges: Vec<_> = closed.ranges().collect();
                if ranges.is_empty() {
                    news.push((start, low, ranges));
                } else {
                    for part in ranges.chunks(limits::RANGES_PER_MESSAGE_MAX) {
                        news.push((start, low, part.to_vec()));
                    }
                }
            }
        }
        // A start without open slots is not among those above: all of it is closed.
        for (start, _) in std::mem::take(&mut self.newly_closed) {
            self.told_low.remove(&start);
            news.push((start, u64::MAX, Vec::new()));
        }
        news
    }
}

/// The starts of slots, each once, without a look at every slot.
fn starts_of<T>(slots: &BTreeMap<(Start, Slot), T>) -> impl Iterator<Item = Start> {
    let mut from = Some(Start(0));
    std::iter::from_fn(move || {
        let ((start, _), _) = slots.range((from?, Slot(0))..).next()?;
        from = start.0.checked_add(1).map(Start);
        Some(*start)
    })
}

/// The consumers, by name; one that is asked for and unknown begins unreachable.
#[derive(Debug, Default)]
pub(crate) struct Destinations(pub(crate) BTreeMap<NodeName, Destination>);

impl Destinations {
    pub(crate) fn get(&self, node: &NodeName) -> Option<&Destination> {
        self.0.get(node)
    }

    pub(crate) fn get_mut(&mut self, node: &NodeName) -> Option<&mut Destination> {
        self.0.get_mut(node)
    }

    pub(crate) fn at(&mut self, node: &NodeName, now: Millis) -> &mut Destination {
        self.0.entry(node.clone()).or_insert_with(|| Destination {
            down_since: Some(now),
            ..Destination::default()
        })
    }

    pub(crate) fn ready_for(&self, node: &NodeName, feed: u16, now: Millis) -> bool {
        self.get(node).is_some_and(|d| d.ready_for(feed, now))
    }

    /// The connection to `node`, if it is the one numbered `session`.
    pub(crate) fn session_is(&self, node: &NodeName, session: Session) -> bool {
        self.get(node)
            .and_then(|d| d.session)
            .is_some_and(|(current, _)| current == session)
    }
}
