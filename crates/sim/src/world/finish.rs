//! Healing, coming to rest, and the last look.

use std::path::Path;

use consign_core::consumer;
use consign_core::ids::FeedName;
use consign_core::publish::STAGING_DIR;
use consign_core::spec::Replicas;

use super::faults::Aftermath;
use super::node::{Life, SPOOL, WATCHED, inbox_of};
use super::{Happening, PATIENCE_MS, World};
use crate::disk::SimDisk;
use crate::ledger::Violation;
use crate::plan::Handing;
use crate::promise::Promise;

/// How often it is looked whether all is done, in µs.
const LOOK_US: u64 = 500_000;

/// Live records that a node may have for each other one when all is over: that it was seen, and
/// which slots of its present start are closed.
const RECORDS_PER_PEER: u64 = 2;

impl World {
    /// From here on nothing goes wrong any more.
    pub(super) fn heal(&mut self) {
        self.line(|| "all is healed".to_owned());
        self.healed = true;
        self.check_isolation();
        self.cure();
        self.blocked.clear();
        for node in 0..self.nodes.len() {
            self.restore_spool(node);
            let other = self.changes_policies(node);
            let back = !self.nodes[node].unconfigured.is_empty();
            self.nodes[node].unconfigured.clear();
            self.nodes[node].drag = 1;
            self.nodes[node].unlisted.clear();
            self.nodes[node].weight = self.plan.nodes[node].weight;
            self.nodes[node]
                .zone
                .clone_from(&self.plan.nodes[node].zone);
            self.change_again(node);
            self.read_again(node, other || back);
            let disk = self.nodes[node].disk.clone();
            disk.set_capacity(None);
            disk.no_more_faults();
            if !self.nodes[node].gone {
                self.remove_squatters(node);
                self.after(1, Happening::Start(node));
            }
        }
        // Where too few consumers are left somebody adds one.
        for node in 0..self.nodes.len() {
            if self.plan.nodes[node].joins_late {
                self.after(2, Happening::Aftermath(Aftermath::Join(node)));
            }
        }
        self.after(LOOK_US, Happening::LookForEnd);
    }

    /// Whether healing gives a node other policies. Where nothing goes wrong nothing is healed.
    fn changes_policies(&self, node: usize) -> bool {
        let consumes = self.plan.nodes[node].consumes.iter();
        let mut feeds = consumes.map(|&feed| &self.plan.feeds[feed]);
        !self.plan.is_plain() && feeds.any(|feed| feed.layout != "{name}" || !feed.from.is_empty())
    }

    fn is_at_rest(&self) -> bool {
        let handed = self.ledger.stories.iter().all(|story| {
            let producer = &self.nodes[story.plan.producer];
            producer.gone || story.plan.left_out || story.acknowledged || story.key.is_some()
        });
        handed
            && (0..self.nodes.len()).all(|node| match &self.nodes[node].life {
                Some(life) => {
                    self.nodes[node].to_forget.is_empty()
                        && life.producer.unfinished() == 0
                        && life.consumer.entries().next().is_none()
                        && self.has_forgotten(life)
                        && life.appends.is_empty()
                        && !life.committing
                }
                None => self.nodes[node].gone || self.is_outside(node),
            })
    }

    fn is_outside(&self, node: usize) -> bool {
        self.view.member(&self.nodes[node].name).is_none()
    }

    /// Looks whether all is done; true at the end.
    pub(super) fn look_for_end(&mut self) -> bool {
        self.sweep_links();
        for node in 0..self.nodes.len() {
            if !self.nodes[node].gone && !self.nodes[node].squatters.is_empty() {
                self.remove_squatters(node);
            }
        }
        self.take_all();
        self.check_inboxes();
        if self.is_at_rest() {
            self.check_end();
            return true;
        }
        let late = self.now / 1_000 > self.plan.heal_at_ms + PATIENCE_MS;
        if late {
            let (file, what) = self.what_is_left();
            self.violate(Violation {
                promise: self.what_is_broken(),
                what,
                file,
            });
        }
        self.after(LOOK_US, Happening::LookForEnd);
        false
    }

