//! Keeps one control connection to each consumer that this node talks to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use consign_core::ids::{Incarnation, Millis, NodeName};
use consign_core::limits::{REDIAL_DOUBLINGS_MAX, retry_delay_ms};
use consign_core::producer::Event;
use consign_core::wire::Purpose;
use tokio::sync::watch;

use crate::net::conn::{Broken, Conn, dial};
use crate::net::roster::Side;
use crate::net::shared::{NetEvent, Shared, set_apart};
use crate::net::tasks::contained;

use super::session::{self, Peer, Role};

/// How a consumer stands, for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerState {
    /// The consumer.
    pub(crate) node: NodeName,
    /// Where it is dialled.
    pub(crate) addr: String,
    /// Whether there is a connection.
    pub(crate) connected: bool,
    /// Its life, as of the last connection.
    pub(crate) incarnation: Option<Incarnation>,
    /// Why there is no connection, or why the last one ended.
    pub(crate) error: Option<String>,
    /// Whether nobody answered there when it was last called.
    pub(crate) is_silent: bool,
    /// Since when `connected` is what it is.
    pub(crate) since: Millis,
}

/// See the module.
#[derive(Debug)]
pub(in crate::net) struct Dialer {
    shared: Arc<Shared>,
    targets: Mutex<BTreeMap<NodeName, Target>>,
}

#[derive(Debug)]
struct Target {
    /// Dropping it ends the connection.
    _wanted: watch::Sender<()>,
    state: Arc<Mutex<PeerState>>,
}

impl Dialer {
    /// Dials nobody yet.
    pub(in crate::net) fn new(shared: Arc<Shared>) -> Self {
        Self {
            shared,
            targets: Mutex::default(),
        }
    }

    /// Dials these and nobody else. A connection to the same node at the same address stays.
    pub(in crate::net) fn set_targets(&self, wanted: Vec<(NodeName, String)>) {
        let wanted: BTreeMap<_, _> = wanted.into_iter().collect();
        let mut targets = lock(&self.targets);
        targets.retain(|node, target| wanted.get(node) == Some(&lock(&target.state).addr));
        for (node, addr) in wanted {
            targets
                .entry(node.clone())
                .or_insert_with(|| self.target(node, addr));
        }
    }

    /// How each stands, sorted by name.
    pub(in crate::net) fn states(&self) -> Vec<PeerState> {
        let targets = lock(&self.targets);
        targets
            .values()
            .map(|target| lock(&target.state).clone())
            .collect()
    }

    /// Whether this one is dialled.
    pub(in crate::net) fn calls(&self, node: &NodeName) -> bool {
        lock(&self.targets).contains_key(node)
    }

    fn target(&self, node: NodeName, addr: String) -> Target {
        let state = Arc::new(Mutex::new(PeerState {
            node: node.clone(),
            addr: addr.clone(),
            connected: false,
            incarnation: None,
            error: None,
            is_silent: false,
            since: now(),
        }));
        let (wanted, unwanted) = watch::channel(());
        let line = Line {
            shared: Arc::clone(&self.shared),
            node,
            addr,
            state: Arc::clone(&state),
            unwanted,
        };
        self.shared.tasks.spawn(line.keep());
        Target {
            _wanted: wanted,
            state,
        }
    }
}

/// The connection to one consumer, over and over.
struct Line {
    shared: Arc<Shared>,
    node: NodeName,
    addr: String,
    state: Arc<Mutex<PeerState>>,
    unwanted: watch::Receiver<()>,
}

impl Line {
    async fn keep(self) {
        let mut delay = Backoff::default();
        while !self.is_unwanted() {
            let why = self.connect(&mut delay).await;
            self.note(&why).await;
            let mut unwanted = self.unwanted.clone();
            tokio::select! {
                () = tokio::time::sleep(delay.next(random())) => {}
                _ = unwanted.changed() => {}
            }
        }
    }

