//! Space that is set aside, so that a full disk stops new work and nothing else.
//!
//! Two files of zeroes: the *spare* is the next segment, so that what has been begun can always be
//! logged to its end; the *refuge* is another one, with room for a start behind it, that only a recovery
//! takes, so that an agent that is restarted on a full disk comes up. A log is never without one from
//! its first segment on. On a disk that stays full a recovery takes no more than half of it, if that is
//! enough, and leaves the rest to the next ones; of what it gives back a larger one is made again as far
//! as there is space.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::LogSettings;
use super::error::LogError;
use super::format::ALIGN;
use super::segment::Unnamed;
use crate::disk::{Disk, File, OpenMode};
use crate::planted::{Planted, planted};

/// The spare's name. It is no segment's: to recovery the file is nothing but space.
pub(super) const SPARE: &str = "spare";

/// The refuge's name; likewise.
pub(super) const REFUGE: &str = "refuge";

/// How many times smaller than a segment the refuge may be at first when there is no space for it.
const SMALL_REFUGE_SHARE: u64 = 8;

/// What must be free behind the copies in the segment that a recovery makes, in bytes: a start that
/// cannot log that it is one has not come up.
pub(super) const START_ROOM_BYTES: u64 = 1024;

/// How long the refuge is when there is space: what a recovery copies may fill a segment, and a start
/// goes behind it.
pub(super) fn refuge_bytes_usual(settings: &LogSettings) -> u64 {
    (settings.segment_bytes + START_ROOM_BYTES).next_multiple_of(ALIGN)
}

/// How many bytes are zeroed by one write.
const ZERO_STEP_BYTES: usize = 1 << 20;

/// The reserve of an open log.
#[derive(Debug, Default)]
pub(super) struct Reserve {
    spare: Option<Unnamed>,
    refuge: Option<Unnamed>,
}

impl Reserve {
    /// Whether all of it is there, the refuge of full length.
    pub(super) fn is_whole(&self) -> bool {
        self.spare.is_some() || planted(Planted::ReserveForgotten)
    }

    pub(super) fn bytes(&self) -> u64 {
        let files = self.spare.iter().chain(&self.refuge);
        files.map(|file| u64::from(file.size)).sum()
    }

    pub(super) fn take_spare(&mut self) -> Option<Unnamed> {
        self.spare.take()
    }

    /// Makes what is missing, the refuge first. On a full disk it stays missing, which is no error.
    pub(super) fn fill(
        &mut self,
        disk: &dyn Disk,
        dir: &Path,
        settings: &LogSettings,
    ) -> Result<(), LogError> {
        let usual = refuge_bytes_usual(settings);
        let has_refuge = |reserve: &Self| {
            matches!(&reserve.refuge, Some(refuge) if u64::from(refuge.size) >= usual)
                || planted(Planted::RefugeForgotten)
        };
        if !has_refuge(self) {
            let made = match &self.refuge {
                None => make_refuge(disk, dir, settings, 0),
                Some(_) => make(disk, dir, REFUGE, usual),
            };
            if let Some(refuge) = unless_full(made)? {
                self.refuge = Some(refuge);
            }
        }
        if self.spare.is_none() && has_refuge(self) {
            self.spare = unless_full(make(disk, dir, SPARE, settings.segment_bytes))?;
        }
        Ok(())
    }
}

fn unless_full(made: Result<Unnamed, LogError>) -> Result<Option<Unnamed>, LogError> {
    match made {
        Err(LogError::Full { .. }) => Ok(None),
        made => made.map(Some),
    }
}

/// Takes the refuge for a segment of at least `needed` bytes: half of it where that is enough. Returns
/// how much is left of it, which [`leave_refuge`] makes the next one once this one has its name.
pub(super) fn take_refuge(
    disk: &dyn Disk,
    dir: &Path,
    settings: &LogSettings,
    needed: u64,
) -> Result<(Unnamed, u64), LogError> {
    let there = refuge_bytes(disk, dir)?;
    // Whatever fills the half that is taken fits into the one that is left, with a start behind it.
    let half = there.saturating_sub(START_ROOM_BYTES) / 2 / ALIGN * ALIGN;
    let size = needed.max(half).next_multiple_of(ALIGN);
    if size > there || there - size < LogSettings::SEGMENT_BYTES_LEAST {
        return Ok((make_refuge(disk, dir, settings, needed)?, 0));
    }
    Ok((make(disk, dir, REFUGE, size)?, there - size))
}