    /// Which promise it breaks that a cluster does not come to rest.
    fn what_is_broken(&self) -> Promise {
        let lives = || self.nodes.iter().filter_map(|node| node.life.as_deref());
        let lost = |&node: &usize| self.nodes[node].gone || self.has_left(node);
        let mut open = self.ledger.stories.iter().filter(|story| {
            let producer = &self.nodes[story.plan.producer];
            !producer.gone && story.key.is_some() && !story.done && !story.cancelled
        });
        if open.any(|story| story.kept.keys().any(&lost)) {
            Promise::PlacedAnew
        } else if lives().all(|life| life.producer.unfinished() == 0)
            && lives().all(|life| life.consumer.entries().all(|(_, entry)| entry.is_over()))
        {
            Promise::LogForgets
        } else if self.plan.faults.is_scarcity() {
            Promise::GoesOn
        } else {
            Promise::Delivered
        }
    }

    fn what_is_left(&self) -> (Option<usize>, String) {
        let mut left = Vec::new();
        let mut first = None;
        for (node, place) in self.nodes.iter().enumerate() {
            let Some(life) = &place.life else {
                continue;
            };
            if life.producer.unfinished() > 0 {
                left.push(format!(
                    "{} has {} unfinished",
                    place.name,
                    life.producer.unfinished()
                ));
            }
            for story in self
                .ledger
                .stories
                .iter()
                .filter(|s| s.plan.producer == node)
            {
                if let Some(key) = story.key
                    && life.producer.knows(key)
                {
                    let active = life.producer.transfers().find(|t| t.key == key);
                    let stage = active.map_or("dormant", |t| t.stage.name());
                    let legs = active.map(|t| format!("{:?}", t.legs));
                    left.push(format!("{key} is {stage} {legs:?}"));
                    first = first.or(self.ledger.file_of(node, key));
                }
            }
            for (slot, entry) in life.consumer.entries() {
                left.push(format!("{} has {slot} {}", place.name, entry.state.name()));
                first = first.or(self.ledger.file_at(node, &slot));
            }
        }
        for (file, story) in self.ledger.stories.iter().enumerate() {
            if story.key.is_none() && !story.plan.left_out && !self.nodes[story.plan.producer].gone
            {
                left.push(format!("file {file} is not submitted"));
                first = first.or(Some(file));
            }
        }
        let remembers = |life: &&Life| !self.has_forgotten(life);
        let mut lives = self.nodes.iter().filter_map(|node| node.life.as_deref());
        if let Some(life) = lives.find(remembers) {
            let records = life.producer.live_records() + life.consumer.live_records();
            left.push(format!("{records} live records"));
        }
        (first, left.join("; "))
    }

    /// Nothing is in an inbox but what was published there and what strangers brought.
    fn check_inboxes(&mut self) {
        let mut foreign = None;
        for (node, place) in self.nodes.iter().enumerate() {
            for path in place.disk.files() {
                let in_inbox = path.starts_with("/inboxes")
                    && !path.components().any(|c| c.as_os_str() == STAGING_DIR);
                let identity = place.disk.identity(&path);
                if !in_inbox || place.squatters.get(&path).copied() == identity {
                    continue;
                }
                let known = self.ledger.stories.iter().any(|story| {
                    story.shown.get(&node).is_some_and(|shown| {
                        Some(shown.identity) == identity && !shown.taken && shown.path == path
                    })
                });
                if !known && !place.gone {
                    foreign = Some(format!("{} has {}", place.name, path.display()));
                }
            }
        }
        if let Some(what) = foreign {
            self.violate(Violation {
                promise: Promise::NothingForeign,
                what,
                file: None,
            });
        }
    }

    fn check_end(&mut self) {
        for file in 0..self.ledger.stories.len() {
            let found = self.check_story(file);
            self.check(found);
        }
        for node in 0..self.nodes.len() {
            if !self.nodes[node].gone && !self.is_outside(node) {
                self.check_leftovers(node);
            }
        }
    }

