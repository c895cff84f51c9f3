//! Files that are handed over: from a request to the producer's state machine, and the answer back.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use consign_core::ids::{Digest, FeedName, Sequence, TransferId, TransferKey};
use consign_core::producer::{Event, Token};
use consign_core::spec::{After, FileSpec, Source, Stamp};
use tokio::sync::oneshot;

use crate::driver::bounds::{FILES_PER_LOOK_JOB, FILES_UNDER_WAY_MAX, LOOK_JOBS_MAX};
use crate::timestamp::Timestamp;

use super::handle::{Accepted, SubmitBytes, SubmitRequest};
use super::looking::{For, Item, Prepared, Rules, Unseen, describe, look_at};
use super::originals::{Originals, Waiting};
use super::refusal::Refusal;
use super::{Driver, Worked};

/// A file that a watcher found ready.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) feed: FeedName,
    pub(crate) path: PathBuf,
    /// Relative to the watched directory.
    pub(crate) name: String,
    pub(crate) stamp: Stamp,
    /// Told when the file is synced as submitted, or refused.
    pub(crate) reply: oneshot::Sender<Result<(), Refusal>>,
}

/// Who waits for an answer of the producer.
#[derive(Debug)]
pub(crate) enum Asker {
    Batch {
        batch: u64,
        at: usize,
        accepted: Accepted,
    },
    Bytes {
        reply: oneshot::Sender<Result<Accepted, Refusal>>,
        accepted: Accepted,
    },
    Watcher {
        feed: FeedName,
        name: String,
        stamp: Stamp,
        after: After,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Order(super::orders::Order),
}

/// Requests under way.
#[derive(Debug, Default)]
pub(crate) struct Submissions {
    pub(super) askers: BTreeMap<Token, Asker>,
    batches: BTreeMap<u64, Batch>,
    pub(super) groups: BTreeMap<u64, super::orders::Group>,
    pub(super) originals: Originals,
    next: u64,
    /// Files that are to be looked at.
    unseen: VecDeque<Unseen>,
    /// Files that are being looked at.
    looking: usize,
    /// Jobs that do.
    jobs: usize,
}

#[derive(Debug)]
struct Batch {
    results: Vec<Option<Result<Accepted, Refusal>>>,
    left: usize,
    reply: Option<oneshot::Sender<Vec<Result<Accepted, Refusal>>>>,
}

impl Submissions {
    pub(super) fn has_room(&self) -> bool {
        self.askers.len() + self.unseen.len() + self.looking < FILES_UNDER_WAY_MAX
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn settle(&mut self, batch: u64, at: usize, result: Result<Accepted, Refusal>) {
        let Some(open) = self.batches.get_mut(&batch) else {
            return;
        };
        if open.results[at].replace(result).is_none() {
            open.left -= 1;
        }
        if open.left == 0 {
            let mut done = self.batches.remove(&batch).expect("looked up above");
            let results = done.results.into_iter().flatten().collect();
            if let Some(reply) = done.reply.take() {
                let _ = reply.send(results);
            }
        }
    }
}

impl Driver {
    pub(super) fn submit(
        &mut self,
        files: Vec<SubmitRequest>,
        reply: oneshot::Sender<Vec<Result<Accepted, Refusal>>>,
    ) {
        if files.is_empty() {
            let _ = reply.send(Vec::new());
            return;
        }
        let batch = self.submissions.number();
        let open = Batch {
            results: vec![None; files.len()],
            left: files.len(),
            reply: Some(reply),
        };
        self.submissions.batches.insert(batch, open);
        let mut rules: BTreeMap<FeedName, Arc<Rules>> = BTreeMap::new();
        for (at, request) in files.into_iter().enumerate() {
            match self.rules_for(&request.feed, &mut rules) {
                Ok(rules) => self.submissions.unseen.push_back(Unseen {
                    whom: For::Batch { batch, at },
                    rules,
                    request,
                }),
                Err(refusal) => self.submissions.settle(batch, at, Err(refusal)),
            }
        }
    }

    /// Has files looked at that were handed over, as far as the log has room for what is read.
    pub(super) fn look_at_files(&mut self) {
        while self.log.has_credit() && self.submissions.jobs < LOOK_JOBS_MAX {
            let unseen = &mut self.submissions.unseen;
            let job: Vec<_> = unseen
                .drain(..unseen.len().min(FILES_PER_LOOK_JOB))
                .collect();
            if job.is_empty() {
                return;
            }
            self.submissions.jobs += 1;
            self.submissions.looking += job.len();
            let outbox = Arc::clone(&self.outbox);
            self.work(move || Worked::Prepared(Box::new(look_at(&outbox, job))));
        }
    }

    fn rules_for(
        &self,
        feed: &FeedName,
        known: &mut BTreeMap<FeedName, Arc<Rules>>,
    ) -> Result<Arc<Rules>, Refusal> {
        if let Some(rules) = known.get(feed) {
            return Ok(Arc::clone(rules));
        }
        if let Some(refusal) = self.set_apart() {
            return Err(refusal);
        }
        let config = self
            .config
            .produce
            .iter()
            .find(|config| config.policy.feed == *feed);
        let config = config.ok_or_else(|| self.unknown_feed(feed))?;
        let rules = Arc::new(Rules {
            me: self.config.node.name.clone(),
            feed: config.clone(),
        });
        known.insert(feed.clone(), Arc::clone(&rules));
        Ok(rules)
    }

