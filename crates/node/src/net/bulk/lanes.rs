//! The transfers that share one link for chunks, and the credit of each.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign_core::wire::{Leg, Message};
use tokio::sync::watch;

use crate::net::conn::Broken;
use crate::net::shared::NetEvent;

use super::link::User;

/// Names a transfer on a link: its producer, and its label.
type LaneKey = (String, Leg);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Lanes(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    open: HashMap<LaneKey, watch::Sender<LaneState>>,
    closed: Option<String>,
}

/// What the receiver has said of one transfer.
#[derive(Debug, Default)]
struct LaneState {
    through: u64,
    verified: u64,
    stopped: Option<String>,
}

/// One transfer's use of a link, given up on drop.
#[derive(Debug)]
pub(super) struct Lane {
    lanes: Arc<Lanes>,
    key: LaneKey,
    state: watch::Receiver<LaneState>,
}

impl Lanes {
    /// Begins to use the link.
    ///
    /// # Errors
    /// Why not, for a person.
    pub(super) fn open(self: &Arc<Self>, producer: &str, leg: Leg) -> Result<Lane, String> {
        let key = (producer.to_owned(), leg);
        let mut state = self.lock();
        if let Some(reason) = &state.closed {
            return Err(reason.clone());
        }
        let (sender, receiver) = watch::channel(LaneState::default());
        // A lane of the same name is of an order that was repeated: the older one hears no more.
        state.open.insert(key.clone(), sender);
        drop(state);
        Ok(Lane {
            lanes: Arc::clone(self),
            key,
            state: receiver,
        })
    }

    /// How many transfers use it.
    pub(super) fn len(&self) -> usize {
        self.lock().open.len()
    }

    fn change(&self, key: &LaneKey, change: impl FnOnce(&mut LaneState)) {
        // What nobody waits for is the echo of a lane that was given up.
        if let Some(lane) = self.lock().open.get(key) {
            lane.send_modify(change);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl User for Lanes {
    fn hear(&self, message: Message) -> Result<(), Broken> {
        match message {
            Message::Credit(credit) => {
                self.change(&(credit.producer, credit.leg), |lane| {
                    lane.through = lane.through.max(credit.through);
                    lane.verified = lane.verified.max(credit.verified);
                });
                Ok(())
            }
            Message::Stop(stop) => {
                // The receiver's half of the evidence, where the sender's machine is looked at.
                let Leg { start, seq, .. } = stop.leg;
                let transfer = format_args!("{}.{start:016x}.{seq}", stop.producer);
                tracing::warn!(%transfer, "sending it was stopped: {}", stop.reason);
                self.change(&(stop.producer, stop.leg), |lane| {
                    lane.stopped.get_or_insert(stop.reason);
                });
                Ok(())
            }
            Message::Pong(_) => Ok(()),
            other => Err(Broken::Unexpected {
                message: other.name(),
                place: "in answer to chunks",
            }),
        }
    }

    fn needs_it(&self) -> bool {
        self.len() > 0
    }

    fn close(&self, reason: &str) -> Vec<NetEvent> {
        let mut state = self.lock();
        state.closed.get_or_insert_with(|| reason.to_owned());
        for lane in state.open.values() {
            lane.send_modify(|lane| {
                lane.stopped.get_or_insert_with(|| reason.to_owned());
            });
        }
        Vec::new()
    }
}

impl Lane {
    /// Waits until everything below `through` may be sent.
    pub(super) async fn credit(&self, through: u64) {
        self.until(|lane| lane.through >= through).await;
    }

    /// Waits until the receiver has everything below `through`.
    pub(super) async fn verified(&self, through: u64) {
        self.until(|lane| lane.verified >= through).await;
    }

    /// Waits until the transfer is stopped: says why.
    pub(super) async fn stopped(&self) -> String {
        let mut state = self.state.clone();
        let stopped = state.wait_for(|lane| lane.stopped.is_some()).await;
        match stopped {
            Ok(lane) => lane.stopped.clone().unwrap_or_default(),
            Err(_) => "the same transfer was begun again; hint: report this as a bug".into(),
        }
    }

    /// Waits for ever once nothing more can come: [`Lane::stopped`] tells.
    async fn until(&self, what: impl FnMut(&LaneState) -> bool) {
        let mut state = self.state.clone();
        if state.wait_for(what).await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let mut state = self.lanes.lock();
        let ours = state.open.get(&self.key);
        if ours.is_some_and(|sender| self.state.same_channel(&sender.subscribe())) {
            state.open.remove(&self.key);
        }
    }
}
