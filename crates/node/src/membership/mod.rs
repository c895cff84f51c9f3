//! Where a node learns who the members of its cluster are, and tells them of itself.
//!
//! There are three sources behind one trait: the list in the configuration, the other nodes
//! ([`gossip`]), and etcd. Each hands out a [`Sighting`]: whom it hears of now, whole, whenever
//! something changes. What becomes of the members in force is decided in the core, by
//! [`consign_core::view::merge`], and applied by the driver.
//!
//! What must hold: a source that is away takes nobody out; a node whose name is another's while
//! that one runs never replaces its record; nothing here waits for the driver or is waited for by
//! it.
//!
//! Deliberately absent: any decision about a file. A wrong sighting costs a retry.

mod announcement;
mod bounds;
#[cfg(feature = "etcd")]
mod etcd;
mod gossip;
mod list;
mod standing;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::fmt;

use consign_core::ids::{Incarnation, NodeName, Start};
use consign_core::view::{Member, Sighted, Sighting};
use tokio::sync::watch;

use bounds::FORGOTTEN_MAX;

use crate::config::{Membership, Source};
use crate::net::Mail;

pub(crate) use standing::Standing;

/// What a source knows now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Whom it hears of.
    pub(crate) sighting: Sighting,
    /// How the source itself is.
    pub(crate) standing: Standing,
}

/// Where the members are learned from. Calls return at once; what they ask for is done as soon as
/// it can be, and done again after the source was away.
pub(crate) trait MembershipSource: Send + Sync + fmt::Debug {
    /// What it knows, now and whenever that changes.
    fn heard(&self) -> watch::Receiver<Heard>;

    /// Tells the others what this node is from now on. With the state `left` it is told until
    /// they know it; they may then go on without this node.
    fn announce(&self, own: Member);

    /// Tells the others that a node is gone for good.
    fn forget(&self, node: &NodeName);

    /// Replaces the list, where the source is one.
    fn relist(&self, _members: Vec<Member>) {}
}

/// This node as a source announces it.
#[derive(Debug, Clone)]
pub(crate) struct Own {
    /// What it is.
    pub(crate) member: Member,
    /// Its life.
    pub(crate) incarnation: Incarnation,
    /// The start of this life.
    pub(crate) start: Start,
    /// Those of its earlier lives, as far as its log goes: what announces one of them under this
    /// node's name is no other node.
    pub(crate) earlier: BTreeSet<Start>,
}

impl Own {
    fn sighted(&self) -> Sighted {
        Sighted {
            member: self.member.clone(),
            incarnation: self.incarnation,
            live: Some(true),
        }
    }

    fn name(&self) -> &NodeName {
        &self.member.name
    }

    /// Whether a record under this node's name is of this life or an earlier one.
    fn is_mine(&self, start: Start) -> bool {
        start == self.start || self.earlier.contains(&start)
    }
}

/// Why a node whose name is another's must not run.
fn name_taken(name: &NodeName, by: Start) -> String {
    format!(
        "another node called {name} runs already, with start {:016x}; hint: give this node a name of its own, or stop the other one for good and start this one again",
        by.0
    )
}

/// Why a node whose name another one has by now must not run any longer.
#[cfg(feature = "etcd")]
fn name_lost(name: &NodeName, to: Start) -> String {
    format!(
        "another node, with start {:016x}, took the name {name} while this one was not heard; hint: give that one a name of its own, or stop it for good, and start this one again",
        to.0
    )
}

/// That nobody hears of further ones that are gone for good.
fn too_many_forgotten() -> String {
    format!(
        "{FORGOTTEN_MAX} nodes are known to be gone for good, and no more are told of; hint: `consign forget` further ones on each node"
    )
}

/// Begins to listen to the source that the configuration names, and to announce this node there.
/// It ends when the answer is dropped.
///
/// `forgotten` are those that this node knows to be gone for good.
pub(crate) fn start(
    config: &Membership,
    own: Own,
    forgotten: BTreeSet<NodeName>,
    mail: Option<Mail>,
) -> Box<dyn MembershipSource> {
    match &config.source {
        Source::Static => Box::new(list::List::new(config.nodes.clone())),
        Source::Gossip { seeds } => {
            let seeds = seeds.iter().map(ToString::to_string).collect();
            let mail = mail.expect("nobody else reads the mail");
            Box::new(gossip::Gossip::start(seeds, own, forgotten, mail))
        }
        #[cfg(feature = "etcd")]
        Source::Etcd(config) => Box::new(etcd::Etcd::start(config.clone(), own, forgotten)),
        #[cfg(not(feature = "etcd"))]
        Source::Etcd(_) => unreachable!("the configuration is refused without etcd"),
    }
}
