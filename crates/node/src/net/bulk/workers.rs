//! Threads that may block: they read, hash, write and sync. As many as was decided at the start,
//! however many transfers there are.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, oneshot};

use crate::net::bounds::WORKER_QUEUE;
use crate::net::tasks::Panicked;

type Job = Box<dyn FnOnce() + Send>;

/// See the module. Dropping it lets the threads end once they have done what they are at; jobs
/// that wait are dropped.
#[derive(Debug)]
pub(super) struct Workers {
    queue: Arc<Queue>,
    room: Arc<Semaphore>,
}

#[derive(Default)]
struct Queue {
    jobs: Mutex<Jobs>,
    changed: Condvar,
}

#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    closed: bool,
}

impl std::fmt::Debug for Queue {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Queue({} jobs)", self.lock().waiting.len())
    }
}

impl Workers {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(super) fn start(name: &str, threads: usize) -> std::io::Result<Self> {
        let queue = Arc::new(Queue::default());
        let workers = Self {
            queue: Arc::clone(&queue),
            room: Arc::new(Semaphore::new(WORKER_QUEUE)),
        };
        for number in 0..threads {
            let queue = Arc::clone(&queue);
            std::thread::Builder::new()
                .name(format!("{name}-{number}"))
                .spawn(move || queue.work())?;
        }
        Ok(workers)
    }

    /// Does `job` on one of the threads. Jobs are begun in the order in which they were asked for.
    /// Dropping the future does not take back a job that was begun: it runs to its end, and its
    /// outcome is lost.
    ///
    /// # Errors
    /// [`Panicked`], when the job did; the thread goes on.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Panicked> {
        let stopped = || Panicked("the worker threads are gone".into());
        let room = Arc::clone(&self.room).acquire_owned().await;
        let room = room.map_err(|_| stopped())?;
        let (done, outcome) = oneshot::channel();
        self.queue.push(Box::new(move || {
            let outcome = catch_unwind(AssertUnwindSafe(job));
            drop(room);
            let _ = done.send(outcome);
        }));
        let outcome = outcome.await.map_err(|_| stopped())?;
        outcome.map_err(|payload| Panicked::from_payload(payload.as_ref()))
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        let mut jobs = self.queue.lock();
        jobs.closed = true;
        jobs.waiting.clear();
        drop(jobs);
        self.queue.changed.notify_all();
    }
}

impl Queue {
    fn push(&self, job: Job) {
        self.lock().waiting.push_back(job);
        self.changed.notify_one();
    }

    fn work(&self) {
        while let Some(job) = self.next() {
            job();
        }
    }

    fn next(&self) -> Option<Job> {
        let mut jobs = self.lock();
        loop {
            if jobs.closed {
                return None;
            }
            if let Some(job) = jobs.waiting.pop_front() {
                return Some(job);
            }
            jobs = self
                .changed
                .wait(jobs)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Jobs> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_that_panics_leaves_the_thread_to_the_next() {
        let workers = Workers::start("test", 1).unwrap();
        let outcome = workers.run(|| panic!("over")).await;
        let outcome: Result<(), Panicked> = outcome;
        assert_eq!(outcome, Err(Panicked("over".into())));
        assert_eq!(workers.run(|| 1 + 1).await, Ok(2));
    }

    #[tokio::test]
    async fn more_jobs_than_room_are_all_done() {
        let workers = Arc::new(Workers::start("test", 2).unwrap());
        let mut jobs = tokio::task::JoinSet::new();
        for number in 0..WORKER_QUEUE * 3 {
            let workers = Arc::clone(&workers);
            jobs.spawn(async move { workers.run(move || number).await.unwrap() });
        }
        let mut done = jobs.join_all().await;
        done.sort_unstable();
        assert!(done.into_iter().eq(0..WORKER_QUEUE * 3));
    }
}
