//! Whether this node may use its name, from what it hears of others that have the same.
//!
//! ```text
//!             ┌────────── nobody has it, or who had it is silent ──────────▶ Claimed
//!   Listening ┤
//!             └── another one runs under it ──▶ Taken (for good)
//! ```
//! The later of two nodes is the one that still listens when it hears of the other. It never
//! announces itself, so the record of the other is never replaced. One that has claimed its name
//! does not give it up: it reports the other.
//!
//! A sign of life is a heartbeat that rises. What went round just before a node died rises too, so
//! only what rises after a while counts. A heartbeat is heard of before what its node announces, so
//! who is known by that alone may have claimed the name as well: it is listened for as long.

use std::collections::BTreeMap;

use consign_core::ids::{Incarnation, Start};
use tokio::time::Instant;

use super::super::bounds::{ALONE_MAX, NAME_WATCH, RUMOUR_MAX};

/// Another start under this node's name, as it is heard of now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Namesake {
    pub(super) start: Start,
    /// Rises while it runs.
    pub(super) heartbeat: u64,
    /// Whether it has claimed the name.
    pub(super) announced: bool,
    /// In which life it has; 0 when that is not known.
    pub(super) incarnation: Incarnation,
    /// Whether it has said that it leaves.
    pub(super) left: bool,
}

/// See the module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// It is not known yet whether the name is free.
    Listening,
    /// The name is this node's.
    Claimed,
    /// It is the other's.
    Taken(Start),
}

#[derive(Debug)]
struct Watched {
    since: Instant,
    heartbeat: u64,
    /// When that rose last.
    rose: Instant,
    lives: bool,
    /// In which life it announced itself, once that one is surely over.
    outlived: Option<Incarnation>,
}

/// Watches the others of this node's name.
#[derive(Debug)]
pub(super) struct Naming {
    start: Start,
    claim: Claim,
    watched: BTreeMap<Start, Watched>,
}

impl Naming {
    /// For a node that started just now.
    pub(super) fn new(start: Start) -> Self {
        Self {
            start,
            claim: Claim::Listening,
            watched: BTreeMap::new(),
        }
    }

    pub(super) fn claim(&self) -> Claim {
        self.claim
    }

    /// Takes in what is heard now; `hears_anybody` tells whether any other node is.
    pub(super) fn look(&mut self, now: Instant, hears_anybody: bool, others: &[Namesake]) {
        for other in others {
            let watched = self.watched.entry(other.start).or_insert(Watched {
                since: now,
                heartbeat: other.heartbeat,
                rose: now,
                lives: false,
                outlived: None,
            });
            if other.heartbeat > watched.heartbeat {
                watched.heartbeat = other.heartbeat;
                watched.rose = now;
                watched.lives |= now - watched.since > RUMOUR_MAX;
            }
            let silence = now - watched.rose;
            watched.lives &= silence < ALONE_MAX;
            let is_over = other.left || !watched.lives && silence >= NAME_WATCH;
            watched.outlived = is_over.then_some(other.incarnation);
        }
        self.watched
            .retain(|start, _| others.iter().any(|other| other.start == *start));
        if self.claim == Claim::Listening && hears_anybody {
            self.claim = self.judge(now, others);
        }
    }

    /// One that runs under this node's name although this node has it.
    pub(super) fn intruder(&self) -> Option<Start> {
        let mut living = self.watched.iter().filter(|(_, watched)| watched.lives);
        living
            .next()
            .map(|(start, _)| *start)
            .filter(|_| self.claim == Claim::Claimed)
    }

    /// The latest life that was announced under this node's name and is over. Others go by the
    /// latest one that they know of, so this node is heard once it announces itself in a later one.
    /// A node that lives is none of these: two that both have the name would outbid each other.
    pub(super) fn outlived(&self) -> Incarnation {
        let lives = self.watched.values().filter_map(|watched| watched.outlived);
        lives.max().unwrap_or(Incarnation(0))
    }

