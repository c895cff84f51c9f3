//! One consumer is sick and everybody else is well: it delays only what is its own (L2).

use super::World;
use super::happening::End;
use crate::ledger::Violation;
use crate::promise::Promise;

/// How many times slower a slow consumer is.
const SLOWNESS: u64 = 300;

/// What everybody else may take for a file, in ms: the deadline of each phase of an attempt may pass once
/// for the sick one (5 s to open, 30 s to receive, 10 s to commit while others wait), and then comes an
/// attempt without it.
const PATIENCE_MS: u64 = 90_000;

impl World {
    /// A consumer falls ill, until all is healed.
    pub(super) fn sicken(&mut self) -> bool {
        let Some(node) = self.some_consumer() else {
            return false;
        };
        self.nodes[node].sick = true;
        match self.draw(4) {
            // It does not come up again.
            0 if self.lives(node) => self.end(node, End::PowerCut),
            // Its connections stay, and nothing comes over them.
            0 | 1 => self.silence(node),
            2 => self.plan.nodes[node].slowness = SLOWNESS,
            _ => {
                let used = self.nodes[node].disk.used_bytes();
                self.nodes[node].disk.set_capacity(Some(used));
            }
        }
        true
    }

    fn silence(&mut self, node: usize) {
        for other in 0..self.nodes.len() {
            self.blocked.insert((node, other));
            self.blocked.insert((other, node));
        }
        for link in self.open_links() {
            if self.is_end_of(link, node) {
                self.deafen(link, 0);
                self.deafen(link, 1);
            }
        }
    }

    /// Whoever is sick gets well.
    pub(super) fn cure(&mut self) {
        for node in 0..self.nodes.len() {
            if std::mem::take(&mut self.nodes[node].sick) {
                self.plan.nodes[node].slowness = 1;
                for link in self.open_links() {
                    if self.is_end_of(link, node) {
                        self.break_link(link, 1_000_000);
                    }
                }
            }
        }
    }

    /// Before the cure: all that was accepted long ago is at everybody it was placed on, but for the
    /// sick one.
    pub(super) fn check_isolation(&mut self) {
        if !self.nodes.iter().any(|node| node.sick) {
            return;
        }
        let mut delayed = None;
        for (file, story) in self.ledger.stories.iter().enumerate() {
            let recent = self.now / 1_000 < story.accepted_at_ms + PATIENCE_MS;
            // Where taken paths are refused a file may wait for a person.
            let waits = self.ledger.refusing.contains(&story.plan.feed);
            if recent || waits || story.key.is_none() || story.cancelled {
                continue;
            }
            let well = |node: &&usize| !self.nodes[**node].sick;
            let owed = story.kept.keys().filter(well);
            let owed: Vec<usize> = owed.filter(|n| !story.saved.contains(n)).copied().collect();
            // Where only the sick one consumes a feed, its files wait unplaced.
            let mut nodes = self.nodes.iter().zip(&self.plan.nodes);
            let somebody = nodes.any(|(node, plan)| {
                let consumes = plan.consumes.contains(&story.plan.feed);
                consumes && !node.sick && !plan.joins_late
            });
            if !owed.is_empty() || (story.kept.is_empty() && somebody) {
                delayed = delayed.or(Some((file, owed)));
            }
        }
        if let Some((file, owed)) = delayed {
            self.violate(Violation {
                promise: Promise::Isolated,
                what: format!("file {file} is owed to {owed:?}, who are well"),
                file: Some(file),
            });
        }
    }
}
