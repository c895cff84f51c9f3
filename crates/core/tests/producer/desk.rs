//! A producer on a desk: its log is a list, its consumers are played by the test.

use std::collections::VecDeque;

use bytes::Bytes;
use consign_core::ids::{
    Digest, FeedName, Incarnation, Millis, NodeName, Sequence, Start, TransferKey,
};
use consign_core::journal::Ticket;
use consign_core::limits;
use consign_core::log::{Payload, Position};
use consign_core::producer::{
    Answer, Effect, Event, FeedRules, Identity, Producer, Release, Session, Taken, Token,
};
use consign_core::ranges::SlotRange;
use consign_core::record::{LegRecord, Placed, Receipt, Record};
use consign_core::spec::{FileSpec, ProducePolicy, Replicas, Source};
use consign_core::view::{Member, MemberState, View};
use consign_core::wire::{Leg, Message, OpenAnswer, Refused, Saved, SmallReceived};

/// A large file's size.
pub(crate) const LARGE: u64 = limits::SMALL_FILE_BYTES_MAX + 1;

pub(crate) fn name(node: &str) -> NodeName {
    NodeName::new(node).expect("a test's name is clean")
}

pub(crate) fn feed(feed: &str) -> FeedName {
    FeedName::new(feed).expect("a test's name is clean")
}

/// A member that consumes these feeds.
pub(crate) fn member(node: &str, feeds: &[&str]) -> Member {
    Member {
        name: name(node),
        addr: format!("{node}:1"),
        zone: None,
        weight: 1,
        feeds: feeds.iter().map(|name| feed(name)).collect(),
        state: MemberState::Active,
    }
}

pub(crate) fn rules(name: &str, replicas: Replicas) -> FeedRules {
    FeedRules {
        policy: ProducePolicy {
            feed: feed(name),
            replicas,
            priority: 0,
            replace_after_ms: None,
        },
        max_queue_bytes: u64::MAX,
    }
}

fn digest_of(bytes: &[u8]) -> Digest {
    Digest(*blake3::hash(bytes).as_bytes())
}

/// See the module. Every record is synced, and every transfer read back, as soon as it is asked
/// for, unless the test holds it up.
pub(crate) struct Desk {
    pub(crate) producer: Producer,
    pub(crate) now: Millis,
    /// The log: each record at its place.
    pub(crate) log: Vec<(Position, Record)>,
    /// The segment that records go to; the test raises it.
    pub(crate) segment: u32,
    /// Below it nothing is live any more.
    pub(crate) needs_from: u32,
    /// Whether records stay unsynced.
    pub(crate) hold_syncs: bool,
    /// Whether what is to be read back stays unread.
    pub(crate) hold_fetches: bool,
    /// Whether sources cannot be released.
    pub(crate) release_fails: bool,
    /// What was released.
    pub(crate) released: Vec<Release>,
    /// What was said to consumers, and not looked at yet.
    pub(crate) said: Vec<(NodeName, Message)>,
    /// What people were answered.
    pub(crate) answers: Vec<Answer>,
    /// Transfers whose small bytes were sent, and to whom first.
    pub(crate) small_sends: Vec<(NodeName, TransferKey)>,
    /// Chunk hashes that the last stream was started with.
    pub(crate) streamed_with: Vec<u8>,
    /// How many streams were started.
    pub(crate) streams: usize,
    /// Records that are in dropped segments.
    dropped: usize,
    fetches: VecDeque<(TransferKey, Position, Option<Position>)>,
    unsynced: Vec<(Ticket, Position)>,
    start: u64,
    sessions: u64,
    members: Vec<Member>,
    rules: Vec<FeedRules>,
}

impl Desk {
    pub(crate) fn new(members: Vec<Member>, rules: Vec<FeedRules>) -> Self {
        let mut desk = Self {
            producer: Producer::new(identity(1), View::default()),
            now: Millis(1_000),
            log: Vec::new(),
            segment: 1,
            needs_from: 0,
            hold_syncs: false,
            hold_fetches: false,
            release_fails: false,
            released: Vec::new(),
            said: Vec::new(),
            answers: Vec::new(),
            small_sends: Vec::new(),
            streamed_with: Vec::new(),
            streams: 0,
            dropped: 0,
            fetches: VecDeque::new(),
            unsynced: Vec::new(),
            start: 0,
            sessions: 0,
            members,
            rules,
        };
        desk.restart();
        desk
    }

