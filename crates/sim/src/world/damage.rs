//! Damaging a copy of a dead node's log: recovery reports it, or nothing of it is missing (S8).
//!
//! The node itself never sees the damage: it comes up from the untouched disk, and goes on.

use std::path::{Path, PathBuf};

use consign_core::log::{Log, LogError, LogSettings};
use consign_core::record::Record;

use super::World;
use super::node::LOG;
use crate::coverage::Recovered;
use crate::disk::{SECTOR_BYTES, SimDisk};
use crate::ledger::Violation;
use crate::promise::Promise;

type Recovery = Result<Vec<Record>, LogError>;

/// Whether `rest` is a beginning of `whole`. With the last batch may go the word that a segment is
/// dropped whose file is still there: what it holds then comes before.
fn is_beginning(rest: &[Record], whole: &[Record]) -> bool {
    let first = whole.first();
    let from = rest.iter().position(|record| Some(record) == first);
    match from {
        Some(from) => whole.starts_with(&rest[from..]),
        None => rest.is_empty(),
    }
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
        let what = self.damage(&damaged, path);
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
            (Ok(whole), Ok(rest)) if is_beginning(&rest, &whole) => {}
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
            Ok(second) if second == first => return,
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
            &mut |_, record, _| records.push(record),
        )?;
        Ok(records)
    }

    /// Changes a segment as disks do that lie; says how.
    fn damage(&mut self, disk: &SimDisk, path: &Path) -> &'static str {
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
        [
            "a bit flips",
            "a bit flips",
            "a sector is lost",
            "a write is misdirected",
        ][kind as usize]
    }
}
