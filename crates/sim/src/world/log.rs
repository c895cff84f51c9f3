//! The way to the intent log: records gather while a sync is under way, and go together.

use consign_core::consumer;
use consign_core::ids::Millis;
use consign_core::journal::Ticket;
use consign_core::log::{LogError, LogLength, Payload, Position};
use consign_core::producer;
use consign_core::record::Record;

use super::World;
use super::faults::Aftermath;
use super::happening::Work;
use super::recovering::is_planned;
use crate::coverage::Subject;
use crate::ledger::Violation;
use crate::plan::{Fault, SMALL_BYTES_MAX};
use crate::promise::Promise;

/// How many times less than a segment is synced together at most, but for the last record: as at a
/// node. What a recovery may have to copy then leaves room in a segment.
const GROUP_SHARE: u64 = 4;

/// Whose record it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Producer,
    Consumer,
    Node,
}

/// A record on its way into the log.
#[derive(Debug, Clone)]
pub(super) struct Append {
    pub(super) owner: Owner,
    pub(super) ticket: Ticket,
    pub(super) record: Record,
    pub(super) payload: Payload,
}

/// What a record takes in the log, in bytes; a payload that is still to be copied, about as the
/// largest there is.
fn counted_bytes(append: &Append) -> u64 {
    let payload = match &append.payload {
        Payload::None => 0,
        Payload::Bytes(bytes) => bytes.len() as u64,
        Payload::CopyOf(_) => SMALL_BYTES_MAX,
    };
    append.record.encoded_len() as u64 + payload
}

/// Tells a record from others.
pub(super) fn fingerprint(record: &Record) -> u64 {
    use std::hash::Hasher as _;
    let mut bytes = Vec::with_capacity(256);
    record.encode(&mut bytes);
    let mut hasher = std::hash::DefaultHasher::new();
    hasher.write_u8(record.kind());
    hasher.write(&bytes);
    hasher.finish()
}

impl World {
    /// Every record that was committed is replayed, in its order: S8. What was dropped may come
    /// before them, and what was not acknowledged after.
    pub(super) fn check_recovered(&mut self, node: usize, records: &[(Position, Record)]) {
        let replayed: Vec<(u32, u64)> = records
            .iter()
            .map(|(at, record)| (at.segment, fingerprint(record)))
            .collect();
        let committed = &self.nodes[node].committed;
        let same = |run: &[(u32, u64)]| {
            run.iter()
                .zip(committed)
                .all(|((_, replayed), (_, committed))| replayed == committed)
        };
        let kept = committed.is_empty() || replayed.windows(committed.len()).any(same);
        if !kept {
            let what = format!(
                "{} replays {} records, and not the {} that were committed",
                self.nodes[node].name,
                replayed.len(),
                committed.len()
            );
            self.violate(Violation {
                promise: Promise::RecordsKept,
                what,
                file: None,
            });
        }
        self.nodes[node].committed = replayed;
    }

    pub(super) fn append(
        &mut self,
        node: usize,
        owner: Owner,
        ticket: Ticket,
        record: Record,
        payload: Payload,
    ) {
        let name = self.name(node);
        self.ledger.appended(node, &name, &record);
        self.life(node).appends.push(Append {
            owner,
            ticket,
            record,
            payload,
        });
        self.schedule_commit(node);
    }

    fn schedule_commit(&mut self, node: usize) {
        let life = self.life(node);
        if !life.committing && !life.appends.is_empty() {
            life.committing = true;
            let delay = self.sync_time(node, 40);
            self.do_after(node, delay, Work::Commit);
        }
    }

