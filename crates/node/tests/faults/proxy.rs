//! A TCP proxy of the tests' own in front of one agent: it passes bytes on, late, in crumbs, cut off
//! in the middle of a frame, or with one bit wrong.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::rng::Rng;

const BUFFER_BYTES: usize = 64 << 10;
/// Buffers with less are control messages, mostly; a chunk's bytes come in longer ones.
const DATA_BYTES_MIN: usize = 16 << 10;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// Each buffer waits so many ms.
    Delay(u64),
    /// Each buffer waits up to so many ms.
    Jitter(u64),
    /// At most so many bytes at a time, each followed by a ms of nothing.
    Trickle(usize),
    /// Both directions end in the middle of a long buffer.
    Cut,
    /// A bit of a long buffer is flipped.
    Flip,
    /// The same, while nothing but a large file is on its way.
    FlipChunk,
}

/// What the proxy does, and what it did.
#[derive(Debug)]
pub(crate) struct Proxy {
    fault: Mutex<Fault>,
    rng: Mutex<Rng>,
    /// Connections that are open.
    pub(crate) open: AtomicU64,
    /// Connections cut and bits flipped.
    pub(crate) done: AtomicU64,
}

impl Proxy {
    /// Passes on to `to` whatever comes to the listener, until the process ends.
    pub(crate) fn start(listener: TcpListener, to: String, seed: u64) -> Arc<Self> {
        let proxy = Arc::new(Self {
            fault: Mutex::new(Fault::None),
            rng: Mutex::new(Rng::new(seed)),
            open: AtomicU64::new(0),
            done: AtomicU64::new(0),
        });
        let accepting = Arc::clone(&proxy);
        thread::spawn(move || {
            for near in listener.incoming().flatten() {
                // An agent that is not there refuses, and so does the proxy, by closing.
                if let Ok(far) = TcpStream::connect(&to) {
                    accepting.join(near, far);
                }
            }
        });
        proxy
    }

    pub(crate) fn set(&self, fault: Fault) {
        *self.fault.lock().unwrap() = fault;
    }

    fn join(self: &Arc<Self>, near: TcpStream, far: TcpStream) {
        self.open.fetch_add(1, Ordering::SeqCst);
        let (near_too, far_too) = (near.try_clone().unwrap(), far.try_clone().unwrap());
        let (there, back) = (Arc::clone(self), Arc::clone(self));
        let way_there = thread::spawn(move || there.pump(near, far));
        thread::spawn(move || {
            back.pump(far_too, near_too);
            way_there.join().unwrap();
            back.open.fetch_sub(1, Ordering::SeqCst);
        });
    }

    /// One direction, until either side ends; then both end.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut buffer = vec![0; BUFFER_BYTES];
        while let Ok(read @ 1..) = from.read(&mut buffer) {
            if !self.pass(&mut buffer[..read], &mut to) {
                break;
            }
        }
        // Both fail where the other side was quicker.
        let _ = from.shutdown(Shutdown::Both);
        let _ = to.shutdown(Shutdown::Both);
    }

    /// Whether the connection goes on. Delays are the fault: nothing is waited for.
    fn pass(&self, bytes: &mut [u8], to: &mut TcpStream) -> bool {
        let fault = *self.fault.lock().unwrap();
        let pause = |ms| thread::sleep(Duration::from_millis(ms));
        match fault {
            Fault::None => {}
            Fault::Delay(ms) => pause(ms),
            Fault::Jitter(ms) => pause(self.below(ms)),
            Fault::Trickle(most) => {
                return bytes.chunks(most).all(|crumb| {
                    pause(1);
                    to.write_all(crumb).is_ok()
                });
            }
            Fault::Cut | Fault::Flip | Fault::FlipChunk if bytes.len() < DATA_BYTES_MIN => {}
            Fault::Cut => {
                let part = self.below(bytes.len() as u64) as usize;
                let _ = to.write_all(&bytes[..part]);
                self.done.fetch_add(1, Ordering::SeqCst);
                return false;
            }
            Fault::Flip | Fault::FlipChunk => {
                let at = self.below(bytes.len() as u64) as usize;
                bytes[at] ^= 1 << self.below(8);
                self.done.fetch_add(1, Ordering::SeqCst);
                // One bit at a time: whose fault the next is, is to be seen as well.
                self.set(Fault::None);
            }
        }
        to.write_all(bytes).is_ok()
    }

    fn below(&self, bound: u64) -> u64 {
        self.rng.lock().unwrap().below(bound)
    }
}
