//! What the API says, as types: the server writes them, the command line reads them.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::error::ErrorBody;
use super::received::Received;
use crate::catalogue::{DeliveryCount, FileRow, LegRow, TransferCount, TransferRow, TransferState};
use crate::driver::handle::Accepted;
use crate::driver::snapshot::{ActiveTransfer, ConsumedFeed, ProducedFeed, Snapshot};
use crate::timestamp::Timestamp;

/// A transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Transfer {
    /// `producer.start.sequence`.
    pub(crate) id: String,
    /// Its feed.
    pub(crate) feed: String,
    /// Its name.
    pub(crate) name: String,
    /// Its key.
    pub(crate) key: String,
    /// Its length in bytes.
    pub(crate) size: u64,
    /// Its BLAKE3 in hexadecimal, once it is known.
    pub(crate) digest: Option<String>,
    /// `submitted`, `placed`, `done`, `failed` or `cancelled`.
    pub(crate) state: String,
    /// The last try; 0 before the first.
    pub(crate) attempt: u32,
    /// Its consumers, in chain order; empty before it is placed.
    pub(crate) consumers: Vec<Consumer>,
    /// When it was submitted.
    pub(crate) submitted_at: Timestamp,
    /// When it was done.
    pub(crate) done_at: Option<Timestamp>,
    /// Why it failed.
    pub(crate) error: Option<String>,
    /// Why it is not done yet, when that is more than that it takes its time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) waiting_reason: Option<String>,
}

/// One consumer of a transfer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Consumer {
    /// The node.
    pub(crate) node: String,
    /// `owed`, `saved`, `abandoned`, `refused`, `abandoning`, or finer while it moves.
    pub(crate) state: String,
    /// Bytes that it holds.
    pub(crate) bytes: u64,
    /// Of one that has saved it: `signed`, or `unsigned`. Only told of a single transfer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) receipt: Option<String>,
}

impl Transfer {
    /// A transfer that was just submitted.
    pub(super) fn accepted(feed: &str, accepted: Accepted) -> Self {
        Self {
            id: accepted.id.to_string(),
            feed: feed.to_owned(),
            name: accepted.name,
            key: accepted.key,
            size: accepted.size,
            digest: None,
            state: TransferState::Submitted.to_string(),
            attempt: 0,
            consumers: Vec::new(),
            submitted_at: accepted.submitted_at,
            done_at: None,
            error: None,
            waiting_reason: None,
        }
    }
}

/// A file of a listing: one that this node produces, or one that it receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum File {
    /// Told from the other by its `role`.
    Received(Received),
    /// One that it produces.
    Produced(Transfer),
}

/// What moves right now, by ids.
pub(super) struct Live<'a> {
    snapshot: &'a Snapshot,
    active: HashMap<&'a str, &'a ActiveTransfer>,
}

impl<'a> Live<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let by_id = snapshot.active.iter().map(|active| (&*active.id, active));
        Self {
            snapshot,
            active: by_id.collect(),
        }
    }

    /// A row of the catalogue, with what is known of it right now.
    pub(super) fn over(&self, row: FileRow) -> File {
        match row {
            FileRow::Produced(row) => File::Produced(self.produced(row)),
            FileRow::Received(row) => File::Received(Received::over(row, self.snapshot)),
        }
    }

    fn produced(&self, row: TransferRow) -> Transfer {
        let id = row.id.to_string();
        let unfinished = matches!(row.state, TransferState::Submitted | TransferState::Placed);
        let active = self.active.get(&*id).filter(|_| unfinished);
        let mut consumers: Vec<Consumer> = row.legs.into_iter().map(Consumer::from).collect();
        let mut attempt = row.attempt;
        if let Some(active) = active {
            attempt = attempt.max(active.attempt);
            merge(&mut consumers, active);
        }
        let waiting_reason = unfinished
            .then(|| waiting_reason(&row.feed, &consumers, self.snapshot))
            .flatten();
        Transfer {
            id,
            feed: row.feed,
            name: row.name,
            key: row.key,
            size: row.size,
            digest: row.digest.map(|digest| digest.to_string()),
            state: row.state.to_string(),
            attempt,
            consumers,
            submitted_at: row.submitted_at,
            done_at: row.ended_at.filter(|_| row.state == TransferState::Done),
            error: row.error,
            waiting_reason,
        }
    }
}