    fn judge(&self, now: Instant, others: &[Namesake]) -> Claim {
        let mut is_sure = true;
        for other in others.iter().filter(|other| !other.left) {
            let watched = &self.watched[&other.start];
            // Of two that listen at once, the one with the lesser start goes first.
            let goes_first = other.announced || other.start < self.start;
            if watched.lives && goes_first {
                return Claim::Taken(other.start);
            }
            is_sure &= now - watched.since >= NAME_WATCH;
        }
        match is_sure {
            true => Claim::Claimed,
            false => Claim::Listening,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const ME: Start = Start(50);

    fn other(start: u64, heartbeat: u64) -> Namesake {
        Namesake {
            start: Start(start),
            heartbeat,
            announced: true,
            incarnation: Incarnation(9),
            left: false,
        }
    }

    /// What is claimed after looking every 100 ms for as long as it takes.
    fn after(seconds: u64, others: impl Fn(u64) -> Vec<Namesake>) -> Claim {
        let (mut naming, began) = (Naming::new(ME), Instant::now());
        for step in 0..seconds * 10 {
            let now = began + Duration::from_millis(100 * step);
            naming.look(now, true, &others(step));
        }
        naming.claim()
    }

    #[test]
    fn a_name_that_nobody_has_is_claimed_at_once_but_not_before_anybody_is_heard() {
        let mut naming = Naming::new(ME);
        naming.look(Instant::now(), false, &[]);
        assert_eq!(naming.claim(), Claim::Listening);
        naming.look(Instant::now(), true, &[]);
        assert_eq!(naming.claim(), Claim::Claimed);
    }

    #[test]
    fn a_name_whose_node_runs_is_not_taken_over() {
        assert_eq!(
            after(4, |step| vec![other(7, step)]),
            Claim::Taken(Start(7))
        );
        assert_eq!(
            after(4, |step| vec![other(77, step)]),
            Claim::Taken(Start(77))
        );
    }

    #[test]
    fn a_name_whose_node_is_dead_is_taken_over_even_while_rumours_go_round() {
        assert_eq!(after(4, |_| vec![other(7, 1000)]), Claim::Claimed);
        assert_eq!(
            after(4, |step| vec![other(7, step.min(10))]),
            Claim::Claimed
        );
        assert_eq!(after(1, |_| vec![other(7, 1000)]), Claim::Listening);
    }

    #[test]
    fn a_name_that_was_left_is_free() {
        let left = |step| Namesake {
            left: true,
            ..other(7, step)
        };
        assert_eq!(after(4, |step| vec![left(step)]), Claim::Claimed);
    }

    #[test]
    fn of_two_that_start_at_once_one_gives_way() {
        let listening = |start, step| Namesake {
            announced: false,
            ..other(start, step)
        };
        assert_eq!(after(4, |step| vec![listening(77, step)]), Claim::Claimed);
        let taken = after(4, |step| vec![listening(7, step)]);
        assert_eq!(taken, Claim::Taken(Start(7)));
    }

    #[test]
    fn one_that_is_known_by_its_heartbeat_alone_may_have_the_name() {
        let heard_later = |step| Namesake {
            announced: step >= 10,
            ..other(77, step)
        };
        let taken = after(4, |step| vec![heard_later(step)]);
        assert_eq!(taken, Claim::Taken(Start(77)));
    }

    #[test]
    fn who_has_its_name_keeps_it_and_reports_the_other() {
        let (mut naming, began) = (Naming::new(ME), Instant::now());
        naming.look(began, true, &[]);
        for step in 0..40 {
            let now = began + Duration::from_millis(100 * step);
            naming.look(now, true, &[other(7, step)]);
        }
        assert_eq!(naming.claim(), Claim::Claimed);
        assert_eq!(naming.intruder(), Some(Start(7)));
        // It was stopped, and is still heard of.
        naming.look(began + Duration::from_secs(10), true, &[other(7, 39)]);
        assert_eq!(naming.intruder(), None);
    }

    #[test]
    fn only_a_life_that_is_over_is_outlived() {
        let outlived = |heartbeat: fn(u64) -> u64, left| {
            let (mut naming, began) = (Naming::new(ME), Instant::now());
            for step in 0..40 {
                let now = began + Duration::from_millis(100 * step);
                let other = other(7, heartbeat(step));
                naming.look(now, true, &[Namesake { left, ..other }]);
            }
            naming.outlived()
        };
        assert_eq!(outlived(|_| 1000, false), Incarnation(9));
        assert_eq!(outlived(|step| step.min(10), false), Incarnation(9));
        assert_eq!(outlived(|step| step, false), Incarnation(0));
        assert_eq!(outlived(|step| step, true), Incarnation(9));
    }
}
