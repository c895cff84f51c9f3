//! Copying out what can still be read of a data directory: files that were submitted and are not
//! with all of their consumers, and small files that were saved and may not be in their inbox yet.
//!
//! Nothing is taken for good that is not verified: whose digest is known is compared with it. What
//! was found of each file, and what was not, stands in `salvage.jsonl`.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use consign_core::consumer::SavedSmall;
use consign_core::disk::Disk;
use consign_core::ids::{Digest, FeedName, TransferKey};
use consign_core::log::{self, InspectedPayload, Position};
use consign_core::name::FileName;
use consign_core::spec::FileSpec;
use serde::Serialize;

use super::bytes::digest_of;
use super::findings::Findings;
use super::ledger::{Held, Ledger, Progress, Submission};
use crate::config::Config;
use crate::daemon::LOG_DIR;

/// The list of everything that was looked for.
const LIST: &str = "salvage.jsonl";

/// Whether a file's bytes could be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// They are here, and their BLAKE3 is right.
    Verified,
    /// They are here; nobody had hashed them yet.
    Copied,
    /// They are here, and are not what was submitted.
    Different,
    /// They cannot be read.
    Lost,
}

/// A line of the list.
#[derive(Debug, Serialize)]
struct Line {
    outcome: Outcome,
    /// `owed` to consumers, or `received` from a producer.
    role: &'static str,
    id: String,
    feed: String,
    name: String,
    size: u64,
    /// BLAKE3, as far as it was known.
    blake3: Option<String>,
    /// Consumers that have it, synced.
    saved_by: Vec<String>,
    /// Where it is, relative to the list; none when it is lost.
    file: Option<PathBuf>,
    /// Why not, when it is lost.
    why: Option<String>,
}

/// Copies everything into `to`, which must be empty or not there.
///
/// # Errors
/// When it cannot be written. What cannot be read is in the list.
pub(super) fn run(
    disk: &dyn Disk,
    ledger: &Ledger,
    config: &Config,
    to: &Path,
    findings: &mut Findings,
) -> anyhow::Result<()> {
    let mut salvage = Salvage::begin(to, config)?;
    let small = ledger.consumer.saved_smalls();
    salvage.copy_payloads(disk, ledger, &small)?;
    for (key, submission) in wanted(ledger) {
        match submission.held {
            Held::InLog(_) => {}
            Held::Damaged => {
                let why = "its bytes in the log are damaged".to_owned();
                salvage.lost(ledger, key, submission, why)?;
            }
            Held::InSpool => salvage.copy_spooled(ledger, key, submission)?,
        }
    }
    let (found, lost) = (salvage.found, salvage.lost);
    salvage.end()?;
    let told = format!(
        "{found} files are in {}, and {lost} are lost: {LIST} there lists all",
        to.display()
    );
    if lost == 0 {
        findings.sound("salvage", told);
    } else {
        let hint = "send the lost ones again from where they came; the others can be sent from there with `consign send`, under a fresh data directory; consumers in `saved_by` have them already";
        findings.problem("salvage", told, hint);
    }
    Ok(())
}

/// What is worth copying: not what every consumer has.
fn wanted(ledger: &Ledger) -> impl Iterator<Item = (TransferKey, &Submission)> {
    let submissions = ledger.submissions.iter();
    submissions
        .filter(|(_, submission)| submission.progress != Progress::Done)
        .map(|(key, submission)| (*key, submission))
}

struct Salvage {
    to: PathBuf,
    spool: PathBuf,
    list: io::BufWriter<File>,
    found: u64,
    lost: u64,
}

impl Salvage {
    fn begin(to: &Path, config: &Config) -> anyhow::Result<Self> {
        let hint = "name an empty directory on another disk";
        if to.starts_with(&config.node.data_dir) {
            anyhow::bail!("{} is in the data directory; hint: {hint}", to.display());
        }
        fs::create_dir_all(to)
            .with_context(|| format!("cannot make {}; hint: {hint}", to.display()))?;
        let mut entries = fs::read_dir(to)
            .with_context(|| format!("cannot read {}; hint: {hint}", to.display()))?;
        if entries.next().is_some() {
            anyhow::bail!("{} is not empty; hint: {hint}", to.display());
        }
        let list = File::create_new(to.join(LIST))
            .with_context(|| format!("cannot write in {}; hint: {hint}", to.display()))?;
        Ok(Self {
            to: to.to_owned(),
            spool: crate::outbox::spool_dir(&config.node.data_dir),
            list: io::BufWriter::new(list),
            found: 0,
            lost: 0,
        })
    }

    /// Small files, whose bytes are payloads of records: the log is read once more.
    fn copy_payloads(
        &mut self,
        disk: &dyn Disk,
        ledger: &Ledger,
        smalls: &[SavedSmall],
    ) -> anyhow::Result<()> {
        let owed: std::collections::BTreeMap<Position, (TransferKey, &Submission)> = wanted(ledger)
            .filter_map(|(key, submission)| match submission.held {
                Held::InLog(at) => Some((at, (key, submission))),
                Held::Damaged | Held::InSpool => None,
            })
            .collect();
        let received: std::collections::BTreeMap<Position, &SavedSmall> =
            smalls.iter().map(|small| (small.bytes_at, small)).collect();
        let mut outcome = Ok(());
        let mut take = |at: Position, _, payload: InspectedPayload| {
            let InspectedPayload::Sound(bytes) = payload else {
                return;
            };
            if outcome.is_err() {
                return;
            }
            if let Some((key, submission)) = owed.get(&at) {
                outcome = self.small(ledger, *key, submission, &bytes);
            } else if let Some(small) = received.get(&at) {
                outcome = self.received(small, &bytes);
            }
        };
        log::inspect(disk, Path::new(LOG_DIR), &mut take)?;
        outcome
    }

