//! The two directions of a connection: plain TCP, or TLS over it. Over TLS both end at once when the
//! connection is not to be had any more, whatever they were waiting for.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_rustls::TlsStream;

use crate::identity::Cut;

use super::wire::Wire;

/// What the peer sends.
#[derive(Debug)]
pub(in crate::net) enum ReadSide {
    /// As it is.
    Plain(OwnedReadHalf),
    /// Decrypted.
    Tls(tokio::io::ReadHalf<TlsStream<Wire>>, Arc<Cut>),
}

/// What we send. A frame is on its way only when it is flushed.
#[derive(Debug)]
pub(in crate::net) enum WriteSide {
    /// As it is.
    Plain(OwnedWriteHalf),
    /// Encrypted.
    Tls(tokio::io::WriteHalf<TlsStream<Wire>>, Arc<Cut>),
}

/// The two directions of plain TCP.
pub(super) fn plain(stream: TcpStream) -> (ReadSide, WriteSide) {
    let (reader, writer) = stream.into_split();
    (ReadSide::Plain(reader), WriteSide::Plain(writer))
}

/// The two directions of TLS.
pub(super) fn tls(stream: TlsStream<Wire>, cut: &Arc<Cut>) -> (ReadSide, WriteSide) {
    let (reader, writer) = tokio::io::split(stream);
    (
        ReadSide::Tls(reader, Arc::clone(cut)),
        WriteSide::Tls(writer, Arc::clone(cut)),
    )
}

impl AsyncRead for ReadSide {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(reader) => Pin::new(reader).poll_read(context, buf),
            Self::Tls(reader, cut) => match cut.severed_or_wake(context.waker()) {
                Some(why) => Poll::Ready(Err(io::Error::other(why))),
                None => Pin::new(reader).poll_read(context, buf),
            },
        }
    }
}

impl AsyncWrite for WriteSide {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(writer) => Pin::new(writer).poll_write(context, bytes),
            Self::Tls(writer, cut) => match cut.severed() {
                Some(why) => Poll::Ready(Err(io::Error::other(why))),
                None => Pin::new(writer).poll_write(context, bytes),
            },
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut *self {
            Self::Plain(writer) => Pin::new(writer).poll_write_vectored(context, parts),
            Self::Tls(writer, cut) => match cut.severed() {
                Some(why) => Poll::Ready(Err(io::Error::other(why))),
                None => Pin::new(writer).poll_write_vectored(context, parts),
            },
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(writer) => writer.is_write_vectored(),
            Self::Tls(writer, _) => writer.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(writer) => Pin::new(writer).poll_flush(context),
            Self::Tls(writer, _) => Pin::new(writer).poll_flush(context),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(writer) => Pin::new(writer).poll_shutdown(context),
            Self::Tls(writer, _) => Pin::new(writer).poll_shutdown(context),
        }
    }
}
