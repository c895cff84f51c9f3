//! Members that are registered in etcd: a key for each under a lease, one watch for all.
//!
//! ```text
//! PREFIX/members/NAME     what the node says of itself, for as long as its lease lives; that it has
//!                         left, for longer
//! PREFIX/forgotten/NAME   that it is gone for good
//! ```
//! A *session* reads the whole prefix, claims the node's name, then follows the watch and renews the
//! lease. Whatever breaks ends the session, and the next one begins from the beginning: so nothing
//! that was missed meanwhile stays missed, and a lease or key that was lost is there again.
//!
//! What must hold: the key of another node that runs is never replaced (every write is a
//! transaction over what was read); while etcd is away, what was heard last stays in force.

mod claim;
mod client;
mod keys;
mod known;

use std::collections::BTreeSet;
use std::time::Duration;

use consign_core::ids::NodeName;
use consign_core::view::{Member, MemberState, Sighting};
use etcd_client::{Client, EventType, GetOptions, WatchOptions, WatchStream};
use tokio::sync::{mpsc, watch};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::announcement::Announcement;
use super::bounds::{ETCD_RETRY, FORGOTTEN_MAX, PREFIX_BYTES_MAX, RENEW_EVERY};
use super::{Heard, MembershipSource, Own, Standing};
use crate::config::EtcdConfig;

use claim::{Claimed, Lease};
use client::{Failure, within};
use keys::Keys;
use known::Known;

/// See the module.
#[derive(Debug)]
pub(super) struct Etcd {
    heard: watch::Receiver<Heard>,
    orders: mpsc::UnboundedSender<Order>,
    task: AbortHandle,
}

/// What the driver asks for. As rare as a person's commands; kept while etcd is away.
#[derive(Debug)]
enum Order {
    Announce(Member),
    Forget(NodeName),
}

impl Etcd {
    pub(super) fn start(config: EtcdConfig, own: Own, forgotten: BTreeSet<NodeName>) -> Self {
        let (orders, ordered) = mpsc::unbounded_channel();
        let first = Heard {
            sighting: Sighting {
                members: vec![own.sighted()],
                ..Sighting::default()
            },
            standing: Standing::unheard("etcd"),
        };
        let (hears, heard) = watch::channel(first);
        let registrar = Registrar::new(config, own, forgotten, hears);
        let task = tokio::spawn(registrar.run(ordered)).abort_handle();
        Self {
            heard,
            orders,
            task,
        }
    }
}

impl MembershipSource for Etcd {
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

impl Drop for Etcd {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The task behind an [`Etcd`].
struct Registrar {
    config: EtcdConfig,
    keys: Keys,
    own: Own,
    /// Those that this node knows to be gone for good. Etcd is told of them as often as it does not
    /// know, since it may have been set up from an old copy.
    forgotten: BTreeSet<NodeName>,
    hears: watch::Sender<Heard>,
    lease: Lease,
    known: Known,
}

impl Registrar {
    fn new(
        config: EtcdConfig,
        own: Own,
        forgotten: BTreeSet<NodeName>,
        hears: watch::Sender<Heard>,
    ) -> Self {
        Self {
            keys: Keys::new(&config.prefix),
            config,
            own,
            forgotten,
            hears,
            lease: Lease::default(),
            known: Known::default(),
        }
    }

    async fn run(mut self, mut ordered: mpsc::UnboundedReceiver<Order>) {
        let mut tries = 0;
        loop {
            let began = Instant::now();
            let why = match self.session(&mut ordered).await {
                Ok(()) => return,
                Err(why) => why,
            };
            if let Failure::NameTaken(start) = why {
                let why = match self.lease.had_name() {
                    true => super::name_lost(self.own.name(), start),
                    false => super::name_taken(self.own.name(), start),
                };
                return self
                    .hears
                    .send_modify(|heard| heard.standing.name_taken = Some(why));
            }
            let (least, longest) = ETCD_RETRY;
            tries = if began.elapsed() > longest {
                0
            } else {
                tries + 1
            };
            self.lost(&why);
            let random = getrandom::u64().unwrap_or_default();
            tokio::time::sleep(delay(least, longest, tries, random)).await;
        }
    }

