//! Newcomers at this node's [door](Door): each says one frame and is answered by one.
//!
//! All of it happens while they are strangers, with a stranger's place and a stranger's bytes. Nothing is
//! written for anybody who does not have the secret of an invitation.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use consign_core::ids::NodeName;
use consign_core::wire::{Join, Joined, Message, Rejected, encode_frame};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::bounds::{
    HELLO_BYTES_MAX, HELLO_DEADLINE, JOIN_DEADLINE, JOINS_AT_ONCE, REFUSED_TOLD_EVERY,
};
use super::conn::{Broken, Frames, NewcomerStream, part_newcomer};
use super::shared::{NetEvent, Shared};
use crate::identity::{Admitted, Door, NotAdmitted, Said};
use crate::timestamp::Timestamp;

/// See the module.
#[derive(Debug)]
pub(super) struct Joining {
    door: Door,
    /// Each uses a thread and the authority's files; those who wait for it do so in order.
    turns: Arc<Semaphore>,
    alarmed: Mutex<Option<Instant>>,
}

impl Joining {
    /// At this door.
    pub(super) fn new(door: Door) -> Self {
        Self {
            door,
            turns: Arc::new(Semaphore::new(JOINS_AT_ONCE)),
            alarmed: Mutex::default(),
        }
    }

    /// What TLS needs of it.
    pub(super) fn door(&self) -> &Door {
        &self.door
    }

    /// Hears a newcomer and answers it.
    ///
    /// # Errors
    /// [`Broken`]: also when it was sent away, with the reason.
    pub(super) async fn serve(
        self: Arc<Self>,
        mut stream: NewcomerStream,
        remote: IpAddr,
        shared: &Shared,
    ) -> Result<(), Broken> {
        let heard = timeout(HELLO_DEADLINE, hear(&mut stream)).await;
        let join = heard.map_err(|_| Broken::Slow {
            what: "what a newcomer says",
            deadline: HELLO_DEADLINE,
        })??;
        let admitted = timeout(JOIN_DEADLINE, Arc::clone(&self).admit(join)).await;
        let admitted = admitted.map_err(|_| Broken::Slow {
            what: "letting a newcomer in",
            deadline: JOIN_DEADLINE,
        })??;
        let (answer, outcome) = match admitted {
            Ok(Admitted { node, certificate }) => {
                tracing::info!(%node, %remote, "a newcomer has its certificate");
                let certificate = certificate.to_vec();
                (Message::Joined(Joined { certificate }), Ok(()))
            }
            Err(why) => {
                if let NotAdmitted::Used(node) = &why {
                    self.alarm(node, remote, shared).await;
                }
                let rejected = Rejected {
                    reason: told(&why),
                    ..Rejected::default()
                };
                let outcome = Err(Broken::NotAdmitted(why.to_string()));
                (Message::Rejected(rejected), outcome)
            }
        };
        // Who does not hear it asks again.
        let _ = timeout(HELLO_DEADLINE, say(stream, &answer)).await;
        outcome
    }

    async fn admit(self: Arc<Self>, join: Join) -> Result<Result<Admitted, NotAdmitted>, Broken> {
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let admitting = tokio::task::spawn_blocking(move || {
            // Held to the end, even when the newcomer has gone.
            let _turn = turn;
            let said = Said {
                secret: &join.secret,
                key: &join.key,
                proof: &join.proof,
            };
            self.door.admit(said, Timestamp::now())
        });
        admitting
            .await
            .map_err(|panic| Broken::Ours(panic.to_string()))
    }

    /// Somebody has a token that somebody else has used: a person must hear of it.
    async fn alarm(&self, node: &NodeName, remote: IpAddr, shared: &Shared) {
        let what = format!(
            "the token for {node} was used again, with another key: one of the two is not who was invited; hint: the log says from where; if the machine that joined as {node} is not the one you meant, `consign keys revoke {node}`; else find out who else has the token"
        );
        if self.is_to_be_told() {
            tracing::error!(%remote, "{what}");
        }
        shared.tell(NetEvent::Alarm(what)).await;
    }

    fn is_to_be_told(&self) -> bool {
        let mut alarmed = self.alarmed.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = alarmed.is_none_or(|last| last.elapsed() >= REFUSED_TOLD_EVERY);
        if is_due {
            *alarmed = Some(Instant::now());
        }
        is_due
    }
}

async fn hear(stream: &mut NewcomerStream) -> Result<Join, Broken> {
    let frame = Frames::new(stream).next_within(HELLO_BYTES_MAX).await?;
    match frame.message {
        Message::Join(join) if frame.payload_len == 0 => Ok(join),
        other => Err(Broken::Unexpected {
            message: other.name(),
            place: "from a newcomer",
        }),
    }
}

async fn say(mut stream: NewcomerStream, answer: &Message) -> std::io::Result<()> {
    stream.write_all(&encode_frame(answer, 0)).await?;
    stream.flush().await?;
    part_newcomer(stream).await;
    Ok(())
}

/// The reason as a stranger may hear it: nothing of this machine's files.
fn told(why: &NotAdmitted) -> String {
    match why {
        NotAdmitted::Authority(_) => {
            "the agent cannot use its authority now; hint: look at its log, then run the same command again".to_owned()
        }
        other => other.to_string(),
    }
}
