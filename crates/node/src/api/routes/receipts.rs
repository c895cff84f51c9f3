//! What consumers have signed for a transfer.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use consign_core::ids::TransferId;

use super::super::Api;
use super::super::error::ApiError;
use super::super::model::{Consumer, File, Live};
use super::{named, transfers};
use crate::receipts::{Document, ReadError};

/// How long a listing of consumers waits for the archive: who is told that a file is done finds its
/// receipts.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a consumer's receipt is called that it has signed.
const SIGNED: &str = "signed";
/// And one of which there is no signature.
const UNSIGNED: &str = "unsigned";

impl From<ReadError> for ApiError {
    fn from(error: ReadError) -> Self {
        let status = StatusCode::SERVICE_UNAVAILABLE;
        Self::new(status, "unavailable", &error.to_string())
    }
}

/// `GET /transfers/{id}/receipts`: the document that `consign receipt verify` checks.
pub(super) async fn document(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Document>, ApiError> {
    let id: TransferId = named(&id)?;
    let node = api.handle.snapshot().node.clone();
    if id.producer.as_str() != node {
        let producer = &id.producer;
        return Err(none(&format!(
            "receipts of {id} are not here; hint: they are kept by its producer, so ask the agent of {producer}"
        )));
    }
    match api.receipts.document(id.clone()).await? {
        Some(document) => Ok(Json(document)),
        None => Err(why_none(&api, id).await),
    }
}

/// Notes which consumers of a transfer of this node have signed that they have it. Where the archive
/// cannot tell, nothing is said.
pub(super) async fn note_signed(api: &Api, id: TransferId, consumers: &mut [Consumer]) {
    if consumers.iter().all(|one| one.state != "saved") {
        // Nobody hurries the archive by asking again and again whether a file is there yet.
        return;
    }
    let signers = match api.receipts.signers(id, PATIENCE).await {
        Ok(signers) => signers.unwrap_or_default(),
        Err(_behind) => return,
    };
    for consumer in consumers.iter_mut().filter(|one| one.state == "saved") {
        let word = match signers.contains(&consumer.node) {
            true => SIGNED,
            false => UNSIGNED,
        };
        consumer.receipt = Some(word.to_owned());
    }
}

/// Why there is no receipt of a transfer.
async fn why_none(api: &Api, id: TransferId) -> ApiError {
    let row = match transfers::found(api, id.clone()).await {
        Ok(row) => row,
        Err(unknown) => return unknown,
    };
    let File::Produced(transfer) = Live::new(&api.handle.snapshot()).over(row) else {
        return none(&format!(
            "{id} was received here, and its receipts are kept by its producer; hint: ask the agent of {}",
            id.producer
        ));
    };
    let saved = transfer.consumers.iter().filter(|one| one.state == "saved");
    let saved: Vec<&str> = saved.map(|one| one.node.as_str()).collect();
    if saved.is_empty() {
        return none(&format!(
            "there is no receipt of {id} yet: no consumer has saved it, it is {}; hint: `consign show {id}` says where it is",
            transfer.state
        ));
    }
    let saved = saved.join(" and ");
    none(&match api.receipts.is_kept() {
        false => format!(
            "nobody has signed for {id}: {saved} saved it, and without keys nothing is signed; hint: give the nodes keys, see `consign keys init`; files that are saved from then on have receipts"
        ),
        true => format!(
            "nobody has signed for {id}: {saved} saved it without keys, or in a version of consign that signs nothing, or the receipt was in an archive that was lost; hint: look at `consign status` and at the version of {saved}"
        ),
    })
}

fn none(text: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not_found", text)
}
