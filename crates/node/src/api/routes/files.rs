//! Files coming in: by path, or as a body.

use std::collections::BTreeMap;
use std::path::PathBuf;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use consign_core::ids::FeedName;
use consign_core::limits::SMALL_FILE_BYTES_MAX;
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;

use super::super::Api;
use super::super::bounds::BODY_DEADLINE;
use super::super::error::{ApiError, ErrorBody};
use super::super::model::{Submission, Transfer};
use super::super::stream::{self, Format};
use super::{named, parsed};
use crate::driver::bounds::FILES_PER_SUBMIT_MAX;
use crate::driver::handle::{SubmitBytes, SubmitRequest};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct FileByPath {
    path: String,
    name: Option<String>,
    key: Option<String>,
    #[serde(default)]
    meta: BTreeMap<String, String>,
}

/// `POST /feeds/{feed}/files`: one file by its path, or an array of them.
pub(super) async fn submit(
    State(api): State<Api>,
    Path(feed): Path<String>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let feed: FeedName = named(&feed)?;
    let body = body.map_err(|_| {
        let text = format!(
            "the list of files is too long; hint: send at most {FILES_PER_SUBMIT_MAX} files in one call"
        );
        ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &text)
    })?;
    let is_array = body.trim_ascii_start().first() == Some(&b'[');
    if is_array {
        let results = submit_all(&api, &feed, parsed(&body)?).await?;
        return Ok(stream::list(Format::asked(&headers), &results));
    }
    let request = requested(&feed, parsed(&body)?)?;
    let mut results = api.handle.submit(vec![request]).await?;
    let result = results.pop().expect("the driver answers for each file");
    let transfer = Transfer::accepted(feed.as_str(), result?);
    Ok((StatusCode::CREATED, Json(transfer)).into_response())
}

async fn submit_all(
    api: &Api,
    feed: &FeedName,
    files: Vec<FileByPath>,
) -> Result<Vec<Submission>, ApiError> {
    if files.len() > FILES_PER_SUBMIT_MAX {
        let text = format!(
            "{} files are too many for one call; hint: send at most {FILES_PER_SUBMIT_MAX}",
            files.len()
        );
        return Err(ApiError::invalid(&text));
    }
    let paths: Vec<String> = files.iter().map(|file| file.path.clone()).collect();
    let requests = files.into_iter().map(|file| requested(feed, file));
    let requests = requests.collect::<Result<Vec<_>, _>>()?;
    let results = api.handle.submit(requests).await?;
    assert_eq!(
        results.len(),
        paths.len(),
        "the driver answers for each file"
    );
    let told = results
        .into_iter()
        .zip(paths)
        .map(|(result, path)| match result {
            Ok(accepted) => Submission::Accepted(Transfer::accepted(feed.as_str(), accepted)),
            Err(refusal) => Submission::Refused {
                path,
                error: ErrorBody::from(&refusal),
            },
        });
    Ok(told.collect())
}

fn requested(feed: &FeedName, file: FileByPath) -> Result<SubmitRequest, ApiError> {
    let path = PathBuf::from(&file.path);
    if !path.is_absolute() {
        let text = format!(
            "the path {:?} is not absolute; hint: the agent does not know your working directory, \
             begin it with /",
            file.path
        );
        return Err(ApiError::invalid(&text));
    }
    Ok(SubmitRequest {
        feed: feed.clone(),
        path,
        name: file.name,
        key: file.key,
        meta: file.meta,
    })
}

/// `PUT /feeds/{feed}/files/{name}?key=…&meta.x=…`: the body is the file. `201` means that it is
/// synced.
pub(super) async fn put(
    State(api): State<Api>,
    Path((feed, name)): Path<(String, String)>,
    Query(query): Query<Vec<(String, String)>>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let feed: FeedName = named(&feed)?;
    let (mut key, mut meta) = (None, BTreeMap::new());
    for (field, value) in query {
        match field.strip_prefix("meta.") {
            Some(entry) => drop(meta.insert(entry.to_owned(), value)),
            None if field == "key" => key = Some(value),
            None => {
                let text = format!(
                    "{field:?} means nothing here; hint: the query may have key and meta.NAME"
                );
                return Err(ApiError::invalid(&text));
            }
        }
    }
    let bytes = small_body(&headers, body).await?;
    let file = SubmitBytes {
        feed: feed.clone(),
        name,
        key,
        meta,
        bytes,
    };
    let accepted = api.handle.submit_bytes(file).await?;
    let transfer = Transfer::accepted(feed.as_str(), accepted);
    Ok((StatusCode::CREATED, Json(transfer)).into_response())
}

/// Reads a body of at most [`SMALL_FILE_BYTES_MAX`]; one that says that it is larger is not read.
async fn small_body(headers: &HeaderMap, body: Body) -> Result<Bytes, ApiError> {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if length.is_some_and(|length| length > SMALL_FILE_BYTES_MAX) {
        return Err(too_large());
    }
    let limit = usize::try_from(SMALL_FILE_BYTES_MAX).expect("a small constant");
    let collected = Limited::new(body, limit).collect();
    match tokio::time::timeout(BODY_DEADLINE, collected).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large()),
        Ok(Err(error)) => Err(ApiError::invalid(&format!(
            "the body broke off: {error}; hint: send it again, nothing was submitted"
        ))),
        Err(_elapsed) => Err(ApiError::new(
            StatusCode::REQUEST_TIMEOUT,
            "invalid",
            "the body did not arrive in 60 s; hint: send it again, nothing was submitted",
        )),
    }
}

fn too_large() -> ApiError {
    let text = format!(
        "a body may have {SMALL_FILE_BYTES_MAX} bytes in this version; hint: hand a larger file \
         over by its path: POST {{\"path\": …}} to /api/v1/feeds/FEED/files, or `consign send`"
    );
    ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", &text)
}
