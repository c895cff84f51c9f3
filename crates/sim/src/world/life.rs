//! How a life begins, goes on, and ends.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use consign_core::consumer::{self, Consumer};
use consign_core::disk::Disk;
use consign_core::ids::{FeedName, Incarnation, Millis, NodeName, Start};
use consign_core::log::{Log, LogError, LogSettings, Payload, Position};
use consign_core::producer::{self, FeedRules, Identity, Producer};
use consign_core::publish;
use consign_core::record::{Boot, Record};
use consign_core::spec::{ConsumePolicy, ProducePolicy};

use super::happening::{End, Work};
use super::leftovers::{claims_of, spooled_by};
use super::log::fingerprint;
use super::node::{ARCHIVE, Ask, LOG, Life, SPOOL, WATCHED, inbox_of};
use super::recovering::Stillborn;
use super::{Happening, World};
use crate::coverage::{Recovered, Subject};
use crate::disk::Beneath;
use crate::disk::{is_crash, is_injected};
use crate::ledger::Violation;
use crate::plan::Fault;
use crate::promise::Promise;

/// How often a node is told that time has passed, in µs.
const TICK_US: u64 = 100_000;

/// Ten years, in ms.
const YEARS_MS: u64 = 315_000_000_000;

impl World {
    /// Makes the directories of a new machine.
    pub(super) fn format(&mut self, node: usize) {
        let disk = self.nodes[node].disk.mount();
        let mut dirs = vec!["/data".into(), SPOOL.into(), WATCHED.into(), ARCHIVE.into()];
        dirs.push("/inboxes".to_owned());
        for feed in self.consumed(node) {
            dirs.push(inbox_of(feed.as_str()).display().to_string());
        }
        for dir in dirs {
            disk.create_dir(Path::new(&dir)).expect("a new disk works");
        }
        disk.sync_fs(Path::new("/")).expect("a new disk works");
    }

    /// The time as a node's clock has it. Within a life it never jumps.
    pub(super) fn millis(&self, node: usize) -> Millis {
        Millis(self.nodes[node].clock_ms + self.now / 1_000)
    }

    pub(super) fn start(&mut self, node: usize) {
        let late =
            self.plan.nodes[node].joins_late && self.view.member(&self.nodes[node].name).is_none();
        let stays_away = self.nodes[node].gone || self.nodes[node].sick;
        if self.lives(node) || stays_away || late {
            return;
        }
        self.nodes[node].powered = true;
        if self.chance(Fault::ClockJump) {
            self.nodes[node].clock_ms = super::EPOCH_MS - YEARS_MS + self.draw(2 * YEARS_MS);
        }
        if self.chance(Fault::DamageLog) {
            self.try_damage(node);
        }
        if self.nodes[node].lives > 0 && self.rng.one_in(2) {
            self.try_again(node);
        }
        if self.chance(Fault::CrashInRecovery) {
            let ops = self.draw(30);
            self.nodes[node].disk.crash_after(ops);
            self.nodes[node].planned_end = self.draw_end();
        }
        self.nodes[node].lives += 1;
        match self.begin_life(node) {
            Ok(()) => {}
            Err(Stillborn::Disk) => {
                self.coverage.recovered(Recovered::Crashed);
                self.line(|| format!("{} did not come up", self.nodes[node].name));
                let end = self.nodes[node].planned_end;
                self.end(node, end);
            }
            Err(Stillborn::Refuses(promise, what)) => self.violate(Violation {
                promise,
                what: format!("{}: {what}", self.nodes[node].name),
                file: None,
            }),
        }
    }

