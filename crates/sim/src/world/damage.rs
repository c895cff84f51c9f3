//! Damaging a copy of a dead node's log: recovery reports it, or nothing of it is missing (S8).
//!
//! The node itself never sees the damage: it comes up from the untouched disk, and goes on.

use std::ops::Range;
use std::path::{Path, PathBuf};

use consign_core::log::{Log, LogError, LogSettings, Position};
use consign_core::record::Record;

use super::World;
use super::node::LOG;
use crate::coverage::Recovered;
use crate::disk::{SECTOR_BYTES, SimDisk};
use crate::ledger::Violation;
use crate::promise::Promise;

type Recovery = Result<Vec<(Position, Record)>, LogError>;

/// What lies before the first record of a batch and proves what was synced before, in bytes.
const PROOF_BYTES: u32 = 48;

/// How many records of `whole` are left, if `rest` is a beginning of it. With the last batch may go the
/// word that a segment is dropped whose file is still there: what it holds then comes before.
fn kept(rest: &[(Position, Record)], whole: &[(Position, Record)]) -> Option<usize> {
    let first = whole.first().map(|(_, record)| record);
    let from = rest.iter().position(|(_, record)| Some(record) == first);
    let rest = &rest[from.unwrap_or(rest.len())..];
    let mut both = rest.iter().zip(whole);
    let same = rest.len() <= whole.len() && both.all(|((_, a), (_, b))| a == b);
    (same && (from.is_some() || rest.is_empty())).then_some(rest.len())
}

/// Whether these are the same records, wherever they are.
fn same(first: &[(Position, Record)], second: &[(Position, Record)]) -> bool {
    first.len() == second.len() && kept(first, second).is_some()
}

impl World {
    pub(super) fn try_damage(&mut self, node: usize) {
        let sound = self.nodes[node].disk.fork();
        let files = sound.files().into_iter();
        let segments: Vec<PathBuf> = files
            .filter(|path| path.starts_with(LOG))
            .filter(|path| path.extension().is_some_and(|end| end == "log"))
            .collect();
        let nth = self.draw(segments.len() as u64) as usize;
        let Some(path) = segments.get(nth) else {
            return;
        };
        let damaged = sound.fork();
        let (what, damaged_at) = self.damage(&damaged, path);
        self.line(|| {
            format!(
                "{}: {what} in a copy of {}",
                self.nodes[node].name,
                path.display()
            )
        });
        let (whole, rest) = (self.recover(&sound), self.recover(&damaged));
        match (whole, rest) {
            (Ok(_), Err(LogError::Damaged { .. } | LogError::Unreadable { .. })) => {
                self.coverage.recovered(Recovered::FoundDamage);
            }
            // Above what is proven synced, damage is a torn tail.
            (Ok(whole), Ok(rest)) if self.is_torn(node, &damaged_at, &rest, &whole) => {}
            (Err(_), _) => {}
            (Ok(whole), rest) => {
                let found = match rest {
                    Ok(rest) => format!("{} other records", rest.len()),
                    Err(error) => error.to_string(),
                };
                self.violate(Violation {
                    promise: Promise::DamageNamed,
                    what: format!("{what}: {found} instead of {}", whole.len()),
                    file: None,
                });
            }
        }
    }

    /// A recovery that ends at any of its operations, and is begun again by the next start, yields
    /// what one yields that nobody disturbs: S10.
    pub(super) fn try_again(&mut self, node: usize) {
        let whole = self.nodes[node].disk.fork();
        let cut = whole.fork();
        whole.kill();
        for disk in [&whole, &cut] {
            disk.no_more_faults();
            disk.set_capacity(None);
        }
        let ops = self.draw(30);
        cut.crash_after(ops);
        let _ = self.open_log(&cut);
        cut.kill();
        let (Ok(first), second) = (self.open_log(&whole), self.open_log(&cut)) else {
            return;
        };
        let found = match second {
            Ok(second) if same(&first, &second) => return,
            Ok(second) => format!("{} records", second.len()),
            Err(error) => error.to_string(),
        };
        self.violate(Violation {
            promise: Promise::SameAgain,
            what: format!(
                "cut short after {ops} operations: {found}, not {}",
                first.len()
            ),
            file: None,
        });
    }

    fn recover(&self, disk: &SimDisk) -> Recovery {
        disk.no_more_faults();
        disk.set_capacity(None);
        self.open_log(disk)
    }

    fn open_log(&self, disk: &SimDisk) -> Recovery {
        let settings = LogSettings {
            segment_bytes: self.plan.segment_bytes,
            seed: 1,
        };
        let mut records = Vec::new();
        Log::open(
            disk.mount(),
            Path::new(LOG),
            settings,
            &mut |at, record, _| records.push((at, record)),
        )?;
        Ok(records)
    }

    /// Whether what is left of the records is what a torn tail leaves: a beginning, with all that the
    /// header of an undamaged batch proves.
    fn is_torn(
        &self,
        node: usize,
        damaged: &Range<usize>,
        rest: &[(Position, Record)],
        whole: &[(Position, Record)],
    ) -> bool {
        let intact = self.nodes[node].proofs.iter().filter(|(first, _)| {
            let (from, to) = (first.offset - PROOF_BYTES, first.offset);
            to as usize <= damaged.start || damaged.end <= from as usize
        });
        let proven = intact.map(|(_, before)| *before).max().unwrap_or_default();
        kept(rest, whole).is_some_and(|kept| whole[kept..].iter().all(|(at, _)| *at >= proven))
    }

    /// Changes a segment as disks do that lie; says how, and where.
    fn damage(&mut self, disk: &SimDisk, path: &Path) -> (&'static str, Range<usize>) {
        let (kind, len) = (
            self.draw(4),
            disk.bytes(path).map_or(0, |bytes| bytes.len()),
        );
        let (at, from) = (
            self.draw(len as u64) as usize,
            self.draw(len as u64) as usize,
        );
        let start = |at: usize| at / SECTOR_BYTES * SECTOR_BYTES;
        disk.tamper(path, |bytes| match kind {
            _ if bytes.is_empty() => {}
            0 | 1 => bytes[at] ^= 1 << (from % 8),
            2 => {
                let to = bytes.len().min(start(at) + SECTOR_BYTES);
                bytes[start(at)..to].fill(0);
            }
            _ => {
                let len = SECTOR_BYTES
                    .min(bytes.len() - start(at))
                    .min(bytes.len() - start(from));
                bytes.copy_within(start(from)..start(from) + len, start(at));
            }
        });
        let what = [
            "a bit flips",
            "a bit flips",
            "a sector is lost",
            "a write is misdirected",
        ][kind as usize];
        (what, start(at)..start(at) + SECTOR_BYTES)
    }
}
