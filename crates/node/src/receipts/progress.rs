//! How far the log is synced, how far the archive has come, and who waits for that.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use consign_core::log::{LogReader, Position};
use tokio::sync::watch;

use super::bounds::STEP_EVERY;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Progress {
    state: Mutex<State>,
    /// For the thread that writes.
    wake: Condvar,
    /// For those who ask.
    applied: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// The log, once it is recovered.
    log: Option<LogReader>,
    /// Position of the last synced record that the archive needs.
    wanted: u64,
    /// Position through which all of them are in it, synced.
    applied: u64,
    /// Whether somebody waits.
    hurry: bool,
    /// Whether it could not be written when that was last tried.
    stands_still: bool,
    /// Whether the thread sleeps until there is something to do.
    is_idle: bool,
    closed: bool,
}

/// What the thread is to do next.
pub(super) enum Next {
    /// Read the log, up to this position.
    Step { log: LogReader, through: u64 },
    /// End.
    Closed,
}

impl Progress {
    /// Gives the recovered log, of which all up to `through` is to be read.
    pub(super) fn follow(&self, log: LogReader, through: Position) {
        let mut state = self.lock();
        state.log = Some(log);
        state.wanted = state.wanted.max(through.pack());
        self.wake.notify_one();
    }

    /// Notes that a record is synced which the archive needs.
    pub(super) fn note_synced(&self, position: u64) {
        let mut state = self.lock();
        state.wanted = state.wanted.max(position);
        if state.is_idle {
            self.wake.notify_one();
        }
    }

    pub(super) fn note_applied(&self, position: u64) {
        let mut state = self.lock();
        state.applied = state.applied.max(position);
        self.applied.send_replace(state.applied);
    }

    /// Notes that the archive has nothing any more.
    pub(super) fn begin_anew(&self) {
        self.reopened(0);
    }

    /// Notes how far the archive is that was opened.
    pub(super) fn reopened(&self, applied: u64) {
        let mut state = self.lock();
        state.applied = applied;
        self.applied.send_replace(applied);
    }

    /// Notes whether it can be written.
    pub(super) fn note_standing(&self, stands_still: bool) {
        self.lock().stands_still = stands_still;
    }

    /// Whether it could not be written when that was last tried.
    pub(super) fn stands_still(&self) -> bool {
        self.lock().stands_still
    }

    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.wake.notify_one();
    }

    /// The first segment that must stay; `None` when the archive lacks nothing. It hurries when there
    /// is one.
    pub(super) fn needs_from(&self) -> Option<u32> {
        let mut state = self.lock();
        if state.applied >= state.wanted {
            return None;
        }
        let from = Position::unpack(state.applied).segment;
        self.hurry(&mut state);
        Some(from)
    }

    /// Waits until all that is synced by now is in the archive; false when that takes longer than
    /// `deadline`. Cancel safe.
    pub(super) async fn is_caught_up(&self, deadline: Duration) -> bool {
        let mut applied = self.applied.subscribe();
        let wanted = {
            let mut state = self.lock();
            self.hurry(&mut state);
            state.wanted
        };
        let there = applied.wait_for(|applied| *applied >= wanted);
        matches!(tokio::time::timeout(deadline, there).await, Ok(Ok(_)))
    }

    /// Waits until there is something to read, and some more, so that much is written at once; or
    /// for `pause`, after which retention has something to do. At least for `rest`, even in a hurry.
    pub(super) fn next(&self, rest: Duration, pause: Duration) -> Next {
        let began = Instant::now();
        let mut state = self.lock();
        loop {
            if state.closed {
                return Next::Closed;
            }
            let waited = began.elapsed();
            let lacks = state.applied < state.wanted;
            let aim = match lacks {
                true if state.hurry => rest,
                true => STEP_EVERY.min(pause).max(rest),
                false => pause.max(rest),
            };
            if let Some(log) = state.log.clone().filter(|_| waited >= aim) {
                state.hurry = false;
                let through = state.wanted;
                return Next::Step { log, through };
            }
            let wait = match state.log.is_some() {
                false => Duration::MAX,
                true => aim.saturating_sub(waited),
            };
            state.is_idle = !lacks;
            state = self.sleep(state, wait);
            state.is_idle = false;
        }
    }

    fn sleep<'a>(&self, state: MutexGuard<'a, State>, wait: Duration) -> MutexGuard<'a, State> {
        if wait == Duration::MAX {
            let woken = self.wake.wait(state);
            return woken.unwrap_or_else(PoisonError::into_inner);
        }
        let woken = self.wake.wait_timeout(state, wait);
        woken.unwrap_or_else(PoisonError::into_inner).0
    }

    fn hurry(&self, state: &mut State) {
        if !std::mem::replace(&mut state.hurry, true) {
            self.wake.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Its numbers are whole at every step.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
