//! Audit connections: a producer asks a consumer about its copies, one question at a time, and each is
//! answered in parts.
//!
//! They are apart from control, so that nothing of an audit is ever in front of a message about a
//! transfer. Neither side queues anything: who is asked writes the next part when the last one is taken,
//! and who asks reads one part at a time. So an audit goes as fast as the slower of the two, and holds one
//! part in memory.

use std::sync::{Arc, Weak};

use consign_core::audit::{BadAnswer, Heard, Question};
use consign_core::ids::NodeName;
use consign_core::wire::{
    AuditAnswer, AuditAsk, Message, PROTOCOL_VERSION_AUDIT, Purpose, encode_frame,
};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::bounds::{AUDIT_ANSWER_DEADLINE, AUDIT_ASK_BYTES_MAX, AUDIT_IDLE_MAX};
use super::conn::{Broken, Conn, dial};
use super::roster::Entry;
use super::shared::{NetEvent, Shared};
use super::tasks::contained;

/// A question that a producer asks.
#[derive(Debug)]
pub(crate) struct Asked {
    /// Who asks: it may hear of its own files only.
    pub(crate) producer: NodeName,
    /// What.
    pub(crate) ask: AuditAsk,
    /// Takes the parts of the answer; closed when nobody wants them any more.
    pub(crate) answers: mpsc::Sender<AuditAnswer>,
}

/// Serves an audit connection that a producer made: says why it ended.
pub(super) async fn serve(shared: &Shared, mut conn: Conn, entry: &Entry<'_>) -> Broken {
    let mut nowhere = tokio::io::sink();
    let served = async {
        tokio::select! {
            why = questions(shared, &mut conn, &entry.node) => why,
            // Nothing is ever left there; it ends when a newer life of the producer closes this.
            why = entry.send_queue.drain(&mut nowhere) => why,
        }
    };
    let served = contained(served).await;
    served.unwrap_or_else(|panicked| Broken::Ours(panicked.to_string()))
}

async fn questions(shared: &Shared, conn: &mut Conn, producer: &NodeName) -> Broken {
    loop {
        let next = conn.reader.next_within(AUDIT_ASK_BYTES_MAX);
        let frame = match timeout(AUDIT_IDLE_MAX, next).await {
            Ok(Ok(frame)) => frame,
            Ok(Err(why)) => return why,
            Err(_elapsed) => return slow("the next question of an audit"),
        };
        let ask = match frame.message {
            Message::AuditAsk(ask) if frame.payload_len == 0 => ask,
            message => return unexpected(&message),
        };
        let (answers, parts) = mpsc::channel(1);
        let asked = Asked {
            producer: producer.clone(),
            ask,
            answers,
        };
        if shared.audits.send(asked).await.is_err() {
            return Broken::Ours("this node is stopping".into());
        }
        if let Err(why) = answer(conn, parts).await {
            return why;
        }
    }
}

/// Passes on what the question is answered with, to the last part.
async fn answer(conn: &mut Conn, mut parts: mpsc::Receiver<AuditAnswer>) -> Result<(), Broken> {
    while let Some(part) = parts.recv().await {
        let is_last = !part.more || !part.trouble.is_empty();
        let frame = encode_frame(&Message::AuditAnswer(part), 0);
        let written = timeout(AUDIT_IDLE_MAX, conn.say(&frame)).await;
        written.map_err(|_| slow("taking an answer of an audit"))??;
        if is_last {
            return Ok(());
        }
    }
    Err(Broken::Ours("a question was left without an answer".into()))
}

fn slow(what: &'static str) -> Broken {
    Broken::Slow {
        what,
        deadline: AUDIT_IDLE_MAX,
    }
}

fn unexpected(message: &Message) -> Broken {
    Broken::Unexpected {
        message: message.name(),
        place: "on an audit connection",
    }
}

/// The way to ask consumers.
#[derive(Debug, Clone)]
pub(crate) struct Auditor(Weak<Shared>);

/// Why a consumer cannot be asked, or has not answered. Nothing has changed; asking again later may do.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    /// It is of a version that does not know audits.
    #[error(
        "it speaks protocol version {version}, and audits came with {PROTOCOL_VERSION_AUDIT}; hint: upgrade it, then audit it"
    )]
    TooOld {
        /// The version.
        version: u32,
    },
    /// There is no connection, or none any more.
    #[error("{0}")]
    Broken(String),
    /// It says that it cannot answer, in its own words.
    #[error("it cannot answer: {0}")]
    Trouble(String),
    /// What it answers is no answer.
    #[error("{0}; hint: check its version and the state of that machine, it may be lying")]
    Bad(BadAnswer),
}

impl From<Broken> for CallError {
    fn from(why: Broken) -> Self {
        Self::Broken(why.to_string())
    }
}

/// A connection to a consumer that is being audited. Dropping it ends the audit there.
#[derive(Debug)]
pub(crate) struct AuditCall {
    conn: Conn,
}

impl Auditor {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self(Arc::downgrade(shared))
    }

    /// Connects to a consumer. Cancel safe.
    ///
    /// # Errors
    /// [`CallError`].
    pub(crate) async fn call(&self, node: &NodeName, addr: &str) -> Result<AuditCall, CallError> {
        let stopping = || Broken::Ours("this node is stopping".into());
        let shared = self.0.upgrade().ok_or_else(stopping)?;
        match shared.seen.version_of(node) {
            Some(version) if version < PROTOCOL_VERSION_AUDIT => {
                return Err(CallError::TooOld { version });
            }
            Some(_) | None => {}
        }
        match dial(&shared, node, addr, Purpose::Audit).await {
            Ok((conn, _)) => Ok(AuditCall { conn }),
            Err(why) => {
                if let Broken::Outlived { node, seen, .. } = &why {
                    let (peer, seen) = (node.clone(), *seen);
                    shared.tell(NetEvent::Outlived { peer, seen }).await;
                }
                Err(why.into())
            }
        }
    }
}

impl AuditCall {
    /// Asks. Not cancel safe.
    ///
    /// # Errors
    /// [`CallError::Broken`].
    pub(crate) async fn ask(&mut self, question: &Question) -> Result<(), CallError> {
        let frame = encode_frame(&Message::AuditAsk(question.ask().clone()), 0);
        let written = timeout(AUDIT_ANSWER_DEADLINE, self.conn.say(&frame)).await;
        let written = written.map_err(|_| no_answer())?;
        written.map_err(|error| Broken::from(error).into())
    }

    /// The next part of the answer. Not cancel safe.
    ///
    /// # Errors
    /// [`CallError`]; the connection is of no use then.
    pub(crate) async fn hear(&mut self, question: &mut Question) -> Result<Heard, CallError> {
        let frame = timeout(AUDIT_ANSWER_DEADLINE, self.conn.reader.next()).await;
        let frame = frame.map_err(|_| no_answer())??;
        let answer = match frame.message {
            Message::AuditAnswer(answer) if frame.payload_len == 0 => answer,
            message => return Err(unexpected(&message).into()),
        };
        question.hear(answer).map_err(|bad| match bad {
            BadAnswer::Trouble(why) => CallError::Trouble(why),
            bad => CallError::Bad(bad),
        })
    }
}

fn no_answer() -> Broken {
    Broken::Slow {
        what: "its next answer",
        deadline: AUDIT_ANSWER_DEADLINE,
    }
}