/// Why a file of this feed, on its way to these consumers, is not done yet.
fn waiting_reason(feed: &str, consumers: &[Consumer], snapshot: &Snapshot) -> Option<String> {
    let of_feed = snapshot.produces.iter().find(|known| known.feed == feed);
    if let Some(reason) = of_feed.and_then(|feed| feed.waiting_reason.clone()) {
        return Some(reason);
    }
    let lacks_it = consumers
        .iter()
        .filter(|consumer| consumer.state != "saved");
    let names: Vec<&str> = lacks_it.map(|consumer| consumer.node.as_str()).collect();
    let away = snapshot
        .members
        .iter()
        .filter(|member| !member.connected && names.contains(&member.name.as_str()));
    let away: Vec<&str> = away.map(|member| member.name.as_str()).collect();
    if !away.is_empty() {
        return Some(format!(
            "{} cannot be reached; hint: `consign nodes` says why",
            away.join(" and ")
        ));
    }
    let of_them = |what: &str| {
        let takes_nothing = |name: &&str| what.starts_with(&format!("{name} takes nothing"));
        names.iter().any(takes_nothing)
    };
    let complaint = snapshot.problems.iter().find(|one| of_them(&one.what))?;
    Some(format!("{}; hint: {}", complaint.what, complaint.hint))
}

/// What is live wins over what was logged, unless the log has the last word: `saved`.
fn merge(consumers: &mut Vec<Consumer>, active: &ActiveTransfer) {
    for live in &active.consumers {
        match consumers.iter_mut().find(|known| known.node == live.node) {
            Some(known) if known.state == "saved" => {}
            Some(known) => {
                known.state.clone_from(&live.state);
                known.bytes = live.bytes;
            }
            None => consumers.push(Consumer {
                node: live.node.clone(),
                state: live.state.clone(),
                bytes: live.bytes,
                receipt: None,
            }),
        }
    }
}

impl From<LegRow> for Consumer {
    fn from(leg: LegRow) -> Self {
        Self {
            node: leg.node,
            state: leg.state.to_string(),
            bytes: leg.bytes,
            receipt: None,
        }
    }
}

/// One result of a submission: the transfer, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub(crate) enum Submission {
    /// The file is `submitted`.
    Accepted(Transfer),
    /// It is not.
    Refused {
        /// The path as it was given.
        path: String,
        /// Why.
        error: ErrorBody,
    },
}

/// What became of transfers that were to be retried or cancelled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Acted {
    /// How many it was done to.
    pub(crate) files: u64,
    /// Those to which it was not.
    pub(crate) refused: Vec<RefusedTransfer>,
    /// What becomes of the file of one that was cancelled.
    pub(crate) note: Option<String>,
}

/// A transfer to which something was not done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RefusedTransfer {
    /// The transfer.
    pub(crate) id: String,
    /// Why not.
    pub(crate) error: ErrorBody,
}

/// A feed of this node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "lowercase")]
pub(crate) enum Feed {
    /// One that it produces.
    Produce(ProducedFeed),
    /// One that it consumes.
    Consume(ConsumedFeed),
}

impl Feed {
    /// Every feed of a node.
    pub(super) fn all(snapshot: &Snapshot) -> Vec<Self> {
        let produced = snapshot.produces.iter().cloned().map(Self::Produce);
        let consumed = snapshot.consumes.iter().cloned().map(Self::Consume);
        produced.chain(consumed).collect()
    }
}

/// The answer of `/status`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Status {
    /// `ok`, `degraded` or `not ready`.
    pub(crate) health: String,
    /// Everything that the driver says, with the catalogue's problem among the problems.
    #[serde(flatten)]
    pub(crate) node: Snapshot,
    /// Files that this node produces, by feed and state, history included.
    pub(crate) transfers: Vec<Count>,
    /// Files that this node received, by feed and state, history included.
    pub(crate) deliveries: Vec<Count>,
}

impl Status {
    /// What `health` is for a snapshot.
    pub(super) fn health(snapshot: &Snapshot) -> &'static str {
        let is_fine =
            snapshot.problems.is_empty() && !snapshot.produces.iter().any(|feed| feed.stuck);
        match (snapshot.ready, is_fine) {
            (false, _) => "not ready",
            (true, false) => "degraded",
            (true, true) => "ok",
        }
    }
}

/// Files of one feed in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Count {
    /// The feed.
    pub(crate) feed: String,
    /// The state.
    pub(crate) state: String,
    /// How many.
    pub(crate) files: u64,
    /// Their lengths together, in bytes.
    pub(crate) bytes: u64,
}

impl From<TransferCount> for Count {
    fn from(count: TransferCount) -> Self {
        Self {
            feed: count.feed,
            state: count.state.to_string(),
            files: count.files,
            bytes: count.bytes,
        }
    }
}

impl From<DeliveryCount> for Count {
    fn from(count: DeliveryCount) -> Self {
        Self {
            feed: count.feed,
            state: count.state.to_string(),
            files: count.files,
            bytes: count.bytes,
        }
    }
}
