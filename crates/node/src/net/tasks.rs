//! Owns every task of the net: they end with it, and a panic in one ends only that one.

use std::any::Any;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Mutex, PoisonError};
use std::task::Poll;

use tokio::runtime::Handle;
use tokio::task::{AbortHandle, JoinSet};

/// The tasks. After [`Tasks::close`] nothing is started any more.
#[derive(Debug)]
pub(super) struct Tasks {
    runtime: Handle,
    set: Mutex<Option<JoinSet<()>>>,
}

impl Tasks {
    /// No tasks yet, to run on the current runtime.
    pub(super) fn new() -> Self {
        Self {
            runtime: Handle::current(),
            set: Mutex::new(Some(JoinSet::new())),
        }
    }

    /// Starts a task; `None` when everything is being stopped. Who must know of its panic wraps it
    /// in [`contained`].
    pub(super) fn spawn(
        &self,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> Option<AbortHandle> {
        let mut set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
        let set = set.as_mut()?;
        while set.try_join_next().is_some() {}
        Some(set.spawn_on(task, &self.runtime))
    }

    /// Aborts every task.
    pub(super) fn close(&self) {
        drop(
            self.set
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .take(),
        );
    }
}

/// Our own bug, kept from spreading. The text says where it came from as far as a panic tells.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("internal error: {0}; hint: report this as a bug, the agent's log has its place")]
pub(super) struct Panicked(pub(super) String);

impl Panicked {
    /// Names what a panic carried.
    pub(super) fn from_payload(payload: &(dyn Any + Send)) -> Self {
        let text = payload
            .downcast_ref::<&str>()
            .map(|text| (*text).to_owned())
            .or_else(|| payload.downcast_ref::<String>().cloned());
        Self(text.unwrap_or_else(|| "a panic without a message".to_owned()))
    }
}

/// Runs a future; a panic in it becomes an error. What the future owned is dropped by then, so
/// state that it shares must be right after every step, as a mutex's must.
///
/// # Errors
/// [`Panicked`], when it panicked.
pub(super) async fn contained<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    std::future::poll_fn(move |context| {
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Ok),
            Err(payload) => Poll::Ready(Err(Panicked::from_payload(payload.as_ref()))),
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_becomes_an_error_that_names_it() {
        let outcome = contained(async { panic!("number {}", 7) }).await;
        let outcome: Result<(), Panicked> = outcome;
        assert_eq!(outcome, Err(Panicked("number 7".into())));
        assert_eq!(contained(async { 1 }).await, Ok(1));
    }

    #[tokio::test]
    async fn nothing_starts_after_the_end() {
        let tasks = Tasks::new();
        let (alive, ended) = tokio::sync::oneshot::channel::<()>();
        tasks.spawn(async move {
            std::future::pending::<()>().await;
            drop(alive);
        });
        tasks.close();
        assert!(ended.await.is_err(), "the task must be gone");
        assert!(tasks.spawn(async {}).is_none());
    }
}