    /// From the first word to a break. `Ok` when nobody wants this source any more.
    async fn session(
        &mut self,
        ordered: &mut mpsc::UnboundedReceiver<Order>,
    ) -> Result<(), Failure> {
        let mut client = client::connect(&self.config).await?;
        let revision = self.read_all(&mut client).await?;
        // What was ordered while etcd was away comes first: what this node was before that is not
        // true any more.
        while let Ok(order) = ordered.try_recv() {
            self.take(order);
        }
        self.publish();
        let mut watch = self.watch(&mut client, revision + 1).await?;
        self.claim(&mut client).await?;
        self.tell_forgotten(&mut client).await?;
        let (mut keeper, mut kept) = within(client.lease_keep_alive(self.lease.id()?)).await?;
        let mut renew = tokio::time::interval(RENEW_EVERY);
        let mut unanswered = 0;
        loop {
            tokio::select! {
                heard = watch.message() => {
                    let heard = heard?.ok_or(Failure::Ended("the watch"))?;
                    self.follow(&heard)?;
                    if self.own_key_is_lost(&heard) {
                        self.claim(&mut client).await?;
                    }
                }
                answer = kept.message() => {
                    let answer = answer?.ok_or(Failure::Ended("the lease's stream"))?;
                    unanswered = 0;
                    if answer.ttl() <= 0 {
                        return Err(Failure::Ended("the lease"));
                    }
                }
                _ = renew.tick() => {
                    // Two that were not answered: the connection is dead, however alive it looks.
                    if unanswered >= 2 {
                        return Err(Failure::Slow);
                    }
                    unanswered += 1;
                    within(keeper.keep_alive()).await?;
                }
                order = ordered.recv() => {
                    let Some(order) = order else {
                        return Ok(());
                    };
                    self.take(order);
                    self.claim(&mut client).await?;
                    self.tell_forgotten(&mut client).await?;
                }
            }
        }
    }

    fn take(&mut self, order: Order) {
        match order {
            Order::Announce(member) => self.own.member = member,
            Order::Forget(node) => {
                self.forgotten.insert(node);
            }
        }
    }

    /// Reads everything; says as of which revision.
    async fn read_all(&mut self, client: &mut Client) -> Result<i64, Failure> {
        let all = GetOptions::new().with_prefix();
        let mut reader = client
            .kv_client()
            .max_decoding_message_size(PREFIX_BYTES_MAX);
        let read = within(reader.get(self.keys.all(), Some(all))).await?;
        self.known = Known::default();
        for kv in read.kvs() {
            self.known.note(&self.keys, kv.key(), Some(kv.value()));
        }
        Ok(read
            .header()
            .map_or(0, etcd_client::ResponseHeader::revision))
    }

    async fn watch(&self, client: &mut Client, from: i64) -> Result<WatchStream, Failure> {
        let all = WatchOptions::new().with_prefix().with_start_revision(from);
        let mut watcher = client
            .watch_client()
            .max_decoding_message_size(PREFIX_BYTES_MAX);
        within(watcher.watch(self.keys.all(), Some(all))).await
    }

    /// Takes in what has changed.
    fn follow(&mut self, heard: &etcd_client::WatchResponse) -> Result<(), Failure> {
        // Compacted, or refused: only reading everything again tells what is there.
        if heard.canceled() {
            return Err(Failure::Ended("the watch"));
        }
        for event in heard.events() {
            let Some(kv) = event.kv() else {
                continue;
            };
            match event.event_type() {
                EventType::Put => self.known.note(&self.keys, kv.key(), Some(kv.value())),
                EventType::Delete => self.known.note(&self.keys, kv.key(), None),
            }
        }
        self.publish();
        Ok(())
    }

    /// Whether what has changed is that this node's key is gone, or another's.
    fn own_key_is_lost(&self, heard: &etcd_client::WatchResponse) -> bool {
        let key = self.keys.member(self.own.name());
        let is_own = |kv: &etcd_client::KeyValue| kv.key() == key.as_bytes();
        let mut changed = heard.events().iter().filter_map(etcd_client::Event::kv);
        let is_mine = |one: &Announcement| self.own.is_mine(one.start);
        let found = self.known.members.get(self.own.name());
        self.own.member.state != MemberState::Left
            && changed.any(is_own)
            && !found.is_some_and(is_mine)
    }

