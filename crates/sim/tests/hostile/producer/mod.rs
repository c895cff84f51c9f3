//! A producer among hostile consumers.

mod honest;
mod receipts;
mod wild;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consign_core::ids::{
    Attempt, Digest, FeedName, Incarnation, Millis, NodeName, Sequence, Start, TransferKey,
};
use consign_core::journal::Ticket;
use consign_core::limits;
use consign_core::log::{Payload, Position};
use consign_core::producer::{
    Effect, Event, FeedRules, Identity, Producer, Session, SmallSend, Taken, Token,
};
use consign_core::ranges::SlotRange;
use consign_core::record::{LegRung, Record};
use consign_core::spec::{After, FileSpec, ProducePolicy, Replicas, Source};
use consign_core::view::{Member, MemberState, View};
use consign_core::watched::Machine;
use consign_core::wire::{Abandoned, Holding, Hop, Leg, Message};
use consign_sim::rng::Rng;

const NODES: [&str; 4] = ["a", "b", "c", "d"];
const FEEDS: [&str; 2] = ["f", "g"];
const LARGE: u64 = 3 * limits::CHUNK_BYTES_MIN;
/// What happens before everybody is honest.
const STEPS: usize = 250;
/// How long honest consumers may take, in rounds and in ms a round.
const ROUNDS: usize = 400;
const ROUND_MS: u64 = 2_500;

fn node(name: &str) -> NodeName {
    NodeName::new(name).expect("a test's name is clean")
}

fn feed(name: &str) -> FeedName {
    FeedName::new(name).expect("a test's name is clean")
}

fn key_of(start: u64, seq: u64) -> TransferKey {
    TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    }
}

fn digest_of(key: TransferKey) -> Digest {
    Digest(*blake3::hash(key.to_string().as_bytes()).as_bytes())
}

fn one(slot: u64) -> Vec<SlotRange> {
    vec![SlotRange {
        from: slot,
        to: slot.saturating_add(1),
    }]
}

type At = (NodeName, u64, u64);

struct Bench {
    rng: Rng,
    producer: Producer,
    now: Millis,
    start: u64,
    log: Vec<(Position, Record)>,
    unsynced: VecDeque<(Ticket, Position)>,
    segment: u32,
    /// From which segment on the log is needed, and how many records said so.
    needs: VecDeque<(usize, u32)>,
    dropped_below: u32,
    sessions: BTreeMap<NodeName, Session>,
    next_number: u64,
    members: Vec<Member>,
    rules: Vec<FeedRules>,
    forgotten: BTreeSet<NodeName>,
    fetches: Vec<(TransferKey, Position, Option<Position>)>,
    takes: Vec<(TransferKey, FileSpec, Source)>,
    streams: Vec<(TransferKey, Attempt)>,
    releases: Vec<TransferKey>,
    keys: Vec<TransferKey>,
    /// Legs that a consumer has heard of.
    legs: Vec<(NodeName, Leg)>,
    /// What consumers have said for good.
    saved: BTreeSet<At>,
    abandoned: BTreeSet<At>,
    /// What honest consumers have to answer.
    said: VecDeque<(NodeName, Message)>,
    frames: Vec<(Vec<Hop>, Vec<SmallSend>)>,
}

