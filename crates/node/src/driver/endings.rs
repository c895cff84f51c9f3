//! Tells whoever listens which transfers of this node have ended, as soon as that is synced.
//!
//! Nothing waits for a listener, and none hears of what ended before it listened: who must know asks
//! again for what it has not heard of. Deliberately absent: what an earlier life left ended.

use std::collections::VecDeque;
use std::sync::Arc;

use consign_core::ids::{NodeName, Sequence, Start, TransferId, TransferKey};
use consign_core::journal::Ticket;
use consign_core::record::{Record, Transfers};
use tokio::sync::broadcast;

use super::Driver;

/// How a transfer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// Every consumer has it.
    Done,
    /// A person must look at it.
    Failed,
    /// A person gave it up.
    Cancelled,
}

impl End {
    /// Its name, as that of the state that the transfer is in.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Transfers that ended together.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) end: End,
    transfers: Transfers,
}

impl Ended {
    /// What a record of this node's own transfers ends, if it ends any.
    pub(crate) fn of(record: &Record) -> Option<Self> {
        let (end, transfers) = match record {
            Record::Done(transfers) => (End::Done, transfers),
            Record::Failed(transfers) => (End::Failed, transfers),
            Record::Cancelled(transfers) => (End::Cancelled, transfers),
            _ => return None,
        };
        let transfers = transfers.clone();
        Some(Self { end, transfers })
    }

    /// Their ids, in the order of their sequences.
    pub(crate) fn ids(&self, producer: &NodeName) -> impl Iterator<Item = TransferId> {
        let start = Start(self.transfers.start);
        let ranges = self.transfers.seqs.iter();
        let seqs = ranges.flat_map(|range| range.from..range.to);
        seqs.map(move |seq| TransferId {
            producer: producer.clone(),
            key: TransferKey {
                start,
                seq: Sequence(seq),
            },
        })
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Endings {
    /// What is on its way to the disk: at most one for each record that is.
    unsynced: VecDeque<(Ticket, Ended)>,
    listeners: broadcast::Sender<Arc<Ended>>,
}

impl Endings {
    /// Tells `listeners`.
    pub(crate) fn new(listeners: broadcast::Sender<Arc<Ended>>) -> Self {
        let unsynced = VecDeque::new();
        Self {
            unsynced,
            listeners,
        }
    }

    fn note(&mut self, ticket: Ticket, record: &Record) {
        // A record that is carried forward in order to free its segment says nothing new, and costs a
        // listener a look at most.
        if let Some(ended) = Ended::of(record) {
            self.unsynced.push_back((ticket, ended));
        }
    }

    fn tell_through(&mut self, through: Ticket) {
        while let Some((ticket, _)) = self.unsynced.front()
            && *ticket <= through
        {
            let (_, ended) = self.unsynced.pop_front().expect("it was just looked at");
            // Fails when nobody listens.
            let _ = self.listeners.send(Arc::new(ended));
        }
    }
}

impl Driver {
    /// Notes what a record that is being written ends.
    pub(super) fn note_endings(&mut self, ticket: Ticket, record: &Record) {
        self.endings.note(ticket, record);
    }

    /// The producer's records up to this one are synced.
    pub(super) fn tell_endings(&mut self, through: Ticket) {
        self.endings.tell_through(through);
    }
}

#[cfg(test)]
mod tests {
    use consign_core::ranges::SlotRange;

    use super::*;

    fn transfers(from: u64, to: u64) -> Transfers {
        Transfers {
            start: 7,
            seqs: vec![SlotRange { from, to }],
            ..Transfers::default()
        }
    }

    #[test]
    fn what_has_ended_is_told_once_that_is_synced_and_not_before() {
        let (listeners, mut listener) = broadcast::channel(4);
        let mut endings = Endings::new(listeners);
        endings.note(Ticket(1), &Record::Done(transfers(1, 3)));
        endings.note(Ticket(2), &Record::Retried(transfers(9, 10)));
        endings.note(Ticket(3), &Record::Failed(transfers(3, 4)));
        assert!(listener.try_recv().is_err());
        endings.tell_through(Ticket(2));
        let told = listener.try_recv().unwrap();
        let producer = NodeName::new("cam-7").unwrap();
        let ids: Vec<_> = told.ids(&producer).map(|id| id.key.seq.0).collect();
        assert_eq!((told.end, ids), (End::Done, vec![1, 2]));
        assert!(listener.try_recv().is_err());
        endings.tell_through(Ticket(3));
        assert_eq!(listener.try_recv().unwrap().end, End::Failed);
    }
}
