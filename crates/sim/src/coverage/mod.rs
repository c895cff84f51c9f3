//! What a run has met: states and the edges between them, records, messages, effects, refusals,
//! ways of recovering, faults. An edge that no seed takes is a gap: what follows from it is not
//! tested, however many seeds pass.
//!
//! The state machines count their edges themselves ([`consign_core::watched`]), since one event may
//! take several at once.

mod effects;
mod states;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::OnceLock;

use consign_core::record::Record;
use consign_core::watched::{Edge, Machine};
use consign_core::wire::{Message, RefusalCode};

use crate::plan::Fault;

pub use effects::{consumer_effect, producer_effect, refusal};
pub use states::{LEFT_TO_HOSTILE_PEERS, TAKEN_BY_NO_PEER, names};

/// What is counted together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// Edges of a producer's transfer.
    StageEdge,
    /// Edges of one consumer of a transfer, as its producer sees it.
    LegEdge,
    /// Edges of a consumer's slot.
    SlotEdge,
    /// Stages in which a transfer was when its node died.
    StageDied,
    /// States in which a slot was when its node died.
    SlotDied,
    /// Stages in which transfers are after a recovery.
    StageRecovered,
    /// States in which slots are after a recovery.
    SlotRecovered,
    /// Records committed.
    Committed,
    /// Records replayed.
    Replayed,
    /// Messages delivered.
    Delivered,
    /// Effects of producers.
    ProducerEffect,
    /// Effects of consumers.
    ConsumerEffect,
    /// Refusals of consumers.
    Refused,
    /// Refusals of requests by producers.
    RequestRefused,
    /// What recoveries found and did.
    Recovery,
    /// What went wrong.
    Fault,
}

/// What recoveries find and do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recovered {
    /// There was no log.
    Created,
    /// Records that were not proven synced were written again.
    Rewrote,
    /// A torn tail was cut.
    Cut,
    /// Files of dropped segments were removed.
    RemovedDropped,
    /// Damage was found and named.
    FoundDamage,
    /// A read failed.
    ReadFailed,
    /// A write or a sync failed.
    WriteFailed,
    /// It ended in a crash.
    Crashed,
    /// The disk was full.
    Full,
}

const RECOVERED: [&str; 9] = [
    "log created",
    "unproven records rewritten",
    "torn tail cut",
    "dropped segments removed",
    "damage named",
    "read failed",
    "write failed",
    "crashed again",
    "full disk",
];

const SUBJECTS: [(Subject, &str); 16] = [
    (Subject::StageEdge, "edges of transfers"),
    (Subject::LegEdge, "edges of legs"),
    (Subject::SlotEdge, "edges of slots"),
    (Subject::StageDied, "transfers when their node died"),
    (Subject::SlotDied, "slots when their node died"),
    (Subject::StageRecovered, "transfers after a recovery"),
    (Subject::SlotRecovered, "slots after a recovery"),
    (Subject::Committed, "records committed"),
    (Subject::Replayed, "records replayed"),
    (Subject::Delivered, "messages delivered"),
    (Subject::ProducerEffect, "effects of producers"),
    (Subject::ConsumerEffect, "effects of consumers"),
    (Subject::Refused, "refusals of files"),
    (Subject::RequestRefused, "refusals of requests"),
    (Subject::Recovery, "recoveries"),
    (Subject::Fault, "faults"),
];

/// What one count is of, and why it may stay 0.
struct Cell {
    label: String,
    wanted: bool,
}

fn cell(label: impl Into<String>) -> Cell {
    Cell {
        label: label.into(),
        wanted: true,
    }
}

fn unused() -> Cell {
    Cell {
        label: String::new(),
        wanted: false,
    }
}

fn edges(machine: Machine) -> Vec<Cell> {
    states::edges(machine)
        .map(|edge| match edge {
            Some((from, to)) => Cell {
                label: format!("{from} → {to}"),
                wanted: !LEFT_TO_HOSTILE_PEERS.contains(&(machine, from, to))
                    && !TAKEN_BY_NO_PEER.contains(&(machine, from, to)),
            },
            None => unused(),
        })
        .collect()
}

fn named(names: &[&str], wanted: impl Fn(&str) -> bool) -> Vec<Cell> {
    let cell = |name: &&str| Cell {
        label: (*name).to_owned(),
        wanted: wanted(name),
    };
    names.iter().map(cell).collect()
}

fn records() -> Vec<Cell> {
    let name = |kind: u8| Record::read(kind, &[]).ok().map(|record| record.name());
    (0..=u8::MAX)
        .map(|kind| match name(kind) {
            // The driver's own: what they are for is not in the simulator.
            Some(name @ ("ViewSeen" | "InboxMarked" | "PeerLog" | "Outlived" | "Reconciled")) => {
                Cell {
                    label: name.to_owned(),
                    wanted: false,
                }
            }
            Some(name) => cell(name),
            None => unused(),
        })
        .collect()
}

