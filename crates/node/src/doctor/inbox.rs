//! The consumer's side: the inboxes, and what is staged in them.

use std::io;
use std::path::Path;

use consign_core::consumer::{Staged, StagedState};
use consign_core::disk::Disk as _;
use consign_core::publish::{self, STAGING_DIR};

use super::bytes::bad_chunk;
use super::findings::Findings;
use super::ledger::Ledger;
use crate::config::{Config, ConsumeConfig};
use crate::os_disk::OsDisk;

/// Looks at every inbox of the configuration.
pub(super) fn examine(ledger: &Ledger, config: &Config, read: bool, findings: &mut Findings) {
    for feed in &config.consume {
        let path = Path::new(&feed.policy.inbox);
        match OsDisk::beneath(path) {
            Ok(disk) => one(&disk, ledger, feed, read, findings),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                absent(ledger, feed, findings);
            }
            Err(error) => findings.problem(
                "inbox",
                format!("{} cannot be opened: {error}", path.display()),
                "let this user read it",
            ),
        }
    }
}

fn absent(ledger: &Ledger, feed: &ConsumeConfig, findings: &mut Findings) {
    let path = &feed.policy.inbox;
    if ledger.is_lost(feed, None) {
        findings.problem(
            "inbox",
            format!("{path} is not there, and was"),
            "mount its disk before the agent is started",
        );
    } else {
        findings.note("inbox", format!("{path} is not there yet"));
    }
}

fn one(disk: &OsDisk, ledger: &Ledger, feed: &ConsumeConfig, read: bool, findings: &mut Findings) {
    let path = &feed.policy.inbox;
    let marker = publish::marker(disk);
    if marker
        .as_ref()
        .map_or(true, |found| ledger.is_lost(feed, *found))
    {
        findings.problem(
            "inbox",
            format!("{path} is not the directory that files were staged in: its marker is missing or another one"),
            "mount the right disk there; nothing is lost while the agent does not find it",
        );
        return;
    }
    let staged = ledger.consumer.staged(&feed.policy.feed);
    let mut bad = 0;
    for file in &staged {
        if let Some((why, hint)) = flaw(file, Path::new(path), read) {
            bad += 1;
            findings.problem(
                "inbox",
                format!("{path}: {} of {}: {why}", file.staging, file.slot),
                hint,
            );
        }
    }
    if bad == 0 {
        let what = format!("{path}: {} files are on their way into it", staged.len());
        findings.sound("inbox", what);
    }
    let mut known = ledger.consumer.staging_names();
    known.extend(staged.into_iter().map(|file| file.staging));
    let entries = disk.list(Path::new(STAGING_DIR)).unwrap_or_default();
    let orphans = entries
        .iter()
        .filter(|entry| publish::is_staging_name(&entry.name))
        .filter(|entry| !known.contains(&entry.name))
        .count();
    if orphans > 0 {
        let what = match ledger.has_staged_in(marker.ok().flatten()) {
            true => "belong to nothing: the next start removes them",
            false => {
                "are another node's, or of an earlier data directory: the next start moves them aside"
            }
        };
        findings.note("inbox", format!("{path}: {orphans} staging files {what}"));
    }
}

/// What is wrong with a staged file, and what to do.
fn flaw(file: &Staged, inbox: &Path, read: bool) -> Option<(String, &'static str)> {
    let again = "nothing to do: its producer has it and sends it again";
    let path = inbox.join(publish::staging_path(&file.staging));
    let len = std::fs::symlink_metadata(&path).map(|found| found.len());
    match (file.state, len) {
        // Renamed and not logged yet, or still to be renamed: the next start finds out.
        (StagedState::Publishing, Err(error)) if error.kind() == io::ErrorKind::NotFound => None,
        (_, Err(error)) if file.synced > 0 => Some((format!("{error}"), again)),
        (_, Err(_)) => None,
        (StagedState::Publishing, Ok(len)) if len != file.size => Some((
            format!("it is saved, and has {len} bytes and not {}", file.size),
            "look at the disk; `consign show` on the producer tells who else has the file",
        )),
        (_, Ok(len)) if len < file.synced => Some((
            format!("{} bytes were synced, and it has only {len}", file.synced),
            again,
        )),
        (_, Ok(_)) if read => match bad_chunk(&path, file.size, file.chunk_bytes, &file.hashes) {
            Ok(None) => None,
            Ok(Some(chunk)) => Some((
                format!("chunk {chunk} is not what was verified when it arrived"),
                "look at the disk, then remove this staging file: its producer sends it again",
            )),
            Err(error) => Some((format!("{error}"), "look at the disk")),
        },
        (_, Ok(_)) => None,
    }
}
