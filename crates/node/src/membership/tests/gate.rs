//! A door in front of an address, that can be shut: what is behind it is away then, and runs on.

use std::net::SocketAddr;

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// See the module. It ends with the test.
pub(super) struct Gate {
    addr: SocketAddr,
    open: watch::Sender<bool>,
}

impl Gate {
    pub(super) async fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (open, is_open) = watch::channel(true);
        tokio::spawn(async move {
            while let Ok((outside, _)) = listener.accept().await {
                tokio::spawn(pass(outside, behind, is_open.clone()));
            }
        });
        Self { addr, open }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends what goes through, and lets nothing in.
    pub(super) fn shut(&self) {
        self.open.send_replace(false);
    }

    pub(super) fn open(&self) {
        self.open.send_replace(true);
    }
}

async fn pass(mut outside: TcpStream, behind: SocketAddr, mut is_open: watch::Receiver<bool>) {
    let through = async {
        if let Ok(mut inside) = TcpStream::connect(behind).await {
            // Either side may break it off.
            let _ = copy_bidirectional(&mut outside, &mut inside).await;
        }
    };
    tokio::select! {
        biased;
        _ = is_open.wait_for(|open| !open) => {}
        () = through => {}
    }
}
