//! The applications and operators at both ends.

use std::collections::BTreeMap;
use std::path::Path;

use bytes::Bytes;
use consign_core::consumer;
use consign_core::disk::OpenMode;
use consign_core::ids::{Digest, NodeName, Sequence, Start, TransferKey};
use consign_core::limits;
use consign_core::producer::{self, Answer, Token};
use consign_core::spec::{After, FileSpec, Source};

use super::happening::Work;
use super::node::{Ask, SPOOL, WATCHED};
use super::{Happening, World};
use crate::coverage::{self, Subject};
use crate::plan::Handing;
use crate::promise::Promise;

impl World {
    fn spec(&self, file: usize) -> FileSpec {
        let plan = &self.plan.files[file];
        FileSpec {
            feed: self.plan.feeds[plan.feed].name.clone(),
            name: plan.name.clone(),
            key: plan.name.clone(),
            size: plan.size,
            meta: BTreeMap::from([("file".to_owned(), file.to_string())]),
            priority: plan.priority,
            submitted_at: self.now / 1_000,
            ..FileSpec::default()
        }
    }

    /// An application hands a file over; it comes again when the node is not there.
    pub(super) fn hand_over(&mut self, file: usize) {
        let (node, handing) = (
            self.plan.files[file].producer,
            self.plan.files[file].handing,
        );
        if self.nodes[node].gone || self.ledger.stories[file].key.is_some() {
            return;
        }
        match handing {
            _ if !self.lives(node) => self.hand_over_later(file),
            Handing::Api => self.upload(node, file),
            // It has been taken, and is only not submitted yet: nobody brings it again.
            _ if self.is_claimed(node, file) => self.hand_over_later(file),
            Handing::WatchedDelete | Handing::WatchedArchive | Handing::WatchedKeep => {
                self.drop_in(node, file);
            }
        }
    }

    fn is_claimed(&mut self, node: usize, file: usize) -> bool {
        let number = file.to_string();
        let mut transfers = self.life(node).producer.transfers();
        transfers.any(|transfer| transfer.spec.meta.get("file") == Some(&number))
    }

    pub(super) fn hand_over_later(&mut self, file: usize) {
        let delay = 100_000 + self.draw(400_000);
        self.after(delay, Happening::HandOver(file));
    }

    pub(super) fn ask(&mut self, node: usize, ask: Ask) -> Token {
        let token = Token(self.next_number);
        self.next_number += 1;
        self.life(node).asks.insert(token, ask);
        token
    }

