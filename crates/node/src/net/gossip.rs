//! Connections for gossip: letters between any two nodes, in both directions, of which some may be
//! lost.
//!
//! Whoever has something to say to a node uses the connection there is, whichever side made it: so a
//! newcomer is answered before anybody knows its address. Connections are few and bounded; a letter
//! for which there is no room, or no way, is dropped, since whatever it says is said again.
//!
//! Deliberately absent: what letters say. That is the business of membership.

#[cfg(test)]
mod in_memory;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use consign_core::ids::NodeName;
use consign_core::wire::{Gossip, Message, Purpose, encode_frame};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};

use super::bounds::{
    GOSSIP_IDLE_MAX, GOSSIP_LINKS_MAX, GOSSIP_REDIAL, LETTER_ANSWER_MAX, LETTER_BYTES_MAX,
    LETTER_DEADLINE, LETTERS_PER_LINK_MAX, LETTERS_WAITING_MAX,
};
use super::conn::{Broken, Conn, Greeting, dial_for_gossip, is_itself, reject, welcome};
use super::roster::Side;
use super::shared::Shared;
use super::tasks::contained;

#[cfg(test)]
pub(crate) use in_memory::{Exchange, Traffic};

/// Somewhere a letter can go.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// To a node.
    Node(NodeName),
    /// To whoever is at an address.
    Seed(String),
}

/// A letter that was heard.
#[derive(Debug)]
pub(crate) struct Letter {
    /// Who sent it.
    pub(crate) from: NodeName,
    /// What it says.
    pub(crate) bytes: Vec<u8>,
}

/// The connections, and where letters are laid down that come in over them.
#[derive(Debug)]
pub(super) struct Office {
    letters: mpsc::Sender<Letter>,
    /// Until somebody reads them.
    unread: Mutex<Option<mpsc::Receiver<Letter>>>,
    links: Mutex<HashMap<Place, Link>>,
    /// Why seeds could not be reached, by their addresses; at most as many as are configured.
    troubles: Mutex<HashMap<String, String>>,
    /// Who answered at the addresses of seeds, last.
    seeds: Mutex<HashMap<String, NodeName>>,
    numbers: AtomicU64,
}

#[derive(Debug)]
struct Link {
    /// Tells it from a later one to the same place.
    number: u64,
    queue: mpsc::Sender<Vec<u8>>,
    /// Whether this side made it, or is making it.
    is_ours: bool,
    used: Instant,
    /// It failed, and is not tried again before.
    rests_until: Option<Instant>,
}

impl Office {
    pub(super) fn new() -> Self {
        let (letters, unread) = mpsc::channel(LETTERS_WAITING_MAX);
        Self {
            letters,
            unread: Mutex::new(Some(unread)),
            links: Mutex::default(),
            troubles: Mutex::default(),
            seeds: Mutex::default(),
            numbers: AtomicU64::new(0),
        }
    }

    fn is_open(&self) -> bool {
        lock(&self.unread).is_none() && !self.letters.is_closed()
    }

    /// A new link to a place, in place of the one there was.
    fn link(&self, place: &Place, is_ours: bool) -> (u64, mpsc::Receiver<Vec<u8>>) {
        let (queue, queued) = mpsc::channel(LETTERS_PER_LINK_MAX);
        (self.enter(place, queue, is_ours), queued)
    }

    /// Whether a connection that this side made is used rather than one that `node` makes. When both
    /// make one at once, both keep that of the lesser name; else each would close the other's.
    fn prefers_own(&self, me: &NodeName, node: &NodeName) -> bool {
        let links = lock(&self.links);
        let link = links.get(&Place::Node(node.clone()));
        let is_live =
            |link: &Link| link.is_ours && link.rests_until.is_none() && !link.queue.is_closed();
        me < node && link.is_some_and(is_live)
    }

    fn enter(&self, place: &Place, queue: mpsc::Sender<Vec<u8>>, is_ours: bool) -> u64 {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let mut links = lock(&self.links);
        if links.len() >= GOSSIP_LINKS_MAX && !links.contains_key(place) {
            let oldest = links.iter().min_by_key(|(_, link)| link.used);
            if let Some(oldest) = oldest.map(|(place, _)| place.clone()) {
                links.remove(&oldest);
            }
        }
        links.insert(
            place.clone(),
            Link {
                number,
                queue,
                is_ours,
                used: Instant::now(),
                rests_until: None,
            },
        );
        number
    }

    fn leave(&self, place: &Place, number: u64) {
        let mut links = lock(&self.links);
        if links.get(place).is_some_and(|link| link.number == number) {
            links.remove(place);
        }
    }

    /// Notes that a place cannot be reached now.
    fn rest(&self, place: &Place, number: u64) {
        if let Some(link) = lock(&self.links).get_mut(place)
            && link.number == number
        {
            link.rests_until = Some(Instant::now() + GOSSIP_REDIAL);
        }
    }

