//! Looks at a published copy: is it there, has anybody written to it, are its bytes what they were?

use std::io::{self, ErrorKind};
use std::path::Path;
use std::time::{Duration, Instant};

use consign_core::disk::{File as _, OpenMode};
use consign_core::ids::Digest;
use consign_core::wire::AuditCopy;
use rustix::fs::{Advice, fadvise};
use rustix::io::Errno;

use crate::catalogue::HeldRow;
use crate::os_disk::{OsDisk, OsFile, kind_of};

/// How much is read at once, in bytes.
const READ_BYTES: usize = 1 << 20;

/// How long it reads before it rests and others have their turn.
const STEP: Duration = Duration::from_millis(50);

/// What was found, and a word about it for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Looked {
    pub(super) copy: AuditCopy,
    pub(super) note: String,
}

impl Looked {
    pub(super) fn new(copy: AuditCopy, note: impl Into<String>) -> Self {
        Self {
            copy,
            note: note.into(),
        }
    }
}

/// A copy that was looked at.
pub(super) enum Look {
    /// There is no need to read it.
    Settled(Looked),
    /// It must be read.
    Reading(Box<Reading>),
}

/// A copy that is being read.
pub(super) struct Reading {
    file: OsFile,
    hasher: blake3::Hasher,
    size: u64,
    mtime: Option<i64>,
    published_ms: u64,
    offset: u64,
}

/// How far the reading of a copy is.
pub(super) enum Step {
    /// There is more to read.
    More(Box<Reading>),
    /// All of it is read, and nobody has written to it meanwhile.
    Whole(Digest),
    /// It is settled otherwise.
    Settled(Looked),
}

/// Opens the copy of `row` beneath its inbox. Blocks.
pub(super) fn look(inbox: &Path, row: &HeldRow) -> Look {
    let Some(path) = &row.path else {
        return Look::Settled(Looked::new(AuditCopy::NotLooked, ""));
    };
    let opened = OsDisk::beneath(inbox);
    let file = match opened.and_then(|disk| disk.open_file(Path::new(path), OpenMode::Read)) {
        Ok(file) => file,
        Err(error) => return Look::Settled(not_opened(&error)),
    };
    let reading = Reading {
        file,
        hasher: blake3::Hasher::new(),
        size: row.size,
        mtime: row.mtime_ns,
        published_ms: row.ended_at.map_or(0, |at| at.0),
        offset: 0,
    };
    match reading.has_its_time() {
        Ok(true) if reading.has_its_length() => {
            // What lies on the disk is asked for, and not what the system remembers of it. A hint: what
            // others have in use stays.
            let _ = fadvise(&reading.file, 0, None, Advice::DontNeed);
            Look::Reading(Box::new(reading))
        }
        // A program that changes the length changes the time. A disk that only said that it had
        // synced the bytes does not.
        Ok(true) => {
            let note = "it has another length, and nobody has written to it since".to_owned();
            Look::Settled(Looked::new(AuditCopy::Rotten, note))
        }
        Ok(false) => Look::Settled(Looked::new(AuditCopy::Changed, "")),
        Err(error) => Look::Settled(unread(&error)),
    }
}

impl Reading {
    /// Reads on for a while. Blocks. Also how many bytes it has read.
    pub(super) fn step(mut self: Box<Self>) -> (Step, u64) {
        let (began, from) = (Instant::now(), self.offset);
        let mut buffer = vec![0; READ_BYTES.min(self.size as usize)];
        while self.offset < self.size {
            let left = usize::try_from(self.size - self.offset).unwrap_or(usize::MAX);
            let piece = left.min(READ_BYTES);
            let piece = &mut buffer[..piece];
            match self.file.read_exact_at(piece, self.offset) {
                Ok(()) => drop(self.hasher.update(piece)),
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                    let changed = Looked::new(AuditCopy::Changed, "");
                    return (Step::Settled(changed), self.offset - from);
                }
                Err(error) => return (Step::Settled(unread(&error)), self.offset - from),
            }
            self.offset += piece.len() as u64;
            if began.elapsed() >= STEP && self.offset < self.size {
                let read = self.offset - from;
                return (Step::More(self), read);
            }
        }
        let read = self.offset - from;
        (self.end(), read)
    }

    fn end(&self) -> Step {
        // Read once and not soon again: others need the memory more.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
        match self.is_untouched() {
            Ok(true) => Step::Whole(Digest(*self.hasher.finalize().as_bytes())),
            Ok(false) => Step::Settled(Looked::new(AuditCopy::Changed, "")),
            Err(error) => Step::Settled(unread(&error)),
        }
    }

    /// Whether it has the length and the modification time with which it was published.
    fn is_untouched(&self) -> io::Result<bool> {
        Ok(self.has_its_time()? && self.has_its_length())
    }

    fn has_its_length(&self) -> bool {
        let stat = rustix::fs::fstat(&self.file);
        stat.is_ok_and(|stat| u64::try_from(stat.st_size) == Ok(self.size))
    }

    /// Whether it has the modification time with which it was published. Of a copy that was not given one
    /// it is only known that it was written before that.
    fn has_its_time(&self) -> io::Result<bool> {
        let stat = rustix::fs::fstat(&self.file)?;
        let (seconds, nanos) = (stat.st_mtime, stat.st_mtime_nsec as i64);
        let same_time = match self.mtime {
            Some(wanted) => {
                let of_wanted = (wanted.div_euclid(NANOS), wanted.rem_euclid(NANOS));
                // Some filesystems keep whole seconds only.
                seconds == of_wanted.0 && (nanos == of_wanted.1 || nanos == 0)
            }
            None => {
                let ms = seconds
                    .saturating_mul(1_000)
                    .saturating_add(nanos / 1_000_000);
                ms <= self.published_ms.cast_signed()
            }
        };
        Ok(same_time)
    }
}

const NANOS: i64 = 1_000_000_000;

fn not_opened(error: &io::Error) -> Looked {
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Looked::new(AuditCopy::Taken, ""),
        // Something that is no regular file, or a symbolic link: the application's doing.
        ErrorKind::InvalidInput => Looked::new(AuditCopy::Changed, ""),
        kind if kind == kind_of(Errno::LOOP) => Looked::new(AuditCopy::Changed, ""),
        _ => unread(error),
    }
}

/// A disk that cannot give the bytes back has lost them; everything else is for a person to mend. An
/// input/output error is of no kind that has a name, and so are its like.
fn unread(error: &io::Error) -> Looked {
    let note = format!("it cannot be read: {error}");
    match error.kind() == kind_of(Errno::IO) {
        true => Looked::new(AuditCopy::Rotten, note),
        false => Looked::new(AuditCopy::Unread, note),
    }
}
