//! The producer: takes files in, places them, and sees each of them through until every placed
//! consumer has it.
//!
//! A state machine of [`Event`]s in and [`Effect`]s out; [`state`] has its diagrams. What it
//! promises somebody (`submitted`, a placement, a digest, `done`) it first hands to the log, and
//! waits for [`Event::Synced`]. After a restart, [`Producer::replay`] gets the log's records in
//! order, and [`Producer::begin`] goes on from there.
//!
//! Invariants:
//! * every open slot is in its destination's `duties` or `abandons`, and nothing else is;
//! * a transfer is in exactly one of `active` and `queue.dormant`;
//! * no message about a slot leaves before the placement that drew it is synced;
//! * no commit leaves before the digest is synced.
//!
//! Deliberately absent: bytes, files, hashing and connections, which the driver sees to.

mod abandoning;
mod attempt;
mod begin;
mod carry;
mod committing;
mod deadlines;
mod destination;
mod dormant;
mod draining;
mod duties;
mod event;
mod failing;
mod intake;
mod losing;
mod orders;
mod pages;
mod peers;
mod plan;
mod pump;
mod queue;
mod releasing;
mod replay;
mod replaying;
mod settle;
mod smalls;
pub mod state;
mod status;
mod turns;
mod waking;
mod window;

pub use event::*;
pub use status::{DestinationStatus, FeedStatus};

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::ids::{Incarnation, Millis, NodeName, Slot, Start, TransferKey};
use crate::journal::{Journal, Ticket};
use crate::live::LiveSegments;
use crate::log::{Payload, Position};
use crate::ranges::RangeSet;
use crate::record::Record;
use crate::view::{MemberState, View};
use crate::wire::Message;
use destination::Destinations;
use queue::Queue;
use state::{Stage, Transfer};

/// Who this node is, in this life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Its name.
    pub node: NodeName,
    /// Its boot counter. Replaying the log raises it above every earlier one; it is synced before
    /// anybody hears it.
    pub incarnation: Incarnation,
    /// Drawn at random for this life.
    pub start: Start,
    /// Its zone.
    pub zone: Option<String>,
}

/// What waits for the log.
#[derive(Debug)]
enum Then {
    Answer(Token, Answer),
    Take(TransferKey),
    Begin(TransferKey),
    DigestSynced(TransferKey),
    Release(Vec<TransferKey>),
    Close(NodeName, Start, RangeSet),
    Carried(TransferKey),
    TellDuties(NodeName),
}

/// Which record a position is wanted of.
#[derive(Debug, Clone, Copy)]
enum Wanted {
    Nothing,
    Claimed(TransferKey),
    Submitted(TransferKey),
    Placed(TransferKey),
}

/// A consumer that has a file although it was dropped, and the slot under which it has it.
type ExtraCopy = (NodeName, (Start, Slot));

/// The producer of one node.
#[derive(Debug)]
pub struct Producer {
    me: Identity,
    now: Millis,
    jitter: u64,
    next_seq: u64,
    journal: Journal<Then>,
    wanted: VecDeque<Wanted>,
    queue: Queue,
    active: BTreeMap<TransferKey, Transfer>,
    window: window::Window,
    /// Transfers outside memory that are finished, and whose sources are to be released.
    finished: BTreeMap<TransferKey, releasing::Finished>,
    /// Their order; those whose turn it is are read, unless a release has just failed.
    unreleased: VecDeque<TransferKey>,
    release_paused: bool,
    destinations: Destinations,
    view: View,
    forgotten: BTreeSet<NodeName>,
    /// How far this node takes part.
    standing: MemberState,
    /// Transfers outside memory that want more consumers than there were.
    short: BTreeSet<TransferKey>,
    /// Consumers of transfers outside memory that were dropped, and had saved them all the same.
    extra_copies: BTreeMap<TransferKey, Vec<ExtraCopy>>,
    /// Abandonments by transfer; the destinations have them by slot.
    abandoning: BTreeMap<TransferKey, Vec<abandoning::AbandonedAt>>,
    /// Why transfers failed; as many as wait for a person.
    failures: BTreeMap<TransferKey, String>,
    log_room: bool,
    live: LiveSegments,
    /// Positions up to this one were written by an earlier life.
    replayed_to: Option<Position>,
    /// What the log said, while it is replayed.
    replay: replaying::Replay,
    /// Transfers outside memory of which it said more than their own records do.
    replayed: BTreeMap<TransferKey, replay::Replayed>,
    /// Who waits for a transfer to be cancelled that has to be read first.
    cancelling: BTreeMap<TransferKey, Vec<Token>>,
    carrying: BTreeMap<TransferKey, carry::Carrying>,
    carry_queue: VecDeque<TransferKey>,
    settled_at: Millis,
    // What is gathered while one event is applied, and sent together at its end.
    outgoing: BTreeMap<Vec<NodeName>, Vec<SmallSend>>,
    commits: BTreeMap<(NodeName, Start), RangeSet>,
    queries: BTreeMap<(NodeName, Start), RangeSet>,
    done: Vec<TransferKey>,
    out: Vec<Effect>,
}