    /// Writes this node's key, unless it is another's.
    async fn claim(&mut self, client: &mut Client) -> Result<(), Failure> {
        let key = self.keys.member(self.own.name());
        match self.lease.claim(client, &key, &self.own).await? {
            Claimed::Mine => Ok(()),
            Claimed::Others(start) => Err(Failure::NameTaken(start)),
        }
    }

    async fn tell_forgotten(&mut self, client: &mut Client) -> Result<(), Failure> {
        let untold = self.forgotten.difference(&self.known.forgotten);
        for node in untold.cloned().collect::<Vec<_>>() {
            let by = serde_json::json!({ "version": 1, "name": node.as_str(), "by": self.own.name().as_str() });
            let put = client.put(self.keys.forgotten(&node), by.to_string(), None);
            within(put).await?;
            self.known.forgotten.insert(node);
        }
        self.publish();
        Ok(())
    }

    fn publish(&mut self) {
        let told = self.known.forgotten.iter();
        self.forgotten.extend(told.cloned());
        let others = self.known.members.values();
        let others = others.filter(|one| one.member.name != *self.own.name());
        let mut members: Vec<_> = others.map(|one| one.sighted(true)).collect();
        members.push(self.own.sighted());
        self.hears.send_if_modified(|heard| {
            let mut next = heard.clone();
            next.sighting.members = members;
            next.sighting.forgotten.clone_from(&self.forgotten);
            next.standing.reached();
            if self.forgotten.len() >= FORGOTTEN_MAX {
                next.standing.error = Some(super::too_many_forgotten());
            }
            let is_news = *heard != next;
            *heard = next;
            is_news
        });
    }

    /// Etcd is away: those that it named are not heard of, and stay members.
    fn lost(&mut self, why: &Failure) {
        let text = why.to_string();
        self.hears.send_modify(|heard| {
            if heard.standing.error.as_deref() != Some(&text) {
                tracing::warn!("etcd is not heard: {text}");
            }
            heard.standing.lost(text);
            for one in &mut heard.sighting.members {
                if one.member.name != *self.own.name() {
                    one.live = None;
                }
            }
        });
    }
}

/// The time before the next try: doubles from `least` to `longest`, and is then drawn from its upper
/// half, so that nodes that lost etcd at one moment do not come back at one moment.
fn delay(least: Duration, longest: Duration, tries: u32, random: u64) -> Duration {
    let doubled = least.saturating_mul(1 << tries.min(10)).min(longest);
    let half = doubled / 2;
    let millis = u64::try_from(half.as_millis()).unwrap_or(u64::MAX).max(1);
    half + Duration::from_millis(random % millis)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{etcd::Registered, own};
    use super::*;

    /// So much may happen between the reading and the watch that etcd has dropped what was between.
    #[tokio::test]
    async fn a_watch_whose_history_was_dropped_ends_the_session() {
        let test = "a_watch_whose_history_was_dropped_ends_the_session";
        let Some(world) = Registered::if_there(test) else {
            return;
        };
        let hears = watch::Sender::new(Heard {
            sighting: Sighting::default(),
            standing: Standing::unheard("etcd"),
        });
        let config = world.config.clone();
        let mut registrar = Registrar::new(config, own("a", 1), BTreeSet::new(), hears);
        let mut client = client::connect(&registrar.config).await.unwrap();
        let revision = registrar.read_all(&mut client).await.unwrap();
        for value in ["1", "2", "3"] {
            client
                .put("/consign/test/other", value, None)
                .await
                .unwrap();
        }
        client.compact(revision + 3, None).await.unwrap();
        let mut watch = registrar.watch(&mut client, revision + 1).await.unwrap();
        let mut followed = Ok(());
        while followed.is_ok() {
            let heard = within(watch.message()).await.unwrap();
            followed = registrar.follow(&heard.unwrap());
        }
        assert!(matches!(followed, Err(Failure::Ended(_))), "{followed:?}");
    }

    #[test]
    fn tries_to_reach_etcd_are_spread_and_bounded() {
        let (least, longest) = ETCD_RETRY;
        for tries in 0..40 {
            for random in [0, 1, 77_777, u64::MAX] {
                let delay = delay(least, longest, tries, random);
                assert!(delay >= least / 2 && delay < longest, "{tries}: {delay:?}");
            }
        }
        assert_ne!(delay(least, longest, 9, 1), delay(least, longest, 9, 1234));
    }
}