    /// Ends the process and starts the next life from the log.
    pub(crate) fn restart(&mut self) {
        self.start += 1;
        self.unsynced.clear();
        self.fetches.clear();
        self.producer = Producer::new(identity(self.start), self.view());
        for (position, record) in &self.log[self.dropped..] {
            self.producer.replay(*position, record);
        }
        self.apply(Event::Policies(self.rules.clone()));
        let effects = self.producer.begin(self.now);
        self.carry_out(effects);
        self.settle();
    }

    /// The same, and the members have changed meanwhile.
    pub(crate) fn restart_with(&mut self, members: Vec<Member>) {
        self.members = members;
        self.restart();
    }

    fn view(&self) -> View {
        View::new(1, self.members.clone()).expect("a test's members are valid")
    }

    pub(crate) fn set_members(&mut self, members: Vec<Member>) {
        self.members = members;
        self.apply(Event::View(self.view()));
    }

    pub(crate) fn set_rules(&mut self, rules: Vec<FeedRules>) {
        self.rules = rules;
        self.apply(Event::Policies(self.rules.clone()));
    }

    pub(crate) fn up(&mut self, node: &str) {
        self.sessions += 1;
        self.apply(Event::PeerUp {
            node: name(node),
            session: Session(self.sessions),
            incarnation: Incarnation(1),
        });
    }

    pub(crate) fn down(&mut self, node: &str) {
        for session in 1..=self.sessions {
            self.apply(Event::PeerDown {
                node: name(node),
                session: Session(session),
            });
        }
    }

    /// A consumer says something on its newest connection, of which there may be only one.
    pub(crate) fn hear(&mut self, node: &str, message: Message) {
        for session in (1..=self.sessions).rev() {
            self.apply(Event::Message {
                from: name(node),
                session: Session(session),
                message: message.clone(),
            });
        }
    }

    pub(crate) fn tick_after(&mut self, ms: u64) {
        self.now = self.now.plus(ms);
        self.apply(Event::Tick);
    }

    pub(crate) fn apply(&mut self, event: Event) {
        let effects = self.producer.apply(self.now, event);
        self.carry_out(effects);
        self.settle();
    }

    /// Hands over a small file of the bytes of its name.
    pub(crate) fn submit_small(&mut self, feed: &str, file: &str) -> TransferKey {
        let bytes = Bytes::from(file.to_owned());
        let small = Some((digest_of(&bytes), bytes.clone()));
        self.submit(feed, file, bytes.len() as u64, small)
    }

    pub(crate) fn submit_large(&mut self, feed: &str, file: &str) -> TransferKey {
        self.submit(feed, file, LARGE, None)
    }

    /// A large file is to be taken from where it is.
    pub(crate) fn claim(&mut self, feed: &str, file: &str) -> TransferKey {
        let spec = FileSpec {
            feed: feed.to_owned(),
            name: file.to_owned(),
            key: file.to_owned(),
            size: LARGE,
            ..FileSpec::default()
        };
        let source = Source {
            origin: file.to_owned(),
            watched: true,
            ..Source::default()
        };
        let token = Token(0);
        self.apply(Event::Claim {
            token,
            spec,
            source,
        });
        let mut newest = self.log.iter().rev();
        let claimed = newest.find_map(|(_, record)| match record {
            Record::Claiming(claim) => Some(key_of(claim.start, claim.seq)),
            _ => None,
        });
        claimed.expect("it was just logged")
    }

    /// A claimed file is in the spool.
    pub(crate) fn taken(&mut self, key: TransferKey) {
        let claimed = self.producer.transfer(key).expect("it is being claimed");
        let taken = Taken {
            size: claimed.spec.size,
            source: claimed.source.clone(),
            mtime_ns: None,
            mode: None,
            small: None,
        };
        let outcome = Ok(taken);
        self.apply(Event::Taken { key, outcome });
    }

