//! Tells whether a connection still moves bytes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, ReadBuf};
use tokio::time::Instant;

/// When a connection last moved bytes.
#[derive(Debug)]
pub(in crate::net) struct Life {
    began: Instant,
    /// Milliseconds from `began` to the last sign of life.
    last_ms: AtomicU64,
    /// How many are busy with what was heard, and do not listen meanwhile.
    deaf: AtomicUsize,
}

/// While it lives, silence is our own doing.
#[derive(Debug)]
pub(in crate::net) struct Deaf<'a>(&'a Life);

impl Life {
    /// A sign of life now.
    pub(in crate::net) fn new() -> Arc<Self> {
        Arc::new(Self {
            began: Instant::now(),
            last_ms: AtomicU64::new(0),
            deaf: AtomicUsize::new(0),
        })
    }

    /// Notes a sign of life.
    pub(in crate::net) fn touch(&self) {
        let ms = self.began.elapsed().as_millis() as u64;
        self.last_ms.store(ms, Ordering::Relaxed);
    }

    /// Stops listening until the answer is dropped: because we are slow to take what was heard.
    pub(in crate::net) fn deaf(&self) -> Deaf<'_> {
        self.deaf.fetch_add(1, Ordering::Relaxed);
        Deaf(self)
    }

    /// Time since the last one during which somebody listened.
    pub(in crate::net) fn silence(&self) -> Duration {
        if self.deaf.load(Ordering::Relaxed) > 0 {
            return Duration::ZERO;
        }
        let last = Duration::from_millis(self.last_ms.load(Ordering::Relaxed));
        self.began.elapsed().saturating_sub(last)
    }
}

impl Drop for Deaf<'_> {
    fn drop(&mut self) {
        self.0.touch();
        self.0.deaf.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A reader that notes every arrival of bytes, so that a long frame on a slow network is no
/// silence.
#[derive(Debug)]
pub(in crate::net) struct Heard<R> {
    pub(super) inner: R,
    pub(super) life: Arc<Life>,
}

impl<R: AsyncRead + Unpin> AsyncRead for Heard<R> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let poll = Pin::new(&mut self.inner).poll_read(context, buf);
        if buf.filled().len() > before {
            self.life.touch();
        }
        poll
    }
}
