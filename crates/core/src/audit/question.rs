//! One question of an audit, and the checks of its answers.

use crate::ids::{Sequence, Start, TransferKey};
use crate::limits::{
    AUDIT_ENTRIES_MAX, AUDIT_ENTRIES_PER_TRANSFER_MAX, FEED_NAME_BYTES_MAX, FILE_BYTES_MAX,
    NAME_BYTES_MAX, REASON_CHARS_MAX,
};
use crate::wire::{AuditAnswer, AuditAsk, AuditCopy, AuditEntry, AuditState};

/// What an audit is about.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only this feed; empty for all.
    pub feed: String,
    /// Only what was submitted then or later, in ms since the Unix epoch.
    pub since: u64,
    /// Whether published copies are hashed again.
    pub read: bool,
}

/// A question that was asked, and how far its answer has come.
///
/// ```text
/// asked ──answer, more──▶ asked ──answer, no more──▶ over
/// ```
/// Every answer brings an entry, or hashed bytes of a file that is still being read; entries only
/// ever move forward in a finite range. So an answer ends.
#[derive(Debug)]
pub struct Question {
    ask: AuditAsk,
    /// The transfer of the last entry, and how many entries it has.
    last: Option<(TransferKey, u32)>,
    /// Bytes that were hashed since the last entry.
    read_bytes: u64,
    is_over: bool,
}

/// A good part of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Heard {
    /// What the consumer knows.
    pub entries: Vec<AuditEntry>,
    /// What it saved earlier than this it may not know any more, in ms since the Unix epoch.
    pub known_from: u64,
    /// Bytes that it has hashed.
    pub read_bytes: u64,
    /// Whether this was the last part.
    pub is_last: bool,
}

/// An answer that is none. The consumer is not asked further; nothing that it said before changes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// It answers another question, or one that is answered already.
    #[error("it answers what it was not asked")]
    Unasked,
    /// Too many entries, or a text that is too long.
    #[error("it sends more than an answer may hold")]
    TooLarge,
    /// An entry that is not in the range, or stands behind a later one.
    #[error("its entries are not those that it was asked for, or in disorder")]
    Disorder,
    /// Nothing new, and yet no end.
    #[error("its answer goes on without end")]
    Endless,
    /// An entry with a state, length or digest that cannot be.
    #[error("an entry of its answer makes no sense")]
    Senseless,
    /// It says that it cannot answer.
    #[error("{0}")]
    Trouble(String),
}

impl Question {
    /// Asks for the transfers from `first` to `last`, both included.
    #[must_use]
    pub fn new(number: u64, first: TransferKey, last: TransferKey, scope: &Scope) -> Self {
        let ask = AuditAsk {
            number,
            first_start: first.start.0,
            first_seq: first.seq.0,
            last_start: last.start.0,
            last_seq: last.seq.0,
            feed: scope.feed.clone(),
            since: scope.since,
            read: scope.read,
        };
        Self {
            ask,
            last: None,
            read_bytes: 0,
            is_over: false,
        }
    }

    /// What is to be sent.
    #[must_use]
    pub fn ask(&self) -> &AuditAsk {
        &self.ask
    }

    /// Takes a part of the answer.
    ///
    /// # Errors
    /// [`BadAnswer`]; the question is over then.
    pub fn hear(&mut self, answer: AuditAnswer) -> Result<Heard, BadAnswer> {
        if self.is_over || answer.number != self.ask.number {
            return Err(BadAnswer::Unasked);
        }
        // Until this part is found good.
        self.is_over = true;
        if !answer.trouble.is_empty() {
            let trouble = answer.trouble.chars().take(REASON_CHARS_MAX).collect();
            return Err(BadAnswer::Trouble(trouble));
        }
        if answer.entries.len() > AUDIT_ENTRIES_MAX {
            return Err(BadAnswer::TooLarge);
        }
        self.count_read(&answer)?;
        for entry in &answer.entries {
            check(entry)?;
            self.advance(entry)?;
        }
        self.is_over = !answer.more;
        Ok(Heard {
            entries: answer.entries,
            known_from: answer.known_from,
            read_bytes: answer.read_bytes,
            is_last: !answer.more,
        })
    }

    fn count_read(&mut self, answer: &AuditAnswer) -> Result<(), BadAnswer> {
        if answer.read_bytes > 0 && !self.ask.read {
            return Err(BadAnswer::Unasked);
        }
        if !answer.entries.is_empty() {
            self.read_bytes = 0;
            return Ok(());
        }
        // One file is under way between two entries, and no file is longer.
        self.read_bytes = self.read_bytes.saturating_add(answer.read_bytes);
        let is_news = answer.read_bytes > 0 && self.read_bytes <= FILE_BYTES_MAX;
        match answer.more && !is_news {
            true => Err(BadAnswer::Endless),
            false => Ok(()),
        }
    }

    fn advance(&mut self, entry: &AuditEntry) -> Result<(), BadAnswer> {
        let key = |start, seq| TransferKey {
            start: Start(start),
            seq: Sequence(seq),
        };
        let ask = &self.ask;
        let (first, last) = (
            key(ask.first_start, ask.first_seq),
            key(ask.last_start, ask.last_seq),
        );
        let at = key(entry.start, entry.seq);
        let wanted = (ask.feed.is_empty() || ask.feed == entry.feed)
            && entry.submitted_at >= ask.since
            && first <= at
            && at <= last;
        let count = match self.last {
            _ if !wanted => return Err(BadAnswer::Disorder),
            Some((before, _)) if at < before => return Err(BadAnswer::Disorder),
            Some((before, count)) if at == before => count + 1,
            Some(_) | None => 1,
        };
        if count > AUDIT_ENTRIES_PER_TRANSFER_MAX {
            return Err(BadAnswer::Endless);
        }
        self.last = Some((at, count));
        Ok(())
    }
}

fn check(entry: &AuditEntry) -> Result<(), BadAnswer> {
    // A path may be longer than a name by what `layout` puts around it.
    let fits = entry.name.len() <= NAME_BYTES_MAX
        && entry.path.len() <= 2 * NAME_BYTES_MAX
        && entry.feed.len() <= FEED_NAME_BYTES_MAX
        && entry.note.len() <= 4 * REASON_CHARS_MAX;
    if !fits {
        return Err(BadAnswer::TooLarge);
    }
    let known =
        AuditState::try_from(entry.state).is_ok() && AuditCopy::try_from(entry.copy).is_ok();
    match known && matches!(entry.digest.len(), 0 | 32) {
        true => Ok(()),
        false => Err(BadAnswer::Senseless),
    }
}
