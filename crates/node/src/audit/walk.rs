//! Walks the ledger of this node beside what one consumer says.

use std::collections::BTreeSet;
use std::iter::Peekable;
use std::time::Instant;

use consign_core::audit::{Belief, LedgerFile, Question, Scope, is_held, judge, of_stranger};
use consign_core::ids::{NodeName, Sequence, Start, TransferKey};
use consign_core::limits::{AUDIT_ENTRIES_MAX, AUDIT_STRANGERS_MAX};
use consign_core::wire::AuditEntry;

use super::bounds::PROGRESS_EVERY;
use super::report::{Finding, Line, Progress, Sum};
use super::{Lines, Stopped, tell};
use crate::catalogue::{LedgerRow, QueryError, Reader};
use crate::net::{AuditCall, CallError};
use crate::timestamp::Timestamp;

/// The first and the last transfer that there can be.
pub(super) const FIRST: TransferKey = TransferKey {
    start: Start(0),
    seq: Sequence(0),
};
pub(super) const LAST: TransferKey = TransferKey {
    start: Start(u64::MAX),
    seq: Sequence(u64::MAX),
};

/// Why the walk beside one consumer ended early.
pub(super) enum Broken {
    /// The consumer: the others are audited all the same.
    Call(String),
    /// This node: the audit is over.
    Here(Stopped),
}

impl From<CallError> for Broken {
    fn from(error: CallError) -> Self {
        Self::Call(error.to_string())
    }
}

impl From<QueryError> for Broken {
    fn from(error: QueryError) -> Self {
        Self::Here(error.into())
    }
}

impl From<Stopped> for Broken {
    fn from(stopped: Stopped) -> Self {
        Self::Here(stopped)
    }
}

/// The walk beside one consumer.
pub(super) struct Walk<'a> {
    reader: &'a Reader,
    lines: &'a Lines,
    scope: &'a Scope,
    producer: &'a str,
    node: NodeName,
    pub(super) sum: Sum,
    /// Of these it is to be found out whether the consumer may have them.
    unplaced: &'a BTreeSet<TransferKey>,
    /// Those that it may have.
    pub(super) held: Vec<TransferKey>,
    /// Files that the ledger does not know.
    strangers: u64,
    told: Instant,
}

/// Rows of the ledger that are being compared, and what the consumer says of them so far.
struct Page {
    rows: Peekable<std::vec::IntoIter<LedgerRow>>,
    /// What it says of one transfer; more may come.
    said: Vec<AuditEntry>,
    /// What it says of transfers that are not in the page.
    others: Vec<Vec<AuditEntry>>,
    known_from: u64,
}

