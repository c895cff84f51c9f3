//! The way from a state machine to the intent log: what must wait until a record is synced.
//!
//! A machine never acknowledges what is not durable. It hands a record out, gets a [`Ticket`] for
//! it, and leaves what is to happen afterwards with the journal; when the driver reports that the
//! log is synced through that ticket, the journal hands it back. Tickets of one machine are synced
//! in their order.

use std::collections::VecDeque;

/// Numbers the records that one machine appends, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Ticket(pub u64);

/// What waits for the log.
#[derive(Debug)]
pub(crate) struct Journal<T> {
    last: Ticket,
    synced: Ticket,
    waiting: VecDeque<(Ticket, T)>,
}

impl<T> Default for Journal<T> {
    fn default() -> Self {
        Self {
            last: Ticket(0),
            synced: Ticket(0),
            waiting: VecDeque::new(),
        }
    }
}

impl<T> Journal<T> {
    /// Draws the ticket of the next record.
    pub(crate) fn ticket(&mut self) -> Ticket {
        self.last = Ticket(self.last.0 + 1);
        self.last
    }

    /// Leaves `then` until everything appended so far is synced.
    pub(crate) fn when_synced(&mut self, then: T) {
        self.waiting.push_back((self.last, then));
    }

    /// The log is synced through `ticket`.
    pub(crate) fn synced(&mut self, ticket: Ticket) {
        assert!(ticket <= self.last, "{ticket:?} was never drawn");
        self.synced = self.synced.max(ticket);
    }

    /// What need not wait any longer, in the order in which it was left. Asked for after every
    /// event, since what is left when nothing is unsynced waits for nothing.
    pub(crate) fn ready(&mut self) -> Vec<T> {
        let ready = self
            .waiting
            .iter()
            .take_while(|(wants, _)| *wants <= self.synced)
            .count();
        self.waiting.drain(..ready).map(|(_, then)| then).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_released_before_its_record_is_synced() {
        let mut journal = Journal::default();
        journal.when_synced('0');
        assert_eq!(journal.ready(), ['0']);
        let one = journal.ticket();
        journal.when_synced('1');
        journal.when_synced('2');
        let two = journal.ticket();
        journal.when_synced('3');
        assert!(journal.ready().is_empty());
        journal.synced(one);
        assert_eq!(journal.ready(), ['1', '2']);
        journal.synced(two);
        assert_eq!(journal.ready(), ['3']);
    }
}