    fn upload(&mut self, node: usize, file: usize) {
        let content = self.ledger.stories[file].content;
        let small = content.len() <= limits::SMALL_FILE_BYTES_MAX;
        if small {
            let spec = self.spec(file);
            let small = Some((self.ledger.stories[file].digest, content.shared()));
            let token = self.ask(node, Ask::Submit(file, String::new()));
            let source = Source::default();
            let submit = producer::Event::Submit {
                token,
                spec,
                source,
                small,
            };
            return self.produce(node, submit);
        }
        let incarnation = self.life(node).incarnation;
        let spool = format!("up-{incarnation}-{file}-{}", self.next_number);
        let disk = self.life(node).disk.clone();
        let path = Path::new(SPOOL).join(&spool);
        let written = disk.open(&path, OpenMode::CreateNew).and_then(|spooled| {
            spooled.write_all_at(content.bytes(), 0)?;
            spooled.sync()?;
            disk.sync_dir(Path::new(SPOOL))
        });
        match written {
            Ok(()) => {
                let source = Source {
                    spool: spool.clone(),
                    ..Source::default()
                };
                let delay = self.disk_time(node);
                let token = self.ask(node, Ask::Submit(file, spool));
                let spooled = Work::Spooled {
                    token,
                    file,
                    source,
                };
                self.do_after(node, delay, spooled);
            }
            Err(error) if crate::disk::is_crash(&error) => self.hand_over_later(file),
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                let _ = disk.remove(&path);
                self.hand_over_later(file);
            }
            Err(_) => {
                self.life(node).stops = true;
                self.hand_over_later(file);
            }
        }
    }

    pub(super) fn spooled(&mut self, node: usize, token: Token, file: usize, source: Source) {
        let spec = self.spec(file);
        let submit = producer::Event::Submit {
            token,
            spec,
            source,
            small: None,
        };
        self.produce(node, submit);
    }

    /// Puts a file into the watched directory, durably.
    fn drop_in(&mut self, node: usize, file: usize) {
        let name = format!("w{file}");
        let path = Path::new(WATCHED).join(&name);
        if self.nodes[node].disk.identity(&path).is_some() {
            return;
        }
        let content = self.ledger.stories[file].content;
        let disk = self.life(node).disk.clone();
        let aside = Path::new("/data").join(format!("new-{file}-{}", self.next_number));
        self.next_number += 1;
        let written = disk.open(&aside, OpenMode::CreateNew).and_then(|new| {
            new.write_all_at(content.bytes(), 0)?;
            new.sync()?;
            disk.rename(&aside, &path)?;
            disk.sync_dir(Path::new(WATCHED))
        });
        let there = self.nodes[node].disk.identity(&path).is_some();
        match written {
            Ok(()) => drop(self.nodes[node].watched.insert(name, file)),
            // It is there all the same, though it may not survive.
            Err(_) if there => {
                self.nodes[node].watched.insert(name, file);
                self.hand_over_later(file);
            }
            Err(_) => {
                let _ = disk.remove(&aside);
                self.hand_over_later(file);
            }
        }
    }

    /// The watcher: whatever lies in the watched directory is claimed.
    pub(super) fn watch(&mut self, node: usize) {
        if !self.lives(node) || !self.plan.nodes[node].produces {
            return;
        }
        let names: Vec<(String, usize)> = self.nodes[node]
            .watched
            .iter()
            .map(|(name, file)| (name.clone(), *file))
            .collect();
        for (name, file) in names {
            if !self.lives(node) {
                return;
            }
            let path = Path::new(WATCHED).join(&name);
            let there = self.nodes[node].disk.identity(&path).is_some();
            // What stays there is remembered as taken as soon as it is submitted.
            let keeps = self.plan.files[file].handing == Handing::WatchedKeep;
            let story = &self.ledger.stories[file];
            let over = story.cancelled || keeps && story.key.is_some();
            if !there || over || self.life(node).claims.contains_key(&name) {
                continue;
            }
            let after = match self.plan.files[file].handing {
                Handing::WatchedArchive => After::Archive,
                Handing::WatchedKeep => After::Keep,
                Handing::Api | Handing::WatchedDelete => After::Delete,
            };
            let source = Source {
                origin: path.display().to_string(),
                after: after.into(),
                watched: true,
                ..Source::default()
            };
            let spec = self.spec(file);
            let token = self.ask(node, Ask::Claim(file, name.clone()));
            self.life(node).claims.insert(name, None);
            if after == After::Keep && spec.size <= limits::SMALL_FILE_BYTES_MAX {
                self.submit_in_place(node, token, file, spec, source);
                continue;
            }
            let claim = producer::Event::Claim {
                token,
                spec,
                source,
            };
            self.produce(node, claim);
        }
    }

    /// A small file that stays where it is is read there.
    fn submit_in_place(
        &mut self,
        node: usize,
        token: Token,
        file: usize,
        spec: FileSpec,
        source: Source,
    ) {
        let story = &self.ledger.stories[file];
        let small = Some((story.digest, story.content.shared()));
        let submit = producer::Event::Submit {
            token,
            spec,
            source,
            small,
        };
        self.produce(node, submit);
    }

    /// Somebody asks for what cannot be.
    pub(super) fn bad_request(&mut self, node: usize) -> bool {
        if !self.lives(node) || !self.plan.nodes[node].produces {
            return false;
        }
        let token = self.ask(node, Ask::Nonsense);
        let nowhere = TransferKey {
            start: Start(1),
            seq: Sequence(1),
        };
        let kind = self.draw(5);
        let spec = FileSpec {
            feed: match kind {
                0 => self.plan.feeds[0].name.clone(),
                _ => "nosuchfeed".to_owned(),
            },
            name: "../etc/passwd".to_owned(),
            ..FileSpec::default()
        };
        let event = match kind {
            0 | 1 => producer::Event::Submit {
                token,
                spec,
                source: Source::default(),
                small: Some((Digest(*blake3::hash(b"").as_bytes()), Bytes::new())),
            },
            2 => producer::Event::Retry {
                token,
                key: Some(nowhere),
            },
            3 => producer::Event::Cancel {
                token,
                key: nowhere,
            },
            _ => producer::Event::Forget {
                token,
                node: NodeName::new("nobody").expect("a clean name"),
            },
        };
        self.produce(node, event);
        true
    }

    /// What a producer answers.
    pub(super) fn answered(&mut self, node: usize, token: Token, answer: Answer) {
        if self.forgotten(node, token) {
            return;
        }
        if let Answer::Refused(refusal) = &answer {
            let number = coverage::refusal(refusal);
            self.coverage.hit(Subject::RequestRefused, number);
        }
        let Some(ask) = self.life(node).asks.remove(&token) else {
            return;
        };
        match (ask, answer) {
            (Ask::Submit(file, _) | Ask::Claim(file, _), Answer::Submitted(key)) => {
                let story = &mut self.ledger.stories[file];
                story.acknowledged = true;
                if story.key != Some(key) {
                    let what = format!("{key} is not in the log");
                    self.violate(crate::ledger::Violation {
                        promise: Promise::SubmittedIsSynced,
                        what,
                        file: Some(file),
                    });
                }
            }
            (Ask::Submit(file, spool), Answer::Refused(_)) => {
                if !spool.is_empty() {
                    let _ = self.life(node).disk.remove(&Path::new(SPOOL).join(spool));
                }
                self.hand_over_later(file);
            }
            (Ask::Claim(_, name), Answer::Refused(_)) => {
                self.life(node).claims.remove(&name);
            }
            (Ask::Cancel(file), Answer::Cancelled) => {
                assert!(
                    self.ledger.stories[file].cancelled,
                    "synced before it is answered"
                );
                self.ledger.stats.cancelled += 1;
            }
            (Ask::Drain(state), Answer::Drained) => {
                self.consume(node, consumer::Event::Standing(state));
            }
            (Ask::Cancel(_) | Ask::Retry, _) | (Ask::Nonsense, Answer::Refused(_)) => {}
            (ask, answer) => panic!("{ask:?} was answered by {answer:?}"),
        }
    }

    /// One of a node's two machines has answered an order to forget another node, if this is one.
    /// The operator asks again until both have.
    pub(super) fn forgotten(&mut self, node: usize, token: Token) -> bool {
        let Some(Ask::Forget { node: other, left }) = self.life(node).asks.get_mut(&token) else {
            return false;
        };
        *left -= 1;
        if *left == 0 {
            let other = *other;
            self.life(node).asks.remove(&token);
            self.nodes[node].to_forget.remove(&other);
        }
        true
    }

    /// What the operator of a node does from time to time.
    pub(super) fn operate(&mut self, node: usize) {
        if !self.lives(node) {
            return;
        }
        let forgotten: Vec<usize> = self.nodes[node].to_forget.iter().copied().collect();
        for other in forgotten {
            let mut asks = self.life(node).asks.values();
            if asks.any(|ask| matches!(ask, Ask::Forget { node, .. } if *node == other)) {
                continue;
            }
            let name = self.name(other);
            let token = self.ask(
                node,
                Ask::Forget {
                    node: other,
                    left: 2,
                },
            );
            self.consume(
                node,
                consumer::Event::Forget {
                    token,
                    node: name.clone(),
                },
            );
            if self.lives(node) {
                self.produce(node, producer::Event::Forget { token, node: name });
            }
        }
        if self.healed && !self.goes_on_by_itself() {
            self.retry(node);
        }
    }

    /// Whether nobody may have to ask for anything again: only space was short, and no feed waits for
    /// a path to be free.
    fn goes_on_by_itself(&self) -> bool {
        self.plan.faults.is_scarcity() && self.ledger.refusing.is_empty()
    }

    pub(super) fn retry(&mut self, node: usize) -> bool {
        let there = self.lives(node) && self.plan.nodes[node].produces;
        if there {
            let token = self.ask(node, Ask::Retry);
            self.produce(node, producer::Event::Retry { token, key: None });
        }
        there
    }

    /// A person retries one file, whether or not it has failed.
    pub(super) fn retry_one(&mut self) -> bool {
        let Some((node, file)) = self.some_file() else {
            return false;
        };
        let key = self.ledger.stories[file].key;
        let token = self.ask(node, Ask::Retry);
        self.produce(node, producer::Event::Retry { token, key });
        true
    }

    /// A file that was submitted at a node that lives: mostly one that is not over, and half of the time
    /// one that something is being done about.
    fn some_file(&mut self) -> Option<(usize, usize)> {
        let (over_too, any) = (self.rng.one_in(6), self.rng.one_in(2));
        let files: Vec<(usize, usize)> = (0..self.ledger.stories.len())
            .filter_map(|file| {
                let story = &self.ledger.stories[file];
                let (key, node) = (story.key?, story.plan.producer);
                let life = self.nodes[node].life.as_ref()?;
                let open = !story.done && !story.cancelled;
                let listed = any || life.producer.transfer(key).is_some();
                (over_too || open && listed).then_some((node, file))
            })
            .collect();
        let nth = self.draw(files.len() as u64) as usize;
        files.get(nth).copied()
    }

    pub(super) fn cancel(&mut self) -> bool {
        let Some((node, file)) = self.some_file() else {
            return false;
        };
        let key = self.ledger.stories[file].key.expect("it is submitted");
        let token = self.ask(node, Ask::Cancel(file));
        self.produce(node, producer::Event::Cancel { token, key });
        true
    }

    /// An application takes away one of the files that it finds.
    pub(super) fn take_away(&mut self) -> bool {
        let there: Vec<(usize, usize)> = self
            .ledger
            .stories
            .iter()
            .enumerate()
            .flat_map(|(file, story)| {
                let visible = story
                    .shown
                    .iter()
                    .filter(|(_, s)| !s.taken && !s.may_repeat);
                visible.map(move |(node, _)| (file, *node))
            })
            .filter(|(_, node)| self.nodes[*node].powered && !self.nodes[*node].gone)
            .collect();
        if there.is_empty() {
            return false;
        }
        let nth = self.draw(there.len() as u64) as usize;
        let (file, node) = there[nth];
        self.take_one(file, node);
        true
    }

    fn take_one(&mut self, file: usize, node: usize) {
        let shown = self.ledger.stories[file].shown[&node].clone();
        let disk = self.nodes[node].disk.mount();
        let _ = disk
            .remove(&shown.path)
            .and_then(|()| disk.sync_fs(Path::new("/")));
        if self.nodes[node].disk.identity(&shown.path) == Some(shown.identity) {
            return;
        }
        self.line(|| {
            format!(
                "the application at {} takes {}",
                self.nodes[node].name,
                shown.path.display()
            )
        });
        let shown = self.ledger.stories[file].shown.get_mut(&node);
        shown.expect("just read").taken = true;
    }

    /// Applications take everything.
    pub(super) fn take_all(&mut self) {
        for file in 0..self.ledger.stories.len() {
            let shown = self.ledger.stories[file].shown.iter();
            let nodes: Vec<usize> = shown
                .filter(|(_, shown)| !shown.taken && !shown.may_repeat)
                .map(|(node, _)| *node)
                .collect();
            for node in nodes {
                if self.nodes[node].powered && !self.nodes[node].gone {
                    self.take_one(file, node);
                }
            }
        }
    }
}
