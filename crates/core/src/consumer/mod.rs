//! The consumer: takes files from producers, and publishes each of them once.
//!
//! A state machine of [`Event`]s in and [`Effect`]s out; [`state`] has its diagram. What it answers
//! a producer (`saved`, abandoned, the fence of an attempt) is synced in the log before. After a
//! restart, [`Consumer::replay`] gets the log's records in order, and [`Consumer::begin`] goes on
//! from there.
//!
//! Invariants:
//! * a slot that is closed, or below its low watermark, is never opened again;
//! * a message of an older incarnation, or an older attempt, changes nothing;
//! * a `saved` slot is published, however often this node starts anew, and then never again;
//! * a path is promised to one slot at a time.
//!
//! Deliberately absent: bytes, files, hashing and connections, which the driver sees to.

mod answer;
mod carry;
mod close;
mod draining;
mod event;
mod holding;
mod inbox;
mod large;
mod opening;
mod publish;
mod replay;
mod sealing;
mod sessions;
mod smalls;
pub mod state;
mod status;
#[cfg(test)]
mod tests;

pub use draining::OwedBy;
pub use event::*;
pub use status::{Arrival, InboxStatus, Problem, SavedSmall, Staged, StagedState};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::{FeedName, Fence, Incarnation, Millis, NodeName, Slot, SlotId, Start};
use crate::journal::{Journal, Ticket};
use crate::live::LiveSegments;
use crate::log::{Payload, Position};
use crate::planted::{Planted, planted};
use crate::producer::{Identity, Session, Token};
use crate::ranges::RangeSet;
use crate::record::Record;
use crate::view::MemberState;
use crate::wire::Message;
use inbox::Inbox;
use state::Entry;

/// What waits for the log.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "each waits for one sync, and few messages do"
)]
enum Then {
    Admit(NodeName, Session),
    FenceSynced(SlotId, Fence),
    Saved(SlotId),
    SmallsSaved(NodeName, Start, RangeSet),
    Publish(Vec<SlotId>),
    Send(NodeName, Session, Message),
    Forgotten { token: Token, known: bool },
}

/// Which record a position is wanted of.
#[derive(Debug, Clone)]
enum Wanted {
    Nothing,
    Entry(SlotId),
    Small(SlotId),
    Table(NodeName, Start),
    Peer(NodeName),
}

/// The slots of one start of one producer.
#[derive(Debug, Default)]
struct Table {
    /// Every slot below is closed.
    low: u64,
    /// Closed slots above.
    closed: RangeSet,
    entries: BTreeMap<Slot, Entry>,
    /// Where its newest record lies.
    recorded: Option<Position>,
}

impl Table {
    /// The last number there is counts as closed: nothing is above it that could close it.
    fn is_closed(&self, slot: Slot) -> bool {
        slot.0 < self.low || slot.0 == u64::MAX || self.closed.contains(slot.0)
    }

    /// Closes every slot that is known here. Where these lie too far apart for one record, what lies
    /// between them is closed as well: refused, and so named, rather than published twice.
    fn close_all(&mut self) {
        for slot in self.entries.keys() {
            self.closed.insert(slot.0);
        }
        if self.closed.range_count() > close::CLOSED_RANGES_MAX {
            let last = self.entries.keys().next_back();
            self.low = self.low.max(last.map_or(0, |slot| slot.0 + 1));
            self.closed.remove_below(self.low);
        }
    }
}

/// One producer, as a consumer sees it.
#[derive(Debug, Default)]
struct Peer {
    incarnation: Incarnation,
    session: Option<Session>,
    /// What it has said on this connection to owe this node, while this node drains.
    owes: Option<u64>,
    /// The starts of which slots may still be open, as its incarnation has told. A frame of small
    /// files has its own connection, and may be later than the end of its start.
    open_starts: Option<BTreeSet<Start>>,
    tables: BTreeMap<Start, Table>,
    recorded: Option<Position>,
}

impl Peer {
    /// Whether every slot of a start is closed for ever.
    fn is_over(&self, start: Start) -> bool {
        let open = self.open_starts.as_ref();
        open.is_some_and(|open| !open.contains(&start))
    }
}

