//! What people order, and the producer's answers.

use crate::hint;
use std::collections::BTreeSet;

use consign_core::ids::{FeedName, NodeName, TransferId};
use consign_core::placement::{self, Ask, Verdict};
use consign_core::producer::{self, Answer, DestinationStatus, Event, Token};
use consign_core::spec::Replicas;
use consign_core::view::MemberState;
use tokio::sync::oneshot;

use super::Driver;
use super::handle::{Candidate, Command, Explanation, Failed, Outcome};
use super::refusal::Refusal;
use super::submissions::Asker;

/// An order under way.
#[derive(Debug)]
pub(crate) enum Order {
    Transfers {
        group: u64,
        id: Option<TransferId>,
    },
    Forget(Forgetting),
    Drain {
        state: MemberState,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
}

/// A node is being forgotten, by the producer and by the consumer.
#[derive(Debug)]
pub(crate) struct Forgetting {
    node: NodeName,
    /// Whether one of them knew it.
    known: bool,
    /// Which of them have not answered.
    left: usize,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

impl Forgetting {
    /// Neither of them has answered.
    pub(super) fn new(node: NodeName, reply: oneshot::Sender<Result<(), Refusal>>) -> Self {
        Self {
            node,
            known: false,
            left: 2,
            reply,
        }
    }
}

/// Transfers that were named in one order.
#[derive(Debug)]
pub(super) struct Group {
    outcome: Outcome,
    left: usize,
    reply: oneshot::Sender<Outcome>,
}

impl Driver {
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::Submit { files, reply } => self.submit(files, reply),
            Command::SubmitBytes { file, reply } => self.submit_bytes(file, reply),
            Command::Retry {
                which: Failed::All,
                reply,
            } => {
                let group = self.group(1, reply);
                let token = self.order(Order::Transfers { group, id: None });
                self.produce(Event::Retry { token, key: None });
            }
            Command::Retry {
                which: Failed::These(ids),
                reply,
            } => {
                self.each(ids, reply, |token, key| Event::Retry {
                    token,
                    key: Some(key),
                });
            }
            Command::Cancel { ids, reply } => {
                self.each(ids, reply, |token, key| Event::Cancel { token, key });
            }
            Command::Forget { node, reply } => {
                if let Err(refusal) = self.may_forget(&node) {
                    let _ = reply.send(Err(refusal));
                    return;
                }
                self.begin_to_forget(node, reply);
            }
            Command::Drain { node, state, reply } => self.drain(&node, state, reply),
            Command::ToReconcile { reply } => {
                let _ = reply.send(self.to_reconcile());
            }
            Command::Reconcile { held, reply } => self.reconcile(held, reply),
            Command::Explain { feed, key, reply } => {
                let _ = reply.send(self.explain(&feed, &key));
            }
        }
    }

    pub(super) fn order(&mut self, order: Order) -> Token {
        let token = Token(self.submissions.number());
        self.submissions.askers.insert(token, Asker::Order(order));
        token
    }

    fn group(&mut self, left: usize, reply: oneshot::Sender<Outcome>) -> u64 {
        let number = self.submissions.number();
        let group = Group {
            outcome: Outcome::default(),
            left,
            reply,
        };
        self.submissions.groups.insert(number, group);
        number
    }

    fn each(
        &mut self,
        ids: Vec<TransferId>,
        reply: oneshot::Sender<Outcome>,
        event: impl Fn(Token, consign_core::ids::TransferKey) -> Event,
    ) {
        if ids.is_empty() {
            let _ = reply.send(Outcome::default());
            return;
        }
        let group = self.group(ids.len(), reply);
        for id in ids {
            if id.producer != self.config.node.name {
                let refusal = Refusal::NotOurs { id: id.clone() };
                self.settle_group(group, Err((id, refusal)));
                continue;
            }
            let token = self.order(Order::Transfers {
                group,
                id: Some(id.clone()),
            });
            self.produce(event(token, id.key));
        }
    }

    fn settle_group(&mut self, group: u64, result: Result<u64, (TransferId, Refusal)>) {
        let Some(open) = self.submissions.groups.get_mut(&group) else {
            return;
        };
        match result {
            Ok(files) => open.outcome.files += files,
            Err(refused) => open.outcome.refused.push(refused),
        }
        open.left -= 1;
        if open.left == 0 {
            let done = self
                .submissions
                .groups
                .remove(&group)
                .expect("looked up above");
            let _ = done.reply.send(done.outcome);
        }
    }

    /// Gone for good is what neither runs nor will: not this node, and none that answers.
    pub(super) fn may_forget(&self, node: &NodeName) -> Result<(), Refusal> {
        let refused = |what: String, hint: &str| {
            Err(Refusal::Invalid {
                what,
                hint: hint.to_owned(),
            })
        };
        if *node == self.config.node.name {
            return refused(
                format!("{node} is this node"),
                "name the node that is gone for good",
            );
        }
        let destinations = self.producer.destinations();
        let connected = |d: &DestinationStatus| d.node == *node && d.incarnation.is_some();
        let producers = self.consumer.producers();
        if destinations.iter().any(connected) || producers.iter().any(|(name, _)| name == node) {
            return refused(
                format!("{node} is connected, so it is not gone"),
                "stop its agent for good first, then forget it",
            );
        }
        Ok(())
    }

