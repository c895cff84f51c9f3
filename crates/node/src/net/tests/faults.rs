//! What dies, damages or lies while a large file is on its way.

use std::sync::atomic::Ordering;

use consign_core::consumer::{Event, InflowFault};
use consign_core::producer::StreamFault;
use consign_core::spec::Stamp;
use consign_core::wire::Purpose;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use crate::net::NetEvent;

use super::raw::{Raw, credit};
use super::support::{MIB, Node, inflow, key, name, slot, stream, target};

const SIZE: u64 = 64 * MIB + 12_345;

fn link(fault: StreamFault) -> String {
    match fault {
        StreamFault::Link(reason) => reason,
        StreamFault::Source(reason) => panic!("the source is well: {reason}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_middle_is_reported_upstream() {
    let mut cam = Node::start("cam").await;
    let (mut a, mut b) = (Node::start("a").await, Node::start("b").await);
    cam.spool(SIZE);
    a.ready(inflow(1, SIZE)).await;
    b.ready(inflow(1, SIZE)).await;
    a.forward(&b, 1, 0);
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &a.addr, 1, 0)));
    b.heard(|event| matches!(event, Event::InflowProgress { .. }).then_some(()))
        .await;
    b.inbox.faults.set_stuck(true);
    drop(a);
    assert!(link(cam.stream_failed().await).contains("hint:"));
    b.inbox.faults.set_stuck(false);
    // The survivor keeps what it has and goes on from there, straight from the producer.
    let from = b.ready(inflow(2, SIZE)).await;
    assert!(from > 0 && from < SIZE, "{from}");
    cam.net
        .stream(stream(2, SIZE, target(&b.name, &b.addr, 2, from)));
    b.complete().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_death_of_the_successor_is_reported_and_harms_nobody_else() {
    let cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let digest = cam.spool(SIZE);
    a.ready(inflow(1, SIZE)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    a.forward_to(&name("b"), &addr, 1, 0);
    let mut b = Raw::accept(&listener, "b", Purpose::Chunks).await;
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &a.addr, 1, 0)));
    b.next().await.unwrap();
    b.send(&credit(1, 2 * MIB, 0), &[]).await;
    b.next().await.unwrap();
    drop(b);
    let reason = a.lost().await;
    assert!(reason.starts_with("b: "), "{reason}");
    assert_eq!(a.complete().await, digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_successor_that_cannot_be_reached_is_reported() {
    let mut a = Node::start("a").await;
    a.ready(inflow(1, SIZE)).await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = gone.local_addr().unwrap().to_string();
    drop(gone);
    a.forward_to(&name("b"), &addr, 1, 0);
    let reason = a.lost().await;
    assert!(
        reason.contains(&addr) && reason.contains("hint:"),
        "{reason}"
    );
}

/// Passes bytes on both ways, and turns one bit of byte `flip` of what the dialler sends.
async fn damaging_proxy(to: String, flip: u64) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move {
        let (from, _) = listener.accept().await.unwrap();
        let to = TcpStream::connect(to).await.unwrap();
        let ((mut from_read, mut from_write), (mut to_read, mut to_write)) =
            (from.into_split(), to.into_split());
        tokio::spawn(async move { tokio::io::copy(&mut to_read, &mut from_write).await });
        let (mut at, mut bytes) = (0, vec![0; 64 << 10]);
        while let Ok(len) = from_read.read(&mut bytes).await
            && len > 0
        {
            if (at..at + len as u64).contains(&flip) {
                bytes[(flip - at) as usize] ^= 1;
            }
            at += len as u64;
            if to_write.write_all(&bytes[..len]).await.is_err() {
                break;
            }
        }
    });
    addr
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_on_the_wire_is_noticed_by_the_receiver_and_named() {
    let mut cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let digest = cam.spool(SIZE);
    a.ready(inflow(1, SIZE)).await;
    let proxy = damaging_proxy(a.addr.clone(), 3 * MIB + MIB / 2).await;
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &proxy, 1, 0)));
    let reason = link(cam.stream_failed().await);
    assert!(reason.contains("damaged at a from cam"), "{reason}");
    let from = a.ready(inflow(2, SIZE)).await;
    assert_eq!(from, 3 * MIB, "the damaged chunk is not taken");
    cam.net
        .stream(stream(2, SIZE, target(&a.name, &a.addr, 2, from)));
    assert_eq!(a.complete().await, digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_in_place_fails_the_transfer() {
    use std::os::unix::fs::MetadataExt as _;
    let mut cam = Node::start("cam").await;
    cam.spool(SIZE);
    let path = cam.dir.path().join("spool/source");
    let taken = std::fs::metadata(&path).unwrap();
    let mut order = stream(1, SIZE, None);
    order.source.shared = true;
    order.source.stamp = Some(Stamp {
        size: taken.len(),
        mtime_ns: taken.mtime() * 1_000_000_000 + taken.mtime_nsec(),
        ctime_ns: taken.ctime() * 1_000_000_000 + taken.ctime_nsec(),
        ino: taken.ino(),
        dev: taken.dev(),
    });
    cam.net.stream(order.clone());
    cam.digest_known().await;
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"edit", 5).unwrap();
    order.attempt.0 += 1;
    cam.net.stop_stream(order.key);
    cam.net.forget_stream(order.key);
    cam.net.stream(order);
    let fault = cam.stream_failed().await;
    assert!(
        matches!(&fault, StreamFault::Source(reason) if reason.contains("hint:")),
        "{fault:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_sync_is_fatal_and_never_forgotten() {
    let cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    cam.spool(SIZE);
    a.inbox.faults.sync_fails.store(true, Ordering::SeqCst);
    a.ready(inflow(1, SIZE)).await;
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &a.addr, 1, 0)));
    a.event(|event| matches!(event, NetEvent::Fatal(_)).then_some(()))
        .await;
    // As on many kernels, the next sync of the file says that all is well.
    a.inbox.faults.sync_fails.store(false, Ordering::SeqCst);
    assert!(matches!(a.seal().await, Err(InflowFault::Disk(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_not_sealed_once_its_name_is_gone_or_is_anothers() {
    let cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    cam.spool(2 * MIB);
    a.ready(inflow(1, 2 * MIB)).await;
    cam.net
        .stream(stream(1, 2 * MIB, target(&a.name, &a.addr, 1, 0)));
    a.complete().await;
    let staged = a.dir.path().join("inbox/.consign/staged");
    let moved = staged.with_file_name("moved");
    std::fs::rename(&staged, &moved).unwrap();
    assert_eq!(
        a.seal().await,
        Err(InflowFault::Missing),
        "nothing is there"
    );
    std::fs::copy(&moved, &staged).unwrap();
    assert_eq!(
        a.seal().await,
        Err(InflowFault::Missing),
        "another is there"
    );
    std::fs::rename(&moved, &staged).unwrap();
    assert_eq!(a.seal().await, Ok(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_let_go_of_is_opened_anew() {
    let cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let digest = cam.spool(2 * MIB);
    a.ready(inflow(1, 2 * MIB)).await;
    cam.net
        .stream(stream(1, 2 * MIB, target(&a.name, &a.addr, 1, 0)));
    assert_eq!(a.complete().await, digest);
    // The order to open it comes before the task has seen that it is to end.
    a.net.close_inflow(&slot());
    assert_eq!(a.ready(inflow(2, 2 * MIB)).await, 0, "it is cut back");
    assert_eq!(a.staged().len(), 0);
    cam.net.stop_stream(key());
    cam.net
        .stream(stream(2, 2 * MIB, target(&a.name, &a.addr, 2, 0)));
    assert_eq!(a.complete().await, digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_panic_parks_one_transfer_and_the_next_attempt_goes_on() {
    let mut cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let digest = cam.spool(SIZE);
    a.inbox.faults.write_panics.store(true, Ordering::SeqCst);
    a.ready(inflow(1, SIZE)).await;
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &a.addr, 1, 0)));
    let fault = a.heard(|event| match event {
        Event::InflowFailed { fault, .. } => Some(fault),
        _ => None,
    });
    let fault = fault.await;
    assert!(
        matches!(&fault, InflowFault::Disk(reason) if reason.contains("internal error")),
        "{fault:?}"
    );
    cam.stream_failed().await;
    let from = a.ready(inflow(2, SIZE)).await;
    cam.net
        .stream(stream(2, SIZE, target(&a.name, &a.addr, 2, from)));
    assert_eq!(a.complete().await, digest);
}

#[tokio::test]
async fn a_staging_file_that_is_not_what_the_log_says_is_missing() {
    let mut a = Node::start("a").await;
    let mut order = inflow(1, SIZE);
    order.synced = 2 * MIB;
    order.hashes = vec![7; 64];
    let path = a.dir.path().join("inbox/.consign/staged");
    for len in [None, Some(MIB)] {
        if let Some(len) = len {
            std::fs::File::create(&path).unwrap().set_len(len).unwrap();
        }
        order.attempt.0 += 1;
        a.open(order.clone());
        let fault = a.heard(|event| match event {
            Event::InflowFailed { fault, .. } => Some(fault),
            _ => None,
        });
        assert_eq!(fault.await, InflowFault::Missing, "{len:?}");
    }
    std::fs::File::create(&path)
        .unwrap()
        .set_len(9 * MIB)
        .unwrap();
    order.attempt.0 += 1;
    assert_eq!(a.ready(order).await, 2 * MIB);
    assert_eq!(std::fs::metadata(path).unwrap().len(), 2 * MIB);
}