/// Makes the refuge of what the last one was cut by. Whoever else is on the disk may have been faster.
pub(super) fn leave_refuge(disk: &dyn Disk, dir: &Path, bytes: u64) -> Result<(), LogError> {
    if bytes > 0 {
        unless_full(make(disk, dir, REFUGE, bytes))?;
    }
    Ok(())
}

fn refuge_bytes(disk: &dyn Disk, dir: &Path) -> Result<u64, LogError> {
    let path = dir.join(REFUGE);
    let found = disk.stat(&path);
    let found = found.map_err(|source| LogError::io("look for", &path, source))?;
    Ok(found.map_or(0, |entry| entry.len / ALIGN * ALIGN))
}

/// Makes the refuge, of at least `needed` bytes: of its usual length, or else as long as it is, or a
/// small one, or the least.
pub(super) fn make_refuge(
    disk: &dyn Disk,
    dir: &Path,
    settings: &LogSettings,
    needed: u64,
) -> Result<Unnamed, LogError> {
    let make = |usual: u64| {
        let size = needed.max(usual).next_multiple_of(ALIGN);
        make(disk, dir, REFUGE, size)
    };
    let least = LogSettings::SEGMENT_BYTES_LEAST;
    let small = (settings.segment_bytes / SMALL_REFUGE_SHARE).max(least);
    let usual = refuge_bytes_usual(settings);
    let there = refuge_bytes(disk, dir)?.clamp(small, usual.max(small));
    let mut made = make(usual);
    for smaller in [there, small, least] {
        if !matches!(made, Err(LogError::Full { .. })) {
            break;
        }
        made = make(smaller);
    }
    made
}

/// Makes the file `name` in `dir`, or makes the one that is there fit: on return it has `size`
/// bytes, allocated, zero and synced, and so is its entry. [`LogError::Full`] leaves it as long as
/// it was.
pub(super) fn make(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    size: u64,
) -> Result<Unnamed, LogError> {
    let path = dir.join(name);
    let opened = match disk.open(&path, OpenMode::Write) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            disk.open(&path, OpenMode::CreateNew)
        }
        opened => opened,
    };
    let failed = |source: io::Error| match is_full(&source) {
        true => LogError::Full {
            path: dir.to_owned(),
            needed_bytes: size,
        },
        false => LogError::io("allocate", &path, source),
    };
    let file = opened.map_err(failed)?;
    let before = file.len().map_err(failed)?;
    if let Err(error) = zero(&file, before, size) {
        // What was reserved in vain goes back to those who need it.
        file.set_len(before).map_err(failed)?;
        return Err(failed(error));
    }
    // A crash before this sync leaves a file that the next start makes fit again; it holds nothing.
    file.sync()
        .map_err(|source| LogError::sync(&path, source))?;
    // A crash before this sync may lose the file's entry; it holds nothing.
    disk.sync_dir(dir)
        .map_err(|source| LogError::sync(dir, source))?;
    Ok(Unnamed {
        file,
        path,
        size: u32::try_from(size).expect("segments stay below 4 GiB"),
    })
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}

/// Gives `file`, of `before` bytes, exactly `size` bytes, all of them allocated and zero. Zeroes are
/// written and not only reserved, since filesystems sync a write into written space faster.
fn zero(file: &Arc<dyn File>, before: u64, size: u64) -> io::Result<()> {
    // An earlier life may have failed to sync this file, so that its length is only in the cache,
    // and a sync would leave it there. A change makes it be written.
    let before = before.min(size).saturating_sub(1);
    file.set_len(before)?;
    file.allocate(size)?;
    let zeroes = vec![0; ZERO_STEP_BYTES.min(size as usize)];
    let mut found = zeroes.clone();
    let mut at = 0;
    while at < size {
        let step = (size - at).min(zeroes.len() as u64);
        let (zeroes, found) = (&zeroes[..step as usize], &mut found[..step as usize]);
        let is_zero = at + step <= before && {
            file.read_exact_at(found, at)?;
            found == zeroes
        };
        if !is_zero {
            file.write_all_at(zeroes, at)?;
        }
        at += step;
    }
    Ok(())
}