    fn submit(
        &mut self,
        feed: &str,
        file: &str,
        size: u64,
        small: Option<(Digest, Bytes)>,
    ) -> TransferKey {
        let spec = FileSpec {
            feed: feed.to_owned(),
            name: file.to_owned(),
            key: file.to_owned(),
            size,
            ..FileSpec::default()
        };
        let source = Source {
            spool: file.to_owned(),
            watched: true,
            ..Source::default()
        };
        self.apply(Event::Submit {
            token: Token(0),
            spec,
            source,
            small,
        });
        let mut newest = self.log.iter().rev();
        let submitted = newest.find_map(|(_, record)| match record {
            Record::Submitted(submitted) => Some(key_of(submitted.start, submitted.seq)),
            _ => None,
        });
        submitted.expect("it was just logged")
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append(ticket, record, payload) => self.append(ticket, record, &payload),
                Effect::Send { to, message, .. } => self.said.push((to, message)),
                Effect::Fetch {
                    key,
                    submitted,
                    placed,
                } => self.fetches.push_back((key, submitted, placed)),
                Effect::Release(releases) => self.release(releases),
                Effect::Answer(_, answer) => self.answers.push(answer),
                Effect::NeedsFrom { segment } => self.needs_from = segment,
                Effect::SendSmalls { route, files } => {
                    let first = name(&route[0].node);
                    let sent = files.iter().map(|file| (first.clone(), file.key));
                    self.small_sends.extend(sent);
                }
                Effect::Stream(order) => {
                    self.streamed_with = order.hashes;
                    self.streams += 1;
                }
                Effect::StopStream { .. } | Effect::Take { .. } => {}
            }
        }
    }

    fn append(&mut self, ticket: Ticket, record: Record, payload: &Payload) {
        assert!(
            record.encoded_len() <= limits::RECORD_BYTES_MAX,
            "the log would die of a {} of {} bytes",
            record.name(),
            record.encoded_len()
        );
        assert!(ranges_in(&record) <= limits::RANGES_PER_MESSAGE_MAX);
        if let Payload::CopyOf(position) = payload {
            self.read(*position);
        }
        let offset = u32::try_from(self.log.len()).expect("a test's log is short");
        let position = Position {
            segment: self.segment,
            offset,
        };
        self.log.push((position, record));
        self.unsynced.push((ticket, position));
    }

    /// A record that must still be there.
    fn read(&self, position: Position) -> Record {
        assert!(position.segment >= self.needs_from, "{position} is dropped");
        let (at, record) = &self.log[position.offset as usize];
        assert_eq!(*at, position, "a record lies where it was written");
        record.clone()
    }

    fn release(&mut self, releases: Vec<Release>) {
        let keys: Vec<TransferKey> = releases.iter().map(|release| release.key).collect();
        let event = match self.release_fails {
            true => Event::SourcesReleased {
                keys: Vec::new(),
                failed: keys,
            },
            false => {
                self.released.extend(releases);
                Event::SourcesReleased {
                    keys,
                    failed: Vec::new(),
                }
            }
        };
        let effects = self.producer.apply(self.now, event);
        self.carry_out(effects);
    }

    /// The log is synced up to its record of this number, and no further.
    pub(crate) fn sync_through(&mut self, records: usize) {
        let later = |at: &(Ticket, Position)| at.1.offset as usize >= records;
        let left = self.unsynced.iter().position(later).expect("more follow");
        let synced: Vec<_> = self.unsynced.drain(..left).collect();
        self.apply(Event::Synced {
            through: synced.last().expect("some are not synced").0,
            positions: synced.iter().map(|(_, position)| *position).collect(),
        });
    }

    /// Segments in which nothing is live are gone.
    pub(crate) fn drop_what_is_not_needed(&mut self) {
        let needs_from = self.needs_from;
        self.dropped = self.log.partition_point(|(at, _)| at.segment < needs_from);
    }

    /// Syncs and reads until nothing is left to be.
    pub(crate) fn settle(&mut self) {
        loop {
            let event = if !self.hold_syncs && !self.unsynced.is_empty() {
                let unsynced = std::mem::take(&mut self.unsynced);
                Event::Synced {
                    through: unsynced.last().expect("it is not empty").0,
                    positions: unsynced.iter().map(|(_, position)| *position).collect(),
                }
            } else if let Some((key, submitted, placed)) = (!self.hold_fetches)
                .then(|| self.fetches.pop_front())
                .flatten()
            {
                self.fetched(key, submitted, placed)
            } else {
                return;
            };
            let effects = self.producer.apply(self.now, event);
            self.carry_out(effects);
        }
    }

    fn fetched(&self, key: TransferKey, submitted: Position, placed: Option<Position>) -> Event {
        let Record::Submitted(submitted) = self.read(submitted) else {
            panic!("{submitted} is no submission");
        };
        let placed = placed.map(|position| match self.read(position) {
            Record::Placed(placed) => placed,
            other => panic!("{position} is no placement but {other:?}"),
        });
        Event::Fetched {
            key,
            submitted: Box::new(submitted),
            placed,
        }
    }

    /// The newest placement of a transfer.
    pub(crate) fn placement(&self, key: TransferKey) -> Option<Placed> {
        let mut newest = self.log.iter().rev();
        newest.find_map(|(_, record)| match record {
            Record::Placed(placed) if key_of(placed.start, placed.seq) == key => {
                Some(placed.clone())
            }
            _ => None,
        })
    }

    /// The newest slot that a transfer has with a consumer.
    pub(crate) fn leg(&self, key: TransferKey, node: &str) -> LegRecord {
        let placed = self.placement(key).expect("it is placed");
        let leg = placed.legs.into_iter().find(|leg| leg.node == node);
        leg.expect("it is placed there")
    }

    pub(crate) fn is_logged(&self, wanted: impl Fn(&Record) -> bool) -> bool {
        self.log.iter().any(|(_, record)| wanted(record))
    }

    pub(crate) fn is_done(&self, key: TransferKey) -> bool {
        self.is_logged(|record| match record {
            Record::Done(list) => list.start == key.start.0 && holds(&list.seqs, key.seq.0),
            _ => false,
        })
    }

    /// A consumer has received and saved a small file that was sent to it.
    pub(crate) fn takes_small(&mut self, node: &str, key: TransferKey) {
        let leg = self.leg(key, node);
        let received = SmallReceived {
            slot_start: leg.start,
            slots: one(leg.slot),
        };
        self.hear(node, Message::SmallReceived(received));
        self.saves(node, key);
    }

    pub(crate) fn saves(&mut self, node: &str, key: TransferKey) {
        let leg = self.leg(key, node);
        let saved = Saved {
            slot_start: leg.start,
            slots: one(leg.slot),
            receipt: receipt(node),
        };
        self.hear(node, Message::Saved(saved));
    }

    /// A consumer refuses what it was asked to take.
    pub(crate) fn refuses(&mut self, node: &str, key: TransferKey, refused: Refused) {
        let leg = self.wire_leg(node, key);
        self.hear(node, Message::Refused(Refused { leg, ..refused }));
    }

    /// A consumer holds nothing of a large file yet.
    pub(crate) fn opens(&mut self, node: &str, key: TransferKey) {
        let leg = self.wire_leg(node, key);
        let answer = OpenAnswer {
            leg,
            ..OpenAnswer::default()
        };
        self.hear(node, Message::OpenAnswer(answer));
    }

    pub(crate) fn wire_leg(&self, node: &str, key: TransferKey) -> Leg {
        let leg = self.leg(key, node);
        let attempt = self.producer.transfer(key).map_or(0, |t| t.attempt.0);
        Leg {
            start: key.start.0,
            seq: key.seq.0,
            slot_start: leg.start,
            slot: leg.slot,
            attempt,
        }
    }

    /// The slots that a consumer was told to abandon.
    pub(crate) fn abandons(&self, node: &str) -> Vec<Leg> {
        let told = self.said.iter().filter(|(to, _)| to.as_str() == node);
        let abandons = told.filter_map(|(_, message)| match message {
            Message::Abandon(abandon) => Some(abandon.leg),
            _ => None,
        });
        abandons.collect()
    }

    /// Transfers that a consumer was asked to open.
    pub(crate) fn opened(&self, node: &str) -> Vec<TransferKey> {
        let told = self.said.iter().filter(|(to, _)| to.as_str() == node);
        let opened = told.filter_map(|(_, message)| match message {
            Message::Open(open) => Some(key_of(open.leg.start, open.leg.seq)),
            _ => None,
        });
        opened.collect()
    }

    /// Transfers whose bytes went to a consumer.
    pub(crate) fn sent(&self, node: &str) -> Vec<TransferKey> {
        let sends = self.small_sends.iter();
        let to = sends.filter(|(to, _)| to.as_str() == node);
        to.map(|(_, key)| *key).collect()
    }
}

fn identity(start: u64) -> Identity {
    Identity {
        node: name("cam"),
        incarnation: Incarnation(start),
        start: Start(start),
        zone: None,
    }
}

fn key_of(start: u64, seq: u64) -> TransferKey {
    TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    }
}

fn ranges_in(record: &Record) -> usize {
    match record {
        Record::Done(list) | Record::Released(list) | Record::Retried(list) => list.seqs.len(),
        Record::LegsSettled(settled) => settled.slots.len(),
        _ => 0,
    }
}

pub(crate) fn one(slot: u64) -> Vec<SlotRange> {
    vec![SlotRange {
        from: slot,
        to: slot + 1,
    }]
}

fn holds(ranges: &[SlotRange], value: u64) -> bool {
    ranges
        .iter()
        .any(|range| (range.from..range.to).contains(&value))
}

pub(crate) fn receipt(node: &str) -> Receipt {
    Receipt {
        consumer: node.to_owned(),
        incarnation: 1,
        at: 1,
        ..Receipt::default()
    }
}
