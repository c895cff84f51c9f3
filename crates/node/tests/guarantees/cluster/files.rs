//! Files that tests make, and look for.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes that do not repeat: as long as wanted, and different for each `seed`.
pub(crate) fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; length];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Every file under a directory by its relative path, without what is in staging.
pub(crate) fn files_in(dir: &Path) -> std::collections::BTreeMap<String, PathBuf> {
    let mut files = std::collections::BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(at) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&at) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.file_name().is_some_and(|name| name == ".consign") {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap();
                files.insert(name.to_string_lossy().into_owned(), path.clone());
            }
        }
    }
    files
}

/// What is left in an inbox's staging directory, beside its marker.
pub(crate) fn left_in_staging(inbox: &Path) -> Vec<String> {
    let entries = fs::read_dir(inbox.join(".consign")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "marker").collect()
}
