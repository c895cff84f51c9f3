//! What becomes of the sources of delivered files.

use std::path::{Path, PathBuf};

use super::Fleet;
use crate::ledger::Ledger;
use crate::machine::{Machine, files_in};
use crate::waiting::{SOON, comes, until};

impl Fleet {
    /// What is delivered is in the archive, also of the cuts before: what a cut took from there once
    /// it was on record as released, nobody puts there again.
    pub(super) fn delivered_is_archived(&self) {
        let producer = self.producer();
        let mut lacking = Vec::new();
        let archived = comes(SOON, || {
            lacking = not_archived(producer, &self.ledger.lock().unwrap());
            lacking.is_empty()
        });
        assert!(archived, "delivered, and not in the archive: {lacking:?}");
    }

    /// What is delivered is released: from where it was, and into the archive.
    pub(super) fn check_sources(&self, ledger: &Ledger) {
        let disk = &self.producer().disk;
        until("no part of a copy is left in the archive", SOON, || {
            files_in(&disk.join("archive"))
                .iter()
                .all(|path| !is_part(path))
        });
        let accepted = ledger
            .handed
            .iter()
            .filter(|(_, handed)| handed.is_accepted);
        for (name, handed) in accepted {
            let at = match handed.feed {
                "watched" => disk.join("watched").join(name),
                "removed" | "archived" => disk.join("own").join(name),
                "staying" => {
                    let at = disk.join("staying").join(name);
                    assert!(at.exists(), "{name} was to stay, and is gone");
                    continue;
                }
                _ => continue,
            };
            until("the source is released", SOON, || !at.exists());
            if handed.feed == "archived" {
                let archive = disk.join("archive");
                let found = files_in(&archive)
                    .into_iter()
                    .find(|path| path.ends_with(name));
                let found =
                    found.unwrap_or_else(|| panic!("{name} is released, and not in the archive"));
                let bytes = std::fs::read(found).unwrap();
                assert!(
                    blake3::hash(&bytes) == handed.digest,
                    "{name} in the archive"
                );
            }
        }
    }
}

/// What is in the archive, without parts of copies that are on their way into it.
pub(super) fn archived(producer: &Machine) -> Vec<PathBuf> {
    let mut files = files_in(&producer.disk.join("archive"));
    files.retain(|path| !is_part(path));
    files
}

fn is_part(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str());
    name.is_some_and(|name| name.starts_with(".consign-"))
}

/// Delivered files of `archived` that the archive does not have under their names.
pub(super) fn not_archived(producer: &Machine, ledger: &Ledger) -> Vec<String> {
    let archive = producer.disk.join("archive");
    let delivered = ledger.delivered("archived").into_iter();
    let lacking = delivered.filter(|name| !archive.join(name).exists());
    lacking.map(str::to_owned).collect()
}