impl Producer {
    /// A producer that has not replayed its log yet.
    #[must_use]
    pub fn new(me: Identity, view: View) -> Self {
        let mut queue = Queue::default();
        queue.note_start(me.start);
        Self {
            jitter: me.start.0,
            me,
            now: Millis(0),
            next_seq: 1,
            journal: Journal::default(),
            wanted: VecDeque::new(),
            queue,
            active: BTreeMap::new(),
            window: window::Window::default(),
            finished: BTreeMap::new(),
            unreleased: VecDeque::new(),
            release_paused: false,
            destinations: Destinations::default(),
            view,
            forgotten: BTreeSet::new(),
            standing: MemberState::Active,
            short: BTreeSet::new(),
            extra_copies: BTreeMap::new(),
            abandoning: BTreeMap::new(),
            failures: BTreeMap::new(),
            log_room: true,
            live: LiveSegments::default(),
            replayed_to: None,
            replay: replaying::Replay::default(),
            replayed: BTreeMap::new(),
            carrying: BTreeMap::new(),
            cancelling: BTreeMap::new(),
            carry_queue: VecDeque::new(),
            settled_at: Millis(0),
            outgoing: BTreeMap::new(),
            commits: BTreeMap::new(),
            queries: BTreeMap::new(),
            done: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Applies one event and says what it wants done, in order. `now` never goes back within a life:
    /// deadlines and delays are counted from it.
    pub fn apply(&mut self, now: Millis, event: Event) -> Vec<Effect> {
        self.now = now;
        match event {
            Event::Synced { through, positions } => self.on_synced(through, &positions),
            Event::Submit {
                token,
                spec,
                source,
                small,
            } => self.on_submit(token, spec, source, small),
            Event::Claim {
                token,
                spec,
                source,
            } => self.on_claim(token, spec, source),
            Event::Taken { key, outcome } => self.on_taken(key, outcome),
            Event::PeerUp {
                node,
                session,
                incarnation,
            } => self.on_peer_up(&node, session, incarnation),
            Event::PeerDown { node, session } => self.on_peer_down(&node, session),
            Event::Message {
                from,
                session,
                message,
            } => self.on_message(&from, session, message),
            Event::Hashed {
                key,
                first_chunk,
                hashes,
            } => self.on_hashed(key, first_chunk, hashes),
            Event::DigestKnown { key, digest } => self.on_digest(key, digest),
            Event::StreamFailed {
                key,
                attempt,
                fault,
            } => self.on_stream_failed(key, attempt, fault),
            Event::SmallsNotSent { to, slots, reason } => {
                self.on_smalls_not_sent(&to, &slots, &reason);
            }
            Event::SmallUnread {
                key,
                attempt,
                to,
                why,
            } => self.on_small_unread(key, attempt, &to, why),
            Event::Fetched {
                key,
                submitted,
                placed,
            } => self.on_fetched(key, *submitted, placed),
            Event::SourcesReleased { keys, failed } => self.on_released(keys, failed),
            Event::View(view) => self.on_view(view),
            Event::Zone(zone) => self.me.zone = zone,
            Event::Policies(rules) => self.on_policies(rules),
            Event::LogRoom(room) => self.log_room = room,
            Event::Retry { token, key } => self.on_retry(token, key),
            Event::Cancel { token, key } => self.on_cancel(token, key),
            Event::Forget { token, node } => self.on_forget(token, node),
            Event::Drain { token, state } => self.on_drain(token, state),
            Event::Carry { through } => self.on_carry(through),
            Event::Tick => self.on_tick(),
        }
        self.run_ready();
        self.release_more();
        self.pump();
        self.flush();
        self.tell_needed();
        std::mem::take(&mut self.out)
    }

    /// This life's boot counter, once the log is replayed.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        self.me.incarnation
    }

    fn on_message(&mut self, from: &NodeName, session: Session, message: Message) {
        if !self.destinations.session_is(from, session) {
            return;
        }
        match message {
            Message::OpenAnswer(answer) => self.on_open_answer(from, answer),
            Message::Progress(progress) => self.on_progress(from, progress),
            Message::Received(received) => self.on_received(from, received),
            Message::Saved(saved) => self.on_saved(from, saved),
            Message::Abandoned(abandoned) => self.on_abandoned(from, abandoned),
            Message::Refused(refused) => self.on_refused(from, refused),
            Message::LinkLost(lost) => self.on_link_lost(from, lost),
            Message::SmallReceived(received) => self.on_small_received(from, received),
            Message::SmallMissing(missing) => self.on_small_missing(from, missing),
            Message::SmallLinkLost(lost) => self.on_small_link_lost(lost),
            Message::Standing(standing) => self.on_standing(from, standing),
            // The rest is for consumers, or for the connection itself; hearing it here is a peer's
            // mistake that changes nothing.
            Message::Hello(_)
            | Message::Welcome(_)
            | Message::Rejected(_)
            | Message::Ping(_)
            | Message::Pong(_)
            | Message::RevokedList(_)
            | Message::Join(_)
            | Message::Joined(_)
            | Message::Open(_)
            | Message::Forward(_)
            | Message::Commit(_)
            | Message::Abandon(_)
            | Message::SmallQuery(_)
            | Message::SmallCommit(_)
            | Message::Closed(_)
            | Message::OpenStarts(_)
            | Message::Duties(_)
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
                Wanted::Claimed(key) => self.note_claimed(key, position),
                Wanted::Submitted(key) => self.note_submitted(key, position),
                Wanted::Placed(key) => self.note_placed(key, position),
            }
        }
        self.journal.synced(through);
    }

