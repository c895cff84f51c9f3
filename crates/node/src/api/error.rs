//! Errors as the API says them: `{"error": {"kind", "message", "hint"}}` and a status.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::catalogue::QueryError;
use crate::driver::refusal::{Refusal, RefusalKind};

/// What went wrong, for scripts (`kind`) and for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorBody {
    /// `not_found`, `refused`, `queue_full`, `no_space`, `invalid`, `not_ready`, `too_large`,
    /// `unauthorized`, `unavailable` or `not_implemented`.
    pub(crate) kind: String,
    /// What failed, on which thing.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: String,
}

/// The envelope of an [`ErrorBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ErrorEnvelope {
    /// The error.
    pub(crate) error: ErrorBody,
}

/// An answer that is an error.
#[derive(Debug, Clone)]
pub(crate) struct ApiError {
    status: StatusCode,
    body: ErrorBody,
}

impl ErrorBody {
    /// Splits a message that ends in `hint: …`, as all of ours do.
    pub(crate) fn new(kind: &str, text: &str) -> Self {
        let (message, hint) = crate::hint::split(text);
        Self {
            kind: kind.to_owned(),
            message: message.to_owned(),
            hint: hint.to_owned(),
        }
    }
}

impl From<&Refusal> for ErrorBody {
    fn from(refusal: &Refusal) -> Self {
        Self::new(refusal.kind().as_str(), &refusal.to_string())
    }
}

impl ApiError {
    /// An error with a status and a text that ends in `; hint: …`.
    pub(super) fn new(status: StatusCode, kind: &str, text: &str) -> Self {
        Self {
            status,
            body: ErrorBody::new(kind, text),
        }
    }

    /// The request is wrong.
    pub(super) fn invalid(text: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "invalid", text)
    }
}

impl From<Refusal> for ApiError {
    fn from(refusal: Refusal) -> Self {
        let status = match refusal.kind() {
            RefusalKind::NotFound => StatusCode::NOT_FOUND,
            RefusalKind::Refused => StatusCode::CONFLICT,
            RefusalKind::QueueFull => StatusCode::TOO_MANY_REQUESTS,
            RefusalKind::NoSpace => StatusCode::INSUFFICIENT_STORAGE,
            RefusalKind::Invalid => StatusCode::BAD_REQUEST,
            RefusalKind::NotReady => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self {
            status,
            body: ErrorBody::from(&refusal),
        }
    }
}

impl From<QueryError> for ApiError {
    fn from(error: QueryError) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "unavailable",
            &error.to_string(),
        )
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let envelope = ErrorEnvelope { error: self.body };
        let mut response = (self.status, Json(envelope)).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            let scheme = header::HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}
