//! The connections that are live: bounds their number, finds them by session, and ends those of
//! an older life when a newer one is admitted.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use consign_core::ids::{Incarnation, NodeName};
use consign_core::producer::Session;
use consign_core::wire::{Message, Purpose};
use tokio::sync::oneshot;

use super::bounds::{CONNECTIONS_MAX, CONNECTIONS_PER_NODE_MAX};
use super::conn::{Broken, SendQueue};

/// Which side made a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// We did, for control.
    Dialled,
    /// The peer did.
    Accepted(Purpose),
}

/// What the consumer's state machine says of a producer's connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Its incarnation is noted and synced: answer it.
    Admit,
    /// Its life is over; a later one was seen.
    Reject(Incarnation),
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Roster {
    last: AtomicU64,
    live: Mutex<HashMap<Session, Live>>,
}

#[derive(Debug)]
struct Live {
    node: NodeName,
    incarnation: Incarnation,
    side: Side,
    send_queue: Arc<SendQueue>,
    verdict: Option<oneshot::Sender<Verdict>>,
}

/// A place in the roster, given up on drop.
#[derive(Debug)]
pub(super) struct Entry<'a> {
    roster: &'a Roster,
    pub(super) node: NodeName,
    pub(super) session: Session,
    pub(super) send_queue: Arc<SendQueue>,
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        self.roster.lock().remove(&self.session);
    }
}

impl Roster {
    /// Enters a connection.
    ///
    /// # Errors
    /// The reason, for the peer, when there are too many.
    pub(super) fn enter(
        &self,
        node: &NodeName,
        incarnation: Incarnation,
        side: Side,
    ) -> Result<Entry<'_>, String> {
        let mut live = self.lock();
        if side != Side::Dialled {
            check_room(&live, node)?;
        }
        let session = Session(self.last.fetch_add(1, Ordering::Relaxed) + 1);
        let send_queue = Arc::new(SendQueue::default());
        live.insert(
            session,
            Live {
                node: node.clone(),
                incarnation,
                side,
                send_queue: Arc::clone(&send_queue),
                verdict: None,
            },
        );
        Ok(Entry {
            roster: self,
            node: node.clone(),
            session,
            send_queue,
        })
    }

    /// Where the verdict on an accepted control connection will arrive.
    pub(super) fn verdict(&self, session: Session) -> oneshot::Receiver<Verdict> {
        let (sender, receiver) = oneshot::channel();
        if let Some(live) = self.lock().get_mut(&session) {
            live.verdict = Some(sender);
        }
        receiver
    }

    /// In which life a connection's node is.
    pub(super) fn incarnation(&self, node: &NodeName, session: Session) -> Option<Incarnation> {
        let live = self.lock();
        let entry = live.get(&session).filter(|live| live.node == *node);
        entry.map(|live| live.incarnation)
    }

    /// Gives the verdict. Admitting a connection ends all that the node made before: its control
    /// connections, and its data connections of older lives.
    pub(super) fn judge(&self, node: &NodeName, session: Session, verdict: Verdict) {
        let mut live = self.lock();
        let Some(judged) = live.get_mut(&session).filter(|live| live.node == *node) else {
            return;
        };
        let incarnation = judged.incarnation;
        let sender = judged.verdict.take();
        if verdict == Verdict::Admit {
            for (_, old) in live.iter().filter(|(other, old)| {
                **other < session && old.node == *node && is_outlived(old, incarnation)
            }) {
                old.send_queue.close(Broken::Ours(format!(
                    "{node} connected again in incarnation {incarnation}"
                )));
            }
        }
        if let Some(sender) = sender {
            let _ = sender.send(verdict);
        }
    }

    /// Leaves a message to be sent on a control connection; dropped when that is gone.
    pub(super) fn send(&self, node: &NodeName, session: Session, message: &Message) {
        let send_queue = self
            .lock()
            .get(&session)
            .filter(|live| live.node == *node)
            .map(|live| Arc::clone(&live.send_queue));
        if let Some(send_queue) = send_queue {
            send_queue.push(message);
        }
    }

    /// Leaves a message to be sent on every control connection.
    pub(super) fn tell_all(&self, message: &Message) {
        let control = |live: &&Live| match live.side {
            Side::Dialled | Side::Accepted(Purpose::Control) => true,
            Side::Accepted(
                Purpose::Chunks | Purpose::Smalls | Purpose::Audit | Purpose::Gossip,
            ) => false,
        };
        for live in self.lock().values().filter(control) {
            live.send_queue.push(message);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Session, Live>> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_outlived(old: &Live, by: Incarnation) -> bool {
    match old.side {
        Side::Dialled => false,
        Side::Accepted(Purpose::Control) => true,
        Side::Accepted(Purpose::Chunks | Purpose::Smalls | Purpose::Audit | Purpose::Gossip) => {
            old.incarnation < by
        }
    }
}

fn check_room(live: &HashMap<Session, Live>, node: &NodeName) -> Result<(), String> {
    let accepted = || live.values().filter(|live| live.side != Side::Dialled);
    let of_node = accepted().filter(|live| live.node == *node).count();
    if of_node >= CONNECTIONS_PER_NODE_MAX || accepted().count() >= CONNECTIONS_MAX {
        return Err(format!(
            "{of_node} connections of {node} are open, and {} of all nodes; hint: check that only \
             one node has this name",
            accepted().count()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::future::Future as _;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn node(name: &str) -> NodeName {
        NodeName::new(name).unwrap()
    }

    const CONTROL: Side = Side::Accepted(Purpose::Control);

    /// Why a connection is being closed, if it is.
    fn reason(entry: &Entry<'_>) -> Option<String> {
        let mut written = Vec::new();
        let mut drained = pin!(entry.send_queue.drain(&mut written));
        match drained
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(why) => Some(why.to_string()),
            Poll::Pending => None,
        }
    }

    #[tokio::test]
    async fn a_newer_life_ends_every_connection_of_the_older() {
        let roster = Roster::default();
        let (a, b) = (node("a"), node("b"));
        let enter = |node, life, side| roster.enter(node, Incarnation(life), side).unwrap();
        let old_control = enter(&a, 1, CONTROL);
        let old_data = enter(&a, 1, Side::Accepted(Purpose::Chunks));
        let early_data = enter(&a, 2, Side::Accepted(Purpose::Chunks));
        let ours = enter(&a, 1, Side::Dialled);
        let other = enter(&b, 1, CONTROL);
        let new = enter(&a, 2, CONTROL);
        let verdict = roster.verdict(new.session);
        roster.judge(&a, new.session, Verdict::Admit);
        assert_eq!(verdict.await, Ok(Verdict::Admit));
        for ended in [&old_control, &old_data] {
            assert!(reason(ended).unwrap().contains("incarnation 2"));
        }
        for kept in [&early_data, &ours, &other, &new] {
            assert_eq!(reason(kept), None);
        }
    }

    #[test]
    fn one_node_cannot_take_all_connections() {
        let roster = Roster::default();
        let enter = |name: &str| roster.enter(&node(name), Incarnation(1), CONTROL);
        let mut held: Vec<_> = (0..CONNECTIONS_PER_NODE_MAX)
            .map(|_| enter("a").unwrap())
            .collect();
        assert!(enter("a").unwrap_err().contains("hint:"));
        assert!(enter("b").is_ok());
        held.pop();
        assert!(enter("a").is_ok());
    }
}
