//! Members that have been away for longer than `membership.forget_after`: they are forgotten as if a
//! person had said so.
//!
//! Time counts only while this node hears somebody else, since a node that hears nobody may itself be
//! the one that is cut off. It is counted by a clock that does not jump, and anew after a restart.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use consign_core::ids::NodeName;
use tokio::sync::oneshot;

use super::Driver;

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
        hears_somebody: bool,
        limit: Duration,
    ) -> Vec<NodeName> {
        let last = self.looked_at.replace(now);
        let passed = last.map_or(Duration::ZERO, |last| now.saturating_duration_since(last));
        let counted = match hears_somebody {
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
        let (away, hears_somebody) = self.who_is_away();
        let now = Instant::now();
        for node in self
            .members
            .absences
            .look(now, &away, hears_somebody, limit)
        {
            if self.may_forget(&node).is_err() {
                continue;
            }
            tracing::warn!(peer = %node, ?limit, "forgotten: it has been away for longer than membership.forget_after");
            // Nobody waits for the answer.
            let (reply, _) = oneshot::channel();
            self.begin_to_forget(node, reply);
        }
    }

    /// The other members that are away, and whether any is not. One that this node is not connected
    /// to is away if its source says so, or if the source cannot tell and the node keeps trying.
    fn who_is_away(&self) -> (BTreeSet<NodeName>, bool) {
        let forgotten: BTreeSet<&NodeName> = self.producer.forgotten().collect();
        let destinations = self.producer.destinations();
        let senders: BTreeSet<NodeName> = (self.consumer.producers().into_iter())
            .map(|(name, _)| name)
            .collect();
        let mut away = BTreeSet::new();
        let mut hears_somebody = !senders.is_empty();
        let own = &self.config.node.name;
        let others = self.view.members().iter().map(|member| &member.name);
        for node in others.filter(|node| *node != own && !forgotten.contains(node)) {
            let connected = (destinations.iter())
                .find(|one| one.node == *node)
                .map(|one| one.incarnation.is_some());
            let is_here = senders.contains(node) || connected == Some(true);
            match (is_here, self.members.is_live(node), connected) {
                (true, _, _) | (false, Some(true), _) => hears_somebody = true,
                (false, Some(false), _) | (false, None, Some(_)) => {
                    away.insert(node.clone());
                }
                (false, None, None) => {}
            }
        }
        (away, hears_somebody)
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
        for (second, away, hears_somebody) in looks {
            let away = away
                .iter()
                .map(|name| NodeName::new(name).unwrap())
                .collect();
            let now = began + Duration::from_secs(*second);
            overdue = absences.look(now, &away, *hears_somebody, LIMIT);
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
    fn a_node_that_hears_nobody_takes_nobody_for_gone() {
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
