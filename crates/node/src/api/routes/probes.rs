//! For orchestrators and scrapers.

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::super::error::ApiError;
use super::super::{Api, metrics};
use super::status::whole;

/// `GET /healthz`: the process answers.
pub(super) async fn healthz() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

/// `GET /readyz`: the node accepts files and connections.
pub(super) async fn readyz(State(api): State<Api>) -> Result<Json<Value>, ApiError> {
    let node = whole(&api);
    if node.ready {
        return Ok(Json(json!({ "status": "ready" })));
    }
    let (why, hint) = match node.problems.first() {
        Some(problem) => (problem.what.as_str(), problem.hint.as_str()),
        None => (
            "it is starting",
            "wait, and look at `consign status` if it lasts",
        ),
    };
    let text = format!("{} is not ready: {why}; hint: {hint}", node.node);
    Err(ApiError::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "not_ready",
        &text,
    ))
}

/// `GET /metrics` in the OpenMetrics text format.
pub(super) async fn metrics(State(api): State<Api>) -> Response {
    let counts = api.reader.transfer_counts().await.unwrap_or_default();
    let text = metrics::render(
        &api.handle.snapshot(),
        &counts,
        api.reader.health().is_degraded(),
    );
    let kind =
        HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}
