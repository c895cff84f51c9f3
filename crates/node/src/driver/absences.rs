//! Members that have been away for longer than `membership.forget_after`: they are forgotten as if a
//! person had said so.
//!
//! Time counts only while this node hears more than half of all members, itself included: of a cluster
//! that has fallen apart at most one part forgets the other, and a node that hears nobody may itself be
//! the one that is cut off. Who refuses this node is there. It is counted by a clock that does not jump,
//! and anew after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use consign_core::ids::NodeName;
use tokio::sync::oneshot;

use super::Driver;
use crate::config::Source;

/// The most that one look may count: a machine that slept has heard nobody meanwhile.
const COUNTED_AT_ONCE_MAX: Duration = Duration::from_secs(1);

/// How long each member has been away, as far as this life can tell.
#[derive(Debug, Default)]
pub(super) struct Absences {
    away: BTreeMap<NodeName, Duration>,
    looked_at: Option<Instant>,
}

impl Absences {
    /// Counts the time since the last look for those that are `away` now, and forgets that others
    /// ever were. Those that have been away for longer than `limit`.
    fn look(
        &mut self,
        now: Instant,
        away: &BTreeSet<NodeName>,
        hears_most: bool,
        limit: Duration,
    ) -> Vec<NodeName> {
        let last = self.looked_at.replace(now);
        let passed = last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let counted = match hears_most {
            true => passed.min(COUNTED_AT_ONCE_MAX),
            false => Duration::ZERO,
        };
        self.away.retain(|node, _| away.contains(node));
        for node in away {
            *self.away.entry(node.clone()).or_default() += counted;
        }
        let overdue = self.away.iter().filter(|(_, gone)| **gone > limit);
        overdue.map(|(node, _)| node.clone()).collect()
    }
}

impl Driver {
    /// Forgets those that have been away for too long.
    pub(super) fn forget_absent(&mut self) {
        let Some(limit) = self.config.membership.forget_after else {
            self.members.absences = Absences::default();
            return;
        };
        let (away, hears_most) = self.who_is_away();
        let now = Instant::now();
        for node in self.members.absences.look(now, &away, hears_most, limit) {
            if self.may_forget(&node).is_err() {
                continue;
            }
            tracing::warn!(peer = %node, ?limit, "forgotten: it has been away for longer than membership.forget_after");
            // Nobody waits for the answer.
            let (reply, _) = oneshot::channel();
            self.begin_to_forget(node, reply);
        }
    }

    /// The other members that are away, and whether most are not. One that this node is not connected
    /// to is away if its source says so, or if there is only a list and the node calls in vain.
    fn who_is_away(&self) -> (BTreeSet<NodeName>, bool) {
        let forgotten: BTreeSet<&NodeName> = self.producer.forgotten().collect();
        let destinations = self.producer.destinations();
        let connected: BTreeSet<&NodeName> = (destinations.iter())
            .filter(|one| one.incarnation.is_some())
            .map(|one| &one.node)
            .collect();
        let senders: BTreeSet<NodeName> = (self.consumer.producers().into_iter())
            .map(|(name, _)| name)
            .collect();
        let unanswered = self.net.unanswered();
        let is_list = self.config.membership.source == Source::Static;
        let own = &self.config.node.name;
        let (mut away, mut here) = (BTreeSet::new(), 1);
        let is_forgotten = |node: &&NodeName| forgotten.contains(node);
        let members = || self.view.members().iter().map(|member| &member.name);
        let forgotten_members = members().filter(is_forgotten).count();
        for node in members().filter(|node| *node != own && !is_forgotten(node)) {
            let is_here = senders.contains(node) || connected.contains(node);
            let is_silent = unanswered.contains(node);
            match (is_here, self.members.is_live(node)) {
                (true, _) | (false, Some(true)) => here += 1,
                (false, Some(false)) if is_silent || !self.net.is_called(node) => {
                    away.insert(node.clone());
                }
                (false, None) if is_list && is_silent => {
                    away.insert(node.clone());
                }
                (false, Some(false) | None) => {}
            }
        }
        let all = self.view.members().len() - forgotten_members;
        let hears_most = 2 * here > all;
        (away, hears_most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(3);

    /// Looks at each of these seconds, with these nodes away, and says who is overdue at the last.
    fn overdue(looks: &[(u64, &[&str], bool)]) -> Vec<String> {
        let (mut absences, began) = (Absences::default(), Instant::now());
        let mut overdue = Vec::new();
        for (second, away, hears_most) in looks {
            let away = away
                .iter()
                .map(|name| NodeName::new(name).unwrap())
                .collect();
            let now = began + Duration::from_secs(*second);
            overdue = absences.look(now, &away, *hears_most, LIMIT);
        }
        overdue.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn who_is_away_for_longer_than_the_limit_is_overdue() {
        let away: &[&str] = &["a"];
        let looks: Vec<_> = (0..=3).map(|second| (second, away, true)).collect();
        assert_eq!(overdue(&looks), [""; 0]);
        let looks: Vec<_> = (0..=4).map(|second| (second, away, true)).collect();
        assert_eq!(overdue(&looks), ["a"]);
    }

    #[test]
    fn who_was_here_meanwhile_is_counted_anew() {
        let mut looks: Vec<(u64, &[&str], bool)> = (0..=3).map(|s| (s, &["a"][..], true)).collect();
        looks.push((4, &[], true));
        looks.extend((5..=7).map(|second| (second, &["a"][..], true)));
        assert_eq!(overdue(&looks), [""; 0]);
    }

    #[test]
    fn a_node_that_does_not_hear_most_takes_nobody_for_gone() {
        let away: &[&str] = &["a", "b"];
        let looks: Vec<_> = (0..=90).map(|second| (second, away, false)).collect();
        assert_eq!(overdue(&looks), [""; 0]);
    }

    #[test]
    fn a_machine_that_slept_has_not_listened_meanwhile() {
        assert_eq!(
            overdue(&[(0, &["a"], true), (9_999, &["a"], true)]),
            [""; 0]
        );
    }
}
