//! What is asked of taking a file, and what comes of it.

use std::path::PathBuf;

use consign_core::limits::FILE_BYTES_MAX;
use consign_core::spec::{After, Source, Stamp};
use rustix::fs::Stat;

use super::content::Content;
use super::stamp::{same_content, stamp_of};
use super::{Origin, TakeError};

/// Permission bits that travel.
const MODE_BITS: u32 = 0o777;

/// A file that is to be taken. Its claim is logged already.
#[derive(Debug, Clone)]
pub(crate) struct TakeRequest {
    /// Where it is.
    pub(crate) origin: Origin,
    /// The name in the spool under which it was claimed; does not end in `.copy` or `.part`.
    pub(crate) spool: String,
    /// What happens to it at `done`.
    pub(crate) after: After,
    /// Whether a watcher found it.
    pub(crate) watched: bool,
    /// How it looked when it was found ready; `None` when whatever is there is meant.
    pub(crate) expect: Option<Stamp>,
}

/// A file that was taken.
#[derive(Debug)]
pub(crate) struct Taken {
    /// What the log is to say of its place. The stamp is the spool entry's where that is shared
    /// with others, and the origin's where it is a copy.
    pub(crate) source: Source,
    /// Length in bytes.
    pub(crate) size: u64,
    /// Modification time in nanoseconds since the Unix epoch.
    pub(crate) mtime_ns: i64,
    /// Permission bits.
    pub(crate) mode: u32,
    /// Its bytes.
    pub(crate) content: Content,
}

impl Taken {
    /// A file of which the spool has the entry `spool`, or none.
    pub(super) fn new(
        request: &TakeRequest,
        spool: String,
        shared: bool,
        stat: &Stat,
        content: Content,
    ) -> Self {
        let stamp = stamp_of(stat);
        let source = Source {
            origin: request.origin.path.to_string_lossy().into_owned(),
            spool,
            after: request.after.into(),
            watched: request.watched,
            stamp: Some(stamp),
            shared,
        };
        Taken {
            source,
            size: stamp.size,
            mtime_ns: stamp.mtime_ns,
            mode: stat.st_mode & MODE_BITS,
            content,
        }
    }
}

impl TakeRequest {
    /// Whether the file is the one that was found, and of acceptable size.
    pub(super) fn check(&self, now: &Stamp) -> Result<(), TakeError> {
        let path: PathBuf = self.origin.path.clone();
        if now.size > FILE_BYTES_MAX {
            return Err(TakeError::TooLarge {
                path,
                size: now.size,
            });
        }
        match self.expect {
            Some(before) if !same_content(&before, now) => Err(TakeError::Changed {
                path,
                before,
                after: *now,
            }),
            Some(_) | None => Ok(()),
        }
    }
}
