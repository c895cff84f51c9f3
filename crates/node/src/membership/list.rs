//! The list in the configuration: the whole truth, until it is read again.

use consign_core::ids::{Incarnation, NodeName};
use consign_core::view::{Member, Sighted, Sighting, Silence};
use tokio::sync::watch;

use super::{Heard, MembershipSource, Standing};

/// See the module.
#[derive(Debug)]
pub(super) struct List {
    heard: watch::Sender<Heard>,
}

impl List {
    /// These members, this node among them.
    pub(super) fn new(members: Vec<Member>) -> Self {
        let mut standing = Standing::unheard("static");
        standing.reached();
        let (heard, _) = watch::channel(Heard {
            sighting: sighting(members),
            standing,
        });
        Self { heard }
    }
}

impl MembershipSource for List {
    fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.subscribe()
    }

    /// The others have lists of their own: a person changes those.
    fn announce(&self, _own: Member) {}

    /// See [`List::announce`].
    fn forget(&self, _node: &NodeName) {}

    fn relist(&self, members: Vec<Member>) {
        self.heard
            .send_modify(|heard| heard.sighting = sighting(members));
    }
}

fn sighting(members: Vec<Member>) -> Sighting {
    let sighted = |member| Sighted {
        member,
        incarnation: Incarnation(0),
        live: None,
    };
    Sighting {
        members: members.into_iter().map(sighted).collect(),
        silence: Silence::IsNone,
        ..Sighting::default()
    }
}
