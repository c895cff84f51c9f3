//! The node as a whole.

use axum::Json;
use axum::extract::State;

use super::super::Api;
use super::super::model::{Count, Status};
use crate::catalogue::QueryError;
use crate::driver::snapshot::Snapshot;

/// `GET /status`. It always answers: what the catalogue cannot say is a problem among the others.
pub(super) async fn status(State(api): State<Api>) -> Json<Status> {
    let transfers = counted(api.reader.transfer_counts().await);
    let deliveries = counted(api.reader.delivery_counts().await);
    // After the queries: they may be what brings a problem to light.
    let node = whole(&api);
    Json(Status {
        health: Status::health(&node).to_owned(),
        node,
        transfers,
        deliveries,
    })
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