    /// Appends what has gathered, as far as it may be synced together, and syncs it.
    pub(super) fn commit(&mut self, node: usize) {
        let group_bytes_max = self.plan.segment_bytes / GROUP_SHARE;
        let life = self.life(node);
        let (had_room, segment) = (life.log.has_room(), life.log.current_segment());
        let mut no_room = false;
        let mut waiting = std::mem::take(&mut life.appends).into_iter();
        let mut appended = Vec::new();
        let mut failed = None;
        let mut group_bytes = 0;
        while group_bytes < group_bytes_max
            && let Some(append) = waiting.next()
        {
            group_bytes += counted_bytes(&append);
            match life.log.append(&append.record, append.payload.clone()) {
                Ok(position) => appended.push((append, position)),
                Err(LogError::Full { .. }) => {
                    // It stays first in line; ticks try again.
                    no_room = true;
                    life.appends.push(append);
                    break;
                }
                Err(error) => {
                    failed = Some((error, append));
                    break;
                }
            }
        }
        life.appends.extend(waiting);
        let all = life.appends.is_empty();
        // The spare is for one more segment; the next may find no space.
        let took_none = life.log.current_segment() == segment;
        if had_room && no_room && took_none {
            self.reserve_missing(node);
        }
        let life = self.life(node);
        let committed = match failed {
            Some((error, append)) => Err((error, Some(append))),
            None => life.log.commit().map_err(|error| (error, None)),
        };
        if let (Ok(synced), Some((_, first))) = (&committed, appended.first()) {
            let before = std::mem::replace(&mut life.synced_to, *synced);
            self.nodes[node].proofs.push((*first, before));
        }
        if let Err((error, append)) = committed {
            return self.log_failed(node, &error, append.as_ref());
        }
        let name = self.name(node);
        for (append, position) in &appended {
            self.line(|| format!("{name} commits {position} {:?}", append.record));
            let (kind, size) = (append.record.kind(), append.record.encoded_len());
            let numbers = [u64::from(kind), size as u64, position.pack()];
            self.trace.borrow_mut().mix(&numbers);
            self.coverage.hit(Subject::Committed, usize::from(kind));
            let found = self
                .ledger
                .committed(node, &name, &append.record, self.now / 1_000);
            self.check(found);
        }
        let committed = appended
            .iter()
            .map(|(append, at)| (at.segment, fingerprint(&append.record)));
        self.nodes[node].committed.extend(committed);
        self.life(node).synced.extend(appended);
        // Whoever said that it needs no more of the log has handed out its records before, and
        // they are committed now.
        if all {
            self.drop_segments(node);
        }
        let delay = self.disk_time(node) / 4;
        self.do_after(node, delay, Work::Synced);
    }

    /// A log that said it had room took less than what is synced together: S11.
    fn reserve_missing(&mut self, node: usize) {
        let what = format!("{}'s log had room, and took nothing", self.nodes[node].name);
        self.violate(Violation {
            promise: Promise::LogTakes,
            what,
            file: None,
        });
    }

    fn log_failed(&mut self, node: usize, error: &LogError, append: Option<&Append>) {
        self.line(|| format!("{}'s log fails: {error} {append:?}", self.nodes[node].name));
        if is_planned(error) {
            return;
        }
        match error {
            LogError::Io { .. } | LogError::SyncFailed { .. } => self.life(node).stops = true,
            LogError::Full { .. } => {}
            other => self.violate(Violation {
                promise: Promise::LogTakes,
                what: format!("{other}, {append:?}"),
                file: None,
            }),
        }
    }

    /// Tells both roles, in the order of their tickets.
    pub(super) fn tell_synced(&mut self, node: usize) {
        let life = self.life(node);
        life.committing = false;
        let synced = std::mem::take(&mut life.synced);
        let of = |owner: Owner| {
            let mine = synced
                .iter()
                .filter(move |(append, _)| append.owner == owner);
            let positions: Vec<Position> = mine.clone().map(|(_, position)| *position).collect();
            mine.last().map(|(append, _)| (append.ticket, positions))
        };
        for (append, position) in &synced {
            let new = &append.record;
            if append.owner == Owner::Node || new.is_of_nodes() {
                life.own
                    .retain(|(_, known)| known != new && !new.replaces(known));
                life.own.push((*position, new.clone()));
            }
        }
        let (producer, consumer) = (of(Owner::Producer), of(Owner::Consumer));
        if let Some((through, positions)) = producer {
            self.produce(node, producer::Event::Synced { through, positions });
        }
        if let Some((through, positions)) = consumer {
            self.consume(node, consumer::Event::Synced { through, positions });
        }
        if !self.lives(node) {
            return;
        }
        let life = self.life(node);
        if life.committing {
            return;
        }
        self.schedule_commit(node);
        self.tell_room(node);
        if self.lives(node) {
            self.carry_if_long(node);
        }
    }

