//! The sockets: a Unix socket that only its owner can reach, and TCP on loopback.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{TcpListener, UnixListener};

use super::bounds::BACKLOG;

/// Why the API is not served. Nothing has changed; the agent does not start without it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ListenError {
    /// Another agent answers there.
    #[error(
        "another agent answers at {}; hint: stop it first, or give this one a data_dir of its own",
        path.display()
    )]
    Taken {
        /// The socket.
        path: PathBuf,
    },
    /// What is there is no socket.
    #[error("{} exists and is no socket; hint: move it out of the way", path.display())]
    NotASocket {
        /// What is there.
        path: PathBuf,
    },
    /// The system limits the length of a socket's path.
    #[error(
        "the path {} is too long for a socket; hint: choose a data_dir of less than 90 bytes",
        path.display()
    )]
    PathTooLong {
        /// The socket.
        path: PathBuf,
    },
    /// Anyone on the network could ask.
    #[error(
        "listen.http = {addr} is not a loopback address, and this version serves HTTP only there; hint: use 127.0.0.1:{} and a proxy or a tunnel",
        addr.port()
    )]
    NotLoopback {
        /// The address.
        addr: SocketAddr,
    },
    /// Others can read the token.
    #[error(
        "others than its owner can use {} (mode {mode:o}); hint: delete it, and a new token is made at the next start",
        path.display()
    )]
    TokenExposed {
        /// The token file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The token file holds something else.
    #[error(
        "{} does not hold a token of 64 hexadecimal digits; hint: delete it, and a new one is made at the next start",
        path.display()
    )]
    BadToken {
        /// The token file.
        path: PathBuf,
    },
    /// The address of listen.http is in use, not of this machine, or not allowed.
    #[error(
        "cannot listen on listen.http = {addr}: {source}; hint: give listen.http a free port, or stop what listens there"
    )]
    Http {
        /// The address.
        addr: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// The system said no.
    #[error("cannot {what}: {source}; hint: let this user write the data directory")]
    Io {
        /// What was tried.
        what: String,
        /// What the system says.
        source: io::Error,
    },
}

/// Listens on a Unix socket of mode 0600. One that a dead agent left is replaced; one that
/// answers is not.
pub(super) fn unix(path: &Path) -> Result<UnixListener, ListenError> {
    make_way(path)?;
    let failed = |source| ListenError::Io {
        what: format!("listen on {}", path.display()),
        source,
    };
    let address = SocketAddrUnix::new(path).map_err(|_| ListenError::PathTooLong {
        path: path.to_owned(),
    })?;
    let socket = listening(&address).map_err(|error| failed(error.into()))?;
    let listener = std::os::unix::net::UnixListener::from(socket);
    UnixListener::from_std(listener).map_err(failed)
}

fn listening(address: &SocketAddrUnix) -> rustix::io::Result<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    // Before it has a name: bind gives the file the socket's own mode, so that there is no moment
    // in which others could connect, and the process's umask is left alone.
    rustix::fs::fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    rustix::net::bind(&socket, address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Removes a socket that nobody answers. Two agents that start over one data directory in the same
/// moment are kept apart by the data directory's lock, not by this.
fn make_way(path: &Path) -> Result<(), ListenError> {
    use std::os::unix::fs::FileTypeExt as _;
    let failed = |source| ListenError::Io {
        what: format!("replace the socket {}", path.display()),
        source,
    };
    let there = match std::fs::symlink_metadata(path) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    let path = path.to_owned();
    if !there.file_type().is_socket() {
        return Err(ListenError::NotASocket { path });
    }
    match UnixStream::connect(&path) {
        Ok(_) => Err(ListenError::Taken { path }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(&path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

/// Listens on TCP, on loopback only.
pub(super) async fn tcp(addr: SocketAddr) -> Result<TcpListener, ListenError> {
    if !addr.ip().is_loopback() {
        return Err(ListenError::NotLoopback { addr });
    }
    TcpListener::bind(addr)
        .await
        .map_err(|source| ListenError::Http { addr, source })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[tokio::test]
    async fn only_a_dead_agents_socket_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("agent.sock");
        let first = unix(&path).unwrap();
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "nobody else may connect");
        let taken = unix(&path).unwrap_err();
        assert!(matches!(taken, ListenError::Taken { .. }), "{taken}");
        drop(first);
        unix(&path).unwrap();

        let file = dir.path().join("file");
        std::fs::write(&file, "precious").unwrap();
        let error = unix(&file).unwrap_err();
        assert!(matches!(error, ListenError::NotASocket { .. }), "{error}");
        let long = dir.path().join("x".repeat(120));
        let error = unix(&long).unwrap_err();
        assert!(matches!(error, ListenError::PathTooLong { .. }), "{error}");
    }

    #[tokio::test]
    async fn addresses_beyond_loopback_are_refused() {
        let error = tcp("0.0.0.0:0".parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, ListenError::NotLoopback { .. }), "{error}");
        let first = tcp("127.0.0.1:0".parse().unwrap()).await.unwrap();
        let taken = tcp(first.local_addr().unwrap()).await.unwrap_err();
        let port = first.local_addr().unwrap().port().to_string();
        let said = taken.to_string();
        assert!(
            said.contains("listen.http") && said.contains(&port),
            "{said}"
        );
    }
}