    fn check_story(&self, file: usize) -> Result<(), Violation> {
        let story = &self.ledger.stories[file];
        let lost = |what: String| {
            Err(Violation {
                promise: Promise::NothingLost,
                what,
                file: Some(file),
            })
        };
        // Whoever said `saved` and still runs has shown it.
        for &node in &story.saved {
            let shown = story
                .shown
                .get(&node)
                .is_some_and(|shown| !shown.may_repeat);
            if !self.nodes[node].gone && !shown {
                return Err(Violation {
                    promise: Promise::SavedIsShown,
                    what: format!("{} saved {file} and never showed it", self.nodes[node].name),
                    file: Some(file),
                });
            }
        }
        if self.nodes[story.plan.producer].gone {
            return Ok(());
        }
        if story.cancelled {
            return self.check_given_back(file);
        }
        let Some(key) = story.key else {
            return match story.acknowledged {
                true => lost("it was acknowledged and is not in the log".to_owned()),
                false => Ok(()),
            };
        };
        let wanted = match self.plan.feeds[story.plan.feed].replicas {
            Replicas::Count(count) => count,
            Replicas::All => 1,
        };
        if !story.done {
            return lost(format!("{key} is gone and was never done"));
        }
        if story.saved.len() < wanted {
            return lost(format!(
                "{key} is saved at {:?}, wanted {wanted}",
                story.saved
            ));
        }
        Ok(())
    }

    fn check_given_back(&self, file: usize) -> Result<(), Violation> {
        let story = &self.ledger.stories[file];
        let path = Path::new(WATCHED).join(format!("w{file}"));
        let watched = story.plan.handing != Handing::Api;
        let disk = &self.nodes[story.plan.producer].disk;
        if watched && !disk.holds(&path, story.content.bytes()) {
            return Err(Violation {
                promise: Promise::GivenBack,
                what: format!("{} is not there", path.display()),
                file: Some(file),
            });
        }
        Ok(())
    }

    /// Whether a node remembers no more than a few records of each peer, however often everybody was
    /// started anew. Those of earlier starts go when a producer has connected again, and one that was
    /// lost for good never does.
    fn has_forgotten(&self, life: &Life) -> bool {
        let records = life.producer.live_records() + life.consumer.live_records();
        let lost = self.nodes.iter().filter(|node| node.gone);
        let starts_of_lost: u64 = lost.map(|node| u64::from(node.lives)).sum();
        records <= RECORDS_PER_PEER * self.nodes.len() as u64 + starts_of_lost
    }

    /// After a restart nothing is left: no orphan, no memory of what is over.
    fn check_leftovers(&mut self, node: usize) {
        let left = |place: &str, disk: &SimDisk, but: &str| {
            let files = disk.files().into_iter();
            let inside = files.filter(|path| path.parent() == Some(Path::new(place)));
            let orphans = inside.filter(|path| path.file_name().is_some_and(|name| name != but));
            orphans
                .map(|path| path.display().to_string())
                .collect::<Vec<_>>()
        };
        let disk = self.nodes[node].disk.clone();
        let mut orphans = left(SPOOL, &disk, "");
        let feeds: Vec<FeedName> = self.consumed(node);
        for feed in feeds {
            let staging = inbox_of(feed.as_str()).join(STAGING_DIR);
            orphans.extend(left(&staging.display().to_string(), &disk, "marker"));
        }
        if !orphans.is_empty() {
            self.violate(Violation {
                promise: Promise::NoOrphans,
                what: format!("{} has {orphans:?}", self.nodes[node].name),
                file: None,
            });
        }
        self.consume(node, consumer::Event::Tick);
        if !self.lives(node) {
            return;
        }
        let life = self.life(node);
        let under_way = life.producer.under_way();
        if under_way > 0 {
            let what = format!(
                "{under_way} files are under way from {}",
                self.nodes[node].name
            );
            self.violate(Violation {
                promise: Promise::CreditReturns,
                what,
                file: None,
            });
        }
        let life = self.life(node);
        let (live, length) = (
            life.consumer.live_bytes() + life.producer.live_bytes(),
            life.log.current_segment() - life.log.first_segment(),
        );
        if live > 0 {
            self.violate(Violation {
                promise: Promise::LogForgets,
                what: format!(
                    "{} has {live} live bytes in {length} segments",
                    self.nodes[node].name
                ),
                file: None,
            });
        }
    }
}
