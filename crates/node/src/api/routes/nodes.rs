//! Members.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::response::Response;
use consign_core::view::MemberState;
use serde_json::{Value, json};

use super::super::Api;
use super::super::error::ApiError;
use super::super::stream::{self, Format};
use super::named;

/// `GET /nodes`.
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap) -> Response {
    stream::list(Format::asked(&headers), &api.handle.snapshot().members)
}

/// `POST /nodes/{name}/forget`: the node is gone for good.
pub(super) async fn forget(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    api.handle.forget(named(&name)?).await?;
    Ok(Json(json!({ "forgotten": name })))
}

/// `POST /nodes/{name}/drain`: this node takes nothing new, and finishes what it has.
pub(super) async fn drain(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    api.handle
        .drain(named(&name)?, MemberState::Draining)
        .await?;
    Ok(Json(json!({ "draining": name })))
}

/// `POST /nodes/{name}/undrain`: it takes part again.
pub(super) async fn undrain(
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<Value>, ApiError> {
    api.handle.drain(named(&name)?, MemberState::Active).await?;
    Ok(Json(json!({ "active": name })))
}
