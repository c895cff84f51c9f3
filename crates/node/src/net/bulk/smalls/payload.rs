//! The bytes of small files that this node sends: read from the log.

use std::io;

use bytes::Bytes;
use consign_core::log::Position;
use consign_core::producer::{SmallSend, Unread};

use super::super::buffers::Buffer;

/// Where the bytes of small files come from: the log, through whatever cache lies before it.
/// Called on threads that may block.
pub(crate) trait Payloads: Send + Sync {
    /// The bytes that lie at a place.
    ///
    /// # Errors
    /// When they cannot be read; `NotFound` when they lie elsewhere by now.
    fn read(&self, at: Position) -> io::Result<Bytes>;
}

impl<F: Fn(Position) -> io::Result<Bytes> + Send + Sync> Payloads for F {
    fn read(&self, at: Position) -> io::Result<Bytes> {
        self(at)
    }
}

/// Small files read from the log, their bytes joined.
pub(super) struct ReadFiles {
    pub(super) files: Vec<SmallSend>,
    pub(super) payload: Bytes,
    pub(super) unread: Vec<(SmallSend, Unread)>,
}

/// Reads files' bytes; those that cannot be read, or are not as long as they should be, are left
/// out. Blocks.
pub(super) fn read_all(
    payloads: &dyn Payloads,
    files: Vec<SmallSend>,
    mut buffer: Buffer,
) -> ReadFiles {
    let mut len = 0;
    let mut unread = Vec::new();
    let mut readable = Vec::with_capacity(files.len());
    for file in files {
        match payloads.read(file.submitted) {
            Ok(bytes) if bytes.len() as u64 == file.spec.size => {
                buffer[len..len + bytes.len()].copy_from_slice(&bytes);
                len += bytes.len();
                readable.push(file);
            }
            Ok(bytes) => {
                let why = lost(&file, &format!("{} bytes are there", bytes.len()));
                unread.push((file, why));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                unread.push((file, Unread::Moved));
            }
            Err(error) => {
                let why = lost(&file, &error.to_string());
                unread.push((file, why));
            }
        }
    }
    ReadFiles {
        files: readable,
        payload: Bytes::from_owner(buffer).slice(..len),
        unread,
    }
}

fn lost(file: &SmallSend, why: &str) -> Unread {
    // What the log says may end in a hint of its own; here there is something better to do.
    let (what, _) = crate::hint::split(why);
    Unread::Lost(format!(
        "the bytes of {} cannot be read back from the intent log: {what}; hint: check the disk \
         under data_dir, then `consign retry`; if they are lost, `consign cancel` gives the source \
         back, to be sent again",
        file.spec.name
    ))
}
