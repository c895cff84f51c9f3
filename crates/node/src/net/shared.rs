//! What every part of the net shares, and what the net tells its driver.

use consign_core::ids::{Incarnation, NodeName};
use consign_core::producer::Session;
use consign_core::{consumer, producer};
use tokio::sync::mpsc;

use super::audit::Asked;
use super::gossip::Office;
use super::identity::{Identity, Seen};
use super::roster::{Roster, Verdict};
use super::tasks::Tasks;

/// Something that happened on the network, or to the bulk data that it carries.
#[derive(Debug)]
pub(crate) enum NetEvent {
    /// For the producer's state machine.
    Producer(producer::Event),
    /// For the consumer's.
    Consumer(consumer::Event),
    /// A peer has seen a later life of this node than the present one: the data directory is an old
    /// copy. Told again at every connection that shows it.
    OutlivedIncarnation {
        /// The peer.
        peer: NodeName,
        /// What it has seen.
        seen: Incarnation,
    },
    /// Something failed that this node must not survive, such as a sync. Nothing was acknowledged
    /// because of it; the node stops and recovers from its log.
    Fatal(String),
}

/// See the module.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) me: Identity,
    pub(super) seen: Seen,
    pub(super) roster: Roster,
    pub(super) tasks: Tasks,
    pub(super) audits: mpsc::Sender<Asked>,
    pub(super) gossip: Office,
    events: mpsc::Sender<NetEvent>,
}

impl Shared {
    pub(super) fn new(
        me: Identity,
        seen: Seen,
        events: mpsc::Sender<NetEvent>,
        audits: mpsc::Sender<Asked>,
    ) -> Self {
        Self {
            me,
            seen,
            roster: Roster::default(),
            tasks: Tasks::new(),
            audits,
            gossip: Office::new(),
            events,
        }
    }

    /// Admits a producer's control connection. Its life counts as seen before the connections of
    /// its older lives are looked for: so one of those that is just being made finds out itself.
    pub(super) fn admit(&self, node: &NodeName, session: Session) {
        if let Some(incarnation) = self.roster.incarnation(node, session) {
            self.seen.note(node, incarnation);
        }
        self.roster.judge(node, session, Verdict::Admit);
    }

    /// Tells the driver; waits while it has too much to do. A driver that is gone has no ears, and
    /// is about to drop the net.
    pub(super) async fn tell(&self, event: NetEvent) {
        let _ = self.events.send(event).await;
    }

    /// See [`Shared::tell`].
    pub(super) async fn tell_producer(&self, event: producer::Event) {
        self.tell(NetEvent::Producer(event)).await;
    }

    /// See [`Shared::tell`].
    pub(super) async fn tell_consumer(&self, event: consumer::Event) {
        self.tell(NetEvent::Consumer(event)).await;
    }
}