impl Bench {
    fn new(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rules = FEEDS
            .map(|name| FeedRules {
                policy: ProducePolicy {
                    feed: feed(name),
                    replicas: match rng.below(4) {
                        0 => Replicas::All,
                        count => Replicas::Count(count as usize),
                    },
                    priority: 0,
                    replace_after_ms: rng.one_in(2).then(|| rng.below(5_000)),
                },
                max_queue_bytes: u64::MAX,
            })
            .into();
        let members = NODES.map(|name| member(name, MemberState::Active)).into();
        let mut bench = Self {
            rng,
            producer: Producer::new(identity(1), View::default()),
            now: Millis(1_000),
            start: 0,
            log: Vec::new(),
            unsynced: VecDeque::new(),
            segment: 1,
            needs: VecDeque::new(),
            dropped_below: 0,
            sessions: BTreeMap::new(),
            next_number: 1,
            members,
            rules,
            forgotten: BTreeSet::new(),
            fetches: Vec::new(),
            takes: Vec::new(),
            streams: Vec::new(),
            releases: Vec::new(),
            keys: Vec::new(),
            legs: Vec::new(),
            saved: BTreeSet::new(),
            abandoned: BTreeSet::new(),
            said: VecDeque::new(),
            frames: Vec::new(),
        };
        bench.restart();
        bench
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A new life; what was not synced is lost.
    fn restart(&mut self) {
        let synced = self.log.len() - self.unsynced.len();
        self.log.truncate(synced);
        self.unsynced.clear();
        self.needs.retain(|(at, _)| *at <= synced);
        self.fetches.clear();
        self.takes.clear();
        self.streams.clear();
        self.releases.clear();
        self.sessions.clear();
        self.said.clear();
        self.frames.clear();
        self.start += 1;
        self.segment += 1;
        super::trace(|| format!("life {}", self.start));
        let view = self.view();
        self.producer = Producer::new(identity(self.start), view);
        for (position, record) in &self.log {
            if position.segment >= self.dropped_below {
                self.producer.replay(*position, record);
            }
        }
        self.apply(Event::Policies(self.rules.clone()));
        let effects = self.producer.begin(self.now);
        self.carry_out(effects);
    }

    fn view(&self) -> View {
        View::new(1, self.members.clone()).expect("a test's members are valid")
    }

    fn apply(&mut self, event: Event) {
        let effects = self.producer.apply(self.now, event);
        self.carry_out(effects);
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append(ticket, record, payload) => self.append(ticket, record, &payload),
                Effect::Send {
                    to,
                    session,
                    message,
                } => {
                    // Of an older connection it is dropped.
                    if self.sessions.get(&to) == Some(&session) {
                        self.note_leg(&to, &message);
                        self.said.push_back((to, message));
                    }
                }
                Effect::SendSmalls { route, files } => {
                    for file in &files {
                        for (hop, (start, slot)) in route.iter().zip(&file.slots) {
                            let leg = leg(file.key, file.attempt, start.0, slot.0);
                            self.legs.push((node(&hop.node), leg));
                        }
                    }
                    self.frames.push((route, files));
                }
                Effect::Stream(order) => self.streams.push((order.key, order.attempt)),
                Effect::StopStream { key } => self.streams.retain(|(of, _)| *of != key),
                Effect::Fetch {
                    key,
                    submitted,
                    placed,
                } => self.fetches.push((key, submitted, placed)),
                Effect::Take { key, spec, source } => self.takes.push((key, spec, source)),
                Effect::Release(releases) => {
                    for release in releases {
                        if !release.give_back {
                            self.must_be_delivered(release.key);
                        }
                        self.releases.push(release.key);
                    }
                }
                Effect::Answer(..) => {}
                // The segment that is written to is never dropped.
                Effect::NeedsFrom { segment } => {
                    let needed = (self.log.len(), segment.min(self.segment));
                    self.needs.push_back(needed);
                }
            }
        }
    }

    fn note_leg(&mut self, to: &NodeName, message: &Message) {
        let leg = match message {
            Message::Open(open) => open.leg,
            Message::Forward(forward) => forward.leg,
            Message::Commit(commit) => commit.leg,
            Message::Abandon(abandon) => abandon.leg,
            _ => return,
        };
        self.legs.push((to.clone(), leg));
    }

    fn append(&mut self, ticket: Ticket, record: Record, payload: &Payload) {
        assert!(
            record.encoded_len() <= limits::RECORD_BYTES_MAX,
            "{record:?}"
        );
        if let Payload::CopyOf(position) = payload {
            self.read(*position);
        }
        if let Record::Done(list) = &record {
            for seq in list.seqs.iter().flat_map(|range| range.from..range.to) {
                self.must_be_delivered(key_of(list.start, seq));
            }
        }
        if let Record::Submitted(submitted) = &record {
            let key = key_of(submitted.start, submitted.seq);
            if !self.keys.contains(&key) {
                self.keys.push(key);
            }
        }
        let offset = u32::try_from(self.log.len()).expect("a test's log is short");
        let position = Position {
            segment: self.segment,
            offset,
        };
        super::trace(|| format!("{position} {record:?}"));
        self.log.push((position, record));
        self.unsynced.push_back((ticket, position));
    }

    /// S5: a source goes only when each of its consumers has said `saved`, for the very slot.
    fn must_be_delivered(&self, key: TransferKey) {
        let mut newest = self.log.iter().rev();
        let placed = newest.find_map(|(_, record)| match record {
            Record::Placed(placed) if key_of(placed.start, placed.seq) == key => Some(placed),
            _ => None,
        });
        let placed = placed.expect("nothing is done that was never placed");
        let kept: Vec<_> = placed
            .legs
            .iter()
            .filter(|leg| !matches!(leg.rung(), LegRung::Abandoning | LegRung::Abandoned))
            .collect();
        let has = |leg: &consign_core::record::LegRecord| {
            self.saved.contains(&(node(&leg.node), leg.start, leg.slot))
        };
        let extra = placed.legs.iter().any(has);
        assert!(!kept.is_empty() || extra, "{key} is done for nobody");
        for leg in kept {
            assert!(has(leg), "{key} is done, and {} never had it", leg.node);
        }
    }

    fn read(&self, position: Position) -> Record {
        assert!(position.segment >= self.dropped_below, "{position} is gone");
        let (at, record) = &self.log[position.offset as usize];
        assert_eq!(*at, position);
        record.clone()
    }

    /// Syncs so many records.
    fn sync(&mut self, many: usize) {
        let many = many.min(self.unsynced.len());
        if many == 0 {
            return;
        }
        let synced: Vec<_> = self.unsynced.drain(..many).collect();
        let through = synced.last().expect("it is not empty").0;
        let positions = synced.iter().map(|(_, position)| *position).collect();
        self.apply(Event::Synced { through, positions });
        let durable = self.log.len() - self.unsynced.len();
        while let Some((at, segment)) = self.needs.front().copied() {
            if at > durable {
                break;
            }
            self.needs.pop_front();
            self.dropped_below = segment;
        }
    }

    fn fetch(&mut self, at: usize) {
        let (key, submitted, placed) = self.fetches.swap_remove(at);
        let Record::Submitted(submitted) = self.read(submitted) else {
            panic!("{submitted} is no submission");
        };
        let placed = placed.map(|at| match self.read(at) {
            Record::Placed(placed) => placed,
            other => panic!("{at} is no placement but {other:?}"),
        });
        self.apply(Event::Fetched {
            key,
            submitted: Box::new(submitted),
            placed,
        });
    }

    fn take(&mut self, at: usize) {
        let (key, spec, source) = self.takes.swap_remove(at);
        let taken = Taken {
            size: spec.size,
            source,
            mtime_ns: None,
            mode: None,
            small: (spec.size <= limits::SMALL_FILE_BYTES_MAX)
                .then(|| (digest_of(key), Bytes::from(vec![1; spec.size as usize]))),
        };
        self.apply(Event::Taken {
            key,
            outcome: Ok(taken),
        });
    }

    fn submit(&mut self) {
        let number = self.number();
        let (large, claimed) = (self.rng.one_in(3), self.rng.one_in(2));
        let spec = FileSpec {
            feed: FEEDS[self.rng.below(2) as usize].to_owned(),
            name: format!("n{number}"),
            key: format!("k{number}"),
            size: if large { LARGE } else { 5 },
            ..FileSpec::default()
        };
        let source = Source {
            origin: format!("/o/{number}"),
            after: After::Delete.into(),
            watched: true,
            ..Source::default()
        };
        let token = Token(number);
        self.apply(match large || claimed {
            true => Event::Claim {
                token,
                spec,
                source,
            },
            false => Event::Submit {
                token,
                spec,
                source,
                small: Some((digest_of(key_of(0, number)), Bytes::from_static(b"small"))),
            },
        });
    }

    fn up(&mut self, name: &str) {
        let session = Session(self.number());
        self.sessions.insert(node(name), session);
        self.apply(Event::PeerUp {
            node: node(name),
            session,
            incarnation: Incarnation(1),
        });
    }

    fn down(&mut self, name: &str) {
        if let Some(session) = self.sessions.remove(&node(name)) {
            self.apply(Event::PeerDown {
                node: node(name),
                session,
            });
        }
    }

    fn hear(&mut self, from: &NodeName, message: Message) {
        // What a consumer says on a connection that is over does not count as said.
        let Some(&session) = self.sessions.get(from) else {
            return;
        };
        match &message {
            Message::Saved(saved) => {
                let slots = saved.slots.iter().flat_map(|range| range.from..range.to);
                let slots = slots.take(10_000).collect::<Vec<_>>();
                self.note_saved(from, saved.slot_start, &slots, Some(&saved.receipt));
            }
            Message::OpenAnswer(answer) if answer.holding == i32::from(Holding::Saved) => {
                let leg = answer.leg;
                let receipt = answer.receipt.as_ref();
                self.note_saved(from, leg.slot_start, &[leg.slot], receipt);
            }
            Message::OpenAnswer(answer) if answer.holding == i32::from(Holding::Abandoned) => {
                let leg = answer.leg;
                self.abandoned
                    .insert((from.clone(), leg.slot_start, leg.slot));
            }
            Message::Abandoned(Abandoned { leg }) => {
                self.abandoned
                    .insert((from.clone(), leg.slot_start, leg.slot));
            }
            _ => {}
        }
        super::trace(|| format!("{from} says {message:?}"));
        self.apply(Event::Message {
            from: from.clone(),
            session,
            message,
        });
    }
}