    /// Connects once, and stays until the connection ends.
    async fn connect(&self, delay: &mut Backoff) -> Broken {
        let shared = &self.shared;
        if shared.set_apart {
            return Broken::Ours(set_apart(&shared.me.node));
        }
        let mut unwanted = self.unwanted.clone();
        let dialling = contained(dial(shared, &self.node, &self.addr, Purpose::Control));
        let dialled = tokio::select! {
            dialled = dialling => dialled,
            _ = unwanted.changed() => return not_wanted(),
        };
        match dialled {
            Ok(Ok((conn, incarnation))) => {
                *delay = Backoff::known();
                self.talk(conn, incarnation).await
            }
            Ok(Err(why)) => why,
            Err(panicked) => Broken::Ours(panicked.to_string()),
        }
    }

    async fn talk(&self, conn: Conn, incarnation: Incarnation) -> Broken {
        let side = Side::Dialled;
        let entry = match self.shared.roster.enter(&self.node, incarnation, side) {
            Ok(entry) => entry,
            Err(reason) => return Broken::Ours(reason),
        };
        entry.send_queue.speaks(conn.version);
        {
            let mut state = lock(&self.state);
            state.connected = true;
            state.incarnation = Some(incarnation);
            state.error = None;
            state.is_silent = false;
            state.since = now();
        }
        let (node, session) = (self.node.clone(), entry.session);
        tracing::info!(peer = %node, %incarnation, session = session.0, "connected");
        self.shared
            .tell_producer(Event::PeerUp {
                node: node.clone(),
                session,
                incarnation,
            })
            .await;
        let peer = Peer {
            node: &node,
            session,
            role: Role::Producer,
            send_queue: &entry.send_queue,
        };
        let mut unwanted = self.unwanted.clone();
        let why = tokio::select! {
            why = session::run(&self.shared, conn, peer) => why,
            _ = unwanted.changed() => not_wanted(),
        };
        drop(entry);
        self.shared
            .tell_producer(Event::PeerDown {
                node: node.clone(),
                session,
            })
            .await;
        why
    }

    /// Notes why there is no connection; in the log only when that is news.
    async fn note(&self, why: &Broken) {
        let text = why.to_string();
        let is_news = {
            let mut state = lock(&self.state);
            if state.connected {
                state.connected = false;
                state.since = now();
            }
            state.is_silent = why.is_silence();
            state.error.replace(text.clone()) != Some(text.clone())
        };
        if is_news && !self.is_unwanted() {
            tracing::warn!(peer = %self.node, addr = %self.addr, "no connection: {text}");
        }
        let event = match why {
            Broken::Outlived { node, seen, .. } => NetEvent::Outlived {
                peer: node.clone(),
                seen: *seen,
            },
            Broken::NoConsumer(why) => NetEvent::NoConsumer {
                node: self.node.clone(),
                why: why.clone(),
            },
            _ => return,
        };
        self.shared.tell(event).await;
    }

    fn is_unwanted(&self) -> bool {
        self.unwanted.has_changed().is_err()
    }
}

fn not_wanted() -> Broken {
    Broken::Ours("no longer a member".into())
}

/// Delays that double from try to try, so that a peer that is down costs little and one that
/// comes back is found soon.
#[derive(Debug, Default)]
struct Backoff {
    tries: u32,
    /// Whether the peer was connected, and is expected back. Of one that never was, the address may
    /// be wrong.
    is_known: bool,
}

impl Backoff {
    fn known() -> Self {
        Self {
            tries: 0,
            is_known: true,
        }
    }

    /// The next delay; `random` is any number.
    fn next(&mut self, random: u64) -> Duration {
        let doublings = match self.is_known {
            true => self.tries.min(REDIAL_DOUBLINGS_MAX),
            false => self.tries,
        };
        let delay = retry_delay_ms(doublings, random);
        self.tries = self.tries.saturating_add(1);
        Duration::from_millis(delay)
    }
}

/// A system without randomness delays everybody alike, which is slow and not wrong.
fn random() -> u64 {
    getrandom::u64().unwrap_or_default()
}

fn now() -> Millis {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    Millis(since.unwrap_or_default().as_millis() as u64)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_that_was_connected_is_looked_for_every_few_seconds() {
        let longest = |mut delay: Backoff| (0..1000).map(|at| delay.next(at * 77)).max().unwrap();
        assert!(longest(Backoff::known()) <= Duration::from_secs(5));
        assert!(longest(Backoff::default()) > Duration::from_secs(5));
    }
}