    fn note_seed(&self, place: &Place, answered: Result<&NodeName, Option<String>>) {
        let Place::Seed(addr) = place else {
            return;
        };
        let mut troubles = lock(&self.troubles);
        match answered {
            Ok(node) => {
                troubles.remove(addr);
                lock(&self.seeds).insert(addr.clone(), node.clone());
            }
            Err(Some(why)) => {
                troubles.insert(addr.clone(), why);
            }
            Err(None) => {
                troubles.remove(addr);
            }
        }
    }

    /// Where a letter for a place goes: to a seed by the connection there is to whoever it is.
    fn way_to(&self, place: &Place) -> Place {
        if let Place::Seed(addr) = place
            && let Some(node) = lock(&self.seeds).get(addr).cloned()
        {
            let of_node = Place::Node(node);
            let links = lock(&self.links);
            let link = links.get(&of_node);
            if link.is_some_and(|link| link.rests_until.is_none() && !link.queue.is_closed()) {
                return of_node;
            }
        }
        place.clone()
    }
}

/// What membership has of the net: the letters that come in, and who takes those that go out.
#[derive(Debug)]
pub(crate) struct Mail {
    postman: Postman,
    letters: mpsc::Receiver<Letter>,
}

/// Takes letters.
#[derive(Debug, Clone)]
pub(crate) struct Postman(Way);

#[derive(Debug, Clone)]
enum Way {
    Connections(Weak<Shared>),
    #[cfg(test)]
    InMemory(in_memory::Desk),
}

impl Mail {
    pub(super) fn new(shared: &Arc<Shared>) -> Option<Self> {
        let letters = lock(&shared.gossip.unread).take()?;
        let postman = Postman(Way::Connections(Arc::downgrade(shared)));
        Some(Self { postman, letters })
    }

    /// Who takes letters.
    pub(crate) fn postman(&self) -> Postman {
        self.postman.clone()
    }

    /// The next letter; `None` when the net is gone. Cancel safe.
    pub(crate) async fn next(&mut self) -> Option<Letter> {
        self.letters.recv().await
    }
}

impl Postman {
    /// Sends a letter, over a connection that is made to `addr` if there is none. It is dropped when
    /// that cannot be.
    pub(crate) fn send(&self, place: &Place, addr: Option<&str>, letter: Vec<u8>) {
        let shared = match &self.0 {
            Way::Connections(shared) => shared.upgrade(),
            #[cfg(test)]
            Way::InMemory(desk) => return desk.send(place, letter),
        };
        let Some(shared) = shared else {
            return;
        };
        let office = &shared.gossip;
        let place = &office.way_to(place);
        {
            let mut links = lock(&office.links);
            if let Some(link) = links.get_mut(place) {
                match link.rests_until {
                    Some(until) if Instant::now() < until => return,
                    Some(_) => {}
                    None if !link.queue.is_closed() => {
                        link.used = Instant::now();
                        let _ = link.queue.try_send(letter);
                        return;
                    }
                    None => {}
                }
            }
        }
        let Some(addr) = addr else {
            return;
        };
        let (number, queued) = office.link(place, true);
        if let Some(link) = lock(&office.links).get(place) {
            let _ = link.queue.try_send(letter);
        }
        let (place, addr) = (place.clone(), addr.to_owned());
        let dialling = call(Arc::clone(&shared), place, addr, number, queued);
        shared.tasks.spawn(async move {
            let _ = contained(dialling).await;
        });
    }

    /// Why seeds cannot be reached, for a person; `None` when none was tried in vain.
    pub(crate) fn trouble(&self) -> Option<String> {
        let shared = match &self.0 {
            Way::Connections(shared) => shared.upgrade()?,
            #[cfg(test)]
            Way::InMemory(_) => return None,
        };
        let troubles = lock(&shared.gossip.troubles);
        troubles.values().min().cloned()
    }
}

/// Makes a connection, and exchanges letters over it.
async fn call(
    shared: Arc<Shared>,
    place: Place,
    addr: String,
    number: u64,
    queued: mpsc::Receiver<Vec<u8>>,
) {
    let office = &shared.gossip;
    let to = match &place {
        Place::Node(node) => Some(node),
        Place::Seed(_) => None,
    };
    let (conn, node) = match dial_for_gossip(&shared, to, &addr).await {
        Ok(dialled) => dialled,
        Err(why) => {
            let trouble = (!is_itself(&why)).then(|| why.to_string());
            tracing::debug!(%addr, "no gossip: {why}");
            office.note_seed(&place, Err(trouble));
            return office.rest(&place, number);
        }
    };
    office.note_seed(&place, Ok(&node));
    // Of a seed the name is known now: what is for that node goes the same way.
    let queue = lock(&office.links)
        .get(&place)
        .filter(|link| link.number == number)
        .map(|link| link.queue.clone());
    let of_node = Place::Node(node.clone());
    let alias = match (queue, to) {
        (Some(queue), None) => Some(office.enter(&of_node, queue, true)),
        (_, _) => None,
    };
    let why = exchange(office, conn, &node, queued).await;
    match why {
        Broken::Severed(_) => tracing::warn!(peer = %node, "a connection was ended: {why}"),
        _ => tracing::debug!(peer = %node, "gossip ended: {why}"),
    }
    office.leave(&place, number);
    if let Some(alias) = alias {
        office.leave(&of_node, alias);
    }
}

