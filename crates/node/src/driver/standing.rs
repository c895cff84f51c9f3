//! How the node stands: its problems, and the snapshot that status pages read.

use std::collections::BTreeMap;
use std::sync::Arc;

use consign_core::ids::{Incarnation, NodeName};
use consign_core::producer::state::{LegState, Stage, Transfer};
use consign_core::producer::{DestinationStatus, FeedStatus};
use consign_core::view::MemberState;

use crate::config::Source;
use crate::hint;
use crate::problems::{self, Problem};
use crate::timestamp::Timestamp;

use super::bounds::ACTIVE_SHOWN_MAX;
use super::orders::replicas_text;
use super::producing::name_of;
use super::snapshot::{
    ActiveConsumer, ActiveTransfer, Arriving, ConsumedFeed, LogState, Member, ProducedFeed,
    Snapshot,
};
use super::{Driver, now};

impl Driver {
    pub(super) fn publish_snapshot(&mut self) {
        let snapshot = self.snapshot();
        self.snapshot.send_replace(Arc::new(snapshot));
    }

    fn snapshot(&self) -> Snapshot {
        let feeds = self.producer.feeds();
        let destinations = self.producer.destinations();
        let standing = self.log_care.standing;
        Snapshot {
            node: self.config.node.name.to_string(),
            zone: self.config.node.zone.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            incarnation: self.producer.incarnation().0,
            start: format!("{:016x}", self.start.0),
            started_at: Timestamp(self.started_at.0),
            ready: true,
            problems: self.all_problems(&destinations),
            drain: self.drain_so_far(&feeds),
            plaintext: self.config.tls.plaintext,
            membership: self.members.standing().clone(),
            listen: self.config.listen.peer.to_string(),
            log: LogState {
                segments: u64::from(standing.current_segment - standing.first_segment + 1),
                bytes: standing.size_bytes,
                has_room: standing.has_room,
            },
            members: self.members(&destinations),
            produces: self.all_produced(&feeds),
            consumes: self.consumed(),
            active: self
                .producer
                .transfers()
                .take(ACTIVE_SHOWN_MAX)
                .map(|t| self.active(t))
                .collect(),
            arriving: self.arriving(),
        }
    }

    fn arriving(&self) -> Vec<Arriving> {
        let arrivals = self.consumer.arrivals(ACTIVE_SHOWN_MAX).into_iter();
        let arriving = arrivals.map(|arrival| Arriving {
            id: arrival.id.to_string(),
            producer: arrival.id.producer.to_string(),
            feed: arrival.feed,
            name: arrival.name,
            size: arrival.size,
            state: arrival.state.to_owned(),
            bytes: arrival.bytes,
            problem: arrival.problem,
        });
        arriving.collect()
    }

    fn all_problems(&self, destinations: &[DestinationStatus]) -> Vec<Problem> {
        let mut problems = self.problems.list();
        problems.extend(self.problem_of_members());
        let since = |millis: consign_core::ids::Millis| Timestamp(millis.0);
        if !self.log_care.standing.has_room {
            problems.push(Problem {
                what: "the disk under the intent log is full: nothing new is accepted".to_owned(),
                hint: format!(
                    "free some space under {}",
                    self.config.node.data_dir.display()
                ),
                since: since(now()),
            });
        }
        let forgotten = |node: &NodeName| self.producer.forgotten().any(|gone| gone == node);
        for destination in destinations
            .iter()
            .filter(|d| d.owed > 0 && !forgotten(&d.node))
        {
            problems.extend(complaints(destination));
            if let Some(down) = destination.down_since {
                problems.push(Problem {
                    what: format!(
                        "{} is owed {} file(s) and cannot be reached",
                        destination.node, destination.owed
                    ),
                    hint: format!(
                        "start it, or `consign forget {}` if it is gone for good",
                        destination.node
                    ),
                    since: since(down),
                });
            }
        }
        for problem in self
            .consumer
            .problems()
            .into_iter()
            .take(problems::LISTED_MAX)
        {
            let text = format!("slot {}: {}", problem.slot, problem.what);
            let (what, hint) = hint::split_or(&text, "it is tried again");
            problems.push(Problem {
                what: what.to_owned(),
                hint: hint.to_owned(),
                since: since(now()),
            });
        }
        problems.extend(self.problems.of_feeds());
        problems
    }

    fn members(&self, destinations: &[DestinationStatus]) -> Vec<Member> {
        let states = self.net.peer_states();
        let forgotten: Vec<&NodeName> = self.producer.forgotten().collect();
        let mut senders: BTreeMap<NodeName, Incarnation> =
            self.consumer.producers().into_iter().collect();
        let mut members: Vec<Member> = self
            .view
            .members()
            .iter()
            .map(|member| {
                let sends_here = senders.remove(&member.name);
                let destination = destinations.iter().find(|d| d.node == member.name);
                let state = states.iter().find(|state| state.node == member.name);
                let incarnation = destination.and_then(|d| d.incarnation);
                Member {
                    name: member.name.to_string(),
                    addr: member.addr.clone(),
                    zone: member.zone.clone(),
                    weight: member.weight,
                    feeds: member.feeds.iter().map(ToString::to_string).collect(),
                    state: match member.state {
                        _ if forgotten.contains(&&member.name) => "forgotten".to_owned(),
                        _ if self.members.unfit.contains(&member.name) => "refused".to_owned(),
                        MemberState::Active => self.word_of(member, destination).to_string(),
                        known @ (MemberState::Draining | MemberState::Left) => known.to_string(),
                    },
                    heard: self.members.is_live(&member.name),
                    connected: incarnation.is_some(),
                    sends_here: sends_here.is_some(),
                    incarnation: incarnation.or(sends_here).unwrap_or_default().0,
                    // That one who is gone for good cannot be reached is no news.
                    last_error: state
                        .and_then(|state| state.error.clone())
                        .filter(|_| incarnation.is_none() && !forgotten.contains(&&member.name)),
                    owed_files: destination.map_or(0, |d| d.owed),
                }
            })
            .collect();
        // Those that were not taken out above.
        members.extend(senders.into_iter().map(|(name, incarnation)| Member {
            name: name.to_string(),
            state: "not listed".to_owned(),
            sends_here: true,
            incarnation: incarnation.0,
            ..Member::default()
        }));
        members
    }