    fn begin_life(&mut self, node: usize) -> Result<(), Stillborn> {
        let name = self.nodes[node].name.clone();
        let disk = self.nodes[node].disk.mount();
        let settings = LogSettings {
            segment_bytes: self.plan.segment_bytes,
            seed: self.rng.next_u64(),
        };
        let mut records: Vec<(Position, Record)> = Vec::new();
        let had_refuge = std::mem::take(&mut self.nodes[node].has_refuge);
        let failed_growths = self.nodes[node].disk.growths_failed();
        let opened = Log::open(
            disk.clone(),
            Path::new(LOG),
            settings,
            &mut |at, record, _| {
                records.push((at, record));
            },
        );
        let (log, recovery) = opened.map_err(|error| match error {
            // A full disk cannot take a new log, and nothing is promised yet. Nor can it take another
            // recovery where an earlier one has used what was kept for it, and gave nothing back.
            LogError::Full { .. } if !self.has_log(node) || !had_refuge => {
                self.coverage.recovered(Recovered::Full);
                Stillborn::Disk
            }
            // One call was told that there is no space, and there was.
            LogError::Full { .. } if self.nodes[node].disk.growths_failed() > failed_growths => {
                Stillborn::Disk
            }
            error => self.stillborn(&error),
        })?;
        self.count_recovery(&recovery);
        self.check_recovered(node, &records);
        let seen = records.iter().filter_map(|(_, record)| match record {
            Record::Boot(boot) => Some(boot.incarnation),
            _ => None,
        });
        let incarnation = Incarnation(seen.max().unwrap_or(0) + 1);
        let identity = Identity {
            node: name.clone(),
            incarnation,
            start: Start(self.rng.next_u64() >> 16),
            zone: self.plan.nodes[node].zone.clone(),
        };
        self.line(|| {
            format!(
                "{name} starts as {incarnation}, {:?}, {} records",
                identity.start,
                records.len()
            )
        });
        let mut producer = Producer::new(identity.clone(), self.view.clone());
        let mut consumer = Consumer::new(identity.clone());
        for (position, record) in &records {
            self.line(|| format!("{name} replays {position} {record:?}"));
            let kind = usize::from(record.kind());
            self.coverage.hit(Subject::Replayed, kind);
            let found = self.ledger.committed(node, &name, record, self.now / 1_000);
            self.check(found);
            producer.replay(*position, record);
            consumer.replay(*position, record);
        }
        let mut own: Vec<(Position, Record)> = Vec::new();
        for (position, record) in records.iter().filter(|(_, record)| record.is_of_nodes()) {
            own.retain(|(_, known)| !record.replaces(known));
            own.push((*position, record.clone()));
        }
        let reader = log.reader();
        let room = log.has_room();
        self.nodes[node].has_refuge = room;
        self.nodes[node].life = Some(Box::new(Life {
            number: self.nodes[node].lives,
            incarnation,
            disk: disk.clone(),
            log,
            reader,
            producer,
            consumer,
            stops: false,
            appends: Vec::new(),
            committing: false,
            synced_to: Position::default(),
            synced: Vec::new(),
            needs: [0; 2],
            own,
            room,
            shortening: self.plan.shortening(),
            ticks: 0,
            asks: BTreeMap::new(),
            claims: claims_of(&records),
            streams: BTreeMap::new(),
            inflows: BTreeMap::new(),
            dialled: BTreeMap::new(),
        }));
        self.log_boot(node, &identity)?;
        self.tidy(node, &disk, &records).map_err(|error| {
            match is_crash(&error) || is_injected(&error) {
                true => Stillborn::Disk,
                false => Stillborn::Refuses(Promise::ComesUp, error.to_string()),
            }
        })?;
        self.begin_roles(node);
        Ok(())
    }

    /// The incarnation is synced before anybody hears of it.
    fn log_boot(&mut self, node: usize, identity: &Identity) -> Result<(), Stillborn> {
        let boot = Record::Boot(Boot {
            node: identity.node.as_str().to_owned(),
            incarnation: identity.incarnation.0,
            start: identity.start.0,
            at: self.millis(node).0,
            found_to: 0,
        });
        let life = self.life(node);
        let position = life.log.append(&boot, Payload::None);
        let logged = position.and_then(|position| life.log.commit().map(|_| position));
        match logged {
            Ok(position) => {
                let committed = (position.segment, fingerprint(&boot));
                life.own.push((position, boot));
                self.nodes[node].committed.push(committed);
                Ok(())
            }
            Err(error) => Err(self.stillborn(&error)),
        }
    }

