//! A file in the staging directory, and what can go wrong with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use consign_core::consumer::InflowFault;
use consign_core::disk::{Attributes, Disk, File, OpenMode};

/// The staging directory of an inbox, relative to it.
pub(super) const STAGING_DIR: &str = ".consign";

/// A file whose syncs are one after the other, and whose first failed one is its last: the kernel
/// tells of lost pages once, so a second sync, or one at the same time, could say all is well.
#[derive(Debug)]
pub(super) struct SyncedFile {
    file: Arc<dyn File>,
    path: PathBuf,
    failed: Mutex<Option<String>>,
}

impl SyncedFile {
    /// Opens an existing staging file. Blocks.
    ///
    /// # Errors
    /// The fault to report.
    pub(super) fn open(inbox: &dyn Disk, staging: &str) -> Result<Self, InflowFault> {
        let path = staging_path(staging);
        match inbox.open(&path, OpenMode::Write) {
            Ok(file) => Ok(Self::new(file, path)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(InflowFault::Missing),
            Err(error) => Err(fault(&path, "open", &error)),
        }
    }

    /// Opens a staging file, a new one if there is none and nothing of it is expected, and cuts it
    /// back to `from` bytes. Blocks.
    ///
    /// # Errors
    /// The fault to report; `Missing` also when bytes that a sync had promised are not there.
    pub(super) fn open_cut(
        inbox: &dyn Disk,
        staging: &str,
        from: u64,
    ) -> Result<Self, InflowFault> {
        let opened = match Self::open(inbox, staging) {
            Err(InflowFault::Missing) if from == 0 => Self::create(inbox, staging),
            opened => opened,
        }?;
        let len = opened.file.len();
        if len.map_err(|error| opened.fault("read", &error))? < from {
            return Err(InflowFault::Missing);
        }
        let cut = opened.file.set_len(from);
        cut.map_err(|error| opened.fault("cut", &error))?;
        Ok(opened)
    }

    fn create(inbox: &dyn Disk, staging: &str) -> Result<Self, InflowFault> {
        let path = staging_path(staging);
        match inbox.open(&path, OpenMode::CreateNew) {
            Ok(file) => Ok(Self::new(file, path)),
            Err(error) => Err(fault(&path, "create", &error)),
        }
    }

    /// Writes bytes. Blocks.
    ///
    /// # Errors
    /// The fault to report; any part of the bytes may be there.
    pub(super) fn write(&self, bytes: &[u8], offset: u64) -> Result<(), InflowFault> {
        let written = self.file.write_all_at(bytes, offset);
        written.map_err(|error| self.fault("write", &error))
    }

    /// Asks for bytes to be written back soon.
    pub(super) fn write_behind(&self, offset: u64, len: u64) {
        self.file.write_behind(offset, len);
    }

    /// Reads bytes back. Blocks.
    ///
    /// # Errors
    /// Why not, for a person.
    pub(super) fn read(&self, into: &mut [u8], offset: u64) -> Result<(), String> {
        self.file.read_exact_at(into, offset).map_err(|error| {
            let path = self.path.display();
            format!("cannot read {path}: {error}; hint: check the disk under the inbox")
        })
    }

    fn new(file: Arc<dyn File>, path: PathBuf) -> Self {
        Self {
            file,
            path,
            failed: Mutex::new(None),
        }
    }

    /// Sets attributes. Blocks.
    ///
    /// # Errors
    /// The fault to report.
    pub(super) fn set_attributes(&self, attributes: &Attributes) -> Result<(), InflowFault> {
        let set = self.file.set_attributes(attributes);
        set.map_err(|error| self.fault("set the attributes of", &error))
    }

    /// Checks that the two are one file. Blocks.
    ///
    /// # Errors
    /// The fault to report; `Missing` when they are not.
    pub(super) fn must_be(&self, other: &Self) -> Result<(), InflowFault> {
        let identity = |of: &Self| {
            let identity = of.file.identity();
            identity.map_err(|error| of.fault("look at", &error))
        };
        match identity(self)? == identity(other)? {
            true => Ok(()),
            false => Err(InflowFault::Missing),
        }
    }

    /// Makes everything written durable. Blocks.
    ///
    /// # Errors
    /// Why not, for a person. It is final: this node must stop.
    pub(super) fn sync(&self) -> Result<(), String> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reason) = &*failed {
            return Err(reason.clone());
        }
        let synced = self
            .file
            .sync()
            .map_err(|error| sync_failed(&self.path, &error));
        *failed = synced.clone().err();
        synced
    }

    fn fault(&self, doing: &str, error: &io::Error) -> InflowFault {
        fault(&self.path, doing, error)
    }
}

/// What to tell of a sync that failed.
pub(super) fn sync_failed(path: &Path, error: &io::Error) -> String {
    format!(
        "cannot sync {}: {error}; hint: check that disk and the kernel's log, then start the \
         agent again",
        path.display()
    )
}

fn staging_path(staging: &str) -> PathBuf {
    Path::new(STAGING_DIR).join(staging)
}

/// Names what went wrong with a staging file.
pub(super) fn fault(path: &Path, doing: &str, error: &io::Error) -> InflowFault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => InflowFault::Full,
        _ => InflowFault::Disk(format!(
            "cannot {doing} {}: {error}; hint: check the disk under the inbox",
            path.display()
        )),
    }
}
