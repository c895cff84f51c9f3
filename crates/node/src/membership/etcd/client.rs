//! A connection to etcd, and why one fails.

use std::error::Error as StdError;
use std::future::Future;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use consign_core::ids::Start;
use etcd_client::{Certificate, Client, ConnectOptions, Identity, TlsOptions};

use super::super::bounds::{ETCD_DEADLINE, SECRET_BYTES_MAX};
use crate::config::EtcdConfig;

/// Why a session with etcd ended. Members stay as they were; it is tried again, except after
/// [`Failure::NameTaken`].
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// A file with credentials cannot be read.
    #[error(
        "cannot read {path:?}: {why}; hint: correct [membership] in the configuration, or let the agent's user read that file"
    )]
    File { path: PathBuf, why: String },
    /// etcd says no, or the connection broke.
    #[error("{}; hint: check that etcd runs at membership.endpoints, and the credentials for it", plain(.0))]
    Client(#[from] etcd_client::Error),
    /// It does not answer.
    #[error("etcd has not answered for {} s; hint: check that it runs at membership.endpoints and has a quorum", ETCD_DEADLINE.as_secs())]
    Slow,
    /// Something that lasts has come to its end.
    #[error("{0} has ended; hint: nothing to do, it is begun again")]
    Ended(&'static str),
    /// Another node that runs has this node's name.
    #[error("another node runs under this name")]
    NameTaken(Start),
}

/// What etcd said, or what kept it from being asked, without the layers in between.
fn plain(error: &etcd_client::Error) -> String {
    let etcd_client::Error::GRpcStatus(status) = error else {
        return error.to_string();
    };
    let mut innermost = status.source();
    while let Some(deeper) = innermost.and_then(StdError::source) {
        innermost = Some(deeper);
    }
    match innermost {
        Some(cause) => format!("{}: {cause}", status.message()),
        None => status.message().to_owned(),
    }
}

/// Waits for one answer.
///
/// # Errors
/// [`Failure::Slow`] when it does not come.
pub(super) async fn within<T>(
    request: impl Future<Output = Result<T, etcd_client::Error>>,
) -> Result<T, Failure> {
    match tokio::time::timeout(ETCD_DEADLINE, request).await {
        Ok(answer) => Ok(answer?),
        Err(_elapsed) => Err(Failure::Slow),
    }
}

/// Connects. Files with credentials are read anew each time, so that they may be replaced while the
/// agent runs.
pub(super) async fn connect(config: &EtcdConfig) -> Result<Client, Failure> {
    let mut options = ConnectOptions::new()
        .with_connect_timeout(ETCD_DEADLINE)
        .with_tcp_keepalive(Duration::from_secs(10))
        .with_require_leader(true);
    if let Some((user, password_file)) = &config.login {
        let password = text(password_file)?;
        options = options.with_user(user, password.trim_end_matches(['\r', '\n']));
    }
    if config.endpoints.iter().any(|at| at.starts_with("https://")) {
        options = options.with_tls(tls(config)?);
    }
    within(Client::connect(&config.endpoints, Some(options))).await
}

fn tls(config: &EtcdConfig) -> Result<TlsOptions, Failure> {
    let mut tls = TlsOptions::new();
    if let Some(ca) = &config.ca {
        tls = tls.ca_certificate(Certificate::from_pem(text(ca)?));
    }
    if let Some((cert, key)) = &config.identity {
        tls = tls.identity(Identity::from_pem(text(cert)?, text(key)?));
    }
    Ok(tls)
}

/// A small file, whole.
fn text(path: &Path) -> Result<String, Failure> {
    let failed = |why: String| Failure::File {
        path: path.to_owned(),
        why,
    };
    let file = std::fs::File::open(path).map_err(|error| failed(error.to_string()))?;
    let mut text = String::new();
    file.take(SECRET_BYTES_MAX)
        .read_to_string(&mut text)
        .map_err(|error| failed(error.to_string()))?;
    Ok(text)
}
