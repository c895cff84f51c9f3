//! What a log's records say, as far as they can be read: which files this node owes, and what it
//! holds of those that it receives.

use std::collections::BTreeMap;
use std::path::Path;

use consign_core::consumer::Consumer;
use consign_core::ids::{Digest, Incarnation, NodeName, Sequence, Start, TransferId, TransferKey};
use consign_core::log::{InspectedPayload, Position};
use consign_core::producer::Identity;
use consign_core::record::{LegRung, Placed, Record, Transfers};
use consign_core::spec::{FileSpec, Source};

use crate::config::ConsumeConfig;
use crate::inboxes::{InboxMarks, Marker};

/// Where the bytes of a submitted file are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// In the log, in the payload of the record at this position.
    InLog(Position),
    /// They were in the log, and cannot be read any more.
    Damaged,
    /// In the spool.
    InSpool,
}

/// How far a submitted file has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// It is to be delivered.
    Owed,
    /// A person must act.
    Failed,
    /// Every consumer has it; its source may be gone already.
    Done,
}

/// A file that was submitted here and is not released.
#[derive(Debug, Clone)]
pub(super) struct Submission {
    pub(super) spec: FileSpec,
    pub(super) source: Source,
    /// Of the whole file, once it is known.
    pub(super) digest: Option<Digest>,
    pub(super) held: Held,
    pub(super) progress: Progress,
    /// The consumers that it was placed on, and where they stand.
    pub(super) legs: BTreeMap<String, LegRung>,
}

/// Everything that was read.
#[derive(Debug)]
pub(super) struct Ledger {
    me: NodeName,
    pub(super) submissions: BTreeMap<TransferKey, Submission>,
    /// The consumer as its records leave it, not begun.
    pub(super) consumer: Consumer,
    /// Where feeds had their inboxes.
    pub(super) marks: InboxMarks,
    /// Whose slots are whose: consumer, start and slot of each leg.
    slots: BTreeMap<(String, u64, u64), TransferKey>,
}

impl Ledger {
    pub(super) fn new(me: &NodeName) -> Self {
        let identity = Identity {
            node: me.clone(),
            incarnation: Incarnation(0),
            start: Start(0),
            zone: None,
        };
        Self {
            me: me.clone(),
            submissions: BTreeMap::new(),
            consumer: Consumer::new(identity),
            marks: InboxMarks::default(),
            slots: BTreeMap::new(),
        }
    }

    /// The id of a transfer of this node.
    pub(super) fn id_of(&self, key: TransferKey) -> TransferId {
        TransferId {
            producer: self.me.clone(),
            key,
        }
    }

    /// Whether files of this node were staged under a marker.
    pub(super) fn has_staged_in(&self, marker: Option<Marker>) -> bool {
        marker.is_some_and(|marker| self.marks.has(marker))
    }

    /// Whether an inbox with this marker is not the one that the files of its feed are staged in.
    pub(super) fn is_lost(&self, feed: &ConsumeConfig, found: Option<Marker>) -> bool {
        let (name, path) = (&feed.policy.feed, Path::new(&feed.policy.inbox));
        let staged = self.consumer.feeds_staged();
        self.marks.is_lost(name, path, found, &staged)
    }

