//! What came of it: a table and a verdict for people, one JSON object for scripts.

use std::fmt::Write as _;

use serde::Serialize;

use super::chaos::Kill;
use super::compare::Broken;
use super::node::Role;
use super::resume::Resumed;
use super::verify::Row;
use crate::cli::human;
use crate::cli::paint::Paint;
use crate::cli::table::{Listing, numbers, words};

/// Broken promises that are listed for people; the rest are counted. JSON has them all.
const BROKEN_SHOWN_MAX: usize = 20;
/// Resumptions that are listed for people.
const RESUMED_SHOWN_MAX: usize = 12;

/// The whole result.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Whether every promise held.
    pub(super) ok: bool,
    /// What repeats the choices of this run.
    pub(super) seed: u64,
    /// Nodes that sent.
    pub(super) producers: u16,
    /// Nodes that received.
    pub(super) consumers: u16,
    /// Copies of each file.
    pub(super) replicas: u16,
    /// Files that were handed over.
    pub(super) files: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// From the first file to the last consumer's answer.
    pub(super) took_ms: u64,
    /// Who was killed.
    pub(super) kills: Vec<Kill>,
    /// What was resumed.
    pub(super) resumed: Vec<Resumed>,
    /// What the consumers have.
    pub(super) inboxes: Vec<Row>,
    /// What was not as promised.
    pub(super) broken: Vec<Broken>,
    /// Where everything is, if it was kept.
    pub(super) directory: Option<String>,
}

impl Report {
    /// What was killed and resumed, and what broke: for stderr.
    pub(super) fn story(&self) -> String {
        let mut text = String::new();
        let resumed = self.spared();
        if !resumed.is_empty() {
            text += "\nresumed\n";
            let shown = resumed.iter().take(RESUMED_SHOWN_MAX);
            shown.for_each(|resumed| line(&mut text, &resumed.told()));
            more(&mut text, resumed.len(), RESUMED_SHOWN_MAX);
        }
        if !self.broken.is_empty() {
            text += "\nbroken\n";
            let shown = self.broken.iter().take(BROKEN_SHOWN_MAX);
            shown.for_each(|broken| line(&mut text, &broken.to_string()));
            more(&mut text, self.broken.len(), BROKEN_SHOWN_MAX);
        }
        text
    }

    /// The inboxes, for stdout.
    pub(super) fn table(&self, paint: Paint) -> String {
        let columns = [
            words("CONSUMER"),
            numbers("FILES"),
            numbers("BYTES"),
            numbers("VERIFIED"),
        ];
        let row = |name: &str, files, bytes, verified| {
            vec![
                name.to_owned(),
                human::count(files),
                human::bytes(bytes),
                human::count(verified),
            ]
        };
        let rows = self.inboxes.iter();
        let mut rows: Vec<_> = rows
            .map(|at| row(&at.node, at.files, at.bytes, at.verified))
            .collect();
        let sum = |of: fn(&Row) -> u64| self.inboxes.iter().map(of).sum();
        rows.push(row(
            "all",
            sum(|row| row.files),
            sum(|row| row.bytes),
            sum(|row| row.verified),
        ));
        Listing::new(paint, &columns).block(rows)
    }

    /// The last word, for stdout.
    pub(super) fn verdict(&self) -> String {
        let files = format!(
            "{}, {}, in {}",
            human::files(self.files),
            human::bytes(self.bytes),
            human::span(self.took_ms)
        );
        let chaos = self.chaos();
        match self.ok {
            true => format!(
                "every promise held: {files}{chaos}; each is on exactly {} of {} consumers, byte for byte, once",
                self.replicas, self.consumers
            ),
            false => format!(
                "{} promises were broken: {files}{chaos}; the seed was {}",
                self.broken.len(),
                self.seed
            ),
        }
    }

    /// The tries that did not have to begin at the beginning.
    fn spared(&self) -> Vec<&Resumed> {
        let resumed = self.resumed.iter();
        resumed
            .filter(|resumed| resumed.spared_bytes() > 0)
            .collect()
    }

    fn chaos(&self) -> String {
        if self.kills.is_empty() {
            return String::new();
        }
        let of = |role| self.kills.iter().filter(|kill| kill.role == role).count();
        let resumed = self.spared();
        let spared: u64 = resumed.iter().map(|resumed| resumed.spared_bytes()).sum();
        let mut text = format!(
            ", through {} kills of producers and {} of consumers",
            of(Role::Producer),
            of(Role::Consumer)
        );
        if spared > 0 {
            let count = resumed.len();
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                ", {count} resumptions that did not send {} again",
                human::bytes(spared)
            );
        }
        text
    }
}

fn line(text: &mut String, said: &str) {
    // Writing to a String cannot fail.
    let _ = writeln!(text, "  {said}");
}

fn more(text: &mut String, all: usize, shown: usize) {
    if all > shown {
        line(text, &format!("… and {} more", all - shown));
    }
}