    /// The feeds in the order of the configuration, and those that are no longer in it.
    fn all_produced(&self, feeds: &[FeedStatus]) -> Vec<ProducedFeed> {
        let configured = &self.config.produce;
        let place = |feed: &FeedStatus| {
            let mut names = configured.iter().map(|config| &config.policy.feed);
            names.position(|name| *name == feed.name)
        };
        let mut feeds: Vec<_> = feeds.iter().collect();
        feeds.sort_by_key(|feed| place(feed).unwrap_or(usize::MAX));
        let produced = feeds.into_iter().filter_map(|feed| self.produced(feed));
        produced.collect()
    }

    fn produced(&self, feed: &FeedStatus) -> Option<ProducedFeed> {
        let config = self
            .config
            .produce
            .iter()
            .find(|config| config.policy.feed == feed.name);
        if config.is_none() && feed.queued_files == 0 {
            return None;
        }
        let active = self
            .producer
            .transfers()
            .filter(|t| t.feed == feed.name)
            .count();
        let waiting_reason = match (feed.queued_files, feed.accepted, feed.reachable) {
            (0, _, _) => None,
            (_, false, _) => {
                let listed = match self.config.membership.source {
                    Source::Static => " and to membership.nodes",
                    Source::Gossip { .. } | Source::Etcd(_) => ", and start it",
                };
                Some(format!(
                    "no member consumes feed {}; hint: add it to a node's [[consume]]{listed}",
                    feed.name
                ))
            }
            (_, true, false) => Some(
                "none of its consumers can be reached; hint: `consign nodes` says why".to_owned(),
            ),
            (_, true, true) if config.is_none() => Some(
                "it is not in the configuration any more, and what was submitted is still delivered; hint: nothing to do, or add [[produce]] for it again".to_owned(),
            ),
            (_, true, true) => None,
        };
        let unknown = || "as submitted".to_owned();
        Some(ProducedFeed {
            feed: feed.name.to_string(),
            replicas: config.map_or_else(unknown, |c| replicas_text(c.policy.replicas)),
            priority: config.map_or(0, |config| config.policy.priority),
            after: config.map_or_else(unknown, |config| name_of(config.after).to_owned()),
            watch: config
                .and_then(|config| config.watch.as_ref())
                .map(|watch| watch.dir.display().to_string()),
            queued_files: feed.queued_files,
            queued_bytes: feed.queued_bytes,
            active: active as u64,
            done_total: feed.done_files,
            done_bytes_total: feed.done_bytes,
            failed: feed.failed,
            waiting_reason,
            stuck: feed.queued_files > 0 && !(feed.accepted && feed.reachable),
        })
    }

    fn consumed(&self) -> Vec<ConsumedFeed> {
        let inboxes = self.consumer.inboxes();
        inboxes
            .into_iter()
            .map(|inbox| ConsumedFeed {
                feed: inbox.feed.to_string(),
                inbox: inbox.inbox,
                free_bytes: inbox.free_bytes.unwrap_or(0),
                staged_files: inbox.pending_files,
                staged_bytes: inbox.pending_bytes,
                published_total: inbox.published_files,
                published_bytes_total: inbox.published_bytes,
            })
            .collect()
    }

    fn active(&self, transfer: &Transfer) -> ActiveTransfer {
        let size = transfer.spec.size;
        let consumers = transfer
            .legs
            .iter()
            .filter(|leg| leg.state != LegState::Dropped)
            .map(|leg| ActiveConsumer {
                node: leg.node.to_string(),
                state: leg.state.name().to_owned(),
                bytes: match &leg.state {
                    LegState::Receiving { bytes, .. } => *bytes,
                    LegState::Received | LegState::Committing | LegState::Saved => size,
                    LegState::Owed
                    | LegState::Opening { .. }
                    | LegState::Refused { .. }
                    | LegState::Dropped => 0,
                },
            })
            .collect();
        let phase = match &transfer.stage {
            Stage::Streaming => "sending",
            stage => stage.name(),
        };
        ActiveTransfer {
            id: self.id_of(transfer.key).to_string(),
            feed: transfer.feed.to_string(),
            name: transfer.spec.name.clone(),
            size,
            attempt: transfer.attempt.0,
            phase: phase.to_owned(),
            consumers,
        }
    }
}

/// What a consumer gives as its reasons to take nothing for now.
fn complaints(destination: &DestinationStatus) -> impl Iterator<Item = Problem> {
    destination.complaints.iter().map(|complaint| {
        let (why, hint) = hint::split_or(&complaint.reason, "look at `consign status` there");
        let of_feed = complaint.feed.as_ref();
        let of_feed = of_feed.map_or(String::new(), |feed| format!(" of feed {feed}"));
        Problem {
            what: format!("{} takes nothing{of_feed} for now: {why}", destination.node),
            hint: hint.to_owned(),
            since: Timestamp(complaint.since.0),
        }
    })
}
