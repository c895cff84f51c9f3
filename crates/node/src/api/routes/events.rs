//! What happens, as it happens: server-sent events.

use std::convert::Infallible;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use consign_core::ids::NodeName;
use serde_json::json;
use tokio_stream::Stream;
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::wrappers::errors::BroadcastStreamRecvError;

use super::super::Api;
use super::super::bounds::EVENTS_KEEP_ALIVE;
use super::super::error::ApiError;
use crate::driver::endings::Ended;

/// `GET /events`: `ended` for transfers of this node that have, as soon as that is synced: their state
/// and their ids; `missed` when the listener was too slow and has to look for itself. It ends when the
/// agent stops. What happened before is not told.
pub(super) async fn events(
    State(api): State<Api>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, ApiError> {
    let (endings, place) = api.handle.endings().ok_or_else(|| {
        ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            "there are too many listeners; hint: ask for /api/v1/transfers?ids=… now and then",
        )
    })?;
    let node = api.handle.snapshot().node.clone();
    let node = NodeName::new(&node).expect("it is this node's own");
    let events = BroadcastStream::new(endings);
    let events = events.map(move |told| {
        // It is given back with the connection.
        let _ = &place;
        Ok(match told {
            Ok(ended) => told_of(&ended, &node),
            Err(BroadcastStreamRecvError::Lagged(_)) => Event::default().event("missed").data("{}"),
        })
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(EVENTS_KEEP_ALIVE)))
}

fn told_of(ended: &Ended, node: &NodeName) -> Event {
    let ids: Vec<_> = ended.ids(node).map(|id| id.to_string()).collect();
    let data = json!({ "state": ended.end.name(), "ids": ids });
    Event::default().event("ended").data(data.to_string())
}