    fn drop_segments(&mut self, node: usize) {
        let life = self.life(node);
        let own = life.own.iter().map(|(position, _)| position.segment);
        let needed = own
            .chain(life.needs)
            .min()
            .unwrap_or(0)
            .min(life.log.current_segment());
        let first = life.log.first_segment();
        if needed <= first {
            return;
        }
        // A crash in the middle may have dropped some of them.
        let dropped = life.log.drop_below(needed);
        let committed = &mut self.nodes[node].committed;
        committed.retain(|(segment, _)| *segment >= needed);
        match dropped {
            Ok(()) => {
                self.ledger.stats.segments_dropped += u64::from(needed - first);
            }
            Err(error) => self.log_failed(node, &error, None),
        }
    }

    /// The same policy as a node's, over smaller segments.
    fn carry_if_long(&mut self, node: usize) {
        let now = Millis(self.now / 1_000);
        let life = self.life(node);
        let length = LogLength {
            first_segment: life.log.first_segment(),
            current_segment: life.log.current_segment(),
            size_bytes: life.log.size_bytes(),
            live_records: life.producer.live_records() + life.consumer.live_records(),
            live_bytes: life.producer.live_bytes() + life.consumer.live_bytes(),
            has_room: life.log.has_room(),
        };
        let Some(through) = life.shortening.due(now, &length) else {
            return;
        };
        let old: Vec<Record> = life
            .own
            .iter()
            .filter(|(position, _)| position.segment <= through)
            .map(|(_, record)| record.clone())
            .collect();
        for record in old {
            self.append(node, Owner::Node, Ticket(0), record, Payload::None);
        }
        self.produce(node, producer::Event::Carry { through });
        self.consume(node, consumer::Event::Carry { through });
    }

    fn tell_room(&mut self, node: usize) {
        let life = self.life(node);
        if !life.log.has_room()
            && let Err(error) = life.log.ensure_reserve()
        {
            return self.log_failed(node, &error, None);
        }
        let life = self.life(node);
        let room = life.log.has_room();
        self.nodes[node].has_refuge |= room;
        let life = self.life(node);
        if room != life.room {
            life.room = room;
            if !room && self.plan.faults.has(Fault::CrashAtOp) {
                self.crash_without_room(node);
            }
            self.produce(node, producer::Event::LogRoom(room));
            self.consume(node, consumer::Event::LogRoom(room));
        }
    }

    /// Others fill the disk to the brim, and the node crashes: its restart needs space that was kept
    /// for it.
    fn crash_without_room(&mut self, node: usize) {
        if self.healed {
            return;
        }
        let (ops, end) = (self.draw(6), self.draw_end());
        let disk = &self.nodes[node].disk;
        disk.set_capacity(Some(disk.used_bytes()));
        disk.crash_after(ops);
        self.nodes[node].planned_end = end;
        self.after_ms(4_000, Aftermath::DiskRoom(node));
    }

    /// What is done from time to time: what found no room is tried again, the reserve is made
    /// anew, and an idle log proves its last sync.
    pub(super) fn keep_log(&mut self, node: usize) {
        if !self.lives(node) || self.life(node).committing {
            return;
        }
        self.tell_room(node);
        if !self.lives(node) {
            return;
        }
        self.schedule_commit(node);
        let idle = !self.life(node).committing;
        if idle && self.rng.one_in(4) {
            let marked = self.life(node).log.mark_idle();
            if let Err(error) = marked {
                return self.log_failed(node, &error, None);
            }
        }
        if idle {
            self.carry_if_long(node);
        }
    }
}
