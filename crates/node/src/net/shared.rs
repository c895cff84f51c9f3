//! What every part of the net shares, and what the net tells its driver.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use consign_core::ids::NodeName;
use consign_core::producer::Session;
use consign_core::wire::{Message, RevokedList};
use consign_core::{consumer, producer};
use tokio::sync::mpsc;

use crate::identity::Keyring;

use super::audit::Asked;
use super::conn::Broken;
use super::gossip::Office;
use super::identity::{Identity, Seen, Sight};
use super::joining::Joining;
use super::roster::{Roster, Verdict};
use super::tasks::Tasks;

/// Something that happened on the network, or to the bulk data that it carries.
#[derive(Debug)]
pub(crate) enum NetEvent {
    /// For the producer's state machine.
    Producer(producer::Event),
    /// For the consumer's.
    Consumer(consumer::Event),
    /// A peer has seen this node further on than it is: the data directory is an old copy. Told again
    /// at every connection that shows it.
    Outlived {
        /// The peer.
        peer: NodeName,
        /// What it has seen.
        seen: Sight,
    },
    /// A consumer that is called has shown a certificate that gives it no role to take files. Told again
    /// at every call; when it has one that does, it is connected.
    NoConsumer {
        /// Who.
        node: NodeName,
        /// Why, for a person.
        why: String,
    },
    /// Something that a person must see, in words that end in a hint. It is in the log already.
    Alarm(String),
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
    /// Our keys; `None` where nothing is encrypted.
    pub(super) keyring: Option<Arc<Keyring>>,
    /// Whether nothing is sent or taken in, since this node's data directory may be an old copy.
    pub(super) set_apart: bool,
    /// How far our log is synced, packed.
    log: AtomicU64,
    /// Where newcomers are let in, if they are.
    joining: RwLock<Option<Arc<Joining>>>,
    events: mpsc::Sender<NetEvent>,
}

/// Why a node has nothing to do with any file for now.
pub(super) fn set_apart(node: &NodeName) -> String {
    format!(
        "{node} is set apart, since its data directory may be an old copy; hint: see `consign status` there"
    )
}

impl Shared {
    pub(super) fn new(
        me: Identity,
        seen: Seen,
        events: mpsc::Sender<NetEvent>,
        audits: mpsc::Sender<Asked>,
        keyring: Option<Arc<Keyring>>,
        set_apart: bool,
    ) -> Self {
        Self {
            // Never 0, which would say nothing.
            log: AtomicU64::new(me.found_to().max(1)),
            set_apart,
            me,
            seen,
            roster: Roster::default(),
            tasks: Tasks::new(),
            audits,
            gossip: Office::new(),
            keyring,
            joining: RwLock::default(),
            events,
        }
    }

    /// How far our log is synced, packed.
    pub(super) fn log(&self) -> u64 {
        self.log.load(Ordering::Relaxed)
    }

    /// It is synced further.
    pub(super) fn note_log(&self, log: u64) {
        self.log.fetch_max(log, Ordering::Relaxed);
    }

    /// Where newcomers are let in, if they are.
    pub(super) fn joining(&self) -> Option<Arc<Joining>> {
        self.joining
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Lets newcomers in there from here on, or nowhere.
    pub(super) fn set_joining(&self, joining: Option<Joining>) {
        let mut now = self.joining.write().unwrap_or_else(PoisonError::into_inner);
        *now = joining.map(Arc::new);
    }

    /// The number above which every revocation list is that is newer than ours of its authority.
    pub(super) fn list_number(&self) -> u64 {
        let keyring = self.keyring.as_ref();
        keyring.map_or(0, |keyring| keyring.lowest_list())
    }

    /// Takes a revocation list over, if it is newer than the one in force of its authority, and passes
    /// it on.
    ///
    /// # Errors
    /// [`Broken::List`] when it is not believed.
    pub(super) async fn take_over(&self, list: Vec<u8>) -> Result<(), Broken> {
        let Some(keyring) = self.keyring.clone() else {
            let why = "a revocation list without TLS; hint: check the peer's version";
            return Err(Broken::Protocol(why.into()));
        };
        let taking_over = tokio::task::spawn_blocking(move || keyring.take_over(&list));
        let taken_over = taking_over.await;
        let taken_over = taken_over.map_err(|panic| Broken::Ours(panic.to_string()))?;
        let Some(in_force) = taken_over.map_err(Broken::List)? else {
            return Ok(());
        };
        let number = in_force.list.number();
        tracing::info!(number, "a newer revocation list is in force");
        if let Some(error) = in_force.not_kept {
            tracing::error!(
                "revocation list {number} is in force and cannot be kept: {error}; hint: make room in the data directory, and name the list as [tls] revoked"
            );
        }
        if in_force.names_us {
            tracing::error!(
                "this node's own certificate is revoked by list {number}: nobody talks to it any more; hint: give it a new one with `consign keys issue`, or switch it off"
            );
        }
        let list = in_force.list.text().as_bytes().to_vec();
        self.roster
            .tell_all(&Message::RevokedList(RevokedList { list }));
        Ok(())
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
