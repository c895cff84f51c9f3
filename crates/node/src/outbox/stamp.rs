//! What a file on disk looks like, and whether it still does.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use consign_core::spec::Stamp;
use rustix::fs::Stat;

use crate::os_disk::fault;

/// How a shared file looks, compared with how it looked when it was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Look {
    /// As it did.
    Same,
    /// Same file, length and modification time, but its inode was changed: it was renamed, linked,
    /// unlinked, or its permissions changed, as its owner may do at any time (and as taking it for
    /// a second feed does). Or somebody wrote it and set the time back, to the nanosecond. The
    /// bytes read are to be trusted as far as they agree with the digest; go on with this stamp.
    Touched(Stamp),
    /// Another file, length or modification time: what was and will be read is not what was taken.
    Changed(Stamp),
}

/// The stamp in what the system says of a file.
pub(crate) fn stamp_of(stat: &Stat) -> Stamp {
    Stamp {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        mtime_ns: nanos(stat.st_mtime, stat.st_mtime_nsec),
        ctime_ns: nanos(stat.st_ctime, stat.st_ctime_nsec),
        ino: stat.st_ino,
        dev: stat.st_dev,
    }
}

/// Looks at an open file again. While a shared file is sent, this is called before the first read
/// of a chunk and after its last: only a chunk between two looks that are not [`Look::Changed`]
/// may be used.
///
/// # Errors
/// Whatever the filesystem says.
pub(crate) fn look(file: impl AsFd, path: &Path, taken: &Stamp) -> io::Result<Look> {
    let now = stamp_of(&rustix::fs::fstat(file).map_err(fault("stat", path))?);
    Ok(compare(taken, now))
}

/// Compares an earlier stamp with one of now.
pub(super) fn compare(before: &Stamp, now: Stamp) -> Look {
    if *before == now {
        Look::Same
    } else if same_content(before, &now) {
        Look::Touched(now)
    } else {
        Look::Changed(now)
    }
}

/// Whether both stamps are of one file that was not written between them. The number of its device
/// does not count: the same disk may have another one after the machine was started again.
pub(super) fn same_content(a: &Stamp, b: &Stamp) -> bool {
    (a.size, a.mtime_ns, a.ino) == (b.size, b.mtime_ns, b.ino)
}

/// Seconds and nanoseconds as nanoseconds, held at the ends of their range: a file dated beyond the
/// year 2262 is no reason to fail.
fn nanos(seconds: impl TryInto<i64>, nanoseconds: impl TryInto<i64>) -> i64 {
    let seconds = seconds.try_into().unwrap_or(i64::MAX);
    let nanoseconds = nanoseconds.try_into().unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}
