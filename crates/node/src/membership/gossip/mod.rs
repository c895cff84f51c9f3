//! Members that learn of each other by gossip: no server, only one or two seeds to ask first.
//!
//! The protocol is `chitchat`'s: each node owns a few keys, of which the others learn in rounds, and
//! its heartbeat tells whether it runs. What is carried here is the node's announcement, and whom it
//! knows to be gone for good. Letters go over our own connections.
//!
//! What must hold: nothing is announced before the name is known to be free ([`naming`]); who is
//! dead stays among the members, since only the node itself or a person takes it out.

mod forgotten;
mod letter;
mod naming;
mod transport;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use chitchat::{Chitchat, ChitchatConfig, ChitchatHandle, ChitchatId, FailureDetectorConfig};
use consign_core::ids::{Incarnation, NodeName, Start};
use consign_core::limits::MEMBERS_MAX;
use consign_core::view::{Member, MemberState, Sighting};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::announcement::Announcement;
use super::bounds::{
    ALONE_MAX, DEAD_KEPT, GOSSIP_BYTES_MAX, GOSSIP_EVERY, GOSSIP_NODES_MAX, LOOK_EVERY,
};
use super::{Heard, MembershipSource, Own, Standing};
use crate::net::{Mail, Place, Postman};

use forgotten::Forgotten;
use letter::Room;
use naming::{Claim, Namesake, Naming};
use transport::{Book, Wire, virtual_addr};

/// The key of a node's announcement.
const MEMBER: &str = "member";

/// What tells one program's gossip from another's that is at the same port by mistake.
const CLUSTER: &str = "consign-1";

/// See the module.
#[derive(Debug)]
pub(super) struct Gossip {
    heard: watch::Receiver<Heard>,
    orders: mpsc::UnboundedSender<Order>,
    task: AbortHandle,
}

/// What the driver asks for. As rare as a person's commands, and taken at once.
#[derive(Debug)]
enum Order {
    Announce(Member),
    Forget(NodeName),
}

impl Gossip {
    pub(super) fn start(
        seeds: Vec<String>,
        own: Own,
        forgotten: BTreeSet<NodeName>,
        mail: Mail,
    ) -> Self {
        let (orders, ordered) = mpsc::unbounded_channel();
        let first = Heard {
            sighting: Sighting {
                members: vec![own.sighted()],
                ..Sighting::default()
            },
            standing: Standing::unheard("gossip"),
        };
        let (hears, heard) = watch::channel(first);
        let talker = Talker {
            naming: Naming::new(own.start),
            own,
            forgotten: forgotten.into_iter().collect(),
            hears,
            book: Book::default(),
            room: Room::default(),
            postman: mail.postman(),
            mail: Arc::new(tokio::sync::Mutex::new(mail)),
            read: BTreeMap::new(),
            alone_since: Instant::now(),
        };
        let task = tokio::spawn(talker.run(seeds, ordered)).abort_handle();
        Self {
            heard,
            orders,
            task,
        }
    }
}

impl MembershipSource for Gossip {
    fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.clone()
    }

    fn announce(&self, own: Member) {
        let _ = self.orders.send(Order::Announce(own));
    }

    fn forget(&self, node: &NodeName) {
        let _ = self.orders.send(Order::Forget(node.clone()));
    }
}

