//! One suite over all three sources: what a driver may rely on, whichever source it has. A case that
//! has no meaning for a source is left out where that one lists its cases, and why is said there.
//!
//! Gossip runs over real connections of real nets, etcd is a real server, and lists are written by
//! the tests, as by a person.

#[cfg(feature = "etcd")]
pub(super) mod etcd;
mod gate;
mod gossip;
mod list;
mod scale;
mod suite;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use consign_core::ids::{FeedName, Incarnation, NodeName, Start};
use consign_core::view::{Member, MemberState, Silence, View, merge};
use tokio::sync::watch;
use tokio::time::timeout;

use super::{Heard, MembershipSource, Own};

/// How long something may take that has no reason to take long. A lease lasts ten seconds.
const DEADLINE: Duration = Duration::from_secs(40);

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn member(node: &str) -> Member {
    Member {
        name: name(node),
        addr: "127.0.0.1:1".to_owned(),
        zone: None,
        weight: 100,
        feeds: [FeedName::new("images").unwrap()].into(),
        state: MemberState::Active,
    }
}

/// A node as a test starts it: its name, and how often it was started.
pub(super) fn own(node: &str, life: u64) -> Own {
    let start = |life: u64| {
        let hash = blake3::hash(format!("{node} {life}").as_bytes());
        Start(u64::from_le_bytes(hash.as_bytes()[..8].try_into().unwrap()))
    };
    Own {
        member: member(node),
        incarnation: Incarnation(life),
        start: start(life),
        earlier: (1..life).map(start).collect::<BTreeSet<_>>(),
    }
}

/// A cluster of sources of one kind, as the suite drives it.
trait World {
    /// Starts a node; what it takes is there at once, what it hears comes later.
    async fn start(&mut self, own: Own) -> Started;

    /// A node is something else from now on, and the others are told.
    fn announce(&mut self, node: &Started, member: Member) {
        node.source.announce(member);
    }

    /// What all nodes depend on goes away.
    fn break_source(&mut self);

    /// And is there again.
    fn mend_source(&mut self);
}

/// A node that runs. Dropping it is a crash.
struct Started {
    source: Arc<dyn MembershipSource>,
    /// What it said of itself when it started.
    member: Member,
    heard: watch::Receiver<Heard>,
    /// The view in force, as a driver would have it.
    view: View,
    /// What else of it runs.
    _net: Option<Arc<crate::net::Net>>,
}

impl Started {
    fn new(
        source: Arc<dyn MembershipSource>,
        member: Member,
        net: Option<Arc<crate::net::Net>>,
    ) -> Self {
        Self {
            heard: source.heard(),
            source,
            member,
            view: View::default(),
            _net: net,
        }
    }

    /// Waits until what is heard, and the view that it makes, are as they should be.
    #[track_caller]
    fn until(
        &mut self,
        what: impl Into<String>,
        holds: impl Fn(&Heard, &View) -> bool,
    ) -> impl Future<Output = ()> {
        let place = std::panic::Location::caller();
        let what = what.into();
        let why = what.clone();
        let waiting = async move {
            loop {
                let heard = self.heard.borrow_and_update().clone();
                if let Some(next) = self
                    .view
                    .successor(merge(&self.view, &heard.sighting))
                    .unwrap()
                {
                    self.view = next;
                }
                if holds(&heard, &self.view) {
                    return;
                }
                let changed = timeout(DEADLINE, self.heard.changed()).await;
                assert!(
                    matches!(changed, Ok(Ok(()))),
                    "{place}: never {why}: {heard:#?}"
                );
            }
        };
        async move {
            let done = timeout(DEADLINE, waiting).await;
            assert!(done.is_ok(), "{place}: never {what}");
        }
    }

    /// Waits until exactly these are members.
    #[track_caller]
    fn until_members(&mut self, names: &[&str]) -> impl Future<Output = ()> {
        let wanted: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        self.until(format!("members {names:?}"), move |_, view| {
            let names = view.members().iter().map(|m| m.name.to_string());
            names.eq(wanted.iter().cloned())
        })
    }

    /// Waits until a member is heard, or is not. Of a list nobody can tell.
    #[track_caller]
    fn until_live(&mut self, node: &str, live: bool) -> impl Future<Output = ()> {
        let node = name(node);
        self.until(format!("{node} live: {live}"), move |heard, _| {
            let is_live = heard.sighting.is_live(&node);
            match heard.sighting.silence {
                Silence::IsNone => is_live.is_none(),
                Silence::SaysNothing => is_live.unwrap_or(false) == live,
            }
        })
    }
}
