//! Listings: one JSON object a line, or an array, whichever was asked for; a page at a time.

use std::io;

use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

use super::Api;
use super::bounds::PAGES_WAITING_MAX;
use super::error::ApiError;
use super::model::Live;
use crate::catalogue::{FileRow, Pages};

/// How a listing is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// `application/x-ndjson`: one object a line.
    Lines,
    /// `application/json`: an array.
    Array,
}

impl Format {
    /// What the `Accept` header asks for.
    pub(super) fn asked(headers: &HeaderMap) -> Self {
        let accepts = headers.get_all(header::ACCEPT).iter();
        let mut texts = accepts.filter_map(|value| value.to_str().ok());
        match texts.any(|text| text.contains("application/x-ndjson")) {
            true => Self::Lines,
            false => Self::Array,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Self::Lines => "application/x-ndjson",
            Self::Array => "application/json",
        })
    }

    fn response(self, body: Body) -> Response {
        ([(header::CONTENT_TYPE, self.content_type())], body).into_response()
    }
}

/// Writes items one by one into chunks.
struct Writer {
    format: Format,
    any: bool,
}

impl Writer {
    fn new(format: Format) -> Self {
        Self { format, any: false }
    }

    fn item(&mut self, out: &mut Vec<u8>, item: &impl Serialize) {
        if self.format == Format::Array {
            out.push(if self.any { b',' } else { b'[' });
        }
        self.any = true;
        serde_json::to_writer(&mut *out, item).expect("our types have string keys only");
        if self.format == Format::Lines {
            out.push(b'\n');
        }
    }

    fn end(&self, out: &mut Vec<u8>) {
        if self.format == Format::Array {
            out.extend_from_slice(if self.any { b"]\n" } else { b"[]\n" });
        }
    }
}

/// A listing that is in memory already.
pub(super) fn list<T: Serialize>(format: Format, items: &[T]) -> Response {
    let (mut writer, mut out) = (Writer::new(format), Vec::new());
    for item in items {
        writer.item(&mut out, item);
    }
    writer.end(&mut out);
    format.response(Body::from(out))
}

/// A listing of files of any length. An error on the first page is an error; on a later one
/// the body breaks off, so that nobody takes a part for the whole.
pub(super) async fn files(api: Api, pages: Pages, format: Format) -> Result<Response, ApiError> {
    let (first, rest) = api.reader.page(pages).await?;
    let (chunks, body) = mpsc::channel(PAGES_WAITING_MAX);
    tokio::spawn(send_pages(api, first, rest, format, chunks));
    Ok(format.response(Body::from_stream(ReceiverStream::new(body))))
}

type Chunks = mpsc::Sender<io::Result<Bytes>>;

/// Ends early when the listener goes away: sending then fails.
async fn send_pages(
    api: Api,
    first: Vec<FileRow>,
    mut rest: Pages,
    format: Format,
    chunks: Chunks,
) {
    let mut writer = Writer::new(format);
    let mut page = first;
    while !page.is_empty() {
        let chunk = chunk_of(&api, &mut writer, page);
        if chunks.send(Ok(chunk)).await.is_err() {
            return;
        }
        match api.reader.page(rest).await {
            Ok((next, after)) => (page, rest) = (next, after),
            Err(error) => {
                // The receiver may be gone already; then there is nobody to tell.
                let _ = chunks.send(Err(io::Error::other(error))).await;
                return;
            }
        }
    }
    let mut out = Vec::new();
    writer.end(&mut out);
    let _ = chunks.send(Ok(out.into())).await;
}

fn chunk_of(api: &Api, writer: &mut Writer, page: Vec<FileRow>) -> Bytes {
    let snapshot = api.handle.snapshot();
    let live = Live::new(&snapshot);
    let mut out = Vec::new();
    for row in page {
        writer.item(&mut out, &live.over(row));
    }
    out.into()
}
