//! Audits.

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use consign_core::audit::Scope;
use consign_core::ids::{FeedName, NodeName};
use serde::{Deserialize, Serialize};
use tokio_stream::StreamExt as _;
use tokio_stream::wrappers::ReceiverStream;

use super::super::Api;
use super::super::error::ApiError;
use super::{named, parsed};
use crate::audit::{Audits, Request};
use crate::driver::refusal::Refusal;
use crate::driver::snapshot::Snapshot;
use crate::timestamp::Timestamp;

/// What an audit is asked for; an empty body asks for everything.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Wanted {
    /// Only this feed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) feed: Option<String>,
    /// Only this consumer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) to: Option<String>,
    /// Only this node's own copies of this producer's files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) from: Option<String>,
    /// Only what was submitted then or later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) since: Option<Timestamp>,
    /// Whether published copies are hashed again.
    pub(crate) read: bool,
    /// Whether a node that is set apart may go on afterwards.
    pub(crate) reconcile: bool,
}

/// `POST /audit`: one JSON object a line, as it is found; the last is the summary. Without one it broke
/// off.
pub(super) async fn run(State(api): State<Api>, body: Bytes) -> Result<Response, ApiError> {
    let wanted: Wanted = match body.is_empty() {
        true => Wanted::default(),
        false => parsed(&body)?,
    };
    let request = Request {
        reconcile: wanted.reconcile.then(|| api.handle.clone()),
        ..request(&wanted)?
    };
    let snapshot = api.handle.snapshot();
    let Some(audits) = api.audits.get().filter(|_| snapshot.ready) else {
        return Err(not_ready(&snapshot).into());
    };
    // Said at once, and not when the answer has begun.
    api.reader.caught_up().await?;
    known(&api, &request, &snapshot).await?;
    let turn = audits.turn().ok_or_else(|| {
        ApiError::new(
            StatusCode::CONFLICT,
            "refused",
            "another audit is running on this node; hint: wait for its end, or stop the command that \
             asked for it",
        )
    })?;
    let lines = Audits::begin(&api.audits, request, snapshot, turn);
    let written = ReceiverStream::new(lines).map(|line| {
        let mut text = serde_json::to_vec(&line.map_err(std::io::Error::other)?)
            .expect("our types have string keys only");
        text.push(b'\n');
        Ok::<_, std::io::Error>(Bytes::from(text))
    });
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(written)).into_response())
}

fn not_ready(snapshot: &Snapshot) -> Refusal {
    match snapshot.problems.first() {
        Some(problem) => Refusal::stopping(Some(problem)),
        None => Refusal::NotReady {
            why: "it is starting".to_owned(),
            hint: "wait until `consign status` says that it is ready".to_owned(),
        },
    }
}

fn request(wanted: &Wanted) -> Result<Request, ApiError> {
    if wanted.to.is_some() && wanted.from.is_some() {
        return Err(ApiError::invalid(
            "an audit is of one consumer (to) or of own copies (from), not both; hint: leave one out",
        ));
    }
    let is_part = wanted.to.is_some() || wanted.from.is_some();
    if wanted.reconcile && (is_part || wanted.feed.is_some() || wanted.since.is_some()) {
        return Err(ApiError::invalid(
            "only an audit of everything can reconcile a node; hint: leave the rest out",
        ));
    }
    let feed = wanted.feed.as_deref().map(named::<FeedName>).transpose()?;
    Ok(Request {
        scope: Scope {
            feed: feed.map_or(String::new(), |feed| feed.to_string()),
            since: wanted.since.map_or(0, |since| since.0),
            read: wanted.read,
        },
        to: wanted.to.as_deref().map(named::<NodeName>).transpose()?,
        from: wanted.from.as_deref().map(named::<NodeName>).transpose()?,
        reconcile: None,
    })
}

/// A name with a typing error would have an audit find nothing wrong.
async fn known(api: &Api, request: &Request, snapshot: &Snapshot) -> Result<(), ApiError> {
    let not_known = |text: String| Err(ApiError::new(StatusCode::NOT_FOUND, "not_found", &text));
    let feed = &request.scope.feed;
    if !feed.is_empty() && !is_feed(api, snapshot, feed).await? {
        return not_known(format!(
            "feed {feed} is not known here; hint: `consign feeds` lists the feeds of this node"
        ));
    }
    if let Some(to) = &request.to {
        let named = api.reader.ledger_consumers().await?;
        let is_member = |member: &str| member == to.as_str();
        if !named.iter().any(|name| is_member(name))
            && !snapshot
                .members
                .iter()
                .any(|member| is_member(&member.name))
        {
            return not_known(format!(
                "{to} is no member, and nothing was sent to it; hint: `consign nodes` lists the members"
            ));
        }
    }
    if let Some(from) = &request.from {
        let producers = api.reader.held_producers().await?;
        if !producers.iter().any(|name| name == from.as_str()) {
            return not_known(format!(
                "nothing was received from {from}; hint: `consign transfers` lists what was received"
            ));
        }
    }
    Ok(())
}

/// Whether this node has the feed, or has had files of it.
async fn is_feed(api: &Api, snapshot: &Snapshot, feed: &str) -> Result<bool, ApiError> {
    let sent = api.reader.transfer_counts().await?;
    let received = api.reader.delivery_counts().await?;
    let produces = snapshot.produces.iter().map(|own| own.feed.as_str());
    let consumes = snapshot.consumes.iter().map(|own| own.feed.as_str());
    let sent = sent.iter().map(|count| count.feed.as_str());
    let received = received.iter().map(|count| count.feed.as_str());
    let mut feeds = produces.chain(consumes).chain(sent).chain(received);
    Ok(feeds.any(|known| known == feed))
}
