//! A TCP proxy that counts what goes to the node behind it, and can slow it down: so that a test
//! knows what was sent again, and a kill hits a transfer in the middle.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// What is passed on at once, in bytes.
const BLOCK_BYTES: usize = 64 << 10;

#[derive(Debug)]
struct Shared {
    target: u16,
    sent: AtomicU64,
    /// 0 is as fast as it goes.
    bytes_per_second: AtomicU64,
    /// No more than so many are passed on.
    hold_at: AtomicU64,
    free_at: Mutex<Instant>,
    is_cut: AtomicBool,
    /// The kind of the message of the node at which every connection is cut; 0 for none.
    cut_at: AtomicU8,
    open: Mutex<Vec<TcpStream>>,
    /// Connections that neither side has ended.
    alive: AtomicUsize,
}

/// How often a held proxy looks whether it may go on.
const HOLD_LOOK_EVERY: Duration = Duration::from_millis(2);

/// A proxy in front of one node.
#[derive(Debug)]
pub(crate) struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
}

impl Proxy {
    pub(crate) fn in_front_of(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shared = Arc::new(Shared {
            target: port,
            sent: AtomicU64::new(0),
            bytes_per_second: AtomicU64::new(0),
            hold_at: AtomicU64::new(u64::MAX),
            free_at: Mutex::new(Instant::now()),
            is_cut: AtomicBool::new(false),
            cut_at: AtomicU8::new(0),
            open: Mutex::default(),
            alive: AtomicUsize::new(0),
        });
        let addr = listener.local_addr().unwrap();
        let accepting = Arc::clone(&shared);
        // Ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&accepting);
                thread::spawn(move || shared.connect(client));
            }
        });
        Self { addr, shared }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Bytes that were passed on to the node so far.
    pub(crate) fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// Connections to the node that neither side has ended, as far as all before the end is passed on.
    pub(crate) fn alive(&self) -> usize {
        self.shared.alive.load(Ordering::Relaxed)
    }

    /// Passes on at most so many bytes a second.
    pub(crate) fn slow_down(&self, bytes_per_second: u64) {
        let rate = &self.shared.bytes_per_second;
        rate.store(bytes_per_second, Ordering::Relaxed);
    }

    /// Passes on so many bytes, but for what is on its way, and no more until it is let go on.
    pub(crate) fn hold_at(&self, bytes: u64) {
        self.shared.hold_at.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn go_on(&self) {
        self.hold_at(u64::MAX);
    }

    /// Breaks every connection, and lets no new one through until it is mended.
    pub(crate) fn cut(&self) {
        self.shared.cut();
    }

    /// Cuts as soon as the node says a message of this kind, which nobody hears. Before anybody connects.
    pub(crate) fn cut_at(&self, kind: u8) {
        self.shared.cut_at.store(kind, Ordering::Relaxed);
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.shared.is_cut.load(Ordering::Relaxed)
    }

    pub(crate) fn mend(&self) {
        self.shared.cut_at.store(0, Ordering::Relaxed);
        self.shared.is_cut.store(false, Ordering::Relaxed);
    }
}

impl Shared {
    fn connect(self: Arc<Self>, client: TcpStream) {
        if self.is_cut.load(Ordering::Relaxed) {
            return;
        }
        // The node is down: then the client's connection breaks too.
        let Ok(node) = TcpStream::connect(("127.0.0.1", self.target)) else {
            return;
        };
        for stream in [&client, &node] {
            stream.set_nodelay(true).unwrap();
            self.open.lock().unwrap().push(stream.try_clone().unwrap());
        }
        let (back_from, back_to) = (node.try_clone().unwrap(), client.try_clone().unwrap());
        let back = Arc::clone(&self);
        thread::spawn(move || match back.cut_at.load(Ordering::Relaxed) {
            0 => pass(&back_from, &back_to, |_| {}),
            kind => back.pass_until(kind, &back_from, &back_to),
        });
        self.alive.fetch_add(1, Ordering::Relaxed);
        pass(&client, &node, |bytes| self.count(bytes));
        self.alive.fetch_sub(1, Ordering::Relaxed);
    }

    fn cut(&self) {
        self.is_cut.store(true, Ordering::Relaxed);
        for stream in self.open.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Passes frames on until one is of this kind.
    fn pass_until(&self, kind: u8, mut from: &TcpStream, mut to: &TcpStream) {
        let mut head = [0; 20];
        while from.read_exact(&mut head).is_ok() {
            if head[4] == kind {
                return self.cut();
            }
            let length = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().unwrap());
            let mut body = vec![0; (length(8) + length(12)) as usize];
            let passed = from.read_exact(&mut body).is_ok()
                && to.write_all(&head).is_ok()
                && to.write_all(&body).is_ok();
            if !passed {
                break;
            }
        }
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    fn count(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        while self.sent.load(Ordering::Relaxed) >= self.hold_at.load(Ordering::Relaxed) {
            thread::sleep(HOLD_LOOK_EVERY);
        }
        let rate = self.bytes_per_second.load(Ordering::Relaxed);
        if rate == 0 {
            return;
        }
        let until = {
            let mut free_at = self.free_at.lock().unwrap();
            *free_at = (*free_at).max(Instant::now())
                + Duration::from_secs_f64(bytes as f64 / rate as f64);
            *free_at
        };
        thread::sleep(until.saturating_duration_since(Instant::now()));
    }
}

/// Passes bytes on until either side ends.
fn pass(mut from: &TcpStream, mut to: &TcpStream, count: impl Fn(usize)) {
    let mut block = vec![0; BLOCK_BYTES];
    while let Ok(length @ 1..) = from.read(&mut block) {
        if to.write_all(&block[..length]).is_err() {
            break;
        }
        count(length);
    }
    let _ = from.shutdown(Shutdown::Both);
    let _ = to.shutdown(Shutdown::Both);
}
