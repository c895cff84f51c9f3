//! What the contract promises and this version does not have: it says so, by name.

use axum::Router;
use axum::extract::OriginalUri;
use axum::http::StatusCode;
use axum::routing::{any, get, post};

use super::super::Api;
use super::super::error::ApiError;

/// Below `/api/v1`.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/feeds/{feed}/deliveries", get(missing))
        .route("/deliveries/{id}/ack", post(missing))
        .route("/deliveries/{id}/nack", post(missing))
        .route("/deliveries/{id}/extend", post(missing))
        .route("/openapi.json", get(missing))
}

/// At the root: the dashboard.
pub(super) fn root() -> Router<Api> {
    Router::new().route("/", any(missing))
}

async fn missing(OriginalUri(uri): OriginalUri) -> ApiError {
    let text = format!(
        "{} does not exist yet in version {}; hint: CHANGELOG.md says what does",
        match uri.path() {
            "/" => "the dashboard (/)",
            path => path,
        },
        env!("CARGO_PKG_VERSION")
    );
    ApiError::new(StatusCode::NOT_IMPLEMENTED, "not_implemented", &text)
}
