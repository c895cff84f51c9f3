//! Progress of what is waited for: a bar for each consumer.

use std::collections::BTreeMap;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::human;
use crate::api::model::Transfer;

/// Bars that are drawn; a terminal has no room for more.
const BARS_MAX: usize = 12;

#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    held_bytes: u64,
    bytes: u64,
    saved: u64,
    files: u64,
}

impl Sum {
    fn add(&mut self, other: Self) {
        self.held_bytes += other.held_bytes;
        self.bytes += other.bytes;
        self.saved += other.saved;
        self.files += other.files;
    }
}

/// A bar for each consumer; indicatif draws them on stderr, and only if that is a terminal.
pub(super) struct Bars {
    all: MultiProgress,
    bars: BTreeMap<String, ProgressBar>,
    ended: BTreeMap<String, Sum>,
    moving: BTreeMap<String, Sum>,
}

impl Bars {
    pub(super) fn new() -> Self {
        Self {
            all: MultiProgress::new(),
            bars: BTreeMap::new(),
            ended: BTreeMap::new(),
            moving: BTreeMap::new(),
        }
    }

    pub(super) fn begin_round(&mut self) {
        self.moving.clear();
    }

    pub(super) fn count(&mut self, transfer: &Transfer, ended: bool) {
        let sums = match ended {
            true => &mut self.ended,
            false => &mut self.moving,
        };
        for consumer in &transfer.consumers {
            if matches!(&*consumer.state, "abandoned" | "abandoning" | "refused") {
                continue;
            }
            let sum = Sum {
                held_bytes: consumer.bytes,
                bytes: transfer.size,
                saved: u64::from(consumer.state == "saved"),
                files: 1,
            };
            sums.entry(consumer.node.clone()).or_default().add(sum);
        }
    }

    pub(super) fn draw(&mut self) {
        let mut sums = self.ended.clone();
        for (node, sum) in &self.moving {
            sums.entry(node.clone()).or_default().add(*sum);
        }
        for (node, sum) in sums {
            if !self.bars.contains_key(&node) {
                if self.bars.len() >= BARS_MAX {
                    continue;
                }
                let bar = self.all.add(ProgressBar::new(0));
                bar.set_style(style());
                bar.set_prefix(node.clone());
                self.bars.insert(node.clone(), bar);
            }
            if let Some(bar) = self.bars.get(&node) {
                bar.set_length(sum.bytes);
                bar.set_position(sum.held_bytes);
                let (saved, files) = (human::count(sum.saved), human::files(sum.files));
                bar.set_message(format!("{saved} of {files} saved"));
            }
        }
    }

    /// Runs something that prints: the bars are out of the way meanwhile.
    pub(super) fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.all.suspend(print)
    }

    pub(super) fn say(&self, line: &str) {
        self.all.suspend(|| eprintln!("{line}"));
    }

    pub(super) fn clear(&self) {
        // Only fails when the terminal is gone, and then nobody looks.
        let _ = self.all.clear();
    }
}

fn style() -> ProgressStyle {
    // Without colours: calm everywhere, and nothing to switch off.
    ProgressStyle::with_template("{prefix:>16}  {bar:32}  {bytes:>10} / {total_bytes:10} {msg}")
        .expect("a constant template")
        .progress_chars("━╸─")
}