/// The consumer of one node.
#[derive(Debug)]
pub struct Consumer {
    me: Identity,
    now: Millis,
    journal: Journal<Then>,
    wanted: VecDeque<Wanted>,
    inboxes: BTreeMap<FeedName, Inbox>,
    /// Feeds whose inbox is not the one that their files were staged in. In this life nothing is
    /// taken, staged or published for them.
    lost: BTreeSet<FeedName>,
    /// The marker of the directory that each feed's files are staged in.
    staged_in: BTreeMap<FeedName, Vec<u8>>,
    peers: BTreeMap<NodeName, Peer>,
    /// How far this node takes part.
    standing: MemberState,
    /// Orders about that in this life.
    standings: u64,
    log_room: bool,
    live: LiveSegments,
    /// Large transfers that are not saved yet: their room is reserved.
    receiving: BTreeSet<SlotId>,
    /// Paths that are promised to a slot and not yet published.
    promised: BTreeMap<(FeedName, String), SlotId>,
    /// Small files that are saved and have to be staged.
    to_stage: VecDeque<SlotId>,
    /// Batches of small files on their way from `saved` to published.
    batches: usize,
    /// Small files saved and not published.
    unpublished: usize,
    unpublished_bytes: u64,
    /// Commits that wait until there is less to publish, gathered by producer and start. They are of
    /// files that are held here, so that there are never more of them.
    held: VecDeque<(NodeName, Start, RangeSet)>,
    /// What failed and is tried again.
    restage: BTreeSet<SlotId>,
    republish: BTreeSet<SlotId>,
    retry_at: Millis,
    problems: BTreeMap<SlotId, String>,
    out: Vec<Effect>,
}

impl Consumer {
    /// A consumer that has not replayed its log yet.
    #[must_use]
    pub fn new(me: Identity) -> Self {
        Self {
            me,
            now: Millis(0),
            journal: Journal::default(),
            wanted: VecDeque::new(),
            inboxes: BTreeMap::new(),
            lost: BTreeSet::new(),
            staged_in: BTreeMap::new(),
            peers: BTreeMap::new(),
            standing: MemberState::Active,
            standings: 0,
            log_room: true,
            live: LiveSegments::default(),
            receiving: BTreeSet::new(),
            promised: BTreeMap::new(),
            to_stage: VecDeque::new(),
            batches: 0,
            unpublished: 0,
            unpublished_bytes: 0,
            held: VecDeque::new(),
            restage: BTreeSet::new(),
            republish: BTreeSet::new(),
            retry_at: Millis(0),
            problems: BTreeMap::new(),
            out: Vec::new(),
        }
    }