    /// Does what waited for the log and need not wait any longer.
    fn run_ready(&mut self) {
        for then in self.journal.ready() {
            match then {
                Then::Answer(token, answer) => self.out.push(Effect::Answer(token, answer)),
                Then::Take(key) => self.take(key),
                Then::Begin(key) => self.begin_placed(key),
                Then::DigestSynced(key) => self.digest_synced(key),
                Then::Release(keys) => self.release(&keys),
                Then::Close(node, start, slots) => self.close_slots(&node, start, &slots),
                Then::Carried(key) => self.carried(key),
                Then::TellDuties(node) => self.standing_synced(&node),
            }
        }
    }

    fn append(&mut self, record: Record) {
        self.append_with(record, Payload::None, Wanted::Nothing);
    }

    fn append_with(&mut self, record: Record, payload: Payload, wanted: Wanted) {
        let ticket = self.journal.ticket();
        if let Wanted::Placed(key) = wanted
            && let Some(transfer) = self.active.get_mut(&key)
        {
            transfer.placings += 1;
        }
        self.wanted.push_back(wanted);
        self.out.push(Effect::Append(ticket, record, payload));
    }

    fn send(&mut self, to: &NodeName, message: Message) {
        if let Some((session, _)) = self.destinations.get(to).and_then(|d| d.session) {
            self.out.push(Effect::Send {
                to: to.clone(),
                session,
                message,
            });
        }
    }

    /// A number to spread retries by; the same for the same start and history.
    fn draw_jitter(&mut self) -> u64 {
        // splitmix64, Steele et al., "Fast splittable pseudorandom number generators", figure 17.
        self.jitter = self.jitter.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.jitter;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn back_off(&mut self, node: &NodeName, at_least_ms: u64) {
        self.back_off_of(node, None, at_least_ms);
    }

    /// Leaves a consumer alone for a while, with one feed or altogether.
    fn back_off_of(&mut self, node: &NodeName, feed: Option<u16>, at_least_ms: u64) {
        let (now, jitter) = (self.now, self.draw_jitter());
        if let Some(destination) = self.destinations.get_mut(node) {
            destination.back_off(feed, now, at_least_ms, jitter);
        }
        self.wake_crowded(node);
    }

    /// The transfer that an open slot of `node` belongs to, if it is in memory, and its leg.
    fn leg_of_slot(
        &self,
        node: &NodeName,
        start: Start,
        slot: Slot,
    ) -> Option<(TransferKey, usize)> {
        let key = self.destinations.get(node)?.duties.get((start, slot))?;
        let transfer = self.active.get(&key)?;
        let leg = transfer.leg_at(node)?;
        (transfer.legs[leg].start == start && transfer.legs[leg].slot == slot).then_some((key, leg))
    }

    fn stage_of(&self, key: TransferKey) -> Option<&Stage> {
        self.active.get(&key).map(|t| &t.stage)
    }
}
