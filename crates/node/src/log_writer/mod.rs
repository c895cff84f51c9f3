//! The thread that owns the intent log: it appends what has gathered while it was syncing, syncs
//! once, and says so. That is all of group commit.
//!
//! Records that nobody waits for (bytes of small files before their commit, hints, completions)
//! ask for no sync of their own; they go with the next one, or after [`UNSYNCED_FOR_MAX`].

mod bounds;

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::Bytes;
use consign_core::ids::{NodeName, Sequence, Start, TransferKey};
use consign_core::limits::SMALL_FILE_BYTES_MAX;
use consign_core::log::{Log, LogError, LogReader, Payload, Position};
use consign_core::record::{Record, SlotCarried};
use tokio::sync::mpsc;

use crate::catalogue::{Applied, Lag};
use crate::receipts::{self, Archive};
use bounds::{
    FULL_LOG_PAUSE, GROUP_BYTES_MAX, GROUP_RECORDS_MAX, IDLE_AFTER, RECENT_BYTES,
    RECENT_ENTRY_BYTES, RECORD_OVERHEAD_BYTES, UNSYNCED_BYTES_MAX, UNSYNCED_FOR_MAX,
};

/// Whose record it is: who has to hear where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Producer,
    Consumer,
    Node,
}

/// What the log is asked for.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "an order is moved once, and nearly all of them append"
)]
pub(crate) enum Order {
    Append(Role, Record, Payload),
    /// Nothing live is below this segment.
    DropBelow(u32),
}

/// What the log has done.
#[derive(Debug)]
pub(crate) enum Done {
    /// Everything ordered so far, up to these records, is synced.
    Synced {
        /// In the order in which they were handed over.
        records: Vec<(Role, Position)>,
        /// What they were counted as.
        counted_bytes: u64,
        standing: LogStanding,
    },
    /// It cannot go on. Nothing that was not synced has been acknowledged.
    Failed(LogError),
}

/// The log's size and room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogStanding {
    pub(crate) first_segment: u32,
    pub(crate) current_segment: u32,
    pub(crate) size_bytes: u64,
    pub(crate) has_room: bool,
}

impl LogStanding {
    pub(crate) fn of(log: &Log) -> Self {
        Self {
            first_segment: log.first_segment(),
            current_segment: log.current_segment(),
            size_bytes: log.size_bytes(),
            has_room: log.has_room(),
        }
    }
}

/// The driver's end of the log.
#[derive(Debug)]
pub(crate) struct LogWriter {
    /// What it holds is bounded by [`LogWriter::has_credit`], but for what one event brings.
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
    pub(crate) payloads: Arc<Payloads>,
    unsynced_bytes: u64,
}

impl LogWriter {
    /// Starts the thread. It ends, with everything appended synced, when this is dropped.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub(crate) fn start(
        me: NodeName,
        log: Log,
        done: mpsc::UnboundedSender<Done>,
        catalogue: mpsc::Sender<Vec<Applied>>,
        (lag, archive): (Arc<Lag>, Archive),
    ) -> std::io::Result<Self> {
        let payloads = Arc::new(Payloads::new(log.reader()));
        let (orders, inbox) = channel();
        let writer = Writer {
            me,
            log,
            inbox,
            done,
            catalogue,
            lag,
            archive,
            to_archive: None,
            payloads: Arc::clone(&payloads),
            group: Vec::new(),
            applied: Vec::new(),
            group_bytes: 0,
            drop_below: None,
            out_of_space: false,
        };
        let thread = std::thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || writer.run())?;
        Ok(Self {
            orders: Some(orders),
            thread: Some(thread),
            payloads,
            unsynced_bytes: 0,
        })
    }

    /// Hands an order over; one for a log that has failed is lost, and that was told.
    pub(crate) fn order(&mut self, order: Order) {
        if let Order::Append(_, record, payload) = &order {
            self.unsynced_bytes += counted_bytes(record, payload);
        }
        if let Some(orders) = &self.orders {
            let _ = orders.send(order);
        }
    }

    /// Whether it may be handed more. When not, whatever leads to records must wait.
    pub(crate) fn has_credit(&self) -> bool {
        self.unsynced_bytes < UNSYNCED_BYTES_MAX
    }

    /// Hears of records that are synced.
    pub(crate) fn synced(&mut self, counted_bytes: u64) {
        self.unsynced_bytes -= counted_bytes;
    }
}