    /// Applies one event and says what it wants done, in order. `now` never goes back within a life:
    /// delays are counted from it.
    pub fn apply(&mut self, now: Millis, event: Event) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Synced { through, positions } => self.on_synced(through, &positions),
            Event::PeerUp {
                node,
                session,
                incarnation,
            } => self.on_peer_up(node, session, incarnation),
            Event::PeerDown { node, session } => self.on_peer_down(&node, session),
            Event::Message {
                from,
                session,
                message,
            } => self.on_message(&from, session, message),
            Event::Smalls {
                producer,
                incarnation,
                files,
            } => self.on_smalls(&producer, incarnation, files),
            Event::SmallsNotForwarded {
                producer,
                to,
                slots,
                reason,
            } => {
                self.on_smalls_not_forwarded(&producer, &to, &slots, &reason);
            }
            Event::InflowReady {
                slot,
                attempt,
                from,
            } => self.on_inflow_ready(&slot, attempt, from),
            Event::InflowProgress {
                slot,
                attempt,
                bytes,
            } => self.on_inflow_progress(&slot, attempt, bytes),
            Event::InflowSynced {
                slot,
                offset,
                first_chunk,
                hashes,
            } => {
                self.on_inflow_synced(&slot, offset, first_chunk, hashes);
            }
            Event::InflowComplete {
                slot,
                attempt,
                digest,
            } => self.on_inflow_complete(&slot, attempt, digest),
            Event::InflowFailed {
                slot,
                attempt,
                fault,
            } => self.on_inflow_failed(&slot, attempt, fault),
            Event::ForwardLost {
                slot,
                attempt,
                to,
                reason,
            } => self.on_forward_lost(&slot, attempt, &to, reason),
            Event::Sealed { slot, outcome } => self.on_sealed(&slot, outcome),
            Event::Looked(files) => self.on_looked(files),
            Event::Staged { files, failed } => self.on_staged(files, failed),
            Event::Published {
                done,
                conflicts,
                failed,
            } => self.on_published(done, conflicts, failed),
            Event::Space { feed, free } => self.on_space(&feed, free),
            Event::Policies(policies) => self.on_policies(policies),
            Event::LogRoom(room) => self.log_room = room,
            Event::Forget { token, node } => self.on_forget(token, &node),
            Event::Standing(state) => self.on_standing(state),
            Event::Carry { through } => self.on_carry(through),
            Event::Tick => self.on_tick(),
        }
        self.run_ready();
        self.release_held();
        self.stage_next();
        self.tell_needed();
        std::mem::take(&mut self.out)
    }

    fn on_message(&mut self, from: &NodeName, session: Session, message: Message) {
        let current = self
            .peers
            .get(from)
            .is_some_and(|peer| peer.session == Some(session));
        if !current && !planted(Planted::OlderConnectionHeard) {
            return;
        }
        match message {
            Message::Open(open) => self.on_open(from, open),
            Message::Forward(forward) => self.on_forward(from, forward),
            Message::Commit(commit) => self.on_commit(from, &commit),
            Message::Abandon(abandon) => self.on_abandon(from, abandon.leg),
            Message::SmallQuery(query) => self.on_small_query(from, &query),
            Message::SmallCommit(commit) => self.on_small_commit(from, &commit),
            Message::Closed(closed) => self.on_closed(from, &closed),
            Message::OpenStarts(starts) => self.on_open_starts(from, &starts),
            Message::Duties(duties) => self.on_duties(from, duties),
            // The rest is for producers, or for the connection itself; hearing it here is a peer's
            // mistake that changes nothing.
            Message::Hello(_)
            | Message::Welcome(_)
            | Message::Rejected(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::RevokedList(_)
            | Message::Join(_)
            | Message::Joined(_)
            | Message::OpenAnswer(_)
            | Message::Progress(_)
            | Message::Received(_)
            | Message::Saved(_)
            | Message::Abandoned(_)
            | Message::Refused(_)
            | Message::LinkLost(_)
            | Message::SmallReceived(_)
            | Message::SmallMissing(_)
            | Message::SmallLinkLost(_)
            | Message::Standing(_)
            | Message::Begin(_)
            | Message::Chunk(_)
            | Message::Credit(_)
            | Message::Stop(_)
            | Message::SmallFrame(_)
            | Message::AuditAsk(_)
            | Message::Gossip(_)
            | Message::AuditAnswer(_) => {}
        }
    }

    fn on_synced(&mut self, through: Ticket, positions: &[Position]) {
        for &position in positions {
            let wanted = self
                .wanted
                .pop_front()
                .expect("one position for each record");
            match wanted {
                Wanted::Nothing => {}
                Wanted::Entry(slot) => self.note_entry(&slot, position, false),
                Wanted::Small(slot) => self.note_entry(&slot, position, true),
                Wanted::Table(node, start) => self.note_table(&node, start, position),
                Wanted::Peer(node) => self.note_peer(&node, position),
            }
        }
        self.journal.synced(through);
    }

    /// Does what waited for the log and need not wait any longer.
    fn run_ready(&mut self) {
        for then in self.journal.ready() {
            match then {
                Then::Admit(node, session) => {
                    self.out.push(Effect::Admit {
                        node: node.clone(),
                        session,
                    });
                    self.tell_standing(&node);
                }
                Then::FenceSynced(slot, fence) => self.fence_synced(&slot, fence),
                Then::Saved(slot) => self.large_saved(&slot),
                Then::SmallsSaved(node, start, slots) => self.smalls_saved(&node, start, &slots),
                Then::Publish(slots) => self.publish(slots),
                Then::Forgotten { token, known } => {
                    self.out.push(Effect::Forgotten { token, known });
                }
                Then::Send(to, session, message) => self.out.push(Effect::Send {
                    to,
                    session,
                    message,
                }),
            }
        }
    }

    fn append(&mut self, record: Record) {
        self.append_with(record, Payload::None, Wanted::Nothing);
    }

    fn append_with(&mut self, record: Record, payload: Payload, wanted: Wanted) {
        let ticket = self.journal.ticket();
        self.wanted.push_back(wanted);
        self.out.push(Effect::Append(ticket, record, payload));
    }

    fn send(&mut self, to: &NodeName, message: Message) {
        if let Some(session) = self.peers.get(to).and_then(|peer| peer.session) {
            self.out.push(Effect::Send {
                to: to.clone(),
                session,
                message,
            });
        }
    }

    /// Leaves a message until everything appended so far is synced.
    fn send_when_synced(&mut self, to: &NodeName, message: Message) {
        if let Some(session) = self.peers.get(to).and_then(|peer| peer.session) {
            self.journal
                .when_synced(Then::Send(to.clone(), session, message));
        }
    }

    fn entry(&self, slot: &SlotId) -> Option<&Entry> {
        self.peers
            .get(&slot.producer)?
            .tables
            .get(&slot.start)?
            .entries
            .get(&slot.slot)
    }

    fn entry_mut(&mut self, slot: &SlotId) -> Option<&mut Entry> {
        self.peers
            .get_mut(&slot.producer)?
            .tables
            .get_mut(&slot.start)?
            .entries
            .get_mut(&slot.slot)
    }

    fn table(&mut self, node: &NodeName, start: Start) -> &mut Table {
        self.peers
            .entry(node.clone())
            .or_default()
            .tables
            .entry(start)
            .or_default()
    }
}
