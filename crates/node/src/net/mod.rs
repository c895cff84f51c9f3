//! The network side of a node: connections to and from its peers, and the bytes of files.
//!
//! The driver gives orders by calls that neither wait nor block, and hears what happened as
//! [`NetEvent`]s over one channel. *Control* connections carry messages about transfers directly
//! between a producer and each of its consumers; *data* connections carry bytes down the chain;
//! *audit* connections carry a producer's questions about copies, and their answers.
//! Dropping the [`Net`] ends every task and connection.
//!
//! Deliberately absent: any decision about a transfer. Who gets what, when to try again and what
//! an answer means is the business of the state machines in the core.

mod asking;
mod audit;
mod bounds;
mod bulk;
mod conn;
mod control;
mod gossip;
mod identity;
mod joining;
mod listener;
mod roster;
mod shared;
mod strangers;
mod tasks;
#[cfg(test)]
mod tests;
mod trusted;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use consign_core::consumer::InflowOrder;
use consign_core::disk::Disk;
use consign_core::ids::{Incarnation, NodeName, SlotId, TransferKey};
use consign_core::producer::{Session, SmallSend, StreamOrder};
use consign_core::wire::{Hop, Message};
use tokio::sync::mpsc;

use crate::identity::{Door, Keyring, Keys};

pub(crate) use asking::{NotJoined, ask_to_join};
pub(crate) use audit::{Asked, AuditCall, Auditor, CallError};
pub(crate) use bulk::{ForwardOrder, Payloads, SealOrder};
pub(crate) use control::PeerState;
#[cfg(test)]
pub(crate) use gossip::{Exchange, Traffic};
pub(crate) use gossip::{Mail, Place, Postman};
pub(crate) use identity::{Identity, PastLife, Sight};
pub(crate) use shared::NetEvent;

use bounds::{FILES_KEPT, STRANGERS_MAX};
use bulk::Bulk;
use control::Dialer;
use identity::Seen;
use joining::Joining;
use roster::Verdict;
use shared::Shared;
use strangers::Strangers;

/// What the net must know at the start.
#[derive(Debug)]
pub(crate) struct NetConfig {
    /// Who we are.
    pub(crate) me: Identity,
    /// Our keys; without, nothing is encrypted or authenticated.
    pub(crate) keyring: Option<Arc<Keyring>>,
    /// Where peers connect to, as `host:port`.
    pub(crate) listen: String,
    /// How far the log remembers to have seen each peer.
    pub(crate) seen: Vec<(NodeName, Sight)>,
    /// Whether nothing may be sent or taken in, since the data directory may be an old copy.
    pub(crate) set_apart: bool,
    /// Where the sources of large files lie.
    pub(crate) spool: PathBuf,
    /// Where the questions of audits go.
    pub(crate) audits: mpsc::Sender<Asked>,
    /// Files that this process may have open: all but a part of them may be connections of
    /// strangers.
    pub(crate) open_files_max: usize,
}

/// The net did not start; nothing of it runs.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NetError {
    /// The port cannot be had.
    #[error(
        "cannot listen on {addr}: {source}; hint: another agent may run there, or correct [listen] peer"
    )]
    Listen {
        /// Where.
        addr: String,
        /// Why not.
        source: std::io::Error,
    },
    /// A thread cannot be had.
    #[error("cannot start threads: {0}; hint: raise the limit of processes")]
    Threads(std::io::Error),
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Net {
    shared: Arc<Shared>,
    dialer: Dialer,
    bulk: Arc<Bulk>,
    addr: SocketAddr,
}

impl Net {
    /// Listens, and dials nobody yet. Events are sent to `events`; while that is full, readers of
    /// connections wait.
    ///
    /// # Errors
    /// [`NetError`].
    pub(crate) async fn start(
        config: NetConfig,
        events: mpsc::Sender<NetEvent>,
    ) -> Result<Self, NetError> {
        let refused = |source| NetError::Listen {
            addr: config.listen.clone(),
            source,
        };
        let listener = listener::bind(&config.listen).await.map_err(refused)?;
        let addr = listener.local_addr().map_err(refused)?;
        let shared = Arc::new(Shared::new(
            config.me,
            Seen::new(config.seen),
            events,
            config.audits,
            config.keyring,
            config.set_apart,
        ));
        let bulk = Bulk::start(&shared, config.spool).map_err(NetError::Threads)?;
        let bulk = Arc::new(bulk);
        let kept = FILES_KEPT.min(config.open_files_max / 2);
        let places = (config.open_files_max - kept).min(STRANGERS_MAX);
        let strangers = Strangers::new(places);
        let listen = listener::listen(listener, strangers, Arc::clone(&shared), Arc::clone(&bulk));
        shared.tasks.spawn(listen);
        Ok(Self {
            dialer: Dialer::new(Arc::clone(&shared)),
            shared,
            bulk,
            addr,
        })
    }

    /// Where it listens.
    pub(crate) fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// A way to ask consumers about their copies, for as long as this net lives.
    pub(crate) fn auditor(&self) -> Auditor {
        Auditor::new(&self.shared)
    }

    /// The way to exchange gossip, for as long as this net lives. Whoever asked first has it; while
    /// nobody does, connections for gossip are refused.
    pub(crate) fn mail(&self) -> Option<Mail> {
        Mail::new(&self.shared)
    }

    /// The number of the revocation list in force that makes the certificate of these keys void, if one
    /// does.
    pub(crate) fn voids(&self, keys: &Keys) -> Option<u64> {
        self.shared.keyring.as_ref()?.voids(keys)
    }

