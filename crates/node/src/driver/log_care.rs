//! Keeps the log short: decides when old segments are emptied, and when they may go.

use consign_core::limits;
use consign_core::log::{LogLength, Position, Shortening};
use consign_core::record::Record;
use consign_core::{consumer, producer};

use super::own_records::OwnRecords;
use super::{Driver, Worked};
use crate::log_writer::{LogStanding, Order, Role};

/// What of the log is needed by whom, and the node's own records.
#[derive(Debug)]
pub(crate) struct LogCare {
    pub(crate) standing: LogStanding,
    /// Bytes free on the log's filesystem, as last measured.
    pub(super) free_bytes: u64,
    producer_from: u32,
    consumer_from: u32,
    /// The node's own records, to be written again before their segment goes.
    pub(super) own: OwnRecords,
    /// The segment of the oldest of them.
    own_from: u32,
    /// Own records that are being written again.
    rewriting: usize,
    /// How many these were at first.
    rewriting_all: usize,
    /// When what is live is carried forward.
    shortening: Shortening,
    /// Up to where the log was asked to drop segments.
    dropped: u32,
}

impl LogCare {
    /// `own` are the node's own records that count, `own_from` the segment of the oldest.
    pub(crate) fn new(standing: LogStanding, own: OwnRecords, own_from: u32) -> Self {
        Self {
            standing,
            free_bytes: 0,
            producer_from: standing.first_segment,
            consumer_from: standing.first_segment,
            own,
            own_from,
            rewriting: 0,
            rewriting_all: 0,
            shortening: Shortening::new(
                limits::LOG_SPARE_BYTES,
                limits::RECORD_BYTES_COUNTED,
                limits::CARRY_AGAIN_MS,
            ),
            dropped: standing.first_segment,
        }
    }
}

impl Driver {
    pub(super) fn log_care_synced(&mut self, records: &[(Role, Position)], standing: LogStanding) {
        let had_room = self.log_care.standing.has_room;
        self.log_care.standing = standing;
        if let Some(last) = records.iter().map(|(_, position)| *position).max() {
            self.net.note_log(last.pack());
        }
        let own = || records.iter().filter(|(role, _)| *role == Role::Node);
        self.own_synced(own().count());
        for (_, position) in own() {
            if self.log_care.rewriting > 0 {
                if self.log_care.rewriting == self.log_care.rewriting_all {
                    self.log_care.own_from = position.segment;
                }
                self.log_care.rewriting -= 1;
            }
        }
        if had_room != standing.has_room {
            self.produce(producer::Event::LogRoom(standing.has_room));
            self.consume(consumer::Event::LogRoom(standing.has_room));
        }
    }

    pub(super) fn producer_needs(&mut self, segment: u32) {
        self.log_care.producer_from = segment;
    }

    pub(super) fn consumer_needs(&mut self, segment: u32) {
        self.log_care.consumer_from = segment;
    }

    /// Drops what nobody needs, and has what is live in the oldest segment carried forward when
    /// the log holds much more than that.
    pub(super) fn care_for_log(&mut self) {
        if self.old_copy.reconciled {
            return;
        }
        let care = &self.log_care;
        let current = care.standing.current_segment;
        let unneeded = care.producer_from.min(care.consumer_from).min(current);
        if unneeded > care.own_from && care.rewriting == 0 {
            self.rewrite_own();
        }
        let care = &mut self.log_care;
        let droppable = unneeded.min(care.own_from);
        let droppable = match droppable > care.dropped {
            true => self.archived_below(droppable),
            false => droppable,
        };
        let care = &mut self.log_care;
        if droppable > care.dropped && self.outbox.kept().owes() {
            // What the kept set could not take in yet, the next start must find in the log.
            let outbox = std::sync::Arc::clone(&self.outbox);
            self.work(move || {
                outbox.kept().pay();
                Worked::Nothing
            });
        } else if droppable > care.dropped {
            care.dropped = droppable;
            self.log.order(Order::DropBelow(droppable));
        }
        let length = self.log_length();
        if let Some(through) = self.log_care.shortening.due(super::now(), &length) {
            self.produce(producer::Event::Carry { through });
            self.consume(consumer::Event::Carry { through });
        }
    }

    /// What a consumer has signed is nowhere else until the archive has it, synced: so far may be
    /// dropped. But a receipt is evidence, and no file waits for it: on a full disk on which the
    /// archive cannot be written either, the log goes on without.
    fn archived_below(&self, droppable: u32) -> u32 {
        let Some(needed) = self.archive.needs_from().filter(|from| *from < droppable) else {
            return droppable;
        };
        if self.log_care.standing.has_room || !self.archive.stands_still() {
            return needed;
        }
        let what = "receipts were lost: the disk is full, and they could not be archived";
        let hint = "nothing to do for files that are done, but that `consign receipt` has none of them; free some space under the data directory";
        tracing::error!("{what}; hint: {hint}");
        self.problems.add(what.to_owned(), hint.to_owned());
        droppable
    }

    fn log_length(&self) -> LogLength {
        let standing = &self.log_care.standing;
        LogLength {
            first_segment: standing.first_segment,
            current_segment: standing.current_segment,
            size_bytes: standing.size_bytes,
            live_records: self.producer.live_records() + self.consumer.live_records(),
            live_bytes: self.producer.live_bytes() + self.consumer.live_bytes(),
            has_room: standing.has_room,
        }
    }

    fn rewrite_own(&mut self) {
        let records = self.log_care.own.all();
        self.log_care.rewriting = records.len();
        self.log_care.rewriting_all = records.len();
        for record in records {
            self.order_own(record);
        }
    }

    /// Whatever is appended passes here: what it says of nodes is written again before it would go.
    pub(super) fn note_of_nodes(&mut self, record: &Record) {
        if record.is_of_nodes() {
            self.log_care.own.note(record.clone());
        }
    }
}