    pub(super) fn on_answer(&mut self, token: Token, answer: Answer) {
        let Some(asker) = self.submissions.askers.remove(&token) else {
            return;
        };
        match (asker, answer) {
            (Asker::Order(Order::Forget(forgetting)), answer) => {
                let known = !matches!(answer, Answer::Refused(_));
                self.forgotten_by_one(token, forgetting, known);
            }
            (Asker::Order(Order::Drain { state, reply }), _) => self.drained(state, reply),
            (Asker::Order(Order::Transfers { group, id }), answer) => {
                let result = match (answer, id) {
                    (Answer::Retried(files), _) => Ok(files),
                    (Answer::Refused(refusal), Some(id)) => {
                        let refusal = self.refusal_of(refusal);
                        Err((id, refusal))
                    }
                    (_, _) => Ok(1),
                };
                self.settle_group(group, result);
            }
            (asker, Answer::Submitted(key)) => self.on_submitted(asker, Ok(key)),
            (asker, Answer::Refused(refusal)) => {
                let refusal = self.refusal_of(refusal);
                self.on_submitted(asker, Err(refusal));
            }
            (_, Answer::Retried(_) | Answer::Cancelled | Answer::Forgotten | Answer::Drained) => {
                unreachable!("a submission is not answered as an order")
            }
        }
    }

    /// The consumer has answered an order to forget a node.
    pub(super) fn on_forgotten(&mut self, token: Token, known: bool) {
        if let Some(Asker::Order(Order::Forget(forgetting))) =
            self.submissions.askers.remove(&token)
        {
            self.forgotten_by_one(token, forgetting, known);
        }
    }

    /// A person is answered when both have it synced, so that no crash takes it back.
    fn forgotten_by_one(&mut self, token: Token, mut forgetting: Forgetting, known: bool) {
        forgetting.known |= known;
        forgetting.left -= 1;
        if forgetting.left > 0 {
            let asker = Asker::Order(Order::Forget(forgetting));
            self.submissions.askers.insert(token, asker);
            return;
        }
        let Forgetting { node, reply, .. } = forgetting;
        let result = if forgetting.known {
            // Told again after each restart, in case this is the last word of this life.
            self.members.source.forget(&node);
            self.say_set_apart();
            Ok(())
        } else {
            Err(Refusal::UnknownNode { node })
        };
        let _ = reply.send(result);
    }

    /// The producer's refusal in the words of the API.
    fn refusal_of(&self, refusal: producer::Refusal) -> Refusal {
        let invalid = |text: &str| {
            let (what, hint) = hint::split_or(text, "look at `consign status`");
            let (what, hint) = (what.to_owned(), hint.to_owned());
            Refusal::Invalid { what, hint }
        };
        match refusal {
            producer::Refusal::NoSuchFeed { ref feed } => match FeedName::new(feed) {
                Ok(feed) => self.unknown_feed(&feed),
                Err(bad) => invalid(&bad.to_string()),
            },
            producer::Refusal::QueueFull {
                feed,
                size,
                queued,
                max,
            } => Refusal::QueueFull {
                feed,
                file_bytes: size,
                queued_bytes: queued,
                max_bytes: max,
            },
            producer::Refusal::Draining => Refusal::Draining {
                node: self.config.node.name.clone(),
            },
            producer::Refusal::LogFull => Refusal::NoSpace {
                what: "the intent log".to_owned(),
                free_bytes: self.log_care.free_bytes,
            },
            producer::Refusal::NoSuchTransfer { key } => {
                let id = self.id_of(key);
                if self.producer.knows(key) {
                    let state = self
                        .producer
                        .transfer(key)
                        .map_or("queued", |t| t.stage.name())
                        .to_owned();
                    let hint = "only what failed can be retried, and only what nobody has yet can be cancelled".to_owned();
                    Refusal::WrongState { id, state, hint }
                } else {
                    Refusal::UnknownTransfer { id }
                }
            }
            producer::Refusal::AlreadySaved { key, .. } => Refusal::WrongState {
                id: self.id_of(key),
                state: "saved by some of its consumers already".to_owned(),
                hint: "let it finish".to_owned(),
            },
            refusal @ (producer::Refusal::TooLarge { .. }
            | producer::Refusal::BadName(_)
            | producer::Refusal::NotTaken(_)
            | producer::Refusal::NoSuchNode { .. }) => invalid(&refusal.to_string()),
        }
    }

    fn explain(&self, feed: &FeedName, key: &str) -> Result<Explanation, Refusal> {
        let config = self
            .config
            .produce
            .iter()
            .find(|config| config.policy.feed == *feed);
        let replicas = config
            .map(|c| c.policy.replicas)
            .ok_or_else(|| self.unknown_feed(feed))?;
        let chain = self.producer.would_choose(feed, key);
        let (kept, excluded) = (BTreeSet::new(), self.passed_over(feed, &chain));
        let ask = Ask {
            key,
            feed,
            replicas,
            kept: &kept,
            excluded: &excluded,
        };
        let short = placement::place(&ask, &self.view).short;
        let candidates = placement::explain(&ask, &self.view)
            .into_iter()
            .map(|one| Candidate {
                node: one.node.to_string(),
                zone: one.zone.map(|zone| zone.to_string()),
                weight: one.weight,
                score: one.score,
                chosen: matches!(one.verdict, Verdict::Chosen { .. }),
                reason: self.reason_of(&one.node, feed, &one.verdict),
            })
            .collect();
        Ok(Explanation {
            feed: feed.to_string(),
            key: key.to_owned(),
            replicas: replicas_text(replicas),
            candidates,
            chain: chain.iter().map(ToString::to_string).collect(),
            short,
        })
    }
}

/// How many consumers, as status pages print it.
pub(super) fn replicas_text(replicas: Replicas) -> String {
    match replicas {
        Replicas::Count(count) => count.to_string(),
        Replicas::All => "all".to_owned(),
    }
}
