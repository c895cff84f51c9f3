//! Ends connections that are not to be had any more while they live: the peer's certificate was revoked,
//! or this node has other keys or believes other authorities.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use thiserror::Error;

use super::peer::Peer;
use super::verify::Known;

/// A connection was ended because it would not come up again as it is. Nothing more is read from it or
/// written to it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{0}")]
pub(crate) struct Severed(pub(super) String);

/// A connection's way to notice that it has to end.
#[derive(Debug)]
pub(crate) struct Cut {
    pub(super) known: Arc<Known>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    severed: Option<Severed>,
    reader: Option<Waker>,
}

impl Cut {
    pub(super) fn new(known: Arc<Known>) -> Arc<Self> {
        Arc::new(Self {
            known,
            state: Mutex::default(),
        })
    }

    /// Whose connection it is.
    pub(crate) fn peer(&self) -> &Arc<Peer> {
        &self.known.peer
    }

    /// Why it has to end, if it has to.
    pub(crate) fn severed(&self) -> Option<Severed> {
        self.lock().severed.clone()
    }

    /// As [`Cut::severed`]; whoever waits for bytes is woken when that changes.
    pub(crate) fn severed_or_wake(&self, reader: &Waker) -> Option<Severed> {
        let mut state = self.lock();
        if state.severed.is_none() {
            match &mut state.reader {
                Some(known) => known.clone_from(reader),
                none => *none = Some(reader.clone()),
            }
        }
        state.severed.clone()
    }

    /// Ends the connection.
    pub(super) fn sever(&self, why: Severed) {
        let reader = {
            let mut state = self.lock();
            state.severed.get_or_insert(why);
            state.reader.take()
        };
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