/// What a record counts as, in bytes; a payload that is still to be copied, as the largest there is.
fn counted_bytes(record: &Record, payload: &Payload) -> u64 {
    let body = record.encoded_len() as u64;
    RECORD_OVERHEAD_BYTES.max(body)
        + match payload {
            Payload::None => 0,
            Payload::Bytes(bytes) => bytes.len() as u64,
            Payload::CopyOf(_) => SMALL_FILE_BYTES_MAX,
        }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Writer {
    me: NodeName,
    log: Log,
    inbox: Receiver<Order>,
    done: mpsc::UnboundedSender<Done>,
    catalogue: mpsc::Sender<Vec<Applied>>,
    lag: Arc<Lag>,
    archive: Archive,
    /// Position of the last record of the group that the archive of receipts needs.
    to_archive: Option<u64>,
    payloads: Arc<Payloads>,
    group: Vec<(Role, Position)>,
    applied: Vec<Applied>,
    /// What the records of the group are counted as.
    group_bytes: u64,
    drop_below: Option<u32>,
    /// Whether it waits for space, and has said so.
    out_of_space: bool,
}

impl Writer {
    fn run(mut self) {
        if let Err(error) = self.serve() {
            let _ = self.done.send(Done::Failed(error));
        }
    }

    fn serve(&mut self) -> Result<(), LogError> {
        loop {
            match self.inbox.recv_timeout(IDLE_AFTER) {
                Ok(order) => self.gather(order)?,
                Err(RecvTimeoutError::Timeout) => {
                    self.log.mark_idle()?;
                    if !self.log.has_room() && self.log.ensure_reserve()? {
                        self.tell();
                    }
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return self.commit(),
            }
            self.commit()?;
        }
    }

    /// Appends an order and all that wait behind it, until somebody wants the sync.
    fn gather(&mut self, first: Order) -> Result<(), LogError> {
        let began = Instant::now();
        let mut eager = self.take(first)?;
        loop {
            while !self.is_full() {
                let Ok(order) = self.inbox.try_recv() else {
                    break;
                };
                eager |= self.take(order)?;
            }
            let left = UNSYNCED_FOR_MAX.saturating_sub(began.elapsed());
            if eager || left.is_zero() || self.is_full() {
                return Ok(());
            }
            match self.inbox.recv_timeout(left) {
                Ok(order) => eager |= self.take(order)?,
                Err(_) => return Ok(()),
            }
        }
    }

    fn is_full(&self) -> bool {
        self.group.len() >= GROUP_RECORDS_MAX || self.group_bytes >= GROUP_BYTES_MAX
    }

    /// Appends one order; whether somebody waits for its sync.
    fn take(&mut self, order: Order) -> Result<bool, LogError> {
        match order {
            Order::Append(role, record, payload) => {
                let eager = !is_lazy(&record);
                self.group_bytes += counted_bytes(&record, &payload);
                let bytes = match &payload {
                    Payload::Bytes(bytes) => Some(bytes.clone()),
                    Payload::None | Payload::CopyOf(_) => None,
                };
                let position = self.append_or_carry(&record, payload)?;
                if let Some(bytes) = bytes {
                    self.payloads.keep(position, &bytes);
                }
                if receipts::concerns(&record) {
                    self.to_archive = Some(position.pack());
                }
                self.group.push((role, position));
                self.applied.push(Applied {
                    position: position.pack(),
                    record,
                });
                Ok(eager)
            }
            Order::DropBelow(segment) => {
                self.drop_below = Some(segment);
                Ok(true)
            }
        }
    }

    /// A payload that was lost since it was written is carried without: the record says what is lost,
    /// to whoever wants to read it, and one file's damage does not stop the node.
    fn append_or_carry(&mut self, record: &Record, payload: Payload) -> Result<Position, LogError> {
        let from = match &payload {
            Payload::CopyOf(from) => Some(*from),
            Payload::None | Payload::Bytes(_) => None,
        };
        let appended = self.append(record, payload);
        // Looked for only when it went wrong: it reads the payload once more.
        let Err(error) = appended else {
            return appended;
        };
        let Some(lost) = from.and_then(|from| self.payloads.loss(from)) else {
            return Err(error);
        };
        tracing::error!(
            transfer = transfer_of(record, &self.me),
            "a file's bytes in the intent log are lost, its transfer cannot go on: {lost}"
        );
        self.append(record, Payload::None)
    }

    /// What was accepted is never dropped: on a full disk this waits for space, and everything
    /// with it.
    fn append(&mut self, record: &Record, payload: Payload) -> Result<Position, LogError> {
        loop {
            match self.log.append(record, payload.clone()) {
                Err(LogError::Full { path, .. }) => {
                    if !std::mem::replace(&mut self.out_of_space, true) {
                        tracing::error!(
                            path = %path.display(),
                            "the intent log has no space left, nothing goes on; hint: free some disk space there"
                        );
                    }
                    self.log.commit()?;
                    std::thread::sleep(FULL_LOG_PAUSE);
                    self.log.ensure_reserve()?;
                }
                other => {
                    if std::mem::take(&mut self.out_of_space) {
                        tracing::info!("the intent log has space again, everything goes on");
                    }
                    return other;
                }
            }
        }
    }

    fn commit(&mut self) -> Result<(), LogError> {
        // A crash before this sync loses records that nobody was told of.
        self.log.commit()?;
        if let Some(segment) = self.drop_below.take() {
            self.log
                .drop_below(segment.min(self.log.current_segment()))?;
        }
        if !self.log.has_room() {
            self.log.ensure_reserve()?;
        }
        // Before anybody can tell a peer of it, who may ask for it at once.
        if let Some(last) = self.applied.last() {
            self.lag.note_synced(last.position);
        }
        // Before the driver can have its segment dropped.
        if let Some(position) = self.to_archive.take() {
            self.archive.note_synced(position);
        }
        self.tell();
        if !self.applied.is_empty() {
            // A catalogue that has ended is degraded, and has said so.
            let _ = self
                .catalogue
                .blocking_send(std::mem::take(&mut self.applied));
        }
        Ok(())
    }

    fn tell(&mut self) {
        let _ = self.done.send(Done::Synced {
            records: std::mem::take(&mut self.group),
            counted_bytes: std::mem::take(&mut self.group_bytes),
            standing: LogStanding::of(&self.log),
        });
    }
}

/// The transfer whose bytes a record carries forward.
fn transfer_of(record: &Record, me: &NodeName) -> String {
    let (producer, start, seq) = match record {
        Record::Submitted(submitted) => (me.as_str(), submitted.start, submitted.seq),
        Record::SlotCarried(SlotCarried {
            small: Some(small), ..
        }) => (small.slot.producer.as_str(), small.start, small.seq),
        // No other carries bytes; the log's thread does not end over a line in the log.
        other => return format!("of a {}", other.name()),
    };
    let key = TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    };
    format!("{producer}.{key}")
}

/// Whether nobody waits for a record to be synced.
fn is_lazy(record: &Record) -> bool {
    matches!(
        record,
        Record::SmallReceived(_)
            | Record::Hashed(_)
            | Record::Released(_)
            | Record::Published(_)
            | Record::SlotsClosed(_)
            | Record::AttemptStarted(_)
            | Record::Watermark(_)
            | Record::PeerLog(_)
    )
}

/// Payloads of the log: the recent ones from memory, the others read back and verified.
#[derive(Debug)]
pub(crate) struct Payloads {
    reader: LogReader,
    recent: Mutex<Recent>,
}

#[derive(Debug, Default)]
struct Recent {
    order: VecDeque<Position>,
    bytes: std::collections::HashMap<Position, Bytes>,
    total: usize,
}

impl Recent {
    /// What an entry takes, in bytes: empty files are not free.
    fn cost(bytes: &Bytes) -> usize {
        bytes.len() + RECENT_ENTRY_BYTES
    }
}

impl Payloads {
    fn new(reader: LogReader) -> Self {
        Self {
            reader,
            recent: Mutex::default(),
        }
    }

    /// Keeps a copy. The bytes themselves may lie in memory that the network wants back: a small
    /// file that came in a frame would pin all of it, and once everything is pinned nothing more
    /// is received.
    fn keep(&self, position: Position, bytes: &[u8]) {
        let bytes = Bytes::copy_from_slice(bytes);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.total += Recent::cost(&bytes);
        recent.order.push_back(position);
        recent.bytes.insert(position, bytes);
        while recent.total > RECENT_BYTES {
            let Some(oldest) = recent.order.pop_front() else {
                break;
            };
            if let Some(bytes) = recent.bytes.remove(&oldest) {
                recent.total -= Recent::cost(&bytes);
            }
        }
    }

    /// The payload of the record at `position`.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub(crate) fn get(&self, position: Position) -> Result<Bytes, LogError> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bytes) = recent.bytes.get(&position) {
            return Ok(bytes.clone());
        }
        drop(recent);
        let (_, payload) = self.reader.read(position)?;
        payload.ok_or(LogError::NoPayload { position })
    }

    /// The record at `position`, whatever has become of its payload.
    ///
    /// # Errors
    /// When it cannot be read, or is not what was written.
    pub(crate) fn record(&self, position: Position) -> Result<Record, LogError> {
        self.reader.record(position)
    }

    /// Why the payload at `position` is lost, if it is: its segment is not what was written, or the
    /// disk does not give it back.
    fn loss(&self, position: Position) -> Option<LogError> {
        match self.reader.read(position) {
            Err(error @ (LogError::Damaged { .. } | LogError::Io { .. })) => Some(error),
            Ok(_) | Err(_) => None,
        }
    }
}

impl crate::net::Payloads for Payloads {
    fn read(&self, at: Position) -> std::io::Result<Bytes> {
        self.get(at).map_err(|error| match error {
            LogError::Gone { .. } => std::io::Error::new(std::io::ErrorKind::NotFound, error),
            error => std::io::Error::other(error),
        })
    }
}

#[cfg(test)]
mod tests;
