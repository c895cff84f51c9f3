//! TCP beneath TLS: bounds what a stranger may send before it is known, and reads ahead for a peer
//! that sends much.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

/// The TLS library reads at most so many bytes at once.
const LIBRARY_READ_BYTES: usize = 4 << 10;

/// Read at once from a stranger.
const STRANGER_READ_BYTES: usize = 1 << 10;

/// Read ahead from a peer that sends more than that: one call to the system instead of many. Held
/// only as long as so much comes.
const AHEAD_BYTES: usize = 128 << 10;

/// See the module.
#[derive(Debug)]
pub(in crate::net) struct Wire {
    tcp: TcpStream,
    /// Bytes that a stranger may still send.
    allowance: Option<usize>,
    ahead: Vec<u8>,
    /// What of `ahead` was read and not handed on yet.
    waiting: std::ops::Range<usize>,
}

impl Wire {
    /// A stranger, who may send so many bytes.
    pub(super) fn of_stranger(tcp: TcpStream, allowance: usize) -> Self {
        Self {
            tcp,
            allowance: Some(allowance),
            ahead: Vec::new(),
            waiting: 0..0,
        }
    }

    /// From here on it is known who it is.
    pub(super) fn known(&mut self) {
        self.allowance = None;
    }

    /// The socket.
    pub(super) fn into_tcp(self) -> TcpStream {
        self.tcp
    }

    fn poll_stranger(
        &mut self,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
        allowance: usize,
    ) -> Poll<io::Result<()>> {
        if allowance == 0 {
            let what = "it says too much before it says who it is";
            return Poll::Ready(Err(io::Error::other(what)));
        }
        let mut bytes = [0; STRANGER_READ_BYTES];
        let len = allowance.min(buf.remaining()).min(bytes.len());
        let mut part = ReadBuf::new(&mut bytes[..len]);
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut part))?;
        buf.put_slice(part.filled());
        self.allowance = Some(allowance - part.filled().len());
        Poll::Ready(Ok(()))
    }

    fn poll_ahead(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut ahead = ReadBuf::new(&mut self.ahead);
        ready!(Pin::new(&mut self.tcp).poll_read(context, &mut ahead))?;
        self.waiting = 0..ahead.filled().len();
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(allowance) = self.allowance {
            return self.poll_stranger(context, buf, allowance);
        }
        if self.waiting.is_empty() && self.ahead.is_empty() {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.tcp).poll_read(context, buf))?;
            if buf.filled().len() - before >= LIBRARY_READ_BYTES {
                self.ahead = vec![0; AHEAD_BYTES];
            }
            return Poll::Ready(Ok(()));
        }
        if self.waiting.is_empty() {
            ready!(self.poll_ahead(context))?;
        }
        let len = self.waiting.len().min(buf.remaining());
        let from = self.waiting.start;
        buf.put_slice(&self.ahead[from..from + len]);
        self.waiting.start += len;
        if self.waiting.is_empty() && self.waiting.end <= LIBRARY_READ_BYTES {
            self.ahead = Vec::new();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.tcp).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.tcp.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.tcp).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    async fn pair(allowance: usize) -> (TcpStream, Wire) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (tcp, _) = listener.accept().await.unwrap();
        (peer, Wire::of_stranger(tcp, allowance))
    }

    #[tokio::test]
    async fn a_stranger_says_no_more_than_it_may() {
        let (mut peer, mut wire) = pair(10).await;
        peer.write_all(&[7; 64]).await.unwrap();
        let mut heard = [0; 64];
        let mut all = 0;
        let error = loop {
            match wire.read(&mut heard[all..]).await {
                Ok(read) => all += read,
                Err(error) => break error,
            }
        };
        assert_eq!((all, &heard[..10]), (10, &[7; 10][..]));
        assert!(error.to_string().contains("too much"), "{error}");
    }

    #[tokio::test]
    async fn what_is_read_ahead_is_handed_on_whole_and_in_order() {
        let (mut peer, mut wire) = pair(0).await;
        wire.known();
        let sent: Vec<u8> = (0..3_000_000_u32).map(|at| (at / 3) as u8).collect();
        let expected = sent.clone();
        let writing = tokio::spawn(async move { peer.write_all(&sent).await.map(|()| peer) });
        let mut heard = Vec::new();
        let mut part = [0; LIBRARY_READ_BYTES];
        while heard.len() < expected.len() {
            let read = wire.read(&mut part).await.unwrap();
            assert!(read > 0);
            heard.extend_from_slice(&part[..read]);
        }
        assert!(heard == expected);
        drop(writing.await.unwrap());
        assert_eq!(wire.read(&mut part).await.unwrap(), 0);
    }
}
