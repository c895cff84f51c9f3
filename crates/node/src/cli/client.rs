//! The command line's HTTP client: one connection for each request, over a Unix socket or TCP.

use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::address::Address;
use super::exit::{Exit, Failure};
use crate::api::error::{ErrorBody, ErrorEnvelope};

/// How long a connection may take.
const CONNECT_DEADLINE: Duration = Duration::from_secs(5);
/// How long an agent may think before it begins to answer a question. Changes are waited for as
/// long as they take: they end when their syncs do.
const ANSWER_DEADLINE: Duration = Duration::from_secs(60);
/// Longest line of a listing, in bytes: far more than any object of ours.
const LINE_BYTES_MAX: usize = 8 << 20;

/// A way to an agent.
#[derive(Debug, Clone)]
pub(crate) struct Client {
    address: Address,
    token: Option<String>,
}

impl Client {
    /// Nothing is connected yet. `token` is sent along over HTTP.
    pub(crate) fn new(address: Address, token: Option<String>) -> Self {
        Self { address, token }
    }

    /// Asks for one object.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self.ask(Method::GET, path, Bytes::new(), false).await?;
        self.object(response).await
    }

    /// Asks for a change.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        let body = serde_json::to_vec(body).expect("our types have string keys only");
        let response = self.ask(Method::POST, path, body.into(), false).await?;
        self.object(response).await
    }

    /// Asks for a listing, which is read line by line.
    pub(crate) async fn list(&self, path: &str) -> Result<Lines, Failure> {
        let response = self.ask(Method::GET, path, Bytes::new(), true).await?;
        Ok(Lines::of(response))
    }

    /// Asks for something to be done that tells line by line how it goes.
    pub(crate) async fn stream(&self, path: &str, body: &impl Serialize) -> Result<Lines, Failure> {
        let body = serde_json::to_vec(body).expect("our types have string keys only");
        let response = self.ask(Method::POST, path, body.into(), true).await?;
        Ok(Lines::of(response))
    }

    /// Asks for a listing, all at once: for short ones.
    pub(crate) async fn all<T: DeserializeOwned>(&self, path: &str) -> Result<Vec<T>, Failure> {
        let mut lines = self.list(path).await?;
        let mut all = Vec::new();
        while let Some(line) = lines.next().await? {
            all.push(read(&line)?);
        }
        Ok(all)
    }

    async fn object<T: DeserializeOwned>(
        &self,
        response: Response<Incoming>,
    ) -> Result<T, Failure> {
        let body = response.into_body().collect().await;
        let body = body.map_err(|error| broke_off(&error))?;
        read(&body.to_bytes())
    }

    /// Sends a request, and returns its answer if that is no error.
    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        lines: bool,
    ) -> Result<Response<Incoming>, Failure> {
        let patient = method != Method::GET;
        let request = self.request(method, path, body, lines);
        let answer = self.exchange(request);
        let response = match patient {
            true => answer.await?,
            false => match tokio::time::timeout(ANSWER_DEADLINE, answer).await {
                Ok(response) => response?,
                Err(_elapsed) => {
                    return Err(self.unreachable("it took the question and does not answer"));
                }
            },
        };
        match response.status().is_success() {
            true => Ok(response),
            false => Err(refused(response).await),
        }
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
        lines: bool,
    ) -> Request<Full<Bytes>> {
        let host = match &self.address {
            Address::Unix(_) => "localhost",
            Address::Http(host) => host,
        };
        let accept = match lines {
            true => "application/x-ndjson",
            false => "application/json",
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/api/v1{path}"))
            .header(HOST, host)
            .header(ACCEPT, accept)
            .header(CONTENT_TYPE, "application/json");
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        request
            .body(Full::new(body))
            .expect("paths are encoded, and the token was checked")
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failure> {
        let connected = match &self.address {
            Address::Unix(path) => {
                let stream = within(UnixStream::connect(path)).await;
                self.talk(stream.map_err(|e| self.cannot_connect(&e))?, request)
                    .await
            }
            Address::Http(host) => {
                let stream = within(TcpStream::connect(host)).await;
                self.talk(stream.map_err(|e| self.cannot_connect(&e))?, request)
                    .await
            }
        };
        connected.map_err(|error| self.unreachable(&format!("it hung up: {error}")))
    }

    async fn talk(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
        request: Request<Full<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the response's body; what goes wrong in it is told there.
        tokio::spawn(connection);
        sender.send_request(request).await
    }

    fn cannot_connect(&self, error: &io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::PermissionDenied => Failure::with(
                Exit::Unreachable,
                format!(
                    "the agent at {} may not be asked by this user: {error}; hint: run this as \
                     the agent's user",
                    self.address
                ),
            ),
            _ => self.unreachable(&error.to_string()),
        }
    }

    fn unreachable(&self, why: &str) -> Failure {
        Failure::with(
            Exit::Unreachable,
            format!(
                "no agent answers at {}: {why}; hint: start it with `consign agent --config FILE`, \
                 or name another with --agent or --config",
                self.address
            ),
        )
    }
}

async fn within<T>(connecting: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match tokio::time::timeout(CONNECT_DEADLINE, connecting).await {
        Ok(connected) => connected,
        Err(_elapsed) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// Lines of a listing as they come.
pub(crate) struct Lines {
    body: Incoming,
    buffer: Vec<u8>,
    ended: bool,
}

impl Lines {
    fn of(response: Response<Incoming>) -> Self {
        Self {
            body: response.into_body(),
            buffer: Vec::new(),
            ended: false,
        }
    }

    /// The next line, without its end; `None` after the last.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        let mut searched = 0;
        loop {
            let end = self.buffer[searched..].iter().position(|&b| b == b'\n');
            if let Some(end) = end {
                let rest = self.buffer.split_off(searched + end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                return Ok(Some(line));
            }
            searched = self.buffer.len();
            if self.ended {
                return match searched {
                    0 => Ok(None),
                    _ => Err(broke_off(&"the last line has no end")),
                };
            }
            if searched > LINE_BYTES_MAX {
                return Err(broke_off(&"a line is too long"));
            }
            match self.body.frame().await {
                Some(Ok(frame)) => self
                    .buffer
                    .extend_from_slice(frame.data_ref().map_or(&[], |data| data)),
                Some(Err(error)) => return Err(broke_off(&error)),
                None => self.ended = true,
            }
        }
    }
}

/// Reads an object that the agent sent.
pub(crate) fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(json).map_err(|error| {
        Failure::failed(format!(
            "the answer is not understood: {error}; hint: are the agent and this program of the \
             same version?"
        ))
    })
}

fn broke_off(why: &dyn std::fmt::Display) -> Failure {
    Failure::with(
        Exit::Unreachable,
        format!("the answer broke off: {why}; hint: what was printed is incomplete, ask again"),
    )
}

async fn refused(response: Response<Incoming>) -> Failure {
    let status = response.status();
    let body = response.into_body().collect().await;
    let body = body.map(|body| body.to_bytes()).unwrap_or_default();
    match serde_json::from_slice::<ErrorEnvelope>(&body) {
        Ok(envelope) if envelope.error.kind == "unauthorized" => Failure::from(ErrorBody {
            hint: "set CONSIGN_TOKEN to what is in api-token in the agent's data directory, or \
                   use its Unix socket"
                .to_owned(),
            ..envelope.error
        }),
        Ok(envelope) => Failure::from(envelope.error),
        Err(_) => Failure::failed(format!(
            "the agent answers {status} and nothing that is understood; hint: is it consign that \
             listens there?"
        )),
    }
}

/// A text as one component of a path or a query value.
pub(crate) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}
