//! Feeds, and where their keys go.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use serde::Deserialize;

use super::super::Api;
use super::super::error::ApiError;
use super::super::model::Feed;
use super::super::stream::{self, Format};
use super::{named, status};
use crate::driver::handle::Explanation;

/// `GET /feeds`.
pub(super) async fn list(State(api): State<Api>, headers: HeaderMap) -> Response {
    let feeds = Feed::all(&status::standing(&api).await.node);
    stream::list(Format::asked(&headers), &feeds)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Question {
    feed: String,
    key: String,
}

/// `GET /explain?feed&key`.
pub(super) async fn explain(
    State(api): State<Api>,
    query: Result<Query<Question>, QueryRejection>,
) -> Result<Json<Explanation>, ApiError> {
    let Query(question) = query.map_err(|error| {
        ApiError::invalid(&format!(
            "{}; hint: ask for /explain?feed=FEED&key=KEY",
            error.body_text()
        ))
    })?;
    let explained = api
        .handle
        .explain(named(&question.feed)?, question.key)
        .await?;
    Ok(Json(explained))
}
