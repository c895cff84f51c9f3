//! The producer's side: is every file that was promised there?

use consign_core::ids::TransferKey;

use super::bytes::digest_of;
use super::findings::Findings;
use super::ledger::{Held, Ledger, Progress, Submission};
use crate::config::Config;

/// Problems of one kind that are listed one by one; the rest is counted.
const LISTED_MAX: usize = 100;

const LOST: &str = "if its owner still has it, send it again; else put the file back from a backup, start the agent, and `consign retry` it";

/// Looks at the bytes of every file that is still to be delivered.
pub(super) fn examine(ledger: &Ledger, config: &Config, read: bool, findings: &mut Findings) {
    let owed = ledger.submissions.iter();
    let owed = owed.filter(|(_, submission)| submission.progress == Progress::Owed);
    let (mut files, mut bytes, mut bad) = (0u64, 0u64, 0usize);
    for (key, submission) in owed {
        files += 1;
        bytes += submission.spec.size;
        let Some(why) = flaw(submission, config, read) else {
            continue;
        };
        bad += 1;
        if bad <= LISTED_MAX {
            findings.problem("spool", told(ledger, *key, submission, &why), LOST);
        }
    }
    if bad > LISTED_MAX {
        let what = format!("{} more files cannot be delivered", bad - LISTED_MAX);
        findings.problem(
            "spool",
            what,
            "`--json` lists no more either: mend these first, then look again",
        );
    }
    if bad == 0 {
        let checked = if read { "read and right" } else { "there" };
        let what = format!("{files} files to be delivered, {bytes} bytes: all {checked}");
        findings.sound("spool", what);
    }
    let failed = ledger.submissions.values();
    let failed = failed.filter(|submission| submission.progress == Progress::Failed);
    match failed.count() {
        0 => {}
        failed => findings.note(
            "spool",
            format!("{failed} transfers have failed: `consign transfers --state failed` lists them once the agent runs"),
        ),
    }
}

fn told(ledger: &Ledger, key: TransferKey, submission: &Submission, why: &str) -> String {
    let saved = match submission.saved_by().join(", ") {
        nobody if nobody.is_empty() => "no consumer has it".to_owned(),
        nodes => format!("{nodes} has it already"),
    };
    format!(
        "{:?} of feed {} ({}): {why}; {saved}",
        submission.spec.name,
        submission.spec.feed,
        ledger.id_of(key)
    )
}

/// Why a file that is owed cannot be delivered; `None` when nothing speaks against it.
fn flaw(submission: &Submission, config: &Config, read: bool) -> Option<String> {
    match submission.held {
        Held::InLog(_) => return None,
        Held::Damaged => return Some("its bytes were in the log, and are damaged".to_owned()),
        Held::InSpool => {}
    }
    let path = crate::outbox::spool_dir(&config.node.data_dir).join(&submission.source.spool);
    let found = match std::fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(error) => return Some(format!("{}: {error}", path.display())),
    };
    if !found.is_file() || found.len() != submission.spec.size {
        return Some(format!(
            "{} has {} bytes and not {}",
            path.display(),
            found.len(),
            submission.spec.size
        ));
    }
    let digest = submission.digest.filter(|_| read)?;
    match digest_of(&path) {
        Ok(found) if found == digest => None,
        Ok(found) => Some(format!(
            "{} has BLAKE3 {found} and not {digest}",
            path.display()
        )),
        Err(error) => Some(format!("{}: {error}", path.display())),
    }
}
