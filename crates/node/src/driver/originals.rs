//! What becomes of a file in its place once it is taken: a copied one is removed, a kept one is
//! remembered. Until then a watcher finds it, and it must not be taken twice.
//!
//! Whoever offered the file waits for that. A file whose claim an earlier life logged was offered to
//! that life, and the watcher of this one finds it again: that offer is held until the claim is over.

use std::collections::BTreeMap;
use std::sync::Arc;

use consign_core::ids::{FeedName, Sequence, Start, TransferKey};
use consign_core::journal::Ticket;
use consign_core::producer::state::Stage;
use consign_core::record::{Record, Submitted};
use consign_core::spec::{After, Stamp};
use tokio::sync::oneshot;

use crate::outbox::{OwedRemoval, owes_removal};

use super::refusal::Refusal;
use super::submissions::{Asker, Found};
use super::{Driver, Worked};

/// Who waits for a copied file's original to go, and what is then to be said.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(super) asker: Asker,
    pub(super) outcome: Result<TransferKey, Refusal>,
}

/// What is owed to an original once its submission is synced.
#[derive(Debug)]
enum Owed {
    /// It was copied, and goes.
    Removal(OwedRemoval),
    /// It stays, and is remembered.
    Kept {
        feed: String,
        name: String,
        stamp: Stamp,
    },
}

/// Originals of files that are being taken.
#[derive(Debug, Default)]
pub(crate) struct Originals {
    /// What is owed, each with the ticket of its submission. A transfer may have left the producer's
    /// memory when that is synced.
    owed: BTreeMap<TransferKey, (Ticket, Owed)>,
    /// Claims of an earlier life that are under way, with the paths of their originals.
    claimed_before: BTreeMap<TransferKey, String>,
    /// By these paths, the offers that are held.
    held: BTreeMap<String, Vec<oneshot::Sender<Result<(), Refusal>>>>,
}

impl Originals {
    /// Takes out what is owed to a copied file that somebody waits for.
    pub(super) fn take_copied(&mut self, key: &TransferKey) -> Option<OwedRemoval> {
        match self.owed.remove(key)? {
            (_, Owed::Removal(owed)) => Some(owed),
            (_, Owed::Kept { .. }) => unreachable!("only claims that nobody waits for have one"),
        }
    }

    /// The file, unless an earlier life's claim of it is still under way: then its watcher waits,
    /// and looks again.
    pub(super) fn unless_being_taken(&mut self, found: Found) -> Option<Found> {
        let path = found.path.to_string_lossy();
        match self.held.get_mut(path.as_ref()) {
            Some(held) => {
                held.push(found.reply);
                None
            }
            None => Some(found),
        }
    }

    /// An original is gone or remembered, or the claim came to nothing: whoever found it looks again.
    fn settle(&mut self, key: TransferKey) {
        let path = self.claimed_before.remove(&key);
        let held = path.and_then(|path| self.held.remove(&path));
        for reply in held.into_iter().flatten() {
            let _ = reply.send(Ok(()));
        }
    }
}

impl Driver {
    /// Notes what an earlier life was about to take, before anything is found.
    pub(super) fn note_claims(&mut self) {
        let originals = &mut self.submissions.originals;
        for transfer in self.producer.transfers() {
            if transfer.stage == Stage::Claiming && transfer.source.watched {
                let origin = transfer.source.origin.clone();
                originals.held.insert(origin.clone(), Vec::new());
                originals.claimed_before.insert(transfer.key, origin);
            }
        }
    }

    /// Takes note of a record that says what became of a claim, and is about to be logged.
    pub(super) fn note_original(&mut self, ticket: Ticket, record: &Record) {
        match record {
            Record::Submitted(submitted) => self.note_submitted(ticket, submitted),
            Record::Unclaimed(claim) => {
                let key = key_of(claim.start, claim.seq);
                self.submissions.originals.settle(key);
            }
            // The others leave the original alone.
            _ => {}
        }
    }

    fn note_submitted(&mut self, ticket: Ticket, submitted: &Submitted) {
        let key = key_of(submitted.start, submitted.seq);
        let source = &submitted.source;
        let (feed, name) = (submitted.spec.feed.clone(), submitted.spec.name.clone());
        let originals = &self.submissions.originals;
        let claimed_before = originals.claimed_before.contains_key(&key);
        let owed = if owes_removal(source) {
            Owed::Removal(OwedRemoval {
                transfer: self.id_of(key),
                beneath: self.watched_root(&feed, source),
                feed,
                name,
                source: source.clone(),
            })
        } else if let (true, After::Keep, Some(stamp)) =
            (claimed_before, source.after(), source.stamp)
        {
            Owed::Kept { feed, name, stamp }
        } else {
            // It was moved into the spool: what is in its place now is another file.
            return self.submissions.originals.settle(key);
        };
        let originals = &mut self.submissions.originals;
        originals.owed.insert(key, (ticket, owed));
    }

    /// Submissions are synced: of those that nobody waits for, since they were claimed before a
    /// restart, the originals go too, or are remembered.
    pub(super) fn settle_originals_through(&mut self, through: Ticket) {
        let synced = |_: &TransferKey, (ticket, _): &mut (Ticket, Owed)| *ticket <= through;
        let owed = &mut self.submissions.originals.owed;
        let synced: Vec<_> = owed.extract_if(.., synced).collect();
        for (key, (_, owed)) in synced {
            match owed {
                Owed::Removal(owed) => self.remove_copied(owed, None),
                Owed::Kept { feed, name, stamp } => {
                    self.remember(feed, name, stamp, move || Worked::OriginSettled(key, None));
                }
            }
        }
    }

    /// What `keep` has taken is remembered before the watcher hears of it, so that it is not found
    /// again. A crash before it leaves that to the next start, which knows it from the log.
    pub(super) fn remember_kept(
        &self,
        feed: &FeedName,
        name: String,
        stamp: Stamp,
        reply: oneshot::Sender<Result<(), Refusal>>,
    ) {
        self.remember(feed.to_string(), name, stamp, move || {
            let _ = reply.send(Ok(()));
            Worked::Nothing
        });
    }

    fn remember(
        &self,
        feed: String,
        name: String,
        stamp: Stamp,
        then: impl FnOnce() -> Worked + Send + 'static,
    ) {
        let outbox = Arc::clone(&self.outbox);
        self.work(move || {
            let row = (feed.as_str(), name.as_str(), stamp);
            match outbox.kept().insert_batch([row]) {
                Ok(()) => then(),
                Err(error) => Worked::Fatal(error.to_string()),
            }
        });
    }

    /// The original of a file that was copied into the spool goes once the copy is submitted.
    pub(super) fn remove_copied(&self, owed: OwedRemoval, waiting: Option<Waiting>) {
        let (outbox, problems) = (Arc::clone(&self.outbox), self.problems.clone());
        let key = owed.transfer.key;
        self.work(move || match outbox.remove_or_remember(&[owed]) {
            Ok(stay) => {
                for one in stay {
                    problems.add_staying(&one);
                }
                Worked::OriginSettled(key, waiting.map(Box::new))
            }
            Err(error) => Worked::Fatal(error.to_string()),
        });
    }

    /// An original is gone, or remembered.
    pub(super) fn on_original_settled(&mut self, key: TransferKey, waiting: Option<Box<Waiting>>) {
        self.submissions.originals.settle(key);
        if let Some(waiting) = waiting {
            self.answer_submitted(*waiting);
        }
    }
}

fn key_of(start: u64, seq: u64) -> TransferKey {
    TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    }
}
