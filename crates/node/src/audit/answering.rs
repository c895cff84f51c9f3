//! Answers questions about the copies that this node holds, out of its catalogue, and out of its inboxes
//! when it is to read them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use consign_core::audit::Scope;
use consign_core::ids::{FeedName, Sequence, Start, TransferKey};
use consign_core::limits::{
    AUDIT_ANSWER_BYTES_AIM, AUDIT_ENTRIES_MAX, FEED_NAME_BYTES_MAX, REASON_CHARS_MAX,
};
use consign_core::wire::{AuditAnswer, AuditAsk, AuditCopy, AuditEntry, AuditState};
use prost::Message as _;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::bounds::{REST_AFTER, SIGN_EVERY};
use super::copies::{self, Look, Looked, Step};
use crate::catalogue::{DeliveryState, HeldRow, HeldSpan, QueryError, Reader};
use crate::inboxes::Inboxes;
use crate::net::Asked;

/// What answers are made from.
pub(crate) struct Answering {
    reader: Reader,
    inboxes: Arc<Inboxes>,
    /// One page or one stretch of a file at a time, whoever asks: the rest of the machine is for
    /// transfers.
    turn: Semaphore,
}

/// Why an answer ended early.
enum Ended {
    /// Nobody wants it any more.
    Unwanted,
    /// The catalogue cannot be asked.
    Catalogue(QueryError),
}

impl From<QueryError> for Ended {
    fn from(error: QueryError) -> Self {
        Self::Catalogue(error)
    }
}

/// Answers whatever is asked, until nobody can ask any more. There is one question on each connection at
/// most, and connections are bounded.
pub(crate) async fn answer_all(mut asked: mpsc::Receiver<Asked>, answering: Arc<Answering>) {
    let mut answers = JoinSet::new();
    while let Some(one) = asked.recv().await {
        while answers.try_join_next().is_some() {}
        let answering = Arc::clone(&answering);
        // One that panics drops its sender, which ends its connection and nothing else.
        answers.spawn(async move { answering.answer(one).await });
    }
}

impl Answering {
    pub(crate) fn new(reader: Reader, inboxes: Arc<Inboxes>) -> Self {
        Self {
            reader,
            inboxes,
            turn: Semaphore::new(1),
        }
    }

    /// Answers one question.
    pub(super) async fn answer(&self, asked: Asked) {
        let number = asked.ask.number;
        let answered = self.try_answer(&asked).await;
        if let Err(Ended::Catalogue(error)) = answered {
            let trouble = AuditAnswer {
                number,
                trouble: error.to_string().chars().take(REASON_CHARS_MAX).collect(),
                ..AuditAnswer::default()
            };
            // Who is gone needs no reason.
            let _ = asked.answers.send(trouble).await;
        }
    }

    async fn try_answer(&self, asked: &Asked) -> Result<(), Ended> {
        let Asked {
            producer,
            ask,
            answers,
        } = asked;
        // What was promised before it was asked for is in the catalogue from here on.
        self.reader.caught_up().await?;
        let mut part = Part::new(ask.number, answers);
        let (scope, mut span) = scope_and_span(ask);
        loop {
            let began = Instant::now();
            let (page, known_from) = {
                let _turn = self.turn.acquire().await;
                let (producer, scope) = (producer.clone(), scope.clone());
                let rows = AUDIT_ENTRIES_MAX;
                self.reader.held(producer, scope, span, rows).await?
            };
            part.note_known_from(known_from);
            tokio::time::sleep(began.elapsed()).await;
            let is_last = page.len() < AUDIT_ENTRIES_MAX;
            if let Some(row) = page.last() {
                (span.first, span.after) = (row.key, row.number);
            }
            for row in page {
                let looked = match ask.read {
                    true => self.look(&row, &mut part).await?,
                    false => Looked::new(AuditCopy::NotLooked, ""),
                };
                part.push(entry(row, looked)).await?;
            }
            if is_last {
                return part.send(false).await;
            }
        }
    }

