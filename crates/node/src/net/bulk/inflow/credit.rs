//! How far a sender may send: as far as memory is set aside, and as far as the disk follows.
//!
//! Every transfer that flows waits in turn for memory for one chunk, so all of them move. More is
//! granted while there is plenty, up to the window that keeps a long link full. A sender that does
//! not use its credit for a while has the memory behind it lent to others.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use consign_core::limits::{CREDIT_WINDOW_BYTES, WATERMARK_LAG_BYTES_MAX};
use tokio::time::Instant;

use crate::net::bounds::CREDIT_IDLE_MAX;

use super::super::buffers::{Pool, Reserved};
use super::super::chunks::Shape;

/// Memory that is being waited for.
type Waiting = Pin<Box<dyn Future<Output = Reserved> + Send>>;

/// See the module.
pub(super) struct Credit {
    pool: Arc<Pool>,
    shape: Shape,
    waiting: Option<Waiting>,
    /// What the sender was told last.
    told: u64,
    /// When something last arrived or was granted.
    used: Instant,
}

/// How much memory of the pool must stay free for the next chunk to be granted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Price {
    /// None: it is the transfer's first chunk, which waits its turn.
    Turn,
    /// None; but no turn is waited for.
    Room,
    /// Half of the pool.
    Plenty,
}

impl Credit {
    pub(super) fn new(pool: &Arc<Pool>, shape: Shape) -> Self {
        Self {
            pool: Arc::clone(pool),
            shape,
            waiting: None,
            told: 0,
            used: Instant::now(),
        }
    }

    /// Forgets a sender: the next one begins anew.
    pub(super) fn reset(&mut self) {
        self.waiting = None;
        self.told = 0;
        self.used = Instant::now();
    }

    /// Notes that the sender uses its credit.
    pub(super) fn used(&mut self) {
        self.used = Instant::now();
    }

    /// When memory that was not used until then is lent to others.
    pub(super) fn lent_at(&self) -> Instant {
        self.used + CREDIT_IDLE_MAX
    }

    /// The next chunk that may be granted, as its end and the memory for it, if there is any now.
    /// When a turn must be waited for, [`Credit::turn`] does.
    pub(super) fn next(&mut self, flow: Flow) -> Option<(u64, Reserved)> {
        let (end, price) = self.wanted(flow)?;
        let len = self.shape.chunk_bytes as usize;
        match price {
            Price::Room => self.pool.try_reserve(len, 0),
            Price::Plenty => self.pool.try_reserve(len, self.pool.half()),
            Price::Turn if self.waiting.is_some() => None,
            Price::Turn => {
                let pool = Arc::clone(&self.pool);
                self.waiting = Some(Box::pin(async move { pool.reserve(len).await }));
                None
            }
        }
        .map(|memory| (end, memory))
    }

    /// Waits for a turn at the memory; for ever when none is wanted. Cancel safe.
    pub(super) async fn turn(&mut self) -> Reserved {
        match &mut self.waiting {
            Some(waiting) => {
                let memory = waiting.await;
                self.waiting = None;
                memory
            }
            None => std::future::pending().await,
        }
    }

    /// What a turn's memory is for; `None` when it is not wanted any more.
    pub(super) fn after_turn(&self, flow: Flow) -> Option<u64> {
        self.wanted(flow).map(|(end, _)| end)
    }

    /// Whether the sender should be told of the credit it has: not of every chunk, but before it
    /// runs out, and at the end.
    pub(super) fn tell(&mut self, flow: Flow) -> bool {
        let unused = self.told.saturating_sub(flow.verified);
        let due = flow.through > self.told && unused <= self.window() / 2;
        if due {
            self.told = flow.through;
        }
        due || flow.verified == self.shape.size
    }

    fn wanted(&self, flow: Flow) -> Option<(u64, Price)> {
        let (_, end) = self.shape.at(flow.through)?;
        let window_end = flow.verified.saturating_add(self.window());
        let lag_end = flow.synced.saturating_add(WATERMARK_LAG_BYTES_MAX);
        if end > window_end.min(lag_end) {
            return None;
        }
        let outstanding = flow.through.saturating_sub(flow.verified);
        let price = match outstanding / self.shape.chunk_bytes {
            0 => Price::Turn,
            1 => Price::Room,
            _ => Price::Plenty,
        };
        Some((end, price))
    }

    fn window(&self) -> u64 {
        CREDIT_WINDOW_BYTES.max(2 * self.shape.chunk_bytes)
    }
}

/// How a transfer stands.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flow {
    /// One past the last byte that the sender may send.
    pub(super) through: u64,
    /// One past the last byte that is verified and written.
    pub(super) verified: u64,
    /// One past the last byte that is synced.
    pub(super) synced: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn credit(pool: &Arc<Pool>) -> Credit {
        Credit::new(pool, Shape::new(1 << 30, MIB).unwrap())
    }

    fn flow(verified: u64, through: u64) -> Flow {
        Flow {
            through,
            verified,
            synced: 0,
        }
    }

    async fn grant_all(credit: &mut Credit, at: u64) -> (u64, Vec<Reserved>) {
        let (mut through, mut held) = (at, Vec::new());
        loop {
            let next = credit.next(flow(at, through));
            let (end, memory) = match next {
                Some(next) => next,
                None if credit.waiting.is_some() => {
                    let memory = credit.turn().await;
                    (credit.after_turn(flow(at, through)).unwrap(), memory)
                }
                None => return (through, held),
            };
            through = end;
            held.push(memory);
        }
    }

    #[tokio::test]
    async fn the_window_is_filled_while_there_is_plenty() {
        let pool = Pool::new(64 << 20);
        let (through, _held) = grant_all(&mut credit(&pool), 0).await;
        assert_eq!(through, CREDIT_WINDOW_BYTES);
    }

    #[tokio::test]
    async fn many_transfers_get_two_chunks_each_and_no_window() {
        let pool = Pool::new(8 << 20);
        let mut held = Vec::new();
        let mut granted = Vec::new();
        for _ in 0..3 {
            let (through, memory) = grant_all(&mut credit(&pool), 0).await;
            granted.push(through / MIB);
            held.push(memory);
        }
        assert_eq!(granted, [4, 2, 2], "half of the pool stays free of windows");
        assert_eq!(pool.available(), 0);
        let mut late = credit(&pool);
        assert!(late.next(flow(0, 0)).is_none());
        held.clear();
        drop(late.turn().await);
    }

    #[tokio::test]
    async fn nothing_is_granted_that_the_disk_could_not_follow() {
        let pool = Pool::new(64 << 20);
        let mut credit = credit(&pool);
        let behind = WATERMARK_LAG_BYTES_MAX - MIB;
        let (through, _held) = grant_all(&mut credit, behind).await;
        assert_eq!(through, WATERMARK_LAG_BYTES_MAX);
    }
}
