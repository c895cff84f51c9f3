//! Over real sockets: who may ask, and how it ends.

use std::path::Path;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::bench::Bench;
use crate::api::{Listen, Served, serve, socket_path};

async fn served(bench: &Bench) -> (Served, watch::Sender<bool>) {
    let (stop, stopped) = watch::channel(false);
    let listen = Listen {
        data_dir: bench.dir.path().to_owned(),
        http: Some("127.0.0.1:0".parse().unwrap()),
        hosts: vec!["cam-7.lan".to_owned()],
    };
    let served = serve(bench.api.clone(), &listen, stopped).await.unwrap();
    (served, stop)
}

/// Sends a whole request, and returns the status line's code and the rest.
async fn exchange(
    mut stream: impl tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    request: &str,
) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("{answer}")), answer)
}

fn token(data_dir: &Path) -> String {
    let text = std::fs::read_to_string(data_dir.join("api-token")).unwrap();
    text.trim().to_owned()
}

#[tokio::test]
async fn over_tcp_changes_need_the_token_and_every_call_a_known_host() {
    let bench = Bench::with_transfers().await;
    let (served, _stop) = served(&bench).await;
    let addr = served.http.unwrap();
    let token = token(bench.dir.path());
    let change = "POST /api/v1/transfers/retry-failed";
    let look = "GET /api/v1/nodes";
    let good = format!("Authorization: Bearer {token}\r\n");
    let wrong = format!("Authorization: Bearer {}\r\n", "0".repeat(64));
    for (what, host, extra, code) in [
        (look, "127.0.0.1", "", 200),
        (look, "localhost:7421", "", 200),
        (look, "[::1]:7421", "", 200),
        (look, "cam-7.lan", "", 200),
        (look, "evil.example", "", 403),
        (look, "evil.example", &*good, 403),
        (look, "localhost\r\nHost: evil.example", "", 403),
        (change, "localhost", "", 401),
        (change, "localhost", &*wrong, 401),
        (change, "localhost", &*good, 200),
    ] {
        let request = format!(
            "{what} HTTP/1.1\r\nHost: {host}\r\n{extra}Connection: close\r\nContent-Length: 0\r\n\r\n"
        );
        let stream = TcpStream::connect(addr).await.unwrap();
        let (got, answer) = exchange(stream, &request).await;
        assert_eq!(got, code, "{request}\n{answer}");
    }
}

#[tokio::test]
async fn the_unix_socket_needs_no_token_and_ends_in_order() {
    let bench = Bench::new();
    let (served, stop) = served(&bench).await;
    let path = socket_path(bench.dir.path());
    let request = "POST /api/v1/transfers/retry-failed HTTP/1.1\r\nHost: x\r\n\
        Connection: close\r\nContent-Length: 0\r\n\r\n";
    let stream = UnixStream::connect(&path).await.unwrap();
    let (code, answer) = exchange(stream, request).await;
    assert_eq!(code, 200, "{answer}");
    // A connection that says nothing does not hold the end up.
    let _idle = UnixStream::connect(&path).await.unwrap();
    stop.send(true).unwrap();
    for task in served.tasks {
        let ended = tokio::time::timeout(Duration::from_secs(10), task).await;
        ended.expect("the server must stop").unwrap();
    }
    assert!(UnixStream::connect(&path).await.is_err());
}
