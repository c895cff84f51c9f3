//! The data directory: ours alone, and of this node.

use std::fs::{DirBuilder, File};
use std::io::{self, Write as _};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use consign_core::ids::NodeName;
use rustix::fs::FlockOperation;
use thiserror::Error;

use crate::filesystem::{self, FsError, Use};

/// Version of the data directory's layout.
const FORMAT: u32 = 1;

/// Says whose directory it is: `consign-data FORMAT NODE`.
const IDENTITY: &str = "identity";

/// Why a data directory cannot be used. Nothing was changed.
#[derive(Debug, Error)]
pub(crate) enum DataDirError {
    /// It cannot be made or read.
    #[error(
        "the data directory {path:?} cannot be used: {source}; hint: {}",
        match source.kind() {
            io::ErrorKind::AlreadyExists | io::ErrorKind::NotADirectory =>
                "something else is there, move it away or choose another node.data_dir",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded =>
                "free some space on its filesystem",
            _ => "create it, and let this user read and write it",
        }
    )]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// Its filesystem is not fit.
    #[error(transparent)]
    Filesystem(#[from] FsError),
    /// Another agent runs on it.
    #[error(
        "another agent is running on the data directory {path:?}; hint: stop that one first, or give this one a data_dir of its own"
    )]
    Busy {
        /// The directory.
        path: PathBuf,
    },
    /// It belongs to another node.
    #[error(
        "the data directory {path:?} is of node {owner:?}, and this is {me}; hint: correct node.name or node.data_dir"
    )]
    OtherNode {
        /// The directory.
        path: PathBuf,
        /// Whose it is.
        owner: String,
        /// Who we are.
        me: NodeName,
    },
    /// A newer version made it.
    #[error(
        "the data directory {path:?} has format {found}, and this version knows {FORMAT}; hint: run the version of consign that made it, or a newer one"
    )]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Its identity file is not readable.
    #[error(
        "{path:?} does not say whose data directory this is; hint: was it edited? it should read `consign-data {FORMAT} NODE`"
    )]
    Unreadable {
        /// The identity file.
        path: PathBuf,
    },
}

/// A data directory, locked for as long as this lives.
#[derive(Debug)]
pub(crate) struct DataDir {
    _lock: File,
    degraded: Vec<String>,
}

impl DataDir {
    /// Makes, checks and locks the directory.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub(crate) fn open(path: &Path, me: &NodeName) -> Result<Self, DataDirError> {
        let io = |source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        // What is in it is nobody else's to read: names of files, and their bytes.
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(path).map_err(io)?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path.join("lock"))
            .map_err(io)?;
        rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            DataDirError::Busy {
                path: path.to_owned(),
            }
        })?;
        claim(path, me)?;
        let degraded = filesystem::check(path, Use::DataDir)?.degraded;
        Ok(Self {
            _lock: lock,
            degraded,
        })
    }

    /// Promises that are weaker on its filesystem.
    pub(crate) fn degraded(&self) -> &[String] {
        &self.degraded
    }
}

/// A data directory that is only looked at, and on which no agent is started meanwhile.
#[derive(Debug)]
pub(crate) struct Looked {
    _lock: Option<File>,
}

impl DataDir {
    /// Locks a directory that is there, to look at it. Nothing is made or changed.
    ///
    /// # Errors
    /// [`DataDirError`].
    pub(crate) fn look(path: &Path, me: &NodeName) -> Result<Looked, DataDirError> {
        let io = |source| DataDirError::Io {
            path: path.to_owned(),
            source,
        };
        std::fs::read_dir(path).map_err(io)?;
        let lock = match File::open(path.join("lock")) {
            Ok(lock) => Some(lock),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        if let Some(lock) = &lock {
            rustix::fs::flock(lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
                DataDirError::Busy {
                    path: path.to_owned(),
                }
            })?;
        }
        let identity = path.join(IDENTITY);
        match std::fs::read_to_string(&identity) {
            Ok(text) => check(path, &identity, &text, me)?,
            // Whose it is, only its owner can say.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io(error)),
        }
        Ok(Looked { _lock: lock })
    }
}

/// Checks whose directory it is; a fresh one becomes ours.
fn claim(path: &Path, me: &NodeName) -> Result<(), DataDirError> {
    let io = |source| DataDirError::Io {
        path: path.to_owned(),
        source,
    };
    let identity = path.join(IDENTITY);
    match std::fs::read_to_string(&identity) {
        Ok(text) => check(path, &identity, &text, me),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let aside = path.join("identity.new");
            let mut file = File::create(&aside).map_err(io)?;
            writeln!(file, "consign-data {FORMAT} {me}").map_err(io)?;
            // A crash before these leaves a directory that is nobody's yet.
            file.sync_all().map_err(io)?;
            std::fs::rename(&aside, &identity).map_err(io)?;
            File::open(path).and_then(|dir| dir.sync_all()).map_err(io)
        }
        Err(error) => Err(io(error)),
    }
}

fn check(path: &Path, identity: &Path, text: &str, me: &NodeName) -> Result<(), DataDirError> {
    let mut words = text.split_whitespace();
    let (magic, format, owner) = (words.next(), words.next(), words.next());
    let unreadable = || DataDirError::Unreadable {
        path: identity.to_owned(),
    };
    let (Some("consign-data"), Some(format), Some(owner)) = (magic, format, owner) else {
        return Err(unreadable());
    };
    let found: u32 = format.parse().map_err(|_| unreadable())?;
    if found > FORMAT {
        return Err(DataDirError::NewerFormat {
            path: path.to_owned(),
            found,
        });
    }
    if owner != me.as_str() {
        return Err(DataDirError::OtherNode {
            path: path.to_owned(),
            owner: owner.to_owned(),
            me: me.clone(),
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    #[test]
    fn a_directory_belongs_to_one_node_and_one_agent() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let held = DataDir::open(&path, &node("a")).unwrap();
        assert!(matches!(
            DataDir::open(&path, &node("a")),
            Err(DataDirError::Busy { .. })
        ));
        drop(held);
        assert!(matches!(
            DataDir::open(&path, &node("b")),
            Err(DataDirError::OtherNode { .. })
        ));
        DataDir::open(&path, &node("a")).unwrap();
        std::fs::write(path.join(IDENTITY), "consign-data 99 a").unwrap();
        let newer = DataDir::open(&path, &node("a")).unwrap_err();
        assert!(
            newer.to_string().contains("hint: run the version"),
            "{newer}"
        );
    }
}
