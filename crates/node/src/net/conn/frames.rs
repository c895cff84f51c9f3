//! Reads frames from a connection, with every length checked before anything is allocated.

use std::io::ErrorKind;

use consign_core::limits::FRAME_HEADER_BYTES_MAX;
use consign_core::wire::{BadFrame, FRAME_HEAD_BYTES, Frame, parse_frame_head};
use tokio::io::{AsyncRead, AsyncReadExt, BufReader};

use super::broken::Broken;

/// Small frames are read through a buffer of this size, payloads past it.
const READ_BUFFER_BYTES: usize = 8 << 10;

/// Memory for headers that is kept between frames, in bytes: most are far smaller.
const HEADER_KEPT_BYTES: usize = 64 << 10;

/// A connection's reading side. None of its methods is cancel safe: after one was dropped midway
/// the connection is of no use.
#[derive(Debug)]
pub(in crate::net) struct Frames<R> {
    io: BufReader<R>,
    header: Vec<u8>,
}

impl<R: AsyncRead + Unpin> Frames<R> {
    /// Reads from `io`.
    pub(in crate::net) fn new(io: R) -> Self {
        Self {
            io: BufReader::with_capacity(READ_BUFFER_BYTES, io),
            header: Vec::new(),
        }
    }

    /// Reads a frame up to its payload, which the caller reads or skips.
    ///
    /// # Errors
    /// [`Broken::Closed`] at a clean end, [`Broken::Frame`] or [`Broken::Io`].
    pub(in crate::net) async fn next(&mut self) -> Result<Frame, Broken> {
        self.next_within(FRAME_HEADER_BYTES_MAX).await
    }

    /// As [`Frames::next`], with a header of at most `header_max` bytes.
    ///
    /// # Errors
    /// As [`Frames::next`].
    pub(in crate::net) async fn next_within(&mut self, header_max: usize) -> Result<Frame, Broken> {
        let mut head = [0; FRAME_HEAD_BYTES];
        match self.io.read(&mut head[..1]).await {
            Ok(0) => return Err(Broken::Closed),
            // Of a peer that was killed TLS hears no farewell. That a connection ends between two
            // frames says nothing, so nobody gains by making it end there.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Err(Broken::Closed),
            Err(error) => return Err(error.into()),
            Ok(_) => {}
        }
        self.io.read_exact(&mut head[1..]).await?;
        let head = parse_frame_head(&head)?;
        if head.header_len > header_max {
            return Err(Broken::Frame(BadFrame::TooLong {
                what: "header",
                len: head.header_len,
                max: header_max,
            }));
        }
        if self.header.capacity() > HEADER_KEPT_BYTES {
            self.header = Vec::new();
        }
        self.header.resize(head.header_len, 0);
        self.io.read_exact(&mut self.header).await?;
        Ok(head.decode(&self.header)?)
    }

    /// Reads the payload of the frame that was just read.
    ///
    /// # Errors
    /// [`Broken::Io`].
    pub(in crate::net) async fn payload(&mut self, into: &mut [u8]) -> Result<(), Broken> {
        self.io.read_exact(into).await?;
        Ok(())
    }

    /// Skips it.
    ///
    /// # Errors
    /// [`Broken::Io`].
    pub(in crate::net) async fn skip(&mut self, len: usize) -> Result<(), Broken> {
        let mut rest = (&mut self.io).take(len as u64);
        let skipped = tokio::io::copy_buf(&mut rest, &mut tokio::io::sink()).await?;
        if skipped < len as u64 {
            return Err(Broken::Io(std::io::ErrorKind::UnexpectedEof.into()));
        }
        Ok(())
    }
}
