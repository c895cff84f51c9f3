//! Taking this node out of service, and back in.

use std::collections::BTreeSet;
use std::time::Duration;

use consign_core::consumer::{self, OwedBy};
use consign_core::ids::{FeedName, NodeName};
use consign_core::placement::Verdict;
use consign_core::producer::{DestinationStatus, Event, FeedStatus};
use consign_core::view::{Member, MemberState};
use tokio::sync::oneshot;

use super::Driver;
use super::orders::Order;
use super::refusal::Refusal;
use super::snapshot::Drain;
use crate::config::Source;

/// How long a node that leaves says so: several rounds of gossip, or a write to etcd. Who did not hear
/// it waits for it as for any other that is away, until somebody forgets it.
const LEAVING_TIME: Duration = Duration::from_secs(2);

/// Producers that are named one by one among what a drain waits for; the others are counted.
const PRODUCERS_NAMED_MAX: usize = 8;

impl Driver {
    pub(super) fn drain(
        &mut self,
        node: &NodeName,
        state: MemberState,
        reply: oneshot::Sender<Result<(), Refusal>>,
    ) {
        let own = &self.config.node.name;
        if node != own {
            let refusal = Refusal::Invalid {
                what: format!("this is {own}, and only {node} itself can be told to drain"),
                hint: format!(
                    "run it on {node}; one that is gone for good is forgotten: `consign forget {node}`"
                ),
            };
            let _ = reply.send(Err(refusal));
            return;
        }
        let token = self.order(Order::Drain { state, reply });
        self.produce(Event::Drain { token, state });
    }

    /// The order is synced, so that no crash takes it back: now the producers may hear of it.
    pub(super) fn drained(
        &mut self,
        state: MemberState,
        reply: oneshot::Sender<Result<(), Refusal>>,
    ) {
        self.consume(consumer::Event::Standing(state));
        self.announce(self.config.membership.own.clone());
        tracing::info!(%state, "a person has ordered how far this node takes part");
        // Who is answered finds it in force.
        self.publish_snapshot();
        let _ = reply.send(Ok(()));
    }

    /// A node that is out of service when it is stopped says that it has left, so that nobody counts on
    /// it any more. It is a member again when it starts again.
    pub(super) async fn leave(&mut self) {
        let is_list = self.config.membership.source == Source::Static;
        let drain = self.drain_so_far(&self.producer.feeds());
        if is_list || !drain.is_some_and(|drain| drain.is_done) {
            return;
        }
        tracing::info!("leaving: it is out of service");
        let own = self.config.membership.own.clone();
        let state = MemberState::Left;
        self.members.source.announce(Member { state, ..own });
        tokio::time::sleep(LEAVING_TIME).await;
        let standing = self.members.source.heard().borrow().standing.clone();
        if !standing.reachable && self.view.members().len() > 1 {
            tracing::warn!(
                "{} was away, so the others do not know that this node has left; hint: start it and stop it once more when that is back, or `consign forget {}` on one of them",
                standing.source,
                self.config.node.name
            );
        }
    }

    /// How far this node is out of service, if it is to be.
    pub(super) fn drain_so_far(&self, feeds: &[FeedStatus]) -> Option<Drain> {
        if self.producer.standing() == MemberState::Active {
            return None;
        }
        let mut waits_for = Vec::new();
        let own: u64 = feeds.iter().map(|feed| feed.queued_files).sum();
        let failed: u64 = feeds.iter().map(|feed| feed.failed).sum();
        if own > failed {
            waits_for.push(format!(
                "{} file(s) of its own are not delivered; hint: `consign transfers --state submitted` lists them",
                own - failed
            ));
        }
        if failed > 0 {
            waits_for.push(format!(
                "{failed} failed file(s) of its own; hint: `consign retry --failed`, or `consign cancel` them"
            ));
        }
        // Delivered, and their sources are not released yet.
        let unreleased = self.producer.unfinished() as u64;
        if own == 0 && unreleased > 0 {
            waits_for.push(format!(
                "{unreleased} source(s) are not released yet; hint: `consign status` names a directory that is in the way"
            ));
        }
        let arriving: u64 = self
            .consumer
            .inboxes()
            .iter()
            .map(|i| i.pending_files)
            .sum();
        if arriving > 0 {
            waits_for.push(format!(
                "{arriving} file(s) are on their way into its inboxes; hint: nothing to do"
            ));
        }
        waits_for.extend(owed(&self.consumer.owed_by()));
        Some(Drain {
            is_done: waits_for.is_empty(),
            waits_for,
        })
    }

    /// The members that nothing of a feed is placed on now, although the view has them.
    pub(super) fn passed_over(&self, feed: &FeedName, chosen: &[NodeName]) -> BTreeSet<NodeName> {
        let accepting = self.view.accepting(feed).map(|member| &member.name);
        let is_out = |node: &NodeName| {
            self.producer.places_nothing_on(node) || self.producer.has_given_up(node, feed)
        };
        let out = accepting.filter(|name| is_out(name) && !chosen.contains(name));
        out.cloned().collect()
    }

    /// Why a member gets a file, or why not, for a person.
    pub(super) fn reason_of(&self, node: &NodeName, feed: &FeedName, verdict: &Verdict) -> String {
        match verdict {
            Verdict::Excluded if self.producer.forgotten().any(|gone| gone == node) => {
                "forgotten".to_owned()
            }
            Verdict::Excluded if self.producer.has_given_up(node, feed) => {
                "away for longer than replace_after".to_owned()
            }
            _ if self.members.unfit.contains(node) => {
                "its certificate gives it no role to take files".to_owned()
            }
            Verdict::Excluded => "it drains".to_owned(),
            verdict => verdict.to_string(),
        }
    }

    /// How far an active member takes part in its own word, which is newer than the view.
    pub(super) fn word_of(
        &self,
        member: &Member,
        heard: Option<&DestinationStatus>,
    ) -> MemberState {
        match member.name == self.config.node.name {
            true => self.producer.standing(),
            false => heard.map_or(member.state, |destination| destination.standing),
        }
    }
}

/// What producers still owe a node that drains.
fn owed(by: &[OwedBy]) -> Vec<String> {
    let mut lines: Vec<String> = by.iter().take(PRODUCERS_NAMED_MAX).map(owed_line).collect();
    if by.len() > PRODUCERS_NAMED_MAX {
        lines.push(format!(
            "{} more producers; hint: nothing to do as long as they are connected",
            by.len() - PRODUCERS_NAMED_MAX
        ));
    }
    lines
}

fn owed_line(by: &OwedBy) -> String {
    let node = &by.node;
    match (by.connected, by.files) {
        (true, Some(files)) => {
            format!(
                "{node} has still to deliver {files} file(s) here; hint: nothing to do, unless it lists them as failed: then `consign retry --failed` there, or `consign cancel` them"
            )
        }
        (true, None) => format!(
            "{node} has not said what it has still to deliver here; hint: it is asked, and answers within seconds unless it is of an older version: then upgrade it"
        ),
        (false, _) => format!(
            "{node} is not connected, and may have something for this node; hint: start it. If it runs, and its `consign nodes` says that it owes this node nothing, do not wait for it; `consign forget {node}` only if it is gone for good"
        ),
    }
}