    /// Looks at a copy if it has one in the inbox.
    async fn look(&self, row: &HeldRow, part: &mut Part<'_>) -> Result<Looked, Ended> {
        if row.state != DeliveryState::Published {
            return Ok(Looked::new(AuditCopy::NotLooked, ""));
        }
        let feed = FeedName::new(&row.feed).ok();
        let Some(inbox) = feed.as_ref().and_then(|feed| self.inboxes.get(feed)) else {
            let note = format!("the inbox of feed {} is not open here", row.feed);
            return Ok(Looked::new(AuditCopy::Unread, note));
        };
        let (path, own) = (inbox.path.clone(), row.clone());
        let look = self.blocking(move || copies::look(&path, &own)).await?;
        let mut reading = match look {
            Look::Settled(looked) => return Ok(looked),
            Look::Reading(reading) => reading,
        };
        loop {
            let began = Instant::now();
            let (step, read) = self.blocking(move || reading.step()).await?;
            part.note_read(read);
            part.rest_for(began.elapsed()).await;
            match step {
                Step::More(more) => reading = more,
                Step::Settled(looked) => return Ok(looked),
                Step::Whole(digest) if digest.0 == *row.digest => {
                    return Ok(Looked::new(AuditCopy::Intact, ""));
                }
                Step::Whole(digest) => {
                    let other = self.reader.is_of_another(row.clone(), digest).await?;
                    return Ok(match other {
                        true => Looked::new(AuditCopy::Taken, ""),
                        false => Looked::new(
                            AuditCopy::Rotten,
                            format!(
                                "it has the length and modification time that it was published \
                                 with, and other bytes: their digest is {digest}"
                            ),
                        ),
                    });
                }
            }
            part.sign().await?;
        }
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Ended> {
        let _turn = self.turn.acquire().await;
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => Ok(done),
            Err(failed) => match failed.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The agent is stopping.
                Err(_cancelled) => Err(Ended::Unwanted),
            },
        }
    }
}

fn scope_and_span(ask: &AuditAsk) -> (Scope, HeldSpan) {
    let key = |start, seq| TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    };
    let scope = Scope {
        // A longer one is no feed's.
        feed: ask.feed.chars().take(FEED_NAME_BYTES_MAX).collect(),
        since: ask.since,
        read: ask.read,
    };
    let span = HeldSpan {
        first: key(ask.first_start, ask.first_seq),
        after: -1,
        last: key(ask.last_start, ask.last_seq),
    };
    (scope, span)
}

/// The part of an answer that is being made.
struct Part<'a> {
    answer: AuditAnswer,
    bytes: usize,
    answers: &'a mpsc::Sender<AuditAnswer>,
    sent: Instant,
    /// Work since the last rest.
    worked: Duration,
}

impl<'a> Part<'a> {
    fn new(number: u64, answers: &'a mpsc::Sender<AuditAnswer>) -> Self {
        Self {
            answer: AuditAnswer {
                number,
                ..AuditAnswer::default()
            },
            bytes: 0,
            answers,
            sent: Instant::now(),
            worked: Duration::ZERO,
        }
    }

    /// What expires while the question is being answered is not said to have never been.
    fn note_known_from(&mut self, known_from: u64) {
        self.answer.known_from = self.answer.known_from.max(known_from);
    }

    async fn rest_for(&mut self, worked: Duration) {
        self.worked += worked;
        if self.worked >= REST_AFTER {
            tokio::time::sleep(std::mem::take(&mut self.worked)).await;
        }
    }

    fn note_read(&mut self, bytes: u64) {
        self.answer.read_bytes += bytes;
    }

    async fn push(&mut self, entry: AuditEntry) -> Result<(), Ended> {
        self.bytes += entry.encoded_len();
        self.answer.entries.push(entry);
        let is_full =
            self.answer.entries.len() >= AUDIT_ENTRIES_MAX || self.bytes >= AUDIT_ANSWER_BYTES_AIM;
        match is_full {
            true => self.send(true).await,
            false => self.sign().await,
        }
    }

    /// Sends what there is, when there was nothing for long.
    async fn sign(&mut self) -> Result<(), Ended> {
        let is_news = self.answer.read_bytes > 0 || !self.answer.entries.is_empty();
        match is_news && self.sent.elapsed() >= SIGN_EVERY {
            true => self.send(true).await,
            false => Ok(()),
        }
    }

    async fn send(&mut self, more: bool) -> Result<(), Ended> {
        let next = AuditAnswer {
            number: self.answer.number,
            known_from: self.answer.known_from,
            ..AuditAnswer::default()
        };
        let mut full = std::mem::replace(&mut self.answer, next);
        full.more = more;
        (self.bytes, self.sent) = (0, Instant::now());
        self.answers.send(full).await.map_err(|_| Ended::Unwanted)
    }
}

fn entry(row: HeldRow, looked: Looked) -> AuditEntry {
    let state = match row.state {
        DeliveryState::Receiving => AuditState::Receiving,
        DeliveryState::Received => AuditState::Received,
        DeliveryState::Saved => AuditState::Saved,
        DeliveryState::Published => AuditState::Published,
        DeliveryState::Abandoned => AuditState::Abandoned,
    };
    AuditEntry {
        start: row.key.start.0,
        seq: row.key.seq.0,
        state: state.into(),
        size: row.size,
        digest: row.digest,
        feed: row.feed,
        name: row.name,
        path: row.path.unwrap_or_default(),
        submitted_at: row.submitted_at,
        copy: looked.copy.into(),
        note: looked.note.chars().take(REASON_CHARS_MAX).collect(),
    }
}
