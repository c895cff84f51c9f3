//! The node as a whole.

use axum::Json;
use axum::extract::State;

use super::super::Api;
use super::super::model::{Count, Status};
use crate::catalogue::QueryError;
use crate::driver::snapshot::Snapshot;

/// `GET /status`. It always answers: what the catalogue cannot say is a problem among the others.
pub(super) async fn status(State(api): State<Api>) -> Json<Status> {
    Json(standing(&api).await)
}

/// How the node stands. The totals of its feeds are those of the history, so that they agree with
/// what `/transfers` lists; a catalogue that says nothing leaves those since the agent's start.
pub(super) async fn standing(api: &Api) -> Status {
    let transfers = counted(api.reader.transfer_counts().await);
    let deliveries = counted(api.reader.delivery_counts().await);
    // After the queries: they may be what brings a problem to light.
    let mut node = whole(api);
    if !api.reader.health().is_degraded() {
        for feed in &mut node.produces {
            (feed.done_total, feed.done_bytes_total) = sum(&transfers, &feed.feed, "done");
        }
        for feed in &mut node.consumes {
            let (files, bytes) = sum(&deliveries, &feed.feed, "published");
            (feed.published_total, feed.published_bytes_total) = (files, bytes);
        }
    }
    Status {
        health: Status::health(&node).to_owned(),
        node,
        transfers,
        deliveries,
    }
}

/// Files and bytes of one feed in one state.
fn sum(counts: &[Count], feed: &str, state: &str) -> (u64, u64) {
    let mut counts = counts.iter();
    let found = counts.find(|count| count.feed == feed && count.state == state);
    found.map_or((0, 0), |count| (count.files, count.bytes))
}

/// The driver's snapshot, with the catalogue's problem among its problems.
pub(super) fn whole(api: &Api) -> Snapshot {
    let mut node = Snapshot::clone(&api.handle.snapshot());
    node.problems.extend(api.reader.health().problem());
    node
}

fn counted<T: Into<Count>>(counts: Result<Vec<T>, QueryError>) -> Vec<Count> {
    match counts {
        Ok(counts) => counts.into_iter().map(Into::into).collect(),
        Err(error) => {
            tracing::warn!(%error, "status goes without the catalogue's counts");
            Vec::new()
        }
    }
}
