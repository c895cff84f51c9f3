//! A producer among hostile consumers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use consign_core::ids::{
    Attempt, Digest, FeedName, Incarnation, Millis, NodeName, Sequence, Slot, Start, TransferKey,
};
use consign_core::journal::Ticket;
use consign_core::limits;
use consign_core::log::{Payload, Position};
use consign_core::producer::{
    Effect, Event, FeedRules, Identity, Producer, Session, SmallSend, StreamFault, Taken, Token,
    Unread,
};
use consign_core::ranges::SlotRange;
use consign_core::record::{LegRung, Receipt, Record};
use consign_core::spec::{After, FileSpec, ProducePolicy, Replicas, Source};
use consign_core::view::{Member, MemberState, View};
use consign_core::wire::{
    Abandoned, Holding, Hop, Leg, LinkLost, Message, OpenAnswer, Progress, Received, Refused,
    Saved, SmallLinkLost, SmallMissing, SmallReceived,
};
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

fn receipt(consumer: &NodeName) -> Receipt {
    Receipt {
        consumer: consumer.to_string(),
        incarnation: 1,
        at: 1,
        ..Receipt::default()
    }
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
            Message::Saved(saved) if saved.receipt.consumer == from.as_str() => {
                let slots = saved.slots.iter().flat_map(|range| range.from..range.to);
                for slot in slots.take(10_000) {
                    self.saved.insert((from.clone(), saved.slot_start, slot));
                }
            }
            Message::OpenAnswer(answer) if answer.holding == i32::from(Holding::Saved) => {
                let leg = answer.leg;
                self.saved.insert((from.clone(), leg.slot_start, leg.slot));
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

// What is hostile.
impl Bench {
    fn any_node(&mut self) -> &'static str {
        NODES[self.rng.below(NODES.len() as u64) as usize]
    }

    fn any_key(&mut self) -> Option<TransferKey> {
        let many = self.keys.len() as u64;
        (many > 0).then(|| self.keys[self.rng.below(many) as usize])
    }

    /// A leg that somebody knows, sometimes bent.
    fn any_leg(&mut self) -> (NodeName, Leg) {
        let many = self.legs.len() as u64;
        if many == 0 || self.rng.one_in(20) {
            let leg = Leg {
                start: self.rng.below(4),
                seq: self.rng.below(20),
                slot_start: self.rng.below(4),
                slot: self.rng.below(20),
                attempt: self.rng.below(4) as u32,
            };
            return (node(self.any_node()), leg);
        }
        // The newest ones are the most interesting.
        let back = self.rng.below(many.min(12));
        let at = match self.rng.one_in(4) {
            true => self.rng.below(many),
            false => many - 1 - back,
        };
        let (mut who, mut leg) = self.legs[at as usize].clone();
        match self.rng.below(24) {
            0 => leg.attempt = leg.attempt.wrapping_add(1),
            1 => leg.attempt = leg.attempt.saturating_sub(1),
            2 => leg.slot = leg.slot.wrapping_add(1),
            3 => leg.seq = leg.seq.wrapping_add(1),
            4 => who = node(self.any_node()),
            5 => leg.slot_start = u64::MAX,
            6 => leg.slot = u64::MAX,
            _ => {}
        }
        (who, leg)
    }

    fn any_slots(&mut self, slot: u64) -> Vec<SlotRange> {
        match self.rng.below(12) {
            0 => Vec::new(),
            1 => vec![SlotRange {
                from: 0,
                to: u64::MAX,
            }],
            2 => vec![SlotRange {
                from: slot.wrapping_add(1),
                to: slot,
            }],
            3 => (0..5).flat_map(one).collect(),
            _ => one(slot),
        }
    }

    fn any_message(&mut self) -> (NodeName, Message) {
        let (who, leg) = self.any_leg();
        let slot_start = leg.slot_start;
        let digest = digest_of(key_of(leg.start, leg.seq)).0.to_vec();
        let to = self.any_node().to_owned();
        let from = self.rng.below(2 * LARGE);
        let slots = self.any_slots(leg.slot);
        let message = match self.rng.below(13) {
            0..2 => Message::OpenAnswer(OpenAnswer {
                leg,
                holding: self.rng.below(5) as i32,
                from,
                digest,
                receipt: (!self.rng.one_in(4)).then(|| receipt(&who)),
            }),
            2 => Message::Progress(Progress { leg, bytes: from }),
            3..5 => Message::Received(Received { leg, digest }),
            5..7 => Message::Saved(Saved {
                slot_start,
                slots,
                receipt: match self.rng.one_in(10) {
                    true => receipt(&node(&to)),
                    false => receipt(&who),
                },
            }),
            7 => Message::Abandoned(Abandoned { leg }),
            8 => Message::Refused(Refused {
                leg,
                code: self.rng.below(9) as i32,
                reason: "so".to_owned(),
                retry_after_ms: self.rng.below(100_000),
            }),
            9 => Message::LinkLost(LinkLost {
                leg,
                to,
                reason: "cut".to_owned(),
            }),
            10 => Message::SmallReceived(SmallReceived { slot_start, slots }),
            11 => Message::SmallMissing(SmallMissing { slot_start, slots }),
            _ => Message::SmallLinkLost(SmallLinkLost {
                to,
                slot_start,
                slots,
                reason: "cut".to_owned(),
            }),
        };
        (who, message)
    }

    fn step(&mut self) {
        match self.rng.below(40) {
            0..4 => self.submit(),
            4..18 => {
                let (who, message) = self.any_message();
                self.hear(&who, message);
            }
            18..24 => {
                let many = self.rng.below(6) as usize;
                self.sync(many);
            }
            24 | 25 => {
                let name = self.any_node();
                self.up(name);
            }
            26 => {
                let name = self.any_node();
                self.down(name);
            }
            27 | 28 => {
                let ms = [10, 500, 6_000, 40_000][self.rng.below(4) as usize];
                self.now = self.now.plus(ms);
                self.apply(Event::Tick);
            }
            29..31 if !self.fetches.is_empty() => {
                let at = self.rng.below(self.fetches.len() as u64) as usize;
                self.fetch(at);
            }
            31 if !self.takes.is_empty() => {
                let at = self.rng.below(self.takes.len() as u64) as usize;
                self.take(at);
            }
            32 | 33 => self.stream(),
            34 => {
                let (keys, failed) = match self.rng.one_in(3) {
                    true => (Vec::new(), std::mem::take(&mut self.releases)),
                    false => (std::mem::take(&mut self.releases), Vec::new()),
                };
                self.apply(Event::SourcesReleased { keys, failed });
            }
            35 => self.order(),
            36 => self.change_members(),
            37 => {
                let through = self.segment;
                self.segment += 1;
                self.apply(Event::Carry { through });
            }
            38 => self.small_fault(),
            39 if self.rng.one_in(3) => self.restart(),
            _ => {}
        }
    }

    fn stream(&mut self) {
        let known = self.streams.len() as u64;
        let (key, attempt) = match known {
            0 => match self.any_key() {
                Some(key) => (key, Attempt(1)),
                None => return,
            },
            many => self.streams[self.rng.below(many) as usize],
        };
        let first_chunk = self.rng.below(4);
        match self.rng.below(5) {
            0 => self.apply(Event::Hashed {
                key,
                first_chunk,
                hashes: vec![7; 32 * 2],
            }),
            1 | 2 => self.apply(Event::DigestKnown {
                key,
                digest: digest_of(key),
            }),
            3 => self.apply(Event::StreamFailed {
                key,
                attempt,
                fault: StreamFault::Link("reset".to_owned()),
            }),
            _ => self.apply(Event::StreamFailed {
                key,
                attempt,
                fault: StreamFault::Source("it was changed".to_owned()),
            }),
        }
    }

    fn small_fault(&mut self) {
        let (to, leg) = self.any_leg();
        if self.rng.one_in(2) {
            return self.apply(Event::SmallsNotSent {
                to,
                slots: vec![(Start(leg.slot_start), Slot(leg.slot))],
                reason: "reset".to_owned(),
            });
        }
        let why = match self.rng.one_in(2) {
            true => Unread::Moved,
            false => Unread::Lost("rot".to_owned()),
        };
        self.apply(Event::SmallUnread {
            key: key_of(leg.start, leg.seq),
            attempt: Attempt(leg.attempt),
            to,
            why,
        });
    }

    fn order(&mut self) {
        let token = Token(self.number());
        let Some(key) = self.any_key() else {
            return;
        };
        match self.rng.below(8) {
            0..3 => self.apply(Event::Cancel { token, key }),
            3..5 => self.apply(Event::Retry {
                token,
                key: Some(key),
            }),
            5 => self.apply(Event::Retry { token, key: None }),
            // As many stay as a file may want.
            _ if self.forgotten.is_empty() => {
                let name = node(self.any_node());
                self.forgotten.insert(name.clone());
                self.apply(Event::Forget { token, node: name });
            }
            _ => {}
        }
    }

    fn change_members(&mut self) {
        let at = self.rng.below(NODES.len() as u64) as usize;
        let state = match self.rng.below(4) {
            0 => MemberState::Draining,
            1 => MemberState::Left,
            _ => MemberState::Active,
        };
        self.members[at] = member(NODES[at], state);
        if self.rng.one_in(4) {
            self.members[at].feeds.remove(&feed("g"));
        }
        self.apply(Event::View(self.view()));
    }
}

// What is honest.
impl Bench {
    /// Everybody keeps the protocol, and what was said for good.
    fn be_honest(&mut self) {
        self.restart();
        self.members = NODES.map(|name| member(name, MemberState::Active)).into();
        self.apply(Event::View(self.view()));
        for name in NODES {
            self.up(name);
        }
        for round in 0..ROUNDS {
            self.sync(usize::MAX);
            let mut fetched = 0;
            while !self.fetches.is_empty() {
                let first = self.fetches[0];
                self.fetch(0);
                fetched += 1;
                assert!(fetched < 10_000, "{} is read again and again", first.0);
            }
            while !self.takes.is_empty() {
                self.take(0);
            }
            let keys = std::mem::take(&mut self.releases);
            if !keys.is_empty() {
                let failed = Vec::new();
                self.apply(Event::SourcesReleased { keys, failed });
            }
            for (key, _) in std::mem::take(&mut self.streams) {
                let digest = digest_of(key);
                self.apply(Event::DigestKnown { key, digest });
            }
            for (route, files) in std::mem::take(&mut self.frames) {
                self.take_frame(&route, &files);
            }
            for (to, message) in std::mem::take(&mut self.said) {
                self.answer(&to, message);
            }
            if round % 8 == 0 {
                let token = Token(self.number());
                self.apply(Event::Retry { token, key: None });
            }
            if self.producer.unfinished() == 0 && self.unsynced.is_empty() && self.said.is_empty() {
                return;
            }
            self.now = self.now.plus(ROUND_MS);
            self.apply(Event::Tick);
        }
        let left: Vec<_> = self.producer.transfers().collect();
        panic!(
            "{} files are not delivered although everybody is honest: {left:#?} {:?} {:?}",
            self.producer.unfinished(),
            self.producer.feeds(),
            self.producer.destinations()
        );
    }

    fn take_frame(&mut self, route: &[Hop], files: &[SmallSend]) {
        for file in files {
            for (hop, (start, slot)) in route.iter().zip(&file.slots) {
                let who = node(&hop.node);
                let at = (who.clone(), start.0, slot.0);
                let message = if self.abandoned.contains(&at) && !self.saved.contains(&at) {
                    let leg = leg(file.key, file.attempt, start.0, slot.0);
                    Message::Abandoned(Abandoned { leg })
                } else {
                    Message::SmallReceived(SmallReceived {
                        slot_start: start.0,
                        slots: one(slot.0),
                    })
                };
                self.hear(&who, message);
            }
        }
    }

    fn answer(&mut self, who: &NodeName, message: Message) {
        let at = |leg: &Leg| (who.clone(), leg.slot_start, leg.slot);
        match message {
            Message::Open(open) => {
                let leg = open.leg;
                let is_saved = self.saved.contains(&at(&leg));
                let holding = match (is_saved, self.abandoned.contains(&at(&leg))) {
                    (true, _) => Holding::Saved,
                    (false, true) => Holding::Abandoned,
                    (false, false) => Holding::Part,
                };
                let key = key_of(leg.start, leg.seq);
                self.hear(
                    who,
                    Message::OpenAnswer(OpenAnswer {
                        leg,
                        holding: holding.into(),
                        digest: digest_of(key).0.to_vec(),
                        receipt: is_saved.then(|| receipt(who)),
                        ..OpenAnswer::default()
                    }),
                );
                if holding == Holding::Part {
                    let digest = digest_of(key).0.to_vec();
                    self.hear(who, Message::Received(Received { leg, digest }));
                }
            }
            Message::Commit(commit) => self.say_saved(who, commit.leg.slot_start, commit.leg.slot),
            Message::Abandon(abandon) => {
                let leg = abandon.leg;
                match self.saved.contains(&at(&leg)) {
                    true => self.say_saved(who, leg.slot_start, leg.slot),
                    false => self.hear(who, Message::Abandoned(Abandoned { leg })),
                }
            }
            Message::SmallQuery(query) => {
                for slot in query.slots.iter().flat_map(|range| range.from..range.to) {
                    match self.saved.contains(&(who.clone(), query.slot_start, slot)) {
                        true => self.say_saved(who, query.slot_start, slot),
                        false => self.hear(
                            who,
                            Message::SmallMissing(SmallMissing {
                                slot_start: query.slot_start,
                                slots: one(slot),
                            }),
                        ),
                    }
                }
            }
            Message::SmallCommit(commit) => {
                for slot in commit.slots.iter().flat_map(|range| range.from..range.to) {
                    self.say_saved(who, commit.slot_start, slot);
                }
            }
            // The others are not answered.
            _ => {}
        }
    }

    fn say_saved(&mut self, who: &NodeName, slot_start: u64, slot: u64) {
        let saved = Saved {
            slot_start,
            slots: one(slot),
            receipt: receipt(who),
        };
        self.hear(who, Message::Saved(saved));
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

#[test]
fn whatever_consumers_say_no_source_is_lost_and_all_is_delivered_once_they_are_honest() {
    super::run("whatever_consumers_say", 400, |seed| {
        let mut bench = Bench::new(seed);
        for _ in 0..STEPS {
            bench.step();
        }
        bench.be_honest();
    });
}
