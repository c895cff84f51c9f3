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

impl World {
    /// Takes a source into the spool, whether or not that was begun before.
    pub(super) fn take_source(
        &mut self,
        node: usize,
        key: TransferKey,
        _spec: &FileSpec,
        source: Source,
    ) {
        let disk = self.life(node).disk.clone();
        let spooled = Path::new(SPOOL).join(&source.spool);
        let taken = take(&*disk, Path::new(&source.origin), &spooled);
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
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Err(error.to_string()),
            // A failed sync is final.
            Err(_) => {
                self.life(node).stops = true;
                return;
            }
        };
        let name = source.origin.rsplit('/').next().unwrap_or_default();
        self.life(node).claims.remove(name);
        let delay = self.draw(2_000);
        self.do_after(
            node,
            delay,
            Work::Producer(producer::Event::Taken { key, outcome }),
        );
    }

    pub(super) fn release_sources(&mut self, node: usize, releases: &[Release]) {
        let disk = self.life(node).disk.clone();
        let (mut keys, mut failed) = (Vec::new(), Vec::new());
        for release in releases {
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

fn take(disk: &dyn Disk, origin: &Path, spooled: &Path) -> std::io::Result<Vec<u8>> {
    if disk.stat(spooled)?.is_none() {
        disk.rename(origin, spooled)?;
    }
    let file = disk.open(spooled, OpenMode::Write)?;
    file.sync()?;
    disk.sync_dir(Path::new(SPOOL))?;
    disk.sync_dir(Path::new(WATCHED))?;
    let mut bytes = vec![0; file.len()? as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn let_go(disk: &dyn Disk, release: &Release) -> std::io::Result<()> {
    let spooled = Path::new(SPOOL).join(&release.source.spool);
    if disk.stat(&spooled)?.is_none() {
        // An earlier try came that far.
        return Ok(());
    }
    let archived = release.source.after() == After::Archive;
    let to: Option<PathBuf> = if release.give_back && !release.source.origin.is_empty() {
        Some(release.source.origin.clone().into())
    } else if archived {
        Some(Path::new(ARCHIVE).join(format!("{}", release.key)))
    } else {
        None
    };
    match to {
        Some(to) => {
            disk.rename(&spooled, &to)?;
            disk.sync_dir(to.parent().unwrap_or(Path::new("/")))?;
        }
        None => disk.remove(&spooled)?,
    }
    disk.sync_dir(Path::new(SPOOL))
}
