//! `consign doctor`: looks at a data directory while no agent runs on it, changes nothing, and says
//! what is wrong and what to do. With `--salvage` it copies out what can still be read.
//!
//! It reads the log past damage, which the agent does not: an agent must know all that it promised,
//! a person wants to know whatever can be known.

mod bytes;
mod findings;
mod inbox;
mod ledger;
mod salvage;
mod spool;

use std::path::{Path, PathBuf};

use consign_core::log::{self, Inspection};

pub(crate) use findings::{Finding, Verdict};

use crate::config::Config;
use crate::daemon::{DataDir, LOG_DIR};
use crate::os_disk::OsDisk;
use findings::Findings;
use ledger::Ledger;

/// What a person asked for.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// Read and hash every byte in spool and staging, too.
    pub(crate) read: bool,
    /// Where to copy what can still be read.
    pub(crate) salvage: Option<PathBuf>,
}

/// Examines the data directory and the inboxes of a node. Returns what was found, in the order of a
/// report. Nothing in them is changed.
///
/// # Errors
/// When there is nothing to examine, an agent is running on it, or the salvaged files cannot be
/// written. The message ends in a hint.
pub(crate) fn examine(config: &Config, request: &Request) -> anyhow::Result<Vec<Finding>> {
    let data_dir = &config.node.data_dir;
    let _lock = DataDir::look(data_dir, &config.node.name)?;
    let disk = OsDisk::private(data_dir)?;
    let mut ledger = Ledger::new(&config.node.name);
    let mut take = |at, record, payload| ledger.take(at, &record, &payload);
    let inspection = log::inspect(&disk, Path::new(LOG_DIR), &mut take)?;
    let mut findings = Findings::default();
    findings.note(
        "data",
        format!("{} is of node {}", data_dir.display(), config.node.name),
    );
    of_log(&inspection, data_dir, &mut findings);
    spool::examine(&ledger, config, request.read, &mut findings);
    inbox::examine(&ledger, config, request.read, &mut findings);
    of_catalogue(data_dir, &mut findings);
    of_receipts(data_dir, &mut findings);
    if let Some(to) = &request.salvage {
        salvage::run(&disk, &ledger, config, to, &mut findings)?;
    }
    Ok(findings.into_inner())
}

fn of_log(inspection: &Inspection, data_dir: &Path, findings: &mut Findings) {
    if inspection.newest == 0 {
        findings.note("log", "there is none yet: nothing was ever promised".into());
        return;
    }
    let segments = inspection.newest - inspection.oldest + 1;
    let counted = format!("{segments} segments with {} records", inspection.records);
    for damage in &inspection.damage {
        let extent = match damage.bytes {
            0 => String::new(),
            bytes => format!(", {bytes} bytes"),
        };
        findings.problem(
            "log",
            format!(
                "{} is damaged at byte {}{extent}: {}",
                data_dir.join(&damage.path).display(),
                damage.offset,
                damage.what
            ),
            "the agent will accept nothing on it: copy the data directory away, look at the disk, then `consign doctor --salvage DIR` copies out what can be read",
        );
    }
    if inspection.damage.is_empty() {
        findings.sound("log", counted);
    } else {
        findings.note("log", format!("{counted} can be read"));
    }
    if inspection.torn_bytes > 0 {
        let what = format!(
            "it ends in {} bytes that were never synced: the next start cuts them",
            inspection.torn_bytes
        );
        findings.note("log", what);
    }
}

fn of_catalogue(data_dir: &Path, findings: &mut Findings) {
    let path = data_dir.join(crate::catalogue::FILE);
    match crate::catalogue::is_sound(&path) {
        Ok(None) => findings.note(
            "catalogue",
            "there is none: the next start makes it from the log".into(),
        ),
        Ok(Some(true)) => findings.sound("catalogue", path.display().to_string()),
        Ok(Some(false)) | Err(_) => findings.problem(
            "catalogue",
            format!("{} is damaged", path.display()),
            "remove it: the next start makes it again, and only history of finished transfers is lost",
        ),
    }
}

fn of_receipts(data_dir: &Path, findings: &mut Findings) {
    let Some(examined) = crate::receipts::examine(data_dir) else {
        let what = "there is no archive of them: consumers with keys have signed nothing yet";
        findings.note("receipts", what.into());
        return;
    };
    let path = examined.path.display();
    for kept in &examined.set_aside {
        let what = format!(
            "{} was damaged, and was set aside: receipts from before are in it",
            kept.display()
        );
        findings.note("receipts", what);
    }
    for wrong in &examined.wrong {
        findings.problem(
            "receipts",
            format!("{path} is damaged: {wrong}"),
            "copy it away and bring back a copy from before, if there is one; without one the agent begins a new one, and receipts of files that are done are lost, no file is",
        );
    }
    if examined.wrong.is_empty() && !examined.path.as_os_str().is_empty() {
        let what = format!(
            "{path}: {} receipts under {} signatures",
            examined.receipts, examined.batches
        );
        findings.sound("receipts", what);
    }
}
