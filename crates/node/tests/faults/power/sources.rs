//! What becomes of the sources of delivered files.

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

/// Delivered files of `archived` that the archive does not have under their names.
pub(crate) fn not_archived(producer: &Machine, ledger: &Ledger) -> Vec<String> {
    let archive = producer.disk.join("archive");
    let delivered = ledger.delivered("archived").into_iter();
    let lacking = delivered.filter(|name| !archive.join(name).exists());
    lacking.map(str::to_owned).collect()
}
