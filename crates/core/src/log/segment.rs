//! One segment's file: its name, its verified reading, and how a new one comes to its name.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::batch::{BATCH_HEADER_BYTES, BatchHeader, PayloadAt, RawRecord, decode_heads};
use super::error::{LogError, Unsound};
use super::format::{
    BadHeader, FORMAT, HEADER_BYTES, IndexEntry, Previous, Salt, SegmentHeader, TRAILER_BYTES,
    decode_seal, seal_bytes, trailer_batches,
};
use crate::disk::{Disk, File, OpenMode};
use crate::planted::{Planted, planted};

const SUFFIX: &str = ".log";
const DIGITS: usize = 20;

/// The file of segment `id`.
pub(super) fn path_of(dir: &Path, id: u32) -> PathBuf {
    dir.join(format!("{id:0DIGITS$}{SUFFIX}"))
}

/// The number of the segment whose file has this name; `None` when it is no segment's.
pub(super) fn id_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(SUFFIX)?;
    let plain = digits.len() == DIGITS && digits.bytes().all(|b| b.is_ascii_digit());
    plain
        .then(|| digits.parse().ok())
        .flatten()
        .filter(|&id| id > 0)
}

/// The number after `id`.
pub(super) fn next_id(id: u32) -> u32 {
    id.checked_add(1)
        .expect("four thousand million segments are never written")
}

/// Removes a file; one that is gone already is fine.
pub(super) fn remove(disk: &dyn Disk, path: &Path) -> Result<(), LogError> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(LogError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}

/// An open segment whose header is sound.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) header: SegmentHeader,
    pub(super) path: PathBuf,
    /// The file's length when it was opened, in bytes, as far as the header says that it reaches.
    pub(super) len: u32,
    file: Arc<dyn File>,
}

impl Segment {
    /// Opens a segment for reading. A bad header is damage, since it was synced before the file got
    /// its name.
    pub(super) fn open(disk: &dyn Disk, dir: &Path, id: u32) -> Result<Self, LogError> {
        let path = path_of(dir, id);
        let io = |source| LogError::io("open", &path, source);
        let file = disk.open(&path, OpenMode::Read).map_err(io)?;
        let len = file.len().map_err(io)?;
        if len < HEADER_BYTES.into() {
            return Err(LogError::damaged(&path, len, "the file ends in its header"));
        }
        let mut bytes = [0; HEADER_BYTES as usize];
        file.read_exact_at(&mut bytes, 0)
            .map_err(|source| LogError::io("read", &path, source))?;
        let header = SegmentHeader::decode(&bytes, id).map_err(|bad| match bad {
            BadHeader::Flaw(what) => LogError::damaged(&path, 0u64, what),
            BadHeader::Newer(found) => LogError::NewerFormat {
                path: path.clone(),
                found,
                supported: FORMAT,
            },
        })?;
        let len = len.min(header.size.into()) as u32;
        Ok(Self {
            header,
            path,
            len,
            file,
        })
    }

    /// Opens a segment whose own header is damaged, with the salt that its successor names. Of what
    /// the header said only that is known.
    pub(super) fn open_as(
        disk: &dyn Disk,
        dir: &Path,
        id: u32,
        salt: Salt,
    ) -> Result<Self, LogError> {
        let path = path_of(dir, id);
        let io = |source| LogError::io("open", &path, source);
        let file = disk.open(&path, OpenMode::Read).map_err(io)?;
        let size = file.len().map_err(io)?.min(u32::MAX.into()) as u32;
        let header = SegmentHeader {
            id,
            oldest: id,
            salt,
            size,
            born_end: HEADER_BYTES,
            previous: Previous::None,
        };
        Ok(Self {
            header,
            path,
            len: size,
            file,
        })
    }

    /// Reads `bytes` bytes at `at`; a flaw when the file ends before.
    pub(super) fn read(&self, at: u32, bytes: u64) -> Result<Vec<u8>, Unsound> {
        if u64::from(at) + bytes > self.len.into() {
            return Err(Unsound::flaw(at, "the file ends in the middle"));
        }
        let mut out = vec![0; bytes as usize];
        self.read_into(&mut out, at)?;
        Ok(out)
    }

    /// Fills `out` from `at`, which the caller has compared with [`Self::len`].
    pub(super) fn read_into(&self, out: &mut [u8], at: u32) -> Result<(), LogError> {
        self.file
            .read_exact_at(out, at.into())
            .map_err(|source| LogError::io("read", &self.path, source))
    }

    /// The header of the batch at `at`.
    pub(super) fn batch(&self, at: u32) -> Result<BatchHeader, Unsound> {
        let bytes = self.read(at, BATCH_HEADER_BYTES.into())?;
        let (batch, _) = self.decode_batch(&bytes, at)?;
        Ok(batch)
    }