impl<'a> Walk<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        lines: &'a Lines,
        scope: &'a Scope,
        producer: &'a str,
        node: NodeName,
        unplaced: &'a BTreeSet<TransferKey>,
    ) -> Self {
        Self {
            unplaced,
            reader,
            lines,
            scope,
            producer,
            sum: Sum::new(node.as_str()),
            held: Vec::new(),
            node,
            strangers: 0,
            told: Instant::now(),
        }
    }

    /// Goes through the whole ledger beside what the consumer says.
    pub(super) async fn beside(&mut self, mut call: AuditCall) -> Result<(), Broken> {
        let (mut first, mut number) = (FIRST, 0);
        loop {
            let began = Instant::now();
            self.reader.caught_up().await?;
            // Read before the question: what it says that the consumer has, the consumer has told.
            let (node, scope) = (self.node.clone(), self.scope.clone());
            let rows = self
                .reader
                .ledger(node, scope, first, AUDIT_ENTRIES_MAX)
                .await?;
            tokio::time::sleep(began.elapsed()).await;
            let last = match rows.last() {
                Some(row) if rows.len() == AUDIT_ENTRIES_MAX => row.key,
                Some(_) | None => LAST,
            };
            number += 1;
            let mut question = Question::new(number, first, last, self.scope);
            call.ask(&question).await?;
            self.compare(&mut call, &mut question, rows).await?;
            match next_key(last) {
                Some(next) => first = next,
                None => return Ok(()),
            }
        }
    }

    async fn compare(
        &mut self,
        call: &mut AuditCall,
        question: &mut Question,
        rows: Vec<LedgerRow>,
    ) -> Result<(), Broken> {
        let mut page = Page {
            rows: rows.into_iter().peekable(),
            said: Vec::new(),
            others: Vec::new(),
            known_from: 0,
        };
        loop {
            let heard = call.hear(question).await?;
            page.known_from = heard.known_from;
            self.sum.counts.read_bytes += heard.read_bytes;
            self.sum.history_from = (heard.known_from > 0).then_some(Timestamp(heard.known_from));
            for entry in heard.entries {
                let before = page.said.first().map(key_of);
                if before.is_some_and(|before| before != key_of(&entry)) {
                    self.settle(&mut page).await?;
                }
                page.said.push(entry);
            }
            if heard.is_last {
                self.settle(&mut page).await?;
                for row in page.rows.by_ref() {
                    self.one(&row, &[], page.known_from).await?;
                }
            }
            // Now, so that no consumer fills this node's memory with what it makes up.
            self.others(&mut page).await?;
            self.progress().await?;
            if heard.is_last {
                return Ok(());
            }
        }
    }

    /// All that it says of one transfer is here.
    async fn settle(&mut self, page: &mut Page) -> Result<(), Stopped> {
        let said = std::mem::take(&mut page.said);
        let Some(key) = said.first().map(key_of) else {
            return Ok(());
        };
        while let Some(row) = page.rows.next_if(|row| row.key < key) {
            self.one(&row, &[], page.known_from).await?;
        }
        match page.rows.next_if(|row| row.key == key) {
            Some(row) => self.one(&row, &said, page.known_from).await,
            None => {
                page.others.push(said);
                Ok(())
            }
        }
    }

    /// Transfers that are not placed there, or were placed since the page was read, or are not known at
    /// all.
    async fn others(&mut self, page: &mut Page) -> Result<(), Broken> {
        let others = std::mem::take(&mut page.others);
        if others.is_empty() {
            return Ok(());
        }
        self.reader.caught_up().await?;
        let keys: Vec<_> = others.iter().map(|said| key_of(&said[0])).collect();
        let (rows, ledger_from) = self.reader.ledger_of(self.node.clone(), keys).await?;
        for (said, row) in others.iter().zip(rows) {
            match row {
                Some(row) => self.one(&row, said, page.known_from).await?,
                None => self.stranger(said, ledger_from).await?,
            }
        }
        match self.strangers > AUDIT_STRANGERS_MAX {
            true => Err(Broken::Call(format!(
                "it lists more than {AUDIT_STRANGERS_MAX} files that this node knows nothing of; hint: \
                 was this node's history deleted? If not, find out what that machine is"
            ))),
            false => Ok(()),
        }
    }

    /// Whatever the ledger says: a copy of it may be newer than the log.
    fn note_held(&mut self, key: TransferKey, said: &[AuditEntry]) {
        if said.iter().any(is_held) && self.unplaced.contains(&key) {
            self.held.push(key);
        }
    }

    async fn stranger(&mut self, said: &[AuditEntry], ledger_from: u64) -> Result<(), Stopped> {
        self.strangers += 1;
        if let Some(first) = said.first() {
            self.note_held(key_of(first), said);
        }
        for entry in said {
            let Some(judged) = of_stranger(entry, ledger_from) else {
                continue;
            };
            self.sum.counts.count(&judged, &[]);
            let (key, said) = (key_of(entry), std::slice::from_ref(entry));
            let node = self.node.as_str();
            let finding = Finding::new(&judged, self.producer, node, key, None, said);
            self.found(finding).await?;
        }
        Ok(())
    }

    /// Compares one file.
    async fn one(
        &mut self,
        row: &LedgerRow,
        said: &[AuditEntry],
        known_from: u64,
    ) -> Result<(), Stopped> {
        self.note_held(row.key, said);
        let file = LedgerFile {
            belief: row.belief,
            size: row.size,
            digest: row.digest.clone(),
        };
        if row.belief != Belief::NotPlaced {
            self.sum.counts.files += 1;
        }
        for judged in judge(&file, said, known_from) {
            self.sum.counts.count(&judged, said);
            let node = self.node.as_str();
            let finding = Finding::new(&judged, self.producer, node, row.key, Some(row), said);
            self.found(finding).await?;
        }
        Ok(())
    }

    async fn found(&self, finding: Option<Finding>) -> Result<(), Stopped> {
        match finding {
            Some(finding) => tell(self.lines, Line::Finding(finding)).await,
            None => Ok(()),
        }
    }

    async fn progress(&mut self) -> Result<(), Stopped> {
        if self.told.elapsed() < PROGRESS_EVERY {
            return Ok(());
        }
        self.told = Instant::now();
        let progress = Progress {
            node: self.node.to_string(),
            files: self.sum.counts.files,
            read_bytes: self.sum.counts.read_bytes,
        };
        tell(self.lines, Line::Progress(progress)).await
    }

    /// It has not answered, or not everything: what it did not say anything of is unknown.
    pub(super) async fn give_up(&mut self, why: String) -> Result<(), Stopped> {
        let (node, scope) = (self.node.clone(), self.scope.clone());
        let all = self.reader.ledger_count(node, scope).await?;
        let counts = &mut self.sum.counts;
        counts.unknown += all.saturating_sub(counts.files);
        counts.files = counts.files.max(all);
        self.sum.error = Some(why);
        Ok(())
    }
}

pub(super) fn key_of(entry: &AuditEntry) -> TransferKey {
    TransferKey {
        start: Start(entry.start),
        seq: Sequence(entry.seq),
    }
}

/// The transfer after this one; `None` after the last that there can be.
fn next_key(key: TransferKey) -> Option<TransferKey> {
    match key.seq.0.checked_add(1) {
        Some(seq) => Some(TransferKey {
            seq: Sequence(seq),
            ..key
        }),
        None => key.start.0.checked_add(1).map(|start| TransferKey {
            start: Start(start),
            seq: Sequence(0),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_walk_misses_no_transfer_and_ends_after_the_last() {
        let key = |start, seq| TransferKey {
            start: Start(start),
            seq: Sequence(seq),
        };
        assert_eq!(next_key(key(3, 7)), Some(key(3, 8)));
        assert_eq!(next_key(key(3, u64::MAX)), Some(key(4, 0)));
        assert_eq!(next_key(LAST), None);
    }
}
