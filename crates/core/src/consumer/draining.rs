//! A consumer on its way out of service: it says so to every producer, and hears what each still owes
//! it. What it was given before it was heard it takes.

use crate::consumer::Consumer;
use crate::ids::{Incarnation, NodeName};
use crate::view::MemberState;
use crate::wire::{Duties, Message, Standing};

/// What a producer still owes a node that drains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwedBy {
    /// The producer.
    pub node: NodeName,
    /// Whether it is connected. One that is not may owe something all the same.
    pub connected: bool,
    /// Files, as it has said; `None` before it has.
    pub files: Option<u64>,
}

impl Consumer {
    pub(super) fn on_standing(&mut self, state: MemberState) {
        self.standing = state;
        self.standings += 1;
        // Whatever they said before was of an earlier order.
        self.peers.values_mut().for_each(|peer| peer.owes = None);
        let producers: Vec<NodeName> = self.peers.keys().cloned().collect();
        for node in producers {
            self.tell_standing(&node);
        }
    }

    /// Says how far this node takes part; to nobody where there is no connection.
    pub(super) fn tell_standing(&mut self, node: &NodeName) {
        let (state, number) = (self.standing.number(), self.standings);
        self.send(node, Message::Standing(Standing { state, number }));
    }

    pub(super) fn on_duties(&mut self, from: &NodeName, duties: Duties) {
        if duties.number == self.standings
            && let Some(peer) = self.peers.get_mut(from)
        {
            peer.owes = Some(duties.slots);
        }
    }

    /// What keeps a node that drains from being switched off: every producer that was ever heard here
    /// and has not said on its present connection that it owes nothing. Sorted by name.
    #[must_use]
    pub fn owed_by(&self) -> Vec<OwedBy> {
        let heard = self.peers.iter();
        let heard = heard.filter(|(_, peer)| peer.incarnation > Incarnation(0));
        let owing = heard.filter(|(_, peer)| peer.owes != Some(0));
        let owed = owing.map(|(node, peer)| OwedBy {
            node: node.clone(),
            connected: peer.session.is_some(),
            files: peer.owes,
        });
        owed.collect()
    }
}