    fn decode_batch(&self, bytes: &[u8], at: u32) -> Result<(BatchHeader, u32), Unsound> {
        let bytes = bytes
            .first_chunk()
            .ok_or(Unsound::flaw(at, "a batch is cut off"))?;
        BatchHeader::decode(bytes, self.header.id, self.header.salt, at)
            .map_err(|what| Unsound::flaw(at, what))
    }

    /// The record headers and bodies of a batch, read but not verified.
    pub(super) fn heads(&self, batch: &BatchHeader) -> Result<Vec<u8>, Unsound> {
        self.read(batch.heads_at(), batch.heads_bytes.into())
    }

    /// The header, record headers and bodies of the batch that a seal's index names.
    pub(super) fn indexed(&self, entry: &IndexEntry) -> Result<(BatchHeader, Vec<u8>), Unsound> {
        let flaw = |what| Unsound::flaw(entry.at, what);
        if entry.heads_bytes > entry.total_bytes {
            return Err(flaw("the seal's index is impossible"));
        }
        let mut bytes = self.read(
            entry.at,
            u64::from(BATCH_HEADER_BYTES) + u64::from(entry.heads_bytes),
        )?;
        let (batch, sum) = self.decode_batch(&bytes, entry.at)?;
        let lengths = (batch.total_bytes, batch.heads_bytes);
        if sum != entry.sum || lengths != (entry.total_bytes, entry.heads_bytes) {
            return Err(flaw("a batch is not the one in the seal's index"));
        }
        bytes.drain(..BATCH_HEADER_BYTES as usize);
        Ok((batch, bytes))
    }

    /// Verifies and takes apart the records of a batch.
    pub(super) fn records<'a>(
        &self,
        batch: &BatchHeader,
        heads: &'a [u8],
    ) -> Result<Vec<RawRecord<'a>>, Unsound> {
        decode_heads(batch, heads, self.header.salt).map_err(|(at, what)| Unsound::flaw(at, what))
    }

    /// A record's payload, verified.
    pub(super) fn payload(&self, record_at: u32, payload: PayloadAt) -> Result<Vec<u8>, Unsound> {
        let mut bytes = self.read(payload.at, payload.padded_bytes())?;
        if !payload.is_sound(&bytes, self.header.salt, record_at) {
            return Err(Unsound::flaw(payload.at, "a payload's checksum is wrong"));
        }
        bytes.truncate(payload.bytes as usize);
        Ok(bytes)
    }

    /// The index in this segment's seal, and the seal's checksum.
    pub(super) fn seal(&self) -> Result<(Vec<IndexEntry>, u32), Unsound> {
        let (id, size) = (self.header.id, self.header.size);
        let trailer_at = size.saturating_sub(TRAILER_BYTES as u32);
        let flaw = |what| Unsound::flaw(trailer_at, what);
        let trailer = self.read(trailer_at, TRAILER_BYTES)?;
        let batches = trailer
            .first_chunk()
            .and_then(|trailer| trailer_batches(trailer, id, size))
            .ok_or(flaw("the segment does not end in its seal"))?;
        let len = seal_bytes(batches.into());
        let seal = self.read(size - len as u32, len)?;
        decode_seal(&seal, self.header.salt, size).map_err(flaw)
    }
}

/// The synced file of a segment to be, all zero, still under its provisional name.
#[derive(Debug)]
pub(super) struct Unnamed {
    pub(super) file: Arc<dyn File>,
    pub(super) path: PathBuf,
    pub(super) size: u32,
}

impl Unnamed {
    /// Makes this file the segment that `header` describes, durably; `header.born_end` bytes of it
    /// are written already, except for the header itself. Until the rename it does not exist for
    /// recovery, and from the rename on it is whole.
    pub(super) fn install(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        header: &SegmentHeader,
    ) -> Result<(), LogError> {
        assert_eq!(header.size, self.size, "a segment's header and its file");
        let path = path_of(dir, header.id);
        self.file
            .write_all_at(&header.encode(), 0)
            .map_err(|source| LogError::io("write", &self.path, source))?;
        // A crash before this sync loses a file that nothing refers to yet.
        if !planted(Planted::SegmentNamedBeforeSync) {
            self.file
                .sync()
                .map_err(|source| LogError::sync(&self.path, source))?;
        }
        disk.rename(&self.path, &path)
            .map_err(|source| LogError::io("rename", &self.path, source))?;
        // A crash before this sync may undo the rename; nothing that was acknowledged is only in the
        // new segment, and the previous one has not been touched.
        if planted(Planted::SegmentDirNotSynced) {
            return Ok(());
        }
        disk.sync_dir(dir)
            .map_err(|source| LogError::sync(dir, source))
    }
}
