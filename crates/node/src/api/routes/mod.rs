//! The routes, a file for each thing that they are about.

pub(crate) mod audit;
mod events;
mod feeds;
mod files;
mod later;
mod nodes;
mod probes;
mod receipts;
mod status;
mod transfers;

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::extract::OriginalUri;
use axum::http::{Method, StatusCode};
use axum::routing::{get, post, put};
use serde::de::DeserializeOwned;

use super::error::ApiError;
use super::{Api, REQUEST_BYTES_MAX};

/// Everything that the API answers.
pub(super) fn all() -> Router<Api> {
    let api = Router::new()
        .route("/feeds/{feed}/files", post(files::submit))
        .route("/feeds/{feed}/files/{*name}", put(files::put))
        .route("/transfers", get(transfers::list))
        .route("/transfers/retry-failed", post(transfers::retry_failed))
        .route("/transfers/{id}", get(transfers::one))
        .route("/transfers/{id}/events", get(transfers::events))
        .route("/transfers/{id}/receipts", get(receipts::document))
        .route("/transfers/{id}/retry", post(transfers::retry))
        .route("/transfers/{id}/cancel", post(transfers::cancel))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{name}/forget", post(nodes::forget))
        .route("/nodes/{name}/drain", post(nodes::drain))
        .route("/nodes/{name}/undrain", post(nodes::undrain))
        .route("/feeds", get(feeds::list))
        .route("/explain", get(feeds::explain))
        .route("/status", get(status::status))
        .route("/audit", post(audit::run))
        .route("/events", get(events::events))
        .merge(later::routes());
    Router::new()
        .nest("/api/v1", api.merge(probes()))
        .merge(probes())
        .merge(later::root())
        .fallback(unknown)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
}

/// At the root, where orchestrators and scrapers look, and beside the rest of the API.
fn probes() -> Router<Api> {
    Router::new()
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz))
        .route("/metrics", get(probes::metrics))
}

async fn unknown(OriginalUri(uri): OriginalUri) -> ApiError {
    let text = format!(
        "there is nothing at {}; hint: the API is under /api/v1, for example /api/v1/status",
        uri.path()
    );
    ApiError::new(StatusCode::NOT_FOUND, "not_found", &text)
}

async fn wrong_method(method: Method, OriginalUri(uri): OriginalUri) -> ApiError {
    let text = format!(
        "{method} does not work on {}; hint: what reads is GET, what changes is POST or PUT",
        uri.path()
    );
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "invalid", &text)
}

/// Reads a JSON body.
fn parsed<T: DeserializeOwned>(body: &[u8]) -> Result<T, ApiError> {
    serde_json::from_slice(body).map_err(|error| {
        ApiError::invalid(&format!(
            "the body is not what is expected here: {error}; hint: send JSON, for example \
             {{\"path\": \"/srv/out/a.jpg\"}}"
        ))
    })
}

/// Reads a name, an id or a state out of a path or a query.
fn named<T: std::str::FromStr<Err: std::fmt::Display>>(text: &str) -> Result<T, ApiError> {
    text.parse()
        .map_err(|error: T::Err| ApiError::invalid(&error.to_string()))
}