    /// Takes in one record, in the log's order.
    pub(super) fn take(&mut self, at: Position, record: &Record, payload: &InspectedPayload) {
        self.consumer.replay(at, record);
        match record {
            Record::Submitted(submitted) => {
                let key = key(submitted.start, submitted.seq);
                let digest = Digest::from_slice(&submitted.digest);
                let held = match payload {
                    InspectedPayload::Sound(_) => Held::InLog(at),
                    InspectedPayload::Damaged => Held::Damaged,
                    // A small one that was carried forward when its payload could not be read.
                    InspectedPayload::None if digest.is_some() => Held::Damaged,
                    InspectedPayload::None => Held::InSpool,
                };
                let known = self.submissions.remove(&key);
                let submission = Submission {
                    spec: submitted.spec.clone(),
                    source: submitted.source.clone(),
                    digest: digest.or(known.as_ref().and_then(|known| known.digest)),
                    held,
                    progress: known
                        .as_ref()
                        .map_or(Progress::Owed, |known| known.progress),
                    legs: known.map(|known| known.legs).unwrap_or_default(),
                };
                self.submissions.insert(key, submission);
            }
            Record::DigestKnown(known) => {
                let digest = Digest::from_slice(&known.digest);
                if let Some(submission) = self.submission(known.start, known.seq) {
                    submission.digest = digest.or(submission.digest);
                }
            }
            Record::Placed(placed) => self.place(placed),
            Record::LegsSettled(settled) => {
                for slot in settled.slots.iter().flat_map(|range| range.from..range.to) {
                    let leg = (settled.node.clone(), settled.start, slot);
                    let transfer = self.slots.get(&leg).copied();
                    if let Some(submission) =
                        transfer.and_then(|key| self.submissions.get_mut(&key))
                    {
                        submission.legs.insert(settled.node.clone(), settled.rung());
                    }
                }
            }
            Record::Done(transfers) => self.advance(transfers, Progress::Done),
            Record::Failed(transfers) => self.advance(transfers, Progress::Failed),
            Record::Retried(transfers) => self.advance(transfers, Progress::Owed),
            Record::Released(transfers) | Record::Cancelled(transfers) => {
                for key in keys(transfers) {
                    self.submissions.remove(&key);
                }
            }
            Record::InboxMarked(marked) => self.marks.note(marked.clone()),
            // They say nothing of where bytes are.
            Record::Boot(_)
            | Record::PeerSeen(_)
            | Record::ViewSeen(_)
            | Record::Forgotten(_)
            | Record::StandingSet(_)
            | Record::PeerStanding(_)
            | Record::PeerLog(_)
            | Record::Outlived(_)
            | Record::Reconciled(_)
            | Record::Claiming(_)
            | Record::Unclaimed(_)
            | Record::AttemptStarted(_)
            | Record::Hashed(_)
            | Record::Opened(_)
            | Record::Watermark(_)
            | Record::SmallReceived(_)
            | Record::SmallSaved(_)
            | Record::Publishing(_)
            | Record::Published(_)
            | Record::SlotAbandoned(_)
            | Record::SlotsClosed(_)
            | Record::SlotCarried(_) => {}
        }
    }

    fn place(&mut self, placed: &Placed) {
        let transfer = key(placed.start, placed.seq);
        for leg in &placed.legs {
            self.slots
                .insert((leg.node.clone(), leg.start, leg.slot), transfer);
        }
        if let Some(submission) = self.submissions.get_mut(&transfer) {
            submission.legs = placed
                .legs
                .iter()
                .map(|leg| (leg.node.clone(), leg.rung()))
                .collect();
            submission.digest = Digest::from_slice(&placed.digest).or(submission.digest);
        }
    }

    fn advance(&mut self, transfers: &Transfers, progress: Progress) {
        for key in keys(transfers) {
            if let Some(submission) = self.submissions.get_mut(&key) {
                submission.progress = progress;
            }
        }
    }

    fn submission(&mut self, start: u64, seq: u64) -> Option<&mut Submission> {
        self.submissions.get_mut(&key(start, seq))
    }
}

impl Submission {
    /// The consumers that have it, synced.
    pub(super) fn saved_by(&self) -> Vec<&str> {
        let saved = self.legs.iter().filter(|leg| *leg.1 == LegRung::Saved);
        saved.map(|(node, _)| node.as_str()).collect()
    }
}

fn key(start: u64, seq: u64) -> TransferKey {
    TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    }
}

fn keys(transfers: &Transfers) -> impl Iterator<Item = TransferKey> {
    let start = transfers.start;
    let seqs = transfers.seqs.iter().flat_map(|range| range.from..range.to);
    seqs.map(move |seq| key(start, seq))
}
