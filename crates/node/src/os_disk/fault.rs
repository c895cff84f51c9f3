//! Errors of the operating system that say what was done to which path.

use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use rustix::io::Errno;

/// An error of the operating system with its circumstances.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path:?}: {source}")]
struct Fault {
    doing: &'static str,
    path: PathBuf,
    source: io::Error,
}

/// Turns an error number into an error that names the deed and the path. The kind stays, which is
/// what callers decide by.
pub(crate) fn fault(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> io::Error {
    let path = path.to_owned();
    move |errno| {
        let fault = Fault {
            doing,
            path,
            source: errno.into(),
        };
        io::Error::new(kind_of(errno), fault)
    }
}

/// The kind of an error number. A spent quota is a full disk to everybody above: it ends when
/// there is room again.
pub(crate) fn kind_of(errno: Errno) -> ErrorKind {
    match errno {
        Errno::DQUOT => ErrorKind::StorageFull,
        other => io::Error::from(other).kind(),
    }
}