/// Serves a connection that another node made for gossip: says why it ended.
pub(super) async fn serve(shared: &Shared, mut conn: Conn, greeting: &Greeting) -> Broken {
    let office = &shared.gossip;
    let entered = match office.is_open() {
        true if office.prefers_own(&shared.me.node, &greeting.node) => Err(format!(
            "{} has a connection for gossip already; hint: nothing to do, that one is used",
            shared.me.node
        )),
        true => {
            let side = Side::Accepted(Purpose::Gossip);
            let (node, incarnation) = (&greeting.node, greeting.incarnation);
            shared.roster.enter(node, incarnation, side)
        }
        false => Err(format!(
            "{} does not learn of its members by gossip; hint: give all nodes the same membership.kind",
            shared.me.node
        )),
    };
    let entry = match entered {
        Ok(entry) => entry,
        Err(reason) => {
            // It makes no difference to us whether the caller hears why.
            let _ = reject(&mut conn, &reason, consign_core::ids::Incarnation(0)).await;
            return Broken::Ours(reason);
        }
    };
    if let Err(why) = welcome(&mut conn, shared, greeting).await {
        return why;
    }
    let place = Place::Node(greeting.node.clone());
    let (number, queued) = office.link(&place, false);
    let mut nowhere = tokio::io::sink();
    let served = contained(async {
        tokio::select! {
            why = exchange(office, conn, &greeting.node, queued) => why,
            // Nothing is ever left there; it ends when a newer life of that node closes this.
            why = entry.send_queue.drain(&mut nowhere) => why,
        }
    });
    let served = served.await;
    office.leave(&place, number);
    served.unwrap_or_else(|panicked| Broken::Ours(panicked.to_string()))
}

/// Exchanges letters until nothing is left to say, or nothing is heard.
async fn exchange(
    office: &Office,
    conn: Conn,
    node: &NodeName,
    queued: mpsc::Receiver<Vec<u8>>,
) -> Broken {
    let Conn {
        mut reader,
        writer,
        life,
        ..
    } = conn;
    let hear = async {
        loop {
            let frame = match reader.next_within(LETTER_BYTES_MAX + 16).await {
                Ok(frame) => frame,
                Err(why) => return why,
            };
            let bytes = match frame.message {
                Message::Gossip(gossip) if frame.payload_len == 0 => gossip.letter,
                message => {
                    return Broken::Unexpected {
                        message: message.name(),
                        place: "on a connection for gossip",
                    };
                }
            };
            let from = node.clone();
            // What is heard while nobody reads is our own slowness, and no silence of the peer.
            let deaf = life.deaf();
            if office.letters.send(Letter { from, bytes }).await.is_err() {
                return Broken::Ours("this node is stopping".into());
            }
            drop(deaf);
        }
    };
    tokio::select! {
        why = hear => why,
        why = say(writer, &life, queued) => why,
    }
}

async fn say(
    mut writer: impl tokio::io::AsyncWrite + Unpin,
    life: &super::conn::Life,
    mut queued: mpsc::Receiver<Vec<u8>>,
) -> Broken {
    // A letter that something must follow.
    let mut unanswered: Option<Instant> = None;
    loop {
        let until = Instant::now() + GOSSIP_IDLE_MAX;
        let until = unanswered.map_or(until, |since| until.min(since + LETTER_ANSWER_MAX));
        let letter = tokio::select! {
            letter = queued.recv() => letter,
            () = sleep_until(until) => {
                match unanswered {
                    Some(since) if life.silence() < since.elapsed() => unanswered = None,
                    Some(_) => return Broken::Silent(LETTER_ANSWER_MAX),
                    None if life.silence() >= GOSSIP_IDLE_MAX => {
                        return Broken::Ours("nothing to tell".into());
                    }
                    None => {}
                }
                continue;
            }
        };
        let Some(letter) = letter else {
            return Broken::Ours("another connection took its place".into());
        };
        let frame = encode_frame(&Message::Gossip(Gossip { letter }), 0);
        match timeout(LETTER_DEADLINE, writer.write_all(&frame)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Broken::Io(error),
            Err(_elapsed) => {
                return Broken::Slow {
                    what: "sending a letter of gossip",
                    deadline: LETTER_DEADLINE,
                };
            }
        }
        match unanswered {
            Some(since) if life.silence() < since.elapsed() => unanswered = Some(Instant::now()),
            Some(_) => {}
            None => unanswered = Some(Instant::now()),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
