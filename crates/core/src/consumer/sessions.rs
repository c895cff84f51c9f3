//! Producers that come, go, and come back as a later life of themselves.

use crate::consumer::{Consumer, Effect, Then, Wanted};
use crate::ids::{Incarnation, NodeName, SlotId};
use crate::log::{Payload, Position};
use crate::producer::Session;
use crate::record::{PeerSeen, Record};

impl Consumer {
    pub(super) fn on_peer_up(
        &mut self,
        node: NodeName,
        session: Session,
        incarnation: Incarnation,
    ) {
        let peer = self.peers.entry(node.clone()).or_default();
        let seen = peer.incarnation;
        if incarnation < seen {
            self.out.push(Effect::Reject {
                node,
                session,
                seen,
            });
            return;
        }
        // The older connection, and all that it may still bring, is over from here on.
        peer.session = Some(session);
        peer.owes = None;
        if incarnation == seen {
            // The record of this incarnation may still be on its way: wait for all that is.
            return self.journal.when_synced(Then::Admit(node, session));
        }
        peer.incarnation = incarnation;
        peer.open_starts = None;
        self.fence_older(&node);
        // A crash before this sync forgets the incarnation, and nothing of it was applied yet.
        let seen = PeerSeen {
            node: node.as_str().to_owned(),
            incarnation: incarnation.0,
        };
        self.append_with(
            Record::PeerSeen(seen),
            Payload::None,
            Wanted::Peer(node.clone()),
        );
        self.journal.when_synced(Then::Admit(node, session));
    }

    /// Chunks under an older incarnation, also those that other consumers pass on, are not taken
    /// any more.
    fn fence_older(&mut self, node: &NodeName) {
        let slots: Vec<SlotId> = self
            .receiving
            .iter()
            .filter(|slot| slot.producer == *node)
            .cloned()
            .collect();
        for slot in slots {
            if let Some(entry) = self.entry_mut(&slot) {
                entry.let_go();
            }
            self.out.push(Effect::CloseInflow(slot));
        }
    }

    pub(super) fn on_peer_down(&mut self, node: &NodeName, session: Session) {
        if let Some(peer) = self.peers.get_mut(node)
            && peer.session == Some(session)
        {
            peer.session = None;
            peer.owes = None;
        }
    }

    /// A peer was forgotten: whatever it was last seen under does not count. Whether it was seen.
    pub(super) fn unsee(&mut self, node: &NodeName) -> bool {
        let Some(peer) = self.peers.get_mut(node) else {
            return false;
        };
        if let Some(position) = peer.recorded.take() {
            self.live.remove(position, 0);
        }
        std::mem::take(&mut peer.incarnation) != Incarnation(0)
    }

    pub(super) fn note_peer(&mut self, node: &NodeName, position: Position) {
        // One that was forgotten in the meantime has nothing to be remembered.
        if let Some(peer) = self.peers.get_mut(node)
            && peer.incarnation != Incarnation(0)
        {
            if let Some(old) = peer.recorded.replace(position) {
                self.live.remove(old, 0);
            }
            self.live.add(position, 0);
        }
    }
}
