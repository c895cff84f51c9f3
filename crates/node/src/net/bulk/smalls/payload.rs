//! The bytes of small files that this node sends: read from the log.

use std::io;

use bytes::Bytes;
use consign_core::log::Position;
use consign_core::producer::SmallSend;

use super::super::buffers::Buffer;

/// Where the bytes of small files come from: the log, through whatever cache lies before it.
/// Called on threads that may block.
pub(crate) trait Payloads: Send + Sync {
    /// The bytes that lie at a place.
    ///
    /// # Errors
    /// When they cannot be read.
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
    pub(super) unreadable: Vec<(SmallSend, String)>,
}

/// Reads files' bytes; those that cannot be read, or are not as long as they should be, are left
/// out. Blocks.
pub(super) fn read_all(
    payloads: &dyn Payloads,
    files: Vec<SmallSend>,
    mut buffer: Buffer,
) -> ReadFiles {
    let mut len = 0;
    let mut unreadable = Vec::new();
    let mut readable = Vec::with_capacity(files.len());
    for file in files {
        let bytes = payloads
            .read(file.submitted)
            .map_err(|error| error.to_string());
        match bytes {
            Ok(bytes) if bytes.len() as u64 == file.spec.size => {
                buffer[len..len + bytes.len()].copy_from_slice(&bytes);
                len += bytes.len();
                readable.push(file);
            }
            Ok(bytes) => unreadable.push((file, format!("{} bytes are there", bytes.len()))),
            Err(error) => unreadable.push((file, error)),
        }
    }
    let name = |(file, reason): (SmallSend, String)| {
        let reason = format!(
            "cannot read {} from the log: {reason}; hint: run `consign doctor`",
            file.spec.name
        );
        (file, reason)
    };
    ReadFiles {
        files: readable,
        payload: Bytes::from_owner(buffer).slice(..len),
        unreadable: unreadable.into_iter().map(name).collect(),
    }
}
