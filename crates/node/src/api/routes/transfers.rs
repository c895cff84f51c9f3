//! Transfers: listed, shown, retried, cancelled.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::HeaderMap;
use axum::response::Response;
use consign_core::ids::TransferId;
use serde::Deserialize;

use super::super::bounds::{CATALOGUE_LAG_MAX, CATALOGUE_LOOK_EVERY};
use super::super::error::{ApiError, ErrorBody};
use super::super::model::{Acted, File, Live, RefusedTransfer};
use super::super::stream::{self, Format};
use super::super::{Api, IDS_PER_REQUEST_MAX};
use super::{named, receipts};
use crate::catalogue::{FileRow, Filter, Pages, Part, TransferRow, TransferState};
use crate::driver::handle::{Failed, Outcome};
use crate::driver::refusal::Refusal;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listing {
    state: Option<String>,
    part: Option<Side>,
    feed: Option<String>,
    to: Option<String>,
    from: Option<String>,
    limit: Option<u64>,
    #[serde(default)]
    order: Order,
    ids: Option<String>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Oldest,
    Newest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Side {
    Produced,
    Received,
}

/// `GET /transfers?state&part=produced|received&feed&to&from&limit&order=oldest|newest`, or
/// `?ids=ID,ID,…`.
pub(super) async fn list(
    State(api): State<Api>,
    query: Result<Query<Listing>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| {
        ApiError::invalid(&format!(
            "{}; hint: a listing takes state, part, feed, to, from, limit, order and ids",
            error.body_text()
        ))
    })?;
    let format = Format::asked(&headers);
    if let Some(ids) = &query.ids {
        return some(&api, ids, format).await;
    }
    let filter = Filter {
        state: query.state.as_deref().map(named).transpose()?,
        part: query.part.map(|side| match side {
            Side::Produced => Part::Produced,
            Side::Received => Part::Received,
        }),
        feed: query.feed,
        to: query.to,
        from: query.from,
        limit: query.limit,
        newest_first: query.order == Order::Newest,
    };
    stream::files(api, Pages::new(filter), format).await
}

async fn some(api: &Api, ids: &str, format: Format) -> Result<Response, ApiError> {
    let ids = ids.split(',').map(named);
    let ids = ids.collect::<Result<Vec<TransferId>, _>>()?;
    if ids.len() > IDS_PER_REQUEST_MAX {
        let text = format!(
            "{} ids are too many for one call; hint: ask for at most {IDS_PER_REQUEST_MAX}",
            ids.len()
        );
        return Err(ApiError::invalid(&text));
    }
    let rows = api.reader.some(ids).await?;
    let snapshot = api.handle.snapshot();
    let live = Live::new(&snapshot);
    let found: Vec<File> = rows.into_iter().map(|row| live.over(row)).collect();
    Ok(stream::list(format, &found))
}

/// `GET /transfers/{id}`.
pub(super) async fn one(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<File>, ApiError> {
    let id: TransferId = named(&id)?;
    let row = found(&api, id.clone()).await?;
    let snapshot = api.handle.snapshot();
    let mut file = Live::new(&snapshot).over(row);
    if let File::Produced(transfer) = &mut file {
        receipts::note_signed(&api, id, &mut transfer.consumers).await;
    }
    Ok(Json(file))
}

/// `GET /transfers/{id}/events`: its whole timeline.
pub(super) async fn events(
    State(api): State<Api>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let id: TransferId = named(&id)?;
    found(&api, id.clone()).await?;
    let events = api.reader.timeline(id).await?;
    Ok(stream::list(Format::asked(&headers), &events))
}

/// The row of a transfer. Who has just been told an id must find it, so the catalogue is given a
/// moment to catch up.
pub(super) async fn found(api: &Api, id: TransferId) -> Result<FileRow, ApiError> {
    let snapshot = api.handle.snapshot();
    let ours = id.producer.as_str() == snapshot.node;
    let may_come = ours && format!("{:016x}", id.key.start.0) == snapshot.start;
    let deadline = tokio::time::Instant::now() + CATALOGUE_LAG_MAX;
    loop {
        if let Some(row) = api.reader.file(id.clone()).await? {
            return Ok(row);
        }
        let degraded = api.reader.health().is_degraded();
        if !may_come || degraded || tokio::time::Instant::now() >= deadline {
            let refusal = match ours {
                true => Refusal::UnknownTransfer { id },
                false => Refusal::NotReceived { id },
            };
            return Err(refusal.into());
        }
        tokio::time::sleep(CATALOGUE_LOOK_EVERY).await;
    }
}

/// `POST /transfers/{id}/retry`.
pub(super) async fn retry(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Acted>, ApiError> {
    let which = Failed::These(vec![named(&id)?]);
    of_one(&api, api.handle.retry(which).await?).await
}

/// `POST /transfers/{id}/cancel`.
pub(super) async fn cancel(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Acted>, ApiError> {
    let id: TransferId = named(&id)?;
    let outcome = api.handle.cancel(vec![id.clone()]).await?;
    let Json(acted) = of_one(&api, outcome).await?;
    // It is cancelled, whatever the catalogue can say of its file.
    let note = match found(&api, id).await {
        Ok(FileRow::Produced(row)) => Some(row.given_back),
        Ok(FileRow::Received(_)) | Err(_) => None,
    };
    Ok(Json(Acted { note, ..acted }))
}

/// `POST /transfers/retry-failed`.
pub(super) async fn retry_failed(State(api): State<Api>) -> Result<Json<Acted>, ApiError> {
    let outcome = api.handle.retry(Failed::All).await?;
    let refused = outcome.refused.iter().map(|(id, refusal)| RefusedTransfer {
        id: id.to_string(),
        error: ErrorBody::from(refusal),
    });
    Ok(Json(Acted {
        files: outcome.files,
        refused: refused.collect(),
        note: None,
    }))
}

/// With a single transfer, its refusal is the answer.
async fn of_one(api: &Api, mut outcome: Outcome) -> Result<Json<Acted>, ApiError> {
    match outcome.refused.pop() {
        Some((id, refusal)) => Err(told(api, id, refusal).await.into()),
        None => Ok(Json(Acted {
            files: outcome.files,
            ..Acted::default()
        })),
    }
}

/// The producer forgets what has ended, and can only say that it does not know it. The history
/// knows more.
async fn told(api: &Api, id: TransferId, refusal: Refusal) -> Refusal {
    let ended = match &refusal {
        Refusal::UnknownTransfer { .. } | Refusal::WrongState { .. } => {
            api.reader.file(id.clone()).await.ok().flatten()
        }
        _ => None,
    };
    match ended {
        Some(FileRow::Produced(TransferRow {
            state: state @ (TransferState::Done | TransferState::Cancelled),
            ended_at: Some(since),
            ..
        })) => Refusal::WrongState {
            id,
            state: format!("{state} since {since}"),
            hint: "there is nothing left to do; `consign show` tells its story".to_owned(),
        },
        _ => refusal,
    }
}
