//! Killing agents with SIGKILL while data flows, and starting them again.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use serde::Serialize;

use super::cluster::Cluster;
use super::node::{Node, Role};
use super::picture::Picture;
use super::rng::Rng;
use super::watch::Eyes;
use crate::cli::human;

/// Kills of each role without which it was no chaos.
pub(super) const KILLS_MIN: usize = 3;
/// How long a killed agent stays away, in ms.
const AWAY_MS: (u64, u64) = (200, 2_000);
/// Pause between two kills, in ms.
const PAUSE_MS: (u64, u64) = (200, 900);
/// How long is waited for a large file to be under way, before whoever is there is killed.
const TARGET_DEADLINE: Duration = Duration::from_secs(2);
/// Progress of a large file, in percent, from which on killing those who move it tells most.
const TARGET_PERCENT: u64 = 15;
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// An agent that was killed.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Kill {
    /// Which.
    pub(super) node: String,
    /// What it is for.
    pub(super) role: Role,
    /// When, since the first file.
    pub(super) at_ms: u64,
    /// When it was started again, after that.
    pub(super) away_ms: u64,
    /// Files that were not done then.
    pub(super) unfinished: u64,
    /// The large file that it was moving, if one was seen.
    pub(super) moving: Option<Interrupted>,
}

/// A large file that a kill interrupted.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Interrupted {
    /// Its transfer.
    pub(super) id: String,
    /// Its name.
    pub(super) name: String,
    /// Its length in bytes.
    pub(super) size: u64,
    /// How far it had come at the victim, or at its consumers' head when the producer was killed.
    pub(super) bytes: u64,
}

/// The one who kills.
#[derive(Debug)]
pub(super) struct Chaos<'a> {
    cluster: &'a Cluster,
    eyes: &'a Eyes,
    picture: &'a Picture,
    rng: Rng,
    kills: Vec<Kill>,
    away: Vec<(&'a Node, Instant)>,
}

impl<'a> Chaos<'a> {
    pub(super) fn new(
        cluster: &'a Cluster,
        eyes: &'a Eyes,
        picture: &'a Picture,
        rng: Rng,
    ) -> Self {
        Self {
            cluster,
            eyes,
            picture,
            rng,
            kills: Vec::new(),
            away: Vec::new(),
        }
    }

    /// Kills and restarts for at least so long, and until enough of each role were killed; returns
    /// when all are started again.
    ///
    /// # Errors
    /// When an agent cannot be started again.
    pub(super) async fn run(mut self, least: Duration) -> anyhow::Result<Vec<Kill>> {
        let mut next = Instant::now() + self.pause();
        loop {
            self.restart_due()?;
            let enough = self.eyes.elapsed() >= least && self.fewest().1 >= KILLS_MIN;
            if enough && self.away.is_empty() {
                return Ok(self.kills);
            }
            let now = Instant::now();
            if !enough && now >= next {
                let late = now >= next + TARGET_DEADLINE;
                if let Some((victim, moving)) = self.victim(late) {
                    self.kill(victim, moving);
                    next = Instant::now() + self.pause();
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    fn pause(&mut self) -> Duration {
        self.rng.span(PAUSE_MS.0, PAUSE_MS.1)
    }

    fn restart_due(&mut self) -> anyhow::Result<()> {
        let now = Instant::now();
        for (node, _) in self.away.extract_if(.., |(_, back)| *back <= now) {
            node.start()
                .with_context(|| format!("cannot start {} again", node.name))?;
        }
        Ok(())
    }

    /// The role with the fewest kills, and how many those are.
    fn fewest(&self) -> (Role, usize) {
        let of = |role| self.kills.iter().filter(|kill| kill.role == role).count();
        let (producers, consumers) = (of(Role::Producer), of(Role::Consumer));
        match producers < consumers {
            true => (Role::Producer, producers),
            false => (Role::Consumer, consumers),
        }
    }

    /// Whom to kill now: somebody of the role that had the fewest, who moves a large file; with
    /// `anybody`, any of them, if files are under way at all.
    fn victim(&mut self, anybody: bool) -> Option<(&'a Node, Option<Interrupted>)> {
        let role = self.fewest().0;
        let up: Vec<&Node> = self
            .cluster
            .of(role)
            .filter(|node| node.is_ready())
            .collect();
        let all = self.cluster.of(role).count();
        // One consumer of several is left, so that there is somebody to send to.
        if role == Role::Consumer && all > 1 && up.len() < 2 {
            return None;
        }
        if self.eyes.progress().unfinished == 0 {
            return None;
        }
        let busy = self.busy(&up);
        match self.rng.pick(&busy) {
            Some((node, moving)) => Some((node, Some(moving.clone()))),
            None if anybody => self.rng.pick(&up).map(|node| (*node, None)),
            None => None,
        }
    }

    /// Who of these moves a large file, and which.
    fn busy(&self, up: &[&'a Node]) -> Vec<(&'a Node, Interrupted)> {
        let mut busy = Vec::new();
        for moving in self.eyes.moving() {
            let transfer = &moving.transfer;
            let interrupted = |bytes| Interrupted {
                id: transfer.id.clone(),
                name: transfer.name.clone(),
                size: transfer.size,
                bytes,
            };
            let far_enough =
                |bytes: &u64| (transfer.size * TARGET_PERCENT / 100..transfer.size).contains(bytes);
            let find = |name: &str| up.iter().find(|node| node.name == name);
            let head = transfer
                .consumers
                .iter()
                .map(|consumer| consumer.bytes)
                .max();
            if let Some((node, bytes)) = find(&moving.producer).zip(head.filter(far_enough)) {
                busy.push((*node, interrupted(bytes)));
            }
            for consumer in &transfer.consumers {
                let node = find(&consumer.node).filter(|_| far_enough(&consumer.bytes));
                busy.extend(node.map(|node| (*node, interrupted(consumer.bytes))));
            }
        }
        busy
    }

    fn kill(&mut self, victim: &'a Node, moving: Option<Interrupted>) {
        let away = self.rng.span(AWAY_MS.0, AWAY_MS.1);
        victim.kill();
        let kill = Kill {
            node: victim.name.clone(),
            role: victim.role,
            at_ms: u64::try_from(self.eyes.elapsed().as_millis()).unwrap_or(u64::MAX),
            away_ms: u64::try_from(away.as_millis()).unwrap_or(u64::MAX),
            unfinished: self.eyes.progress().unfinished,
            moving,
        };
        self.picture.say(&kill.told());
        self.away.push((victim, Instant::now() + away));
        self.kills.push(kill);
    }
}

impl Kill {
    /// In words.
    pub(super) fn told(&self) -> String {
        let mut text = format!(
            "{}  SIGKILL {} with {} unfinished",
            human::span(self.at_ms),
            self.node,
            human::files(self.unfinished)
        );
        if let Some(moving) = &self.moving {
            text += &format!(
                ", {} at {} of {}",
                moving.name,
                human::bytes(moving.bytes),
                human::bytes(moving.size)
            );
        }
        text + &format!("; back in {}", human::span(self.away_ms))
    }
}