    pub(super) fn unknown_feed(&self, feed: &FeedName) -> Refusal {
        Refusal::UnknownFeed {
            feed: feed.clone(),
            produced: self
                .config
                .produce
                .iter()
                .map(|config| config.policy.feed.clone())
                .collect(),
        }
    }

    /// A watcher found a file ready.
    pub(super) fn on_found(&mut self, found: Found) {
        let Some(found) = self.submissions.originals.unless_being_taken(found) else {
            return;
        };
        let rules = match self.rules_for(&found.feed, &mut BTreeMap::new()) {
            Ok(rules) => rules,
            Err(refusal) => {
                let _ = found.reply.send(Err(refusal));
                return;
            }
        };
        let request = SubmitRequest {
            feed: found.feed.clone(),
            path: found.path.clone(),
            name: Some(found.name.clone()),
            key: None,
            meta: BTreeMap::new(),
        };
        self.submissions.unseen.push_back(Unseen {
            whom: For::Watcher(found),
            rules,
            request,
        });
    }

    pub(super) fn on_prepared(&mut self, prepared: Prepared) {
        let submissions = &mut self.submissions;
        submissions.jobs -= 1;
        submissions.looking -= prepared.items.len() + prepared.unseen.len();
        for unseen in prepared.unseen.into_iter().rev() {
            submissions.unseen.push_front(unseen);
        }
        for (whom, item) in prepared.items {
            match (whom, item) {
                (For::Batch { batch, at }, Err(refusal)) => {
                    self.submissions.settle(batch, at, Err(refusal))
                }
                (For::Watcher(found), Err(refusal)) => {
                    let _ = found.reply.send(Err(refusal));
                }
                (For::Batch { batch, at }, Ok(item)) => {
                    let accepted = self.accepted(&item.spec);
                    self.hand_over(
                        Asker::Batch {
                            batch,
                            at,
                            accepted,
                        },
                        item,
                    );
                }
                (For::Watcher(found), Ok(item)) => {
                    let asker = Asker::Watcher {
                        feed: found.feed,
                        name: found.name,
                        stamp: found.stamp,
                        after: item.source.after(),
                        reply: found.reply,
                    };
                    self.hand_over(asker, item);
                }
            }
        }
    }

    fn hand_over(&mut self, asker: Asker, item: Item) {
        let token = Token(self.submissions.number());
        self.submissions.askers.insert(token, asker);
        let Item {
            spec,
            source,
            small,
        } = item;
        let event = match small {
            Some(small) => Event::Submit {
                token,
                spec,
                source,
                small: Some(small),
            },
            None => Event::Claim {
                token,
                spec,
                source,
            },
        };
        self.produce(event);
    }

    fn accepted(&self, spec: &FileSpec) -> Accepted {
        Accepted {
            // The sequence is filled in when it is known.
            id: self.id_of(TransferKey {
                start: self.start,
                seq: Sequence(0),
            }),
            name: spec.name.clone(),
            key: spec.key.clone(),
            size: spec.size,
            submitted_at: Timestamp(spec.submitted_at),
        }
    }

    pub(super) fn id_of(&self, key: TransferKey) -> TransferId {
        TransferId {
            producer: self.config.node.name.clone(),
            key,
        }
    }

    pub(super) fn submit_bytes(
        &mut self,
        file: SubmitBytes,
        reply: oneshot::Sender<Result<Accepted, Refusal>>,
    ) {
        let rules = match self.rules_for(&file.feed, &mut BTreeMap::new()) {
            Ok(rules) => rules,
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
                return;
            }
        };
        let digest = Digest(*blake3::hash(&file.bytes).as_bytes());
        let described = describe(
            &rules,
            &file.name,
            file.key,
            file.meta,
            file.bytes.len() as u64,
        );
        match described {
            Ok(spec) => {
                let accepted = self.accepted(&spec);
                let source = Source {
                    after: After::Keep.into(),
                    ..Source::default()
                };
                let item = Item {
                    spec,
                    source,
                    small: Some((digest, file.bytes)),
                };
                self.hand_over(Asker::Bytes { reply, accepted }, item);
            }
            Err(refusal) => {
                let _ = reply.send(Err(refusal));
            }
        }
    }

    /// The producer has answered a submission. Whoever found a copied file hears of it only when
    /// the original is gone, or remembered: it would be found again.
    pub(super) fn on_submitted(&mut self, asker: Asker, outcome: Result<TransferKey, Refusal>) {
        let key = outcome.as_ref().ok();
        match key.and_then(|key| self.submissions.originals.take_copied(key)) {
            Some(owed) => self.remove_copied(owed, Some(Waiting { asker, outcome })),
            None => self.answer_submitted(Waiting { asker, outcome }),
        }
    }

    pub(super) fn answer_submitted(&mut self, waiting: Waiting) {
        let Waiting { asker, outcome } = waiting;
        let id = outcome.clone().map(|key| self.id_of(key));
        let filled = |accepted: Accepted| id.clone().map(|id| Accepted { id, ..accepted });
        match asker {
            Asker::Batch {
                batch,
                at,
                accepted,
            } => {
                let result = filled(accepted);
                self.submissions.settle(batch, at, result);
            }
            Asker::Bytes { reply, accepted } => {
                let _ = reply.send(filled(accepted));
            }
            Asker::Watcher {
                feed,
                name,
                stamp,
                after,
                reply,
            } => match outcome {
                Ok(_) if after == After::Keep => self.remember_kept(&feed, name, stamp, reply),
                outcome => {
                    let _ = reply.send(outcome.map(|_| ()));
                }
            },
            Asker::Order(_) => unreachable!("an order is not answered as a submission"),
        }
    }
}