impl Drop for Gossip {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task behind a [`Gossip`].
struct Talker {
    own: Own,
    /// Whom this node has heard to be gone for good, and tells the others of.
    forgotten: Forgotten,
    naming: Naming,
    hears: watch::Sender<Heard>,
    book: Book,
    room: Room,
    mail: Arc<tokio::sync::Mutex<Mail>>,
    postman: Postman,
    /// Announcements that were read already, with the version of the state that they were in.
    read: BTreeMap<ChitchatId, (u64, Option<Announcement>)>,
    /// When another node was heard last.
    alone_since: Instant,
}

/// Stops the exchange of letters when it goes.
struct Running(ChitchatHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Talker {
    async fn run(mut self, seeds: Vec<String>, mut ordered: mpsc::UnboundedReceiver<Order>) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        loop {
            let running = match self.begin(&seeds).await {
                Ok(handle) => Running(handle),
                Err(error) => {
                    self.lost(format!(
                        "gossip cannot begin: {error:#}; hint: restart the agent"
                    ));
                    tokio::time::sleep(ALONE_MAX).await;
                    continue;
                }
            };
            let ended = running.0.termination_watcher();
            tokio::pin!(ended);
            loop {
                tokio::select! {
                    // Our own bug or the crate's; what is known stays known.
                    ended = &mut ended => {
                        let why = ended.err().map(|error| format!(": {error:#}")).unwrap_or_default();
                        tracing::warn!("gossip ended and begins again{why}; hint: report this as a bug");
                        tokio::time::sleep(GOSSIP_EVERY).await;
                        break;
                    }
                    order = ordered.recv() => match order {
                        Some(order) => self.obey(order, &running.0).await,
                        None => return,
                    },
                    _ = look.tick() => self.look(&running.0).await,
                }
            }
        }
    }

    async fn begin(&self, seeds: &[String]) -> anyhow::Result<ChitchatHandle> {
        let me = Place::Node(self.own.name().clone());
        let at = virtual_addr(&me);
        let seeds = seeds.iter().map(|seed| {
            let at = self.book.note(Place::Seed(seed.clone()), Some(seed));
            at.to_string()
        });
        let config = ChitchatConfig {
            // The start tells two nodes of one name apart, and is another at each start.
            chitchat_id: ChitchatId::new(self.own.name().as_str(), self.own.start.0, at),
            cluster_id: CLUSTER.to_owned(),
            gossip_interval: GOSSIP_EVERY,
            listen_addr: at,
            seed_nodes: seeds.collect(),
            failure_detector_config: FailureDetectorConfig {
                initial_interval: Duration::from_secs(1),
                dead_node_grace_period: DEAD_KEPT,
                ..FailureDetectorConfig::default()
            },
            marked_for_deletion_grace_period: DEAD_KEPT,
            catchup_callback: None,
            extra_liveness_predicate: None,
        };
        let wire = Wire {
            mail: Arc::clone(&self.mail),
            book: self.book.clone(),
            room: self.room.clone(),
        };
        let known = self.announced();
        chitchat::spawn_chitchat(config, known, &wire).await
    }

    /// The keys of this node.
    fn announced(&self) -> Vec<(String, String)> {
        let mut keys: Vec<_> = self.forgotten.keys().collect();
        if self.naming.claim() == Claim::Claimed {
            keys.push((MEMBER.to_owned(), self.own.text()));
        }
        keys
    }

    async fn tell(&self, handle: &ChitchatHandle) {
        let keys = self.announced();
        let tell = |chitchat: &mut Chitchat| {
            for (key, value) in &keys {
                // The same value again is no news, and the crate leaves it.
                chitchat.self_node_state().set(key, value);
            }
        };
        handle.with_chitchat(tell).await;
    }

    async fn obey(&mut self, order: Order, handle: &ChitchatHandle) {
        match order {
            Order::Announce(member) => self.own.member = member,
            Order::Forget(node) => self.forgotten.insert(node),
        }
        self.tell(handle).await;
        self.look(handle).await;
    }

    /// Looks at what is known now, and says so if that is news.
    async fn look(&mut self, handle: &ChitchatHandle) {
        let told = |talker: &Self| {
            let known = talker.forgotten.names().len();
            (talker.naming.claim(), talker.own.incarnation, known)
        };
        let before = told(self);
        let chitchat = handle.chitchat();
        let sighting = self.sight(&*chitchat.lock().await);
        if before != told(self) {
            self.tell(handle).await;
        }
        let standing = self.standing();
        self.hears.send_if_modified(|heard| {
            let next = Heard { sighting, standing };
            let is_news = *heard != next;
            *heard = next;
            is_news
        });
    }

    fn sight(&mut self, chitchat: &Chitchat) -> Sighting {
        let me = chitchat.self_chitchat_id();
        let live: BTreeSet<&ChitchatId> = chitchat.live_nodes().filter(|id| *id != me).collect();
        if !live.is_empty() {
            self.alone_since = Instant::now();
        }
        let (mut members, mut namesakes) = (Vec::new(), Vec::new());
        let mut outlived = Incarnation(0);
        let states = chitchat.node_states();
        self.room.measure(states.iter());
        self.read.retain(|id, _| states.contains_key(id));
        for (id, state) in states
            .iter()
            .filter(|(id, _)| *id != me)
            .take(2 * MEMBERS_MAX)
        {
            let read = self.read.entry(id.clone()).or_insert((0, None));
            if read.0 != state.max_version() {
                read.0 = state.max_version();
                self.forgotten.hear(state);
                let text = state.get(MEMBER);
                read.1 = text.and_then(|text| read_announcement(id, text));
            }
            if *id.node_id == *self.own.name().as_str() {
                let start = Start(id.generation_id);
                let left = |one: &Announcement| one.member.state == MemberState::Left;
                let life = |one: &Announcement| one.incarnation;
                let incarnation = read.1.as_ref().map_or(Incarnation(0), life);
                if self.own.is_mine(start) {
                    outlived = outlived.max(incarnation);
                    continue;
                }
                namesakes.push(Namesake {
                    start,
                    heartbeat: state.heartbeat().into(),
                    // Whether or not that can be used.
                    announced: state.contains_key(MEMBER),
                    incarnation,
                    left: read.1.as_ref().is_some_and(left),
                });
                continue;
            }
            if let Some(announcement) = &read.1 {
                let member = &announcement.member;
                let place = Place::Node(member.name.clone());
                self.book.note(place, Some(&member.addr));
                members.push(announcement.sighted(live.contains(id)));
            }
        }
        let hears_anybody = states.keys().any(|id| id != me);
        self.naming.look(Instant::now(), hears_anybody, &namesakes);
        // On a new disk lives are counted from 1 again. Here they only order what was announced.
        let later = outlived.max(self.naming.outlived()).0.saturating_add(1);
        self.own.incarnation = self.own.incarnation.max(Incarnation(later));
        self.book
            .keep(|node| states.keys().any(|id| *id.node_id == *node.as_str()));
        members.push(self.own.sighted());
        Sighting {
            members,
            forgotten: self.forgotten.names().clone(),
            ..Sighting::default()
        }
    }

    fn standing(&self) -> Standing {
        let mut standing = self.hears.borrow().standing.clone();
        let trouble = self.postman.trouble();
        let silence = self.alone_since.elapsed();
        let is_alone = silence >= ALONE_MAX;
        match trouble.filter(|_| is_alone) {
            Some(why) => standing.lost(format!("no other node is heard: {why}")),
            // Whoever is asked first asks nobody, so that nothing fails.
            None if is_alone => standing.silent_for(silence),
            None if self.naming.claim() == Claim::Listening => {}
            None => standing.reached(),
        }
        if self.forgotten.is_full() {
            standing.error = Some(super::too_many_forgotten());
        }
        if self.read.len() > GOSSIP_NODES_MAX {
            standing.error = Some(format!(
                "{} nodes gossip, those that died lately included, and it carries {GOSSIP_NODES_MAX}; hint: use membership.kind = \"etcd\"",
                self.read.len()
            ));
        }
        if self.room.is_full() {
            standing.error = Some(format!(
                "gossip holds {} MiB of what nodes say of themselves, and takes in no more; hint: look for a node that makes others up, revoke it, and restart the agents",
                GOSSIP_BYTES_MAX >> 20
            ));
        }
        let name = self.own.name();
        if let Some(start) = self.naming.intruder() {
            standing.error = Some(format!(
                "another node called {name} runs, with start {:016x}; hint: stop it and give it a name of its own",
                start.0
            ));
        }
        if let Claim::Taken(start) = self.naming.claim() {
            standing.name_taken = Some(super::name_taken(name, start));
        }
        standing
    }

    fn lost(&self, why: String) {
        self.hears.send_modify(|heard| heard.standing.lost(why));
    }
}

fn read_announcement(id: &ChitchatId, text: &str) -> Option<Announcement> {
    match Announcement::read(&id.node_id, text.as_bytes()) {
        Ok(announcement) if announcement.start.0 == id.generation_id => Some(announcement),
        Ok(_) => None,
        Err(error) => {
            tracing::warn!(peer = %id.node_id, "what a member says of itself cannot be used: {error}");
            None
        }
    }
}
