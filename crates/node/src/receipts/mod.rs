//! The archive of receipts: what consumers have signed for the files of this node, in SQLite, for as
//! long as the history of these files; and the check of what was exported from one, offline.
//!
//! ```text
//!  log_writer ──how far it is synced──▶ progress ──▶ follow ──reads──▶ intent log
//!                                          ▲             └──writes──▶ receipts.db
//!  driver ──which segments must stay?──────┘                               │
//!  api ◀── document ◀── reader ◀───────────────────────────────────────────┘
//!  cli ──▶ check, which needs nothing but the document and an authority
//! ```
//! Each transaction stores the position of the last record in it and is synced; the log drops no
//! segment that holds a record beyond it. So a crash between any two steps loses no receipt, and what
//! is applied again changes nothing.
//!
//! It holds evidence, not promises: no file waits for it. While it cannot be written, the log keeps what
//! it lacks; when it is damaged, it is set aside under another name and begun anew, and that is said.
//!
//! Deliberately absent: what nobody has signed. Nodes without keys have no archive.

mod apply;
mod bounds;
mod check;
mod document;
mod examine;
mod follow;
mod history;
mod progress;
mod reader;
mod schema;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::thread::JoinHandle;

use consign_core::log::{LogReader, Position};

use crate::problems::Problems;

pub(crate) use apply::concerns;
pub(crate) use bounds::DOCUMENT_BYTES_MAX;
pub(crate) use check::{Proven, check, digest};
pub(crate) use document::Document;
pub(crate) use examine::examine;
use follow::Follower;
use progress::Progress;
pub(crate) use reader::{ReadError, Reader};

/// The archive's name in the data directory.
pub(crate) const FILE: &str = "receipts.db";

/// The way to the archive for those who write and drop the log. Cheap to clone; does nothing where none
/// is kept.
#[derive(Debug, Clone, Default)]
pub(crate) struct Archive {
    progress: Option<Arc<Progress>>,
}

/// The thread that writes the archive.
#[derive(Debug)]
pub(crate) struct Writer {
    archive: Archive,
    thread: JoinHandle<()>,
}

/// An open archive.
#[derive(Debug)]
pub(crate) struct Opened {
    /// For the log's writer and the driver.
    pub(crate) archive: Archive,
    /// For those who ask.
    pub(crate) reader: Reader,
    /// To be ended; `None` where no archive is kept.
    pub(crate) writer: Option<Writer>,
}

/// Opens `<data_dir>/receipts.db`, where the node `has_keys` or had them once: without there is nothing
/// to archive. It begins to be written when it [follows](Archive::follow) the log. `history_ms` is how
/// long receipts of finished transfers stay; `None` keeps them for ever.
pub(crate) fn open(
    data_dir: &Path,
    has_keys: bool,
    history_ms: Option<u64>,
    problems: &Problems,
) -> Opened {
    let path = data_dir.join(FILE);
    if !has_keys && !path.exists() {
        return Opened {
            archive: Archive::default(),
            reader: Reader::default(),
            writer: None,
        };
    }
    let progress = Arc::new(Progress::default());
    let archive = Archive {
        progress: Some(Arc::clone(&progress)),
    };
    let follower = Follower::new(
        path.clone(),
        history_ms,
        problems.clone(),
        Arc::clone(&progress),
    );
    let thread = std::thread::Builder::new()
        .name("receipts".to_owned())
        .spawn(move || follower.run())
        .expect("a process that cannot start a thread cannot run at all");
    Opened {
        reader: Reader::new(path, progress),
        writer: Some(Writer {
            archive: archive.clone(),
            thread,
        }),
        archive,
    }
}

impl Archive {
    /// Gives it the recovered log: it reads what it lacks of all up to `through`, and then on.
    pub(crate) fn follow(&self, log: LogReader, through: Position) {
        if let Some(progress) = &self.progress {
            progress.follow(log, through);
        }
    }

    /// Notes that a record [that concerns it](concerns) is synced. To be called before anybody who drops
    /// segments can hear of it.
    pub(crate) fn note_synced(&self, position: u64) {
        if let Some(progress) = &self.progress {
            progress.note_synced(position);
        }
    }

    /// The first segment of the log that must stay, since the archive lacks something of it; `None` when
    /// it lacks nothing.
    pub(crate) fn needs_from(&self) -> Option<u32> {
        self.progress.as_ref()?.needs_from()
    }
}

impl Archive {
    /// Whether it could not be written when that was last tried.
    pub(crate) fn stands_still(&self) -> bool {
        let progress = self.progress.as_ref();
        progress.is_some_and(|progress| progress.stands_still())
    }
}

impl Writer {
    /// Lets it finish what it is at, and waits for that. What it lacks then is found in the log.
    pub(crate) fn join(self) {
        if let Some(progress) = &self.archive.progress {
            progress.close();
        }
        if let Err(panic) = self.thread.join() {
            std::panic::resume_unwind(panic);
        }
    }
}