    /// Takes other keys into use, and the revocation lists that came with them. Connections that are made
    /// otherwise than they would be now end.
    pub(crate) fn renew(&self, keys: Keys) {
        let Some(keyring) = &self.shared.keyring else {
            return;
        };
        keyring.renew(keys);
        let (shared, lists) = (Arc::clone(&self.shared), keyring.named_lists());
        self.shared.tasks.spawn(async move {
            for list in lists {
                // It was checked when it was read.
                if let Err(why) = shared.take_over(list.into_bytes()).await {
                    tracing::error!("{why}");
                }
            }
        });
    }

    /// Our log is synced that far, packed: peers are told of it now and then.
    pub(crate) fn note_log(&self, log: u64) {
        self.shared.note_log(log);
    }

    /// How far everybody was seen of whose log anything was heard.
    pub(crate) fn seen(&self) -> Vec<(NodeName, Sight)> {
        self.shared.seen.all()
    }

    /// Lets newcomers in at this door from here on, or nowhere.
    pub(crate) fn set_door(&self, door: Option<Door>) {
        self.shared.set_joining(door.map(Joining::new));
    }

    /// Keeps a control connection to each of these consumers, and to nobody else.
    pub(crate) fn set_targets(&self, targets: Vec<(NodeName, String)>) {
        self.dialer.set_targets(targets);
    }

    /// How each of these consumers stands, sorted by name.
    pub(crate) fn peer_states(&self) -> Vec<PeerState> {
        self.dialer.states()
    }

    /// Those of these consumers that did not answer when they were last called.
    pub(crate) fn unanswered(&self) -> BTreeSet<NodeName> {
        let states = self.dialer.states().into_iter();
        let silent = states.filter(|state| state.is_silent);
        silent.map(|state| state.node).collect()
    }

    /// Whether a control connection to this consumer is wanted.
    pub(crate) fn is_called(&self, node: &NodeName) -> bool {
        self.dialer.calls(node)
    }

    /// Says something on a control connection; dropped when that connection is gone.
    pub(crate) fn send(&self, to: &NodeName, session: Session, message: &Message) {
        self.shared.roster.send(to, session, message);
    }

    /// Answers a producer's control connection, and ends the connections of its older lives.
    pub(crate) fn admit(&self, node: &NodeName, session: Session) {
        self.shared.admit(node, session);
    }

    /// Sends a producer's control connection away: a later life of it was seen.
    pub(crate) fn reject(&self, node: &NodeName, session: Session, seen: Incarnation) {
        let verdict = Verdict::Reject(seen);
        self.shared.roster.judge(node, session, verdict);
    }

    /// Opens a large transfer for reception, or opens it again under a higher fence. Staging is
    /// `.consign/` beneath `inbox`. Answered by `InflowReady` or `InflowFailed`.
    pub(crate) fn open_inflow(&self, order: InflowOrder, inbox: Arc<dyn Disk>) {
        self.bulk.open_inflow(order, inbox);
    }

    /// Takes no more of a transfer, stops forwarding it, and lets go of its file. Opening it after
    /// this is a first opening: what was not synced is cut off.
    pub(crate) fn close_inflow(&self, slot: &SlotId) {
        self.bulk.close_inflow(slot);
    }

    /// Forwards what is there of a transfer, and what comes.
    pub(crate) fn forward(&self, order: ForwardOrder) {
        self.bulk.forward(order);
    }

    /// Makes a complete staging file durable. Answered by `Sealed`.
    pub(crate) fn seal(&self, order: SealOrder, inbox: Arc<dyn Disk>) {
        self.bulk.seal(order, inbox);
    }

    /// Streams a large file, hashing what is not hashed yet.
    pub(crate) fn stream(&self, order: StreamOrder) {
        self.bulk.stream(order);
    }

    /// Stops streaming a file. The file stays open and its hashes known, for the next attempt.
    pub(crate) fn stop_stream(&self, key: TransferKey) {
        self.bulk.stop_stream(key);
    }

    /// Closes the file of a transfer that is over.
    pub(crate) fn forget_stream(&self, key: TransferKey) {
        self.bulk.forget_stream(key);
    }

    /// Sends small files along a route, their bytes read from `payloads`. What may not have
    /// arrived at the first hop is reported as `SmallsNotSent`.
    pub(crate) fn send_smalls(
        &self,
        route: Vec<Hop>,
        files: Vec<SmallSend>,
        payloads: Arc<dyn Payloads>,
    ) {
        self.bulk.send_smalls(route, files, payloads);
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        self.shared.tasks.close();
    }
}

/// Hears what a stranger says, as a listener does: a hello first, then any messages. Returns why the
/// connection would be closed; at the latest because it ends.
pub(crate) async fn hear_all(me: &Identity, said: &[u8]) -> String {
    let mut frames = conn::Frames::new(said);
    let first = frames.next_within(bounds::HELLO_BYTES_MAX).await;
    match first.and_then(|frame| conn::check_first(me, frame)) {
        Ok(Ok(_)) => {}
        Ok(Err(reason)) => return reason,
        Err(broken) => return broken.to_string(),
    }
    loop {
        let heard = match frames.next().await {
            Ok(frame) => frames.skip(frame.payload_len).await,
            Err(broken) => Err(broken),
        };
        if let Err(broken) = heard {
            return broken.to_string();
        }
    }
}
