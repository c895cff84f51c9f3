//! A producer's spool: taking sources in, and letting them go.

use std::path::{Path, PathBuf};

use consign_core::disk::{Disk, OpenMode};
use consign_core::ids::{Digest, TransferKey};
use consign_core::limits;
use consign_core::producer::{self, Release, Taken};
use consign_core::spec::{After, FileSpec, Source};

use super::World;
use super::happening::Work;
use super::node::{ARCHIVE, SPOOL, WATCHED};
use crate::disk::is_crash;
use crate::ledger::Violation;
use crate::plan::Fault;
use crate::promise::Promise;

impl World {
    /// Takes a source into the spool, whether or not that was begun before.
    pub(super) fn take_source(
        &mut self,
        node: usize,
        key: TransferKey,
        _spec: &FileSpec,
        source: Source,
    ) {
        self.maybe_withdraw(node, &source);
        let disk = self.life(node).disk.clone();
        let spooled = Path::new(SPOOL).join(&source.spool);
        let taken = take(&*disk, &source, &spooled);
        let outcome = match taken {
            Ok(bytes) => {
                let small = bytes.len() as u64 <= limits::SMALL_FILE_BYTES_MAX;
                Ok(Taken {
                    size: bytes.len() as u64,
                    source: source.clone(),
                    mtime_ns: None,
                    mode: None,
                    small: small.then(|| (Digest(*blake3::hash(&bytes).as_bytes()), bytes.into())),
                })
            }
            Err(error) if is_crash(&error) => return,
            Err(error) if is_harmless(&error) => Err(error.to_string()),
            // A failed sync is final.
            Err(_) => {
                self.life(node).stops = true;
                return;
            }
        };
        // What stays in its place must not be claimed again before it is submitted.
        if outcome.is_err() || source.after() != After::Keep {
            let name = source.origin.rsplit('/').next().unwrap_or_default();
            self.life(node).claims.remove(name);
        }
        let delay = self.draw(2_000);
        self.do_after(
            node,
            delay,
            Work::Producer(producer::Event::Taken { key, outcome }),
        );
    }

    /// Somebody takes a file back that is about to be taken in, and brings it again later.
    fn maybe_withdraw(&mut self, node: usize, source: &Source) {
        let origin = Path::new(&source.origin);
        let spooled = Path::new(SPOOL).join(&source.spool);
        let disk = self.nodes[node].disk.clone();
        let still_there = disk.identity(origin).is_some() && disk.identity(&spooled).is_none();
        if !still_there || !self.chance(Fault::Withdraw) {
            return;
        }
        let mount = disk.mount();
        let _ = mount.remove(origin);
        let _ = mount.sync_dir(Path::new(WATCHED));
        let name = source.origin.rsplit('/').next().unwrap_or_default();
        if let Some(&file) = self.nodes[node].watched.get(name) {
            self.hand_over_later(file);
        }
    }

    pub(super) fn release_sources(&mut self, node: usize, releases: &[Release]) {
        let disk = self.life(node).disk.clone();
        let (mut keys, mut failed) = (Vec::new(), Vec::new());
        for release in releases {
            self.check_release(node, release);
            match let_go(&*disk, release) {
                Ok(()) => keys.push(release.key),
                Err(error) if is_crash(&error) => return,
                Err(_) => failed.push(release.key),
            }
        }
        let delay = self.draw(2_000);
        let released = producer::Event::SourcesReleased { keys, failed };
        self.do_after(node, delay, Work::Producer(released));
    }
}

impl World {
    /// A source goes only when it is synced that its transfer is over: S5.
    fn check_release(&mut self, node: usize, release: &Release) {
        let Some(file) = self.ledger.file_of(node, release.key) else {
            return;
        };
        let story = &self.ledger.stories[file];
        if !story.done && !story.cancelled {
            self.violate(Violation {
                promise: Promise::DoneIsSaved,
                what: format!("the source of {} goes before it is done", release.key),
                file: Some(file),
            });
        }
    }
}

/// Whether an attempt to take a file in may simply be made again.
fn is_harmless(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, StorageFull};
    matches!(error.kind(), NotFound | StorageFull)
}

fn take(disk: &dyn Disk, source: &Source, spooled: &Path) -> std::io::Result<Vec<u8>> {
    let origin = Path::new(&source.origin);
    match source.after() {
        _ if disk.stat(spooled)?.is_some() => {}
        After::Keep => copy(disk, origin, spooled)?,
        After::Delete | After::Archive => disk.rename(origin, spooled)?,
    }
    let file = disk.open(spooled, OpenMode::Write)?;
    file.sync()?;
    disk.sync_dir(Path::new(SPOOL))?;
    disk.sync_dir(Path::new(WATCHED))?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

/// A copy under its name is always whole.
fn copy(disk: &dyn Disk, origin: &Path, spooled: &Path) -> std::io::Result<()> {
    let mut part = spooled.as_os_str().to_owned();
    part.push(".part");
    let part = Path::new(&part);
    if disk.stat(part)?.is_some() {
        disk.remove(part)?;
    }
    let from = disk.open(origin, OpenMode::Read)?;
    let mut bytes = vec![0; from.len()? as usize];
    from.read_exact_at(&mut bytes, 0)?;
    let file = disk.open(part, OpenMode::CreateNew)?;
    let written = file.write_all_at(&bytes, 0).and_then(|()| file.sync());
    // What has failed here is not tried under this name again.
    written.inspect_err(|_| drop(disk.remove(part)))?;
    disk.rename(part, spooled)
}

fn let_go(disk: &dyn Disk, release: &Release) -> std::io::Result<()> {
    let spooled = Path::new(SPOOL).join(&release.source.spool);
    if release.source.spool.is_empty() {
        return Ok(());
    }
    let archived = release.source.after() == After::Archive;
    let stays = release.source.after() == After::Keep;
    let to: Option<PathBuf> = if stays {
        None
    } else if release.give_back && !release.source.origin.is_empty() {
        Some(release.source.origin.clone().into())
    } else if archived {
        Some(Path::new(ARCHIVE).join(format!("{}", release.key)))
    } else {
        None
    };
    // An earlier try may have come that far, and have ended before its syncs.
    let is_there = disk.stat(&spooled)?.is_some();
    match &to {
        Some(to) if is_there => disk.rename(&spooled, to)?,
        None if is_there => disk.remove(&spooled)?,
        Some(_) | None => {}
    }
    if let Some(to) = &to {
        disk.sync_dir(to.parent().unwrap_or(Path::new("/")))?;
    }
    disk.sync_dir(Path::new(SPOOL))
}
