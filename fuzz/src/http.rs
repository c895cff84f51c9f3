//! The HTTP interface of an agent.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::OnceLock;
use std::time::Duration;

use consign::untrusted::HttpServer;
use tempfile::TempDir;

/// No answer takes longer: what is not a whole request ends with the connection.
const ANSWER_DEADLINE: Duration = Duration::from_secs(20);

/// What a client sends, over the Unix socket, or over TCP when the first byte is odd. The answer is
/// one of HTTP, or the connection is closed.
///
/// # Panics
/// When it is neither, or there is none in time.
pub fn http(data: &[u8]) {
    let Some((&over, request)) = data.split_first() else {
        return;
    };
    let server = &server().0;
    let answer = match over % 2 {
        0 => {
            let mut stream = UnixStream::connect(&server.socket).expect("it listens");
            stream
                .set_read_timeout(Some(ANSWER_DEADLINE))
                .expect("a socket");
            // It may have closed the connection already.
            let _ = stream.write_all(request);
            let _ = stream.shutdown(Shutdown::Write);
            all_of(&mut stream)
        }
        _ => {
            let mut stream = TcpStream::connect(server.tcp).expect("it listens");
            stream
                .set_read_timeout(Some(ANSWER_DEADLINE))
                .expect("a socket");
            let _ = stream.write_all(request);
            let _ = stream.shutdown(Shutdown::Write);
            all_of(&mut stream)
        }
    };
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1."),
        "{}",
        String::from_utf8_lossy(&answer)
    );
}

fn all_of(stream: &mut impl std::io::Read) -> Vec<u8> {
    let mut answer = Vec::new();
    if let Err(error) = stream.take(1 << 20).read_to_end(&mut answer) {
        assert_ne!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "no end of the answer"
        );
    }
    answer
}

fn server() -> &'static (HttpServer, TempDir) {
    static SERVER: OnceLock<(HttpServer, TempDir)> = OnceLock::new();
    SERVER.get_or_init(|| {
        let dir = TempDir::new().expect("a directory");
        let server = HttpServer::start(dir.path()).expect("it starts");
        (server, dir)
    })
}