fn messages() -> Vec<Cell> {
    // Greetings and the headers of data are modelled, not sent.
    let control = |kind: &u8| (16..64).contains(kind);
    let name = |kind: u8| Message::decode(kind, &[]).ok().flatten().map(|m| m.name());
    (0..=u8::MAX)
        .map(|kind| match name(kind).filter(|_| control(&kind)) {
            Some(name) => cell(name),
            None => unused(),
        })
        .collect()
}

fn refusal_codes() -> Vec<Cell> {
    let name = |code| RefusalCode::try_from(code).ok();
    (0..16)
        .map_while(name)
        .map(|code| cell(format!("{code:?}")))
        .collect()
}

fn cells(subject: Subject) -> Vec<Cell> {
    match subject {
        Subject::StageEdge => edges(Machine::Transfer),
        Subject::LegEdge => edges(Machine::Leg),
        Subject::SlotEdge => edges(Machine::Slot),
        Subject::StageDied => named(states::STAGES, |_| true),
        Subject::SlotDied => named(states::SLOTS, |_| true),
        // A recovery keeps what the log says; the rest is begun anew from there.
        Subject::StageRecovered => named(states::STAGES, |_| false),
        Subject::SlotRecovered => named(states::SLOTS, |name| {
            matches!(
                name,
                "Receiving" | "Received" | "Staging" | "Publishing" | "Published" | "Abandoned"
            )
        }),
        Subject::Committed | Subject::Replayed => records(),
        Subject::Delivered => messages(),
        Subject::ProducerEffect => named(&effects::PRODUCER, |_| true),
        Subject::ConsumerEffect => named(&effects::CONSUMER, |_| true),
        Subject::Refused => refusal_codes(),
        // No simulated file is that large.
        Subject::RequestRefused => named(&effects::REFUSALS, |name| name != "TooLarge"),
        Subject::Recovery => named(&RECOVERED, |_| true),
        Subject::Fault => Fault::ALL.iter().map(|fault| cell(fault.name())).collect(),
    }
}

fn table() -> &'static [Vec<Cell>] {
    static TABLE: OnceLock<Vec<Vec<Cell>>> = OnceLock::new();
    TABLE.get_or_init(|| {
        SUBJECTS
            .iter()
            .map(|(subject, _)| cells(*subject))
            .collect()
    })
}

/// Counts of everything that was met.
#[derive(Clone, PartialEq, Eq)]
pub struct Coverage {
    counts: Vec<Vec<u64>>,
}

impl Default for Coverage {
    fn default() -> Self {
        let counts = table().iter().map(|cells| vec![0; cells.len()]).collect();
        Self { counts }
    }
}

impl fmt::Debug for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Coverage")
    }
}

impl Coverage {
    /// Counts one.
    pub fn hit(&mut self, subject: Subject, index: usize) {
        self.counts[subject as usize][index] += 1;
    }

    /// Counts a fault that came true.
    pub fn fault(&mut self, fault: Fault) {
        self.hit(Subject::Fault, fault as usize);
    }

    /// Counts what a recovery did.
    pub fn recovered(&mut self, what: Recovered) {
        self.hit(Subject::Recovery, what as usize);
    }

    /// Counts edges that the state machines have taken.
    pub fn edges(&mut self, taken: &BTreeMap<Edge, u64>) {
        for (&(machine, from, to), count) in taken {
            let subject = match machine {
                Machine::Transfer => Subject::StageEdge,
                Machine::Leg => Subject::LegEdge,
                Machine::Slot => Subject::SlotEdge,
            };
            self.counts[subject as usize][states::number(machine, from, to)] += count;
        }
    }

    /// Adds the counts of another run.
    pub fn add(&mut self, other: &Self) {
        let pairs = self.counts.iter_mut().zip(&other.counts);
        for (mine, theirs) in pairs.flat_map(|(mine, theirs)| mine.iter_mut().zip(theirs)) {
            *mine += theirs;
        }
    }

    /// What should have been met and was not.
    #[must_use]
    pub fn gaps(&self) -> Vec<String> {
        let mut gaps = Vec::new();
        for ((_, title), (cells, counts)) in SUBJECTS.iter().zip(table().iter().zip(&self.counts)) {
            let missing = cells.iter().zip(counts);
            let missing = missing.filter(|(cell, count)| cell.wanted && **count == 0);
            gaps.extend(missing.map(|(cell, _)| format!("{title}: {}", cell.label)));
        }
        gaps
    }
}

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for ((_, title), (cells, counts)) in SUBJECTS.iter().zip(table().iter().zip(&self.counts)) {
            let met = cells.iter().zip(counts).filter(|(_, count)| **count > 0);
            let missed = cells.iter().zip(counts);
            let missed = missed.filter(|(cell, count)| cell.wanted && **count == 0);
            writeln!(
                f,
                "{title}: {} met, {} missed",
                met.clone().count(),
                missed.clone().count()
            )?;
            for (cell, count) in met {
                writeln!(f, "  {count:>12}  {}", cell.label)?;
            }
            for (cell, _) in missed {
                writeln!(f, "             -  {}", cell.label)?;
            }
        }
        Ok(())
    }
}
