//! `consign audit`: what this node's ledger says of its files is compared with what each consumer says of
//! its copies; and its own copies of others' files are examined.
//!
//! ```text
//! command ──HTTP──▶ walk ──question──▶ net ═══▶ net ──▶ answering ──▶ catalogue, inboxes
//!                    │ ledger                              there
//!                    ▼
//!                catalogue
//! ```
//! * [`consumers`]: who is audited. * [`walk`]: goes through the ledger in the order of the transfers, a
//!   page at a time, asks a consumer for the same range, and lets the core judge each file.
//! * [`own`]: the copies that this node holds.
//! * [`answering`]: answers such questions, here. * [`copies`]: looks at published copies.
//! * [`report`]: what an audit says.
//!
//! An audit is read only, holds a page of the ledger and a part of an answer in memory, and rests as long
//! as it works, so that transfers hardly notice it. Nothing of it passes through the driver, but that a
//! node which is set apart may go on.

mod answering;
pub(crate) mod bounds;
mod consumers;
mod copies;
mod own;
pub(crate) mod report;
mod walk;

use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};

use consign_core::audit::Scope;
use consign_core::ids::NodeName;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use crate::catalogue::{QueryError, Reader};
use crate::driver::handle::Handle;
use crate::driver::snapshot::Snapshot;
use crate::net::Auditor;
use crate::timestamp::Timestamp;

pub(crate) use answering::{Answering, answer_all};
use bounds::LINES_WAITING_MAX;
use consumers::Answered;
use report::{Line, Outcome, Summary, Totals};

/// The way to audits: empty until the node is ready.
pub(crate) type Door = Arc<OnceLock<Audits>>;

/// What is to be audited.
#[derive(Debug, Clone, Default)]
pub(crate) struct Request {
    /// Which files.
    pub(crate) scope: Scope,
    /// Only this consumer.
    pub(crate) to: Option<NodeName>,
    /// Only this node's own copies of this producer's files.
    pub(crate) from: Option<NodeName>,
    /// Whether a node that is set apart may go on, once all consumers have answered: whom to tell.
    pub(crate) reconcile: Option<Handle>,
}

/// Why an audit ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Stopped {
    /// Nobody listens any more.
    #[error("nobody listens")]
    Unheard,
    /// The ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] QueryError),
}

/// Carries out audits, one at a time.
pub(crate) struct Audits {
    reader: Reader,
    auditor: Auditor,
    answering: Arc<Answering>,
    one: Arc<Semaphore>,
}

/// The right to audit, until it is dropped.
pub(crate) type Turn = OwnedSemaphorePermit;

impl Audits {
    pub(crate) fn new(reader: Reader, auditor: Auditor, answering: Arc<Answering>) -> Self {
        Self {
            reader,
            auditor,
            answering,
            one: Arc::new(Semaphore::new(1)),
        }
    }

    /// The right to audit; `None` while somebody else does.
    pub(crate) fn turn(&self) -> Option<Turn> {
        Arc::clone(&self.one).try_acquire_owned().ok()
    }

    /// Audits, and tells what it finds as it finds it; the last line is the summary. An audit that broke
    /// off has none, and an error as its last word. Ends soon after the receiver is dropped.
    pub(crate) fn begin(
        door: &Door,
        request: Request,
        snapshot: Arc<Snapshot>,
        turn: Turn,
    ) -> mpsc::Receiver<Result<Line, Stopped>> {
        let (lines, told) = mpsc::channel(LINES_WAITING_MAX);
        let door = Arc::clone(door);
        tokio::spawn(async move {
            let Some(audits) = door.get() else {
                return;
            };
            let run = audits.run(&request, &snapshot, &lines);
            tokio::select! {
                stopped = run => if let Err(stopped) = stopped {
                    // Who does not listen does not hear why.
                    let _ = lines.send(Err(stopped)).await;
                },
                () = lines.closed() => {}
            }
            drop(turn);
        });
        told
    }

    async fn run(
        &self,
        request: &Request,
        snapshot: &Snapshot,
        lines: &Lines,
    ) -> Result<(), Stopped> {
        let began = Timestamp::now();
        self.reader.caught_up().await?;
        let known_from = self.reader.known_from().await?;
        let mut totals = Totals::default();
        let mut answered = Answered::default();
        let unplaced = match &request.reconcile {
            Some(handle) => handle.to_reconcile().await.map_err(|why| why.to_string()),
            None => Ok(BTreeSet::new()),
        };
        if request.from.is_none() {
            let none = BTreeSet::new();
            let unplaced = unplaced.as_ref().unwrap_or(&none);
            answered = self
                .consumers(request, snapshot, lines, &mut totals, unplaced)
                .await?;
        }
        if request.to.is_none() {
            self.own(request, snapshot, lines, &mut totals).await?;
        }
        if let Some(handle) = &request.reconcile {
            let outcome = match unplaced {
                Ok(_) => reconcile(handle, answered).await,
                Err(why) => Outcome::failed(why),
            };
            tell(lines, Line::Reconciled(outcome)).await?;
        }
        let summary = Summary {
            node: snapshot.node.clone(),
            read: request.scope.read,
            sound: totals.is_sound(),
            totals,
            history_from: (known_from > 0).then_some(Timestamp(known_from)),
            took_ms: Timestamp::now().since(began),
        };
        tell(lines, Line::Summary(summary)).await
    }
}

/// Has a node that is set apart go on, if everybody has answered.
async fn reconcile(handle: &Handle, answered: Answered) -> Outcome {
    if let Some(node) = answered.silent.first() {
        return Outcome::failed(format!(
            "{node} was not reached, and may have what this node would send again; hint: start it and audit again, or `consign forget {node}` if it is gone for good"
        ));
    }
    match handle.reconcile(answered.held).await {
        Ok(delivered) => Outcome {
            delivered,
            error: None,
        },
        Err(refusal) => Outcome::failed(refusal.to_string()),
    }
}

type Lines = mpsc::Sender<Result<Line, Stopped>>;

async fn tell(lines: &Lines, line: Line) -> Result<(), Stopped> {
    lines.send(Ok(line)).await.map_err(|_| Stopped::Unheard)
}