    /// Prepares the inboxes and removes what a crash has left: staged and spooled files that no
    /// record speaks of.
    fn tidy(
        &mut self,
        node: usize,
        disk: &std::sync::Arc<dyn Disk>,
        records: &[(Position, Record)],
    ) -> std::io::Result<()> {
        let needed = self.life(node).consumer.staging_names();
        for feed in self.consumed(node) {
            let inbox = Beneath::new(disk.clone(), inbox_of(feed.as_str()));
            let mut fresh = [0; publish::MARKER_BYTES];
            fresh[..8].copy_from_slice(&self.rng.next_u64().to_le_bytes());
            let marker = match publish::prepare(&inbox, fresh) {
                // A full disk cannot take the marker of a new inbox.
                Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                    return Err(std::io::Error::other(crate::disk::Crashed));
                }
                prepared => prepared?,
            };
            let _ = marker;
            let staging = Path::new(publish::STAGING_DIR);
            for entry in inbox.list(staging)? {
                if !needed.contains(&entry.name) && !entry.name.starts_with("marker") {
                    inbox.remove(&staging.join(&entry.name))?;
                }
            }
        }
        let spooled = spooled_by(records);
        for entry in disk.list(Path::new(SPOOL))? {
            if !spooled.contains(&entry.name) {
                disk.remove(&Path::new(SPOOL).join(&entry.name))?;
            }
        }
        Ok(())
    }

    fn begin_roles(&mut self, node: usize) {
        let now = self.millis(node);
        let consumed = self.consume_policies(node);
        self.tell_rules(node);
        self.consume(node, consumer::Event::Policies(consumed));
        let room = self.life(node).room;
        self.produce(node, producer::Event::LogRoom(room));
        self.consume(node, consumer::Event::LogRoom(room));
        let effects = self.life(node).producer.begin(now);
        self.producer_effects(node, effects);
        let effects = self.life(node).consumer.begin(now, BTreeSet::new());
        self.watch_recovered(node);
        self.consumer_effects(node, effects);
        self.do_after(node, 1, Work::Tick);
        if self.plan.nodes[node].produces {
            for to in 0..self.nodes.len() {
                if !self.plan.nodes[to].consumes.is_empty() {
                    let delay = self.draw(20_000);
                    self.do_after(node, delay, Work::Dial(to));
                }
            }
        }
    }

    fn tell_rules(&mut self, node: usize) {
        let produced = self.produce_rules(node);
        self.produce(node, producer::Event::Policies(produced));
    }

    /// A node's configuration has changed. What it produces takes effect at once, what it consumes
    /// at its next start.
    pub(super) fn read_again(&mut self, node: usize, restart: bool) {
        if restart && self.lives(node) {
            self.end(node, End::Kill);
        } else {
            self.tell_rules(node);
        }
    }

    fn produce_rules(&self, node: usize) -> Vec<FeedRules> {
        if !self.plan.nodes[node].produces {
            return Vec::new();
        }
        let rules = self
            .plan
            .feeds
            .iter()
            .enumerate()
            .filter(|(number, _)| !self.nodes[node].unconfigured.contains(number))
            .map(|(number, feed)| FeedRules {
                policy: ProducePolicy {
                    feed: FeedName::new(&feed.name).expect("a clean name"),
                    replicas: feed.replicas,
                    priority: number as i32,
                    replace_after_ms: feed.replace_after_ms,
                },
                max_queue_bytes: feed.max_queue_bytes,
            });
        rules.collect()
    }

    fn consume_policies(&self, node: usize) -> Vec<ConsumePolicy> {
        let feeds = self.plan.nodes[node].consumes.iter();
        let configured = feeds.filter(|feed| !self.nodes[node].unconfigured.contains(feed));
        configured
            .map(|&feed| {
                let feed = &self.plan.feeds[feed];
                ConsumePolicy {
                    feed: FeedName::new(&feed.name).expect("a clean name"),
                    inbox: inbox_of(&feed.name).display().to_string(),
                    layout: match self.healed && !self.plan.is_plain() {
                        true => "{name}".to_owned(),
                        false => feed.layout.clone(),
                    },
                    on_conflict: feed.on_conflict,
                    min_free_bytes: feed.min_free_bytes,
                    from: match self.healed {
                        true => Vec::new(),
                        false => feed.from.clone(),
                    },
                    owner: None,
                    mode: None,
                }
            })
            .collect()
    }

    pub(super) fn tick(&mut self, node: usize) {
        self.produce(node, producer::Event::Tick);
        self.consume(node, consumer::Event::Tick);
        if !self.lives(node) {
            return;
        }
        let life = self.life(node);
        life.ticks += 1;
        let ticks = life.ticks;
        if ticks.is_multiple_of(5) {
            self.measure_space(node);
            self.keep_log(node);
        }
        if ticks.is_multiple_of(10) {
            self.watch(node);
            self.operate(node);
        }
        // Nothing waits for less than a second for long once all is quiet.
        let pace = match self.healed && self.now / 1_000 > self.plan.heal_at_ms + 10_000 {
            true => 5 * TICK_US,
            false => TICK_US,
        };
        self.do_after(node, pace, Work::Tick);
    }

    fn measure_space(&mut self, node: usize) {
        let free = self.nodes[node].disk.free_bytes();
        for feed in self.consumed(node) {
            self.consume(node, consumer::Event::Space { feed, free });
        }
    }

    pub(super) fn draw_end(&mut self) -> End {
        let power = self.plan.faults.has(Fault::PowerCut) || !self.plan.faults.has(Fault::Kill);
        match power && self.rng.one_in(2) {
            true => End::PowerCut,
            false => End::Kill,
        }
    }

    /// Ends a life whose disk has ended it, or that had to stop.
    pub(super) fn bury(&mut self, node: usize) {
        if self.nodes[node].disk.has_retried_sync() {
            let what = format!("{} syncs a file again", self.nodes[node].name);
            self.violate(Violation {
                promise: Promise::SyncOnce,
                what,
                file: None,
            });
        }
        let Some(life) = &self.nodes[node].life else {
            return;
        };
        if self.nodes[node].disk.has_crashed() {
            let end = self.nodes[node].planned_end;
            self.end(node, end);
        } else if life.stops {
            self.end(node, End::Kill);
        }
    }

    /// Ends a process or a machine, and lets it come back after a while.
    pub(super) fn end(&mut self, node: usize, end: End) {
        self.line(|| format!("{} ends: {end:?}", self.nodes[node].name));
        let life = self.nodes[node].life.take();
        if let Some(life) = &life {
            self.watch_end(life);
        }
        // Whoever waits for an answer asks again, unless the log turns out to have it.
        for ask in life.into_iter().flat_map(|life| life.asks) {
            if let (_, Ask::Submit(file, _)) = ask {
                self.hand_over_later(file);
            }
        }
        self.ledger.stats.crashes += 1;
        self.flows_end(node);
        self.links_end(node, end);
        match end {
            End::Kill => self.nodes[node].disk.kill(),
            End::PowerCut => {
                self.nodes[node].powered = false;
                let mut rng = self.rng.fork();
                let disk = &self.nodes[node].disk;
                disk.power_cut(&mut rng);
                let there = |shown: &crate::ledger::Shown| {
                    disk.identity(&shown.path) == Some(shown.identity)
                };
                let found = self.ledger.power_cut(node, there);
                self.check(found);
                self.check_shown(node);
            }
        }
        if !self.nodes[node].gone {
            let away = match self.rng.one_in(4) {
                true => self.draw(6_000_000),
                false => self.draw(300_000),
            };
            self.after(1_000 + away, Happening::Start(node));
        }
    }

    /// The feeds' names and the node's own are clean by construction.
    pub(super) fn name(&self, node: usize) -> NodeName {
        self.nodes[node].name.clone()
    }
}