fn leg(key: TransferKey, attempt: Attempt, slot_start: u64, slot: u64) -> Leg {
    Leg {
        start: key.start.0,
        seq: key.seq.0,
        slot_start,
        slot,
        attempt: attempt.0,
    }
}

fn member(name: &str, state: MemberState) -> Member {
    Member {
        name: node(name),
        addr: format!("{name}:1"),
        zone: None,
        weight: 1,
        feeds: FEEDS.map(feed).into(),
        state,
    }
}

fn identity(start: u64) -> Identity {
    Identity {
        node: node("cam"),
        incarnation: Incarnation(1),
        start: Start(start),
        zone: None,
    }
}

/// How many seeds are run, unless others are asked for.
const SEEDS: u64 = 400;

/// What one seed has consumers say, and what comes of it.
pub(super) fn run_seed(seed: u64) {
    let mut bench = Bench::new(seed);
    for _ in 0..STEPS {
        bench.step();
    }
    bench.be_honest();
}

#[test]
fn whatever_consumers_say_no_source_is_lost_and_all_is_delivered_once_they_are_honest() {
    super::run("whatever_consumers_say", SEEDS, run_seed);
    if super::seeds(SEEDS) == (0..SEEDS) {
        super::assert_taken(&[Machine::Leg, Machine::Transfer]);
    }
}
