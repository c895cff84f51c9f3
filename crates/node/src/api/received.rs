//! What the API says of a file that this node receives.

use serde::{Deserialize, Serialize};

use crate::catalogue::{DeliveryRow, DeliveryState};
use crate::driver::snapshot::{Arriving, Snapshot};
use crate::timestamp::Timestamp;

/// A file that this node receives or received.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Received {
    /// Tells it from a transfer of this node, which has none.
    pub(crate) role: Role,
    /// The transfer: `producer.start.sequence`.
    pub(crate) id: String,
    /// Who sends it.
    pub(crate) producer: String,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name.
    pub(crate) name: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its BLAKE3 in hexadecimal, once it is known.
    pub(crate) digest: Option<String>,
    /// `receiving`, `received`, `saved`, `published` or `abandoned`.
    pub(crate) state: String,
    /// Bytes that are here.
    pub(crate) bytes: u64,
    /// The inbox of its feed, as it is configured now.
    pub(crate) inbox: Option<String>,
    /// Its path under the inbox, once it is chosen.
    pub(crate) path: Option<String>,
    /// When it was submitted, by the producer's clock.
    pub(crate) submitted_at: Timestamp,
    /// When it was saved.
    pub(crate) saved_at: Option<Timestamp>,
    /// When it was published.
    pub(crate) published_at: Option<Timestamp>,
    /// When it was given up here.
    pub(crate) abandoned_at: Option<Timestamp>,
    /// Why it is not published yet, where that is known.
    pub(crate) waiting_reason: Option<String>,
}

/// The role in which a node has a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Role {
    /// It receives it.
    Consumer,
}

impl Received {
    /// A row of the catalogue, with what is known of it right now.
    pub(super) fn over(row: DeliveryRow, snapshot: &Snapshot) -> Self {
        let id = row.id.to_string();
        let unfinished = row.ended_at.is_none();
        let live = snapshot.arriving.iter().find(|live| live.id == id);
        let live = live.filter(|_| unfinished);
        let consumed = snapshot.consumes.iter().find(|own| own.feed == row.feed);
        let ended = |state| row.ended_at.filter(|_| row.state == state);
        let state = now(row.state, live);
        let mut bytes = row.bytes;
        if let Some(live) = live.filter(|_| state < DeliveryState::Saved) {
            bytes = live.bytes;
        }
        Self {
            role: Role::Consumer,
            producer: row.id.producer.to_string(),
            waiting_reason: waiting_reason(
                state,
                row.id.producer.as_str(),
                (&row.feed, row.size.saturating_sub(bytes)),
                live,
                snapshot,
            ),
            id,
            published_at: ended(DeliveryState::Published),
            abandoned_at: ended(DeliveryState::Abandoned),
            feed: row.feed,
            name: row.name,
            size: row.size,
            digest: row.digest.map(|digest| digest.to_string()),
            state: state.to_string(),
            bytes,
            inbox: consumed.map(|feed| feed.inbox.clone()),
            path: row.path,
            submitted_at: row.submitted_at,
            saved_at: row.saved_at,
        }
    }

    /// Where it is, or will be, on this machine.
    pub(crate) fn place(&self) -> Option<String> {
        let path = self.path.as_deref()?;
        Some(match &self.inbox {
            Some(inbox) => format!("{inbox}/{path}"),
            None => path.to_owned(),
        })
    }
}

/// The log says when a file is saved and what follows. Before that only the consumer itself knows
/// whether all of it is here.
fn now(logged: DeliveryState, live: Option<&Arriving>) -> DeliveryState {
    match live.map(|live| live.state.as_str()) {
        Some("received" | "saving") => logged.max(DeliveryState::Received),
        _ => logged,
    }
}

/// Whether the rest of a file fits into the inbox of its feed.
fn lacks_space(missing: u64, feed: &str, snapshot: &Snapshot) -> Option<String> {
    let inbox = snapshot.consumes.iter().find(|known| known.feed == feed)?;
    (inbox.free_bytes < missing).then(|| {
        format!(
            "{missing} bytes of it are still to come, and {} has {} bytes free; hint: free some space there, it goes on by itself",
            inbox.inbox, inbox.free_bytes
        )
    })
}

fn waiting_reason(
    state: DeliveryState,
    producer: &str,
    (feed, missing): (&str, u64),
    live: Option<&Arriving>,
    snapshot: &Snapshot,
) -> Option<String> {
    if let Some(problem) = live.and_then(|live| live.problem.clone()) {
        return Some(problem);
    }
    let connected = snapshot
        .members
        .iter()
        .any(|member| member.sends_here && member.name == producer);
    match state {
        DeliveryState::Receiving | DeliveryState::Received if !connected => Some(format!(
            "{producer} is not connected; hint: is it running, and can it reach {}?",
            snapshot.listen
        )),
        DeliveryState::Receiving => lacks_space(missing, feed, snapshot),
        DeliveryState::Received => Some(format!(
            "all of it is here; {producer} lets it be published when the others of its chain have it too; \
             hint: `consign show` there says who has not"
        )),
        DeliveryState::Saved => Some("it is being put into the inbox".to_owned()),
        DeliveryState::Published | DeliveryState::Abandoned => None,
    }
}
