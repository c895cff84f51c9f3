//! What the log says of nodes, this one and others: neither machine's records. The newest of each kind
//! and node count, and they are written again before their segment goes.

use std::collections::BTreeMap;

use consign_core::ids::{Incarnation, NodeName, Start};
use consign_core::record::{Outlived, PeerLog, Record};

use crate::net::Sight;

/// See the module.
#[derive(Debug, Clone, Default)]
pub(crate) struct OwnRecords {
    others: Vec<Record>,
    /// How far the logs of peers were seen: as many as there are peers.
    peer_logs: BTreeMap<String, PeerLog>,
}

impl OwnRecords {
    /// Takes in a record, in place of what it replaces.
    pub(crate) fn note(&mut self, record: Record) {
        match record {
            Record::PeerLog(peer) => {
                self.peer_logs.insert(peer.node.clone(), peer);
                return;
            }
            // Heard once more by who had not heard yet that it counts no more.
            Record::Outlived(Outlived { incarnation, .. })
                if Incarnation(incarnation) <= self.reconciled() =>
            {
                return;
            }
            Record::Forgotten(ref forgotten) => {
                self.peer_logs.remove(&forgotten.node);
            }
            _ => {}
        }
        self.others.retain(|known| !record.replaces(known));
        self.others.push(record);
    }

    /// The members in force, in place of those before.
    pub(super) fn replace_view(&mut self, records: Vec<Record>) {
        let is_view = |record: &Record| matches!(record, Record::ViewSeen(_));
        self.others.retain(|record| !is_view(record));
        self.others.extend(records);
    }

    /// Adds records that nothing replaces.
    pub(crate) fn extend(&mut self, records: impl IntoIterator<Item = Record>) {
        self.others.extend(records);
    }

    /// All of them.
    pub(super) fn all(&self) -> Vec<Record> {
        let peers = self.peer_logs.values().cloned().map(Record::PeerLog);
        self.others.iter().cloned().chain(peers).collect()
    }

    /// Who has seen this node further on than it is.
    pub(crate) fn outlived(&self) -> Vec<Outlived> {
        let outlived = self.others.iter().filter_map(|record| match record {
            Record::Outlived(outlived) => Some(outlived.clone()),
            _ => None,
        });
        outlived.collect()
    }

    /// What others have seen of lives up to this one does not count.
    pub(crate) fn reconciled(&self) -> Incarnation {
        let reconciled = self.others.iter().find_map(|record| match record {
            Record::Reconciled(reconciled) => Some(Incarnation(reconciled.incarnation)),
            _ => None,
        });
        reconciled.unwrap_or_default()
    }

    /// How far the log of a peer was seen, as it was last logged.
    pub(super) fn peer_log(&self, node: &NodeName) -> Option<&PeerLog> {
        self.peer_logs.get(node.as_str())
    }

    /// How far the logs of all peers were seen.
    pub(crate) fn sights(&self) -> impl Iterator<Item = (NodeName, Sight)> {
        self.peer_logs.values().filter_map(|peer| {
            let sight = Sight {
                incarnation: Incarnation(peer.incarnation),
                start: Start(peer.start),
                log: peer.log,
                log_in: Incarnation(peer.incarnation),
            };
            Some((NodeName::new(&peer.node).ok()?, sight))
        })
    }
}

#[cfg(test)]
mod tests {
    use consign_core::record::{Forgotten, Reconciled};

    use super::*;

    fn outlived(peer: &str, incarnation: u64) -> Record {
        Record::Outlived(Outlived {
            peer: peer.to_owned(),
            incarnation,
            log: 1,
            at: 1,
        })
    }

    fn reconciled(incarnation: u64) -> Record {
        Record::Reconciled(Reconciled { incarnation, at: 2 })
    }

    fn peers(records: &OwnRecords) -> Vec<String> {
        let outlived = records.outlived().into_iter();
        outlived.map(|one| one.peer).collect()
    }

    #[test]
    fn what_was_reconciled_is_over_whoever_says_it_again() {
        let mut records = OwnRecords::default();
        records.note(outlived("a", 3));
        records.note(outlived("b", 4));
        records.note(reconciled(4));
        records.note(outlived("a", 3));
        assert_eq!(peers(&records), [""; 0]);
        records.note(outlived("a", 5));
        assert_eq!(peers(&records), ["a"]);
    }

    #[test]
    fn the_word_of_who_was_forgotten_does_not_count() {
        let mut records = OwnRecords::default();
        records.note(outlived("a", 3));
        records.note(outlived("b", 3));
        let node = "a".to_owned();
        records.note(Record::Forgotten(Forgotten { node, at: 1 }));
        assert_eq!(peers(&records), ["b"]);
    }
}
