//! Nodes that are on their way out: this one, and consumers. A consumer says so itself, whatever
//! tells the members, and hears what is still owed to it.

use crate::ids::{FeedName, NodeName};
use crate::producer::{Answer, Producer, Then, Token};
use crate::record::{PeerStanding, Record, StandingSet};
use crate::view::{Member, MemberState};
use crate::wire::{Duties, Message, Standing};

impl Producer {
    /// A person takes this node out of service, or back in.
    pub(super) fn on_drain(&mut self, token: Token, state: MemberState) {
        if state != self.standing {
            // Nothing new from here on: a crash before the sync forgets an order that nobody was told
            // to be in force.
            self.standing = state;
            self.append(Record::StandingSet(StandingSet {
                state: state.number(),
                at: self.now.0,
            }));
        }
        // The same order may have been given before, and not be synced yet.
        self.journal
            .when_synced(Then::Answer(token, Answer::Drained));
    }

    /// A consumer says how far it takes part. One that drains keeps what it was given before it was
    /// heard.
    pub(super) fn on_standing(&mut self, from: &NodeName, standing: Standing) {
        let Some(state) = MemberState::from_number(standing.state) else {
            return;
        };
        let destination = self.destinations.at(from, self.now);
        if destination.standing_number != standing.number {
            destination.standing_number = standing.number;
            destination.told_duties = None;
        }
        if std::mem::replace(&mut destination.standing, state) == state {
            return self.tell_duties(from);
        }
        self.append(Record::PeerStanding(PeerStanding {
            node: from.as_str().to_owned(),
            state: state.number(),
        }));
        // Not before a restart would know it too: what it placed there then would not be in the number.
        let destination = self.destinations.at(from, self.now);
        destination.standing_unsynced += 1;
        self.journal.when_synced(Then::TellDuties(from.clone()));
        self.wake_short();
    }

    /// What a consumer said of itself is synced.
    pub(super) fn standing_synced(&mut self, node: &NodeName) {
        let destination = self.destinations.at(node, self.now);
        destination.standing_unsynced -= 1;
        self.tell_duties(node);
    }

    /// Tells a consumer that drains what is owed to it, if that is news.
    pub(super) fn tell_duties(&mut self, node: &NodeName) {
        let Some(destination) = self.destinations.get_mut(node) else {
            return;
        };
        let slots = destination.open_slots();
        let drains = destination.standing != MemberState::Active && destination.connected();
        if drains
            && destination.standing_unsynced == 0
            && destination.told_duties.replace(slots) != Some(slots)
        {
            let number = destination.standing_number;
            self.send(node, Message::Duties(Duties { slots, number }));
        }
    }

    /// The members that new files of a feed may be placed on, sorted by name.
    pub(super) fn takers(&self, feed: &FeedName) -> impl Iterator<Item = &Member> {
        let takes = |member: &&Member| !self.is_out(&member.name);
        self.view.accepting(feed).filter(takes)
    }

    /// Whether nothing new is placed on a node, whatever the view says: it is gone for good, or has
    /// said that it drains.
    pub(super) fn is_out(&self, node: &NodeName) -> bool {
        let drains = |node| {
            let destination = self.destinations.get(node);
            destination.is_some_and(|d| d.standing != MemberState::Active)
        };
        self.forgotten.contains(node) || drains(node)
    }
}
