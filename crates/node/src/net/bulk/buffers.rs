//! Memory for bytes on their way, within a budget, and used again and again.
//!
//! Memory is first *reserved* and then *taken*: credit promises a sender that its chunk will find
//! room, long before the chunk comes. What is taken plus what lies ready for the next taker never
//! exceeds the budget; what lies ready and is not needed for a while goes back to the system.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Smallest buffer, in bytes; others are the next power of two.
const BUFFER_BYTES_MIN: usize = 64 << 10;

/// One budget of memory.
#[derive(Debug)]
pub(super) struct Pool {
    bytes: usize,
    free_bytes: Arc<Semaphore>,
    store: Mutex<Store>,
}

#[derive(Debug, Default)]
struct Store {
    /// Buffers that lie ready.
    ready: Vec<Vec<u8>>,
    ready_bytes: usize,
    taken_bytes: usize,
    /// How few lay ready at any time since the last trim: so many were not needed.
    ready_min: usize,
}

/// A part of the budget, to be taken later.
#[derive(Debug)]
pub(super) struct Reserved(OwnedSemaphorePermit);

/// Bytes in memory of the budget.
#[derive(Debug)]
pub(super) struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    pool: Arc<Pool>,
    _reserved: Reserved,
}

/// What a buffer for `len` bytes costs.
fn cost(len: usize) -> usize {
    len.next_power_of_two().max(BUFFER_BYTES_MIN)
}

impl Pool {
    /// A budget of `bytes`.
    pub(super) fn new(bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes,
            free_bytes: Arc::new(Semaphore::new(bytes)),
            store: Mutex::default(),
        })
    }

    /// Reserves memory for `len` bytes; waits, in turn, while there is none.
    pub(super) async fn reserve(&self, len: usize) -> Reserved {
        let cost = cost(len);
        assert!(cost <= self.bytes, "{len} bytes can never be reserved");
        let permit = Arc::clone(&self.free_bytes).acquire_many_owned(cost as u32);
        Reserved(permit.await.expect("the semaphore is never closed"))
    }

    /// Reserves memory for `len` bytes if that leaves `spare` for others.
    pub(super) fn try_reserve(&self, len: usize, spare: usize) -> Option<Reserved> {
        let cost = cost(len);
        if self.free_bytes.available_permits() < cost + spare {
            return None;
        }
        let permit = Arc::clone(&self.free_bytes).try_acquire_many_owned(cost as u32);
        permit.ok().map(Reserved)
    }

    /// Half of the budget.
    pub(super) fn half(&self) -> usize {
        self.bytes / 2
    }

    /// Bytes that nobody has reserved.
    #[cfg(test)]
    pub(super) fn available(&self) -> usize {
        self.free_bytes.available_permits()
    }

    /// Takes a buffer of `len` bytes, of any content.
    pub(super) fn take(self: &Arc<Self>, reserved: Reserved, len: usize) -> Buffer {
        let cost = cost(len);
        assert!(
            reserved.0.num_permits() >= cost,
            "{len} bytes were not reserved"
        );
        let ready = {
            let mut store = self.lock();
            store.taken_bytes += cost;
            let found = store.ready.iter().rposition(|bytes| bytes.len() == cost);
            let ready = found.map(|at| store.ready.swap_remove(at));
            store.ready_bytes -= ready.as_ref().map_or(0, Vec::len);
            store.ready_min = store.ready_min.min(store.ready.len());
            self.shrink(&mut store);
            ready
        };
        Buffer {
            bytes: ready.unwrap_or_else(|| vec![0; cost]),
            len,
            pool: Arc::clone(self),
            _reserved: reserved,
        }
    }

    /// Gives back to the system what was not needed since the last call.
    pub(super) fn trim(&self) {
        let mut store = self.lock();
        for _ in 0..store.ready_min {
            store.ready_bytes -= store.ready.pop().map_or(0, |bytes| bytes.len());
        }
        store.ready_min = store.ready.len();
    }

    fn give_back(&self, bytes: Vec<u8>) {
        let mut store = self.lock();
        store.taken_bytes -= bytes.len();
        store.ready_bytes += bytes.len();
        store.ready.push(bytes);
        self.shrink(&mut store);
    }

    /// Keeps what is taken and what lies ready within the budget.
    fn shrink(&self, store: &mut Store) {
        while store.ready_bytes > 0 && store.taken_bytes + store.ready_bytes > self.bytes {
            let oldest = store.ready.swap_remove(0);
            store.ready_bytes -= oldest.len();
        }
        store.ready_min = store.ready_min.min(store.ready.len());
    }

    fn lock(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reserved {
    /// Takes the part for `len` bytes out of this one, or `None` when it is smaller.
    pub(super) fn split(&mut self, len: usize) -> Option<Self> {
        self.0.split(cost(len)).map(Self)
    }

    /// Adds another part.
    pub(super) fn merge(&mut self, other: Self) {
        self.0.merge(other.0);
    }
}

impl Buffer {
    /// Moves the bytes into another budget without copying them.
    pub(super) fn moved_to(mut self, pool: &Arc<Pool>, reserved: Reserved) -> Self {
        let bytes = std::mem::take(&mut self.bytes);
        self.pool.lock().taken_bytes -= bytes.len();
        pool.lock().taken_bytes += bytes.len();
        Self {
            bytes,
            len: self.len,
            pool: Arc::clone(pool),
            _reserved: reserved,
        }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.bytes.is_empty() {
            self.pool.give_back(std::mem::take(&mut self.bytes));
        }
    }
}

impl Deref for Buffer {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1 << 20;

    #[tokio::test]
    async fn what_is_taken_and_what_lies_ready_stay_within_the_budget() {
        let pool = Pool::new(4 * MIB);
        let four: Vec<_> = (0..4)
            .map(|_| pool.take(pool.try_reserve(MIB, 0).unwrap(), MIB))
            .collect();
        assert!(pool.try_reserve(1, 0).is_none());
        drop(four);
        assert_eq!(pool.lock().ready_bytes, 4 * MIB);
        let big = pool.take(pool.reserve(2 * MIB).await, 2 * MIB);
        assert_eq!(pool.lock().ready_bytes, 2 * MIB);
        assert_eq!(pool.available(), 2 * MIB);
        drop(big);
        assert_eq!(pool.available(), 4 * MIB);
    }

    #[tokio::test]
    async fn memory_is_used_again_and_given_back_when_it_is_not() {
        let pool = Pool::new(4 * MIB);
        let one = pool.take(pool.reserve(MIB).await, MIB);
        let place = one.as_ptr();
        drop(one);
        let again = pool.take(pool.reserve(MIB).await, MIB - 5);
        assert_eq!((again.as_ptr(), again.len()), (place, MIB - 5));
        drop(again);
        pool.trim();
        assert_eq!(pool.lock().ready.len(), 1, "it was needed since");
        pool.trim();
        assert_eq!(pool.lock().ready.len(), 0);
    }

    #[tokio::test]
    async fn bytes_move_between_budgets() {
        let (from, to) = (Pool::new(MIB), Pool::new(MIB));
        let mut buffer = from.take(from.reserve(MIB).await, MIB);
        buffer[7] = 7;
        let moved = buffer.moved_to(&to, to.try_reserve(MIB, 0).unwrap());
        assert_eq!((from.available(), to.available()), (MIB, 0));
        assert_eq!(moved[7], 7);
        drop(moved);
        assert_eq!(to.lock().ready_bytes, MIB);
        assert_eq!(from.lock().taken_bytes, 0);
    }
}