    fn small(
        &mut self,
        ledger: &Ledger,
        key: TransferKey,
        submission: &Submission,
        bytes: &[u8],
    ) -> anyhow::Result<()> {
        let file = self.place("owed", &submission.spec, &key.to_string());
        self.write(&file, bytes)?;
        let found = Digest(*blake3::hash(bytes).as_bytes());
        let outcome = compared(found, submission.digest);
        self.line(owed_line(
            ledger,
            key,
            submission,
            outcome,
            Some(file),
            None,
        ))
    }

    fn received(&mut self, small: &SavedSmall, bytes: &[u8]) -> anyhow::Result<()> {
        let file = self.place("received", &small.spec, &small.staging);
        self.write(&file, bytes)?;
        let found = Digest(*blake3::hash(bytes).as_bytes());
        self.line(Line {
            outcome: compared(found, Some(small.digest)),
            role: "received",
            id: small.id.to_string(),
            feed: small.spec.feed.clone(),
            name: small.spec.name.clone(),
            size: small.spec.size,
            blake3: Some(small.digest.to_string()),
            saved_by: Vec::new(),
            file: Some(file),
            why: None,
        })
    }

    fn copy_spooled(
        &mut self,
        ledger: &Ledger,
        key: TransferKey,
        submission: &Submission,
    ) -> anyhow::Result<()> {
        let from = self.spool.join(&submission.source.spool);
        let file = self.place("owed", &submission.spec, &key.to_string());
        let whole = self.to.join(&file);
        let source = match File::open(&from) {
            Ok(source) => source,
            Err(error) => {
                return self.lost(
                    ledger,
                    key,
                    submission,
                    format!("{}: {error}", from.display()),
                );
            }
        };
        self.make_parent(&file)?;
        let mut copy = File::create_new(&whole)
            .with_context(|| format!("cannot write {}; hint: make room there", whole.display()))?;
        if let Err(error) = io::copy(&mut &source, &mut copy) {
            let why = format!("{} or its copy: {error}", from.display());
            return self.lost(ledger, key, submission, why);
        }
        copy.sync_all()
            .with_context(|| format!("cannot sync {}; hint: try another disk", whole.display()))?;
        let outcome = compared(digest_of(&whole)?, submission.digest);
        self.line(owed_line(
            ledger,
            key,
            submission,
            outcome,
            Some(file),
            None,
        ))
    }

    fn lost(
        &mut self,
        ledger: &Ledger,
        key: TransferKey,
        submission: &Submission,
        why: String,
    ) -> anyhow::Result<()> {
        let line = owed_line(ledger, key, submission, Outcome::Lost, None, Some(why));
        self.line(line)
    }

    /// A place for a file, in which it keeps its own name as far as that is clean: a directory for
    /// each, so that `consign send` of the directory gives the file the name that it had.
    fn place(&self, role: &str, spec: &FileSpec, unique: &str) -> PathBuf {
        let name = FileName::new(&spec.name).map_or("unnamed", |_| spec.name.as_str());
        let feed = FeedName::new(&spec.feed).map_or("unnamed", |_| spec.feed.as_str());
        Path::new(role).join(feed).join(unique).join(name)
    }

    fn make_parent(&self, file: &Path) -> anyhow::Result<()> {
        let parent = file.parent().unwrap_or(Path::new(""));
        let dir = self.to.join(parent);
        fs::create_dir_all(&dir)
            .with_context(|| format!("cannot make {}; hint: make room there", dir.display()))
    }

    fn write(&self, file: &Path, bytes: &[u8]) -> anyhow::Result<()> {
        self.make_parent(file)?;
        let whole = self.to.join(file);
        let written = File::create_new(&whole).and_then(|mut new| {
            new.write_all(bytes)?;
            new.sync_all()
        });
        written.with_context(|| format!("cannot write {}; hint: make room there", whole.display()))
    }

    fn line(&mut self, line: Line) -> anyhow::Result<()> {
        match line.outcome {
            Outcome::Verified | Outcome::Copied => self.found += 1,
            Outcome::Different | Outcome::Lost => self.lost += 1,
        }
        serde_json::to_writer(&mut self.list, &line)?;
        Ok(self.list.write_all(b"\n")?)
    }

    fn end(self) -> anyhow::Result<()> {
        let list = self
            .list
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        Ok(list.sync_all()?)
    }
}

fn compared(found: Digest, expected: Option<Digest>) -> Outcome {
    match expected {
        Some(expected) if found == expected => Outcome::Verified,
        Some(_) => Outcome::Different,
        None => Outcome::Copied,
    }
}

fn owed_line(
    ledger: &Ledger,
    key: TransferKey,
    submission: &Submission,
    outcome: Outcome,
    file: Option<PathBuf>,
    why: Option<String>,
) -> Line {
    let saved_by = submission.saved_by().into_iter().map(str::to_owned);
    Line {
        outcome,
        role: "owed",
        id: ledger.id_of(key).to_string(),
        feed: submission.spec.feed.clone(),
        name: submission.spec.name.clone(),
        size: submission.spec.size,
        blake3: submission.digest.map(|digest| digest.to_string()),
        saved_by: saved_by.collect(),
        file,
        why,
    }
}
