//! The bytes of a file that is taken.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use bytes::Bytes;
use consign_core::ids::Digest;
use consign_core::limits::SMALL_FILE_BYTES_MAX;
use consign_core::spec::Stamp;
use rustix::fs::Stat;
use rustix::io::retry_on_intr;

use super::TakeError;
use super::stamp::stamp_of;
use super::syncs::Syncs;

/// Where the bytes of a taken file are.
#[derive(Debug)]
pub(crate) enum Content {
    /// Here, whole: they go into the log.
    Small {
        /// The bytes.
        bytes: Bytes,
        /// Their BLAKE3.
        digest: Digest,
    },
    /// In the spool, synced.
    Large,
}

/// What a file in the spool holds, with the debt of its sync. `stat` is how the open file looked a
/// moment ago, and what is read agrees with it.
///
/// A small one's bytes go into the log as well, and still it is synced: it is archived, or given
/// back when it is cancelled, and whoever wrote it may never have synced it.
pub(super) fn content_of(
    file: OwnedFd,
    stat: &Stat,
    path: &Path,
    syncs: &mut Syncs,
) -> Result<Content, TakeError> {
    let content = match stamp_of(stat).size <= SMALL_FILE_BYTES_MAX {
        true => read_small(&file, stat, path)?,
        false => Content::Large,
    };
    syncs.file(file, path);
    Ok(content)
}

/// Reads a whole small file between two looks at it.
pub(super) fn read_small(file: &OwnedFd, stat: &Stat, path: &Path) -> Result<Content, TakeError> {
    let before = stamp_of(stat);
    // One byte more than it has, so that a file that grows is noticed whatever its times say.
    let mut bytes = vec![0; before.size as usize + 1];
    let mut len = 0;
    while len < bytes.len() {
        let read = retry_on_intr(|| rustix::io::pread(file, &mut bytes[len..], len as u64))
            .map_err(|errno| TakeError::from_errno("read", path, errno))?;
        if read == 0 {
            break;
        }
        len += read;
    }
    let after = check_still(file, &before, path)?;
    if len as u64 != before.size {
        return Err(TakeError::Changed {
            path: path.to_owned(),
            before,
            after,
        });
    }
    bytes.truncate(len);
    let digest = Digest(*blake3::hash(&bytes).as_bytes());
    Ok(Content::Small {
        bytes: bytes.into(),
        digest,
    })
}

/// Fails when the file changed in any way since `before`. Stricter than [`super::look`]: nothing
/// is promised yet, and a file that is being touched can wait.
pub(super) fn check_still(
    file: impl AsFd,
    before: &Stamp,
    path: &Path,
) -> Result<Stamp, TakeError> {
    let stat =
        rustix::fs::fstat(file).map_err(|errno| TakeError::from_errno("look at", path, errno))?;
    let after = stamp_of(&stat);
    if after == *before {
        Ok(after)
    } else {
        Err(TakeError::Changed {
            path: path.to_owned(),
            before: *before,
            after,
        })
    }
}
