//! Large files along a chain: whole, resumed, and past slow and dead neighbours.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use consign_core::consumer::Event;
use consign_core::disk::Attributes;
use consign_core::limits::CREDIT_WINDOW_BYTES;
use consign_core::producer::{self, StreamFault};
use consign_core::wire::{Message, Purpose};
use tokio::net::TcpListener;

use crate::net::SealOrder;

use super::raw::{Raw, begin, chunk, credit};
use super::support::{MIB, Node, TestDisk, inflow, key, name, slot, soon, stream, target};

const SIZE: u64 = 64 * MIB + 12_345;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chain_of_three_moves_a_file() {
    let mut cam = Node::start("cam").await;
    let (mut a, mut b) = (Node::start("a").await, Node::start("b").await);
    let digest = cam.spool(SIZE);
    assert_eq!(a.ready(inflow(1, SIZE)).await, 0);
    assert_eq!(b.ready(inflow(1, SIZE)).await, 0);
    a.forward(&b, 1, 0);
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &a.addr, 1, 0)));
    let (mut synced, mut hashes) = (0, 0);
    let received = a.heard(|event| match event {
        Event::InflowSynced {
            offset,
            first_chunk,
            hashes: more,
            ..
        } => {
            assert_eq!(first_chunk, synced / MIB);
            synced = offset;
            hashes += more.len() as u64;
            None
        }
        Event::InflowComplete { digest, .. } => Some(digest),
        _ => None,
    });
    assert_eq!(received.await, digest);
    assert_eq!(hashes, synced / MIB * 32);
    assert!(SIZE - synced < 64 * MIB, "{synced}");
    assert_eq!(b.complete().await, digest);
    assert_eq!(cam.digest_known().await, digest);
    assert_eq!(a.staged(), b.staged());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hashes_are_reported_once_and_not_computed_again() {
    let mut cam = Node::start("cam").await;
    let digest = cam.spool(SIZE);
    let mut reported = Vec::new();
    cam.net.stream(stream(1, SIZE, None));
    cam.produced(|event| match event {
        producer::Event::Hashed {
            first_chunk,
            hashes,
            ..
        } => {
            assert_eq!(first_chunk * 32, reported.len() as u64);
            reported.extend(hashes);
            None
        }
        producer::Event::DigestKnown { digest: known, .. } => {
            assert_eq!(known, digest);
            Some(())
        }
        _ => None,
    })
    .await;
    assert_eq!(reported.len() as u64, SIZE.div_ceil(MIB) * 32);
    // With the hashes known, the bytes do not matter any more.
    cam.net.forget_stream(key());
    std::fs::write(cam.dir.path().join("spool/source"), vec![0; SIZE as usize]).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let mut order = stream(2, SIZE, target(&name("a"), &addr, 2, MIB));
    order.hashes.clone_from(&reported);
    cam.net.stream(order);
    assert_eq!(cam.digest_known().await, digest);
    let mut a = Raw::accept(&listener, "a", Purpose::Chunks).await;
    a.send(&credit(2, 2 * MIB, 0), &[]).await;
    loop {
        if let (Message::Chunk(chunk), _) = a.next().await.unwrap() {
            assert_eq!(chunk.hash, reported[32..64], "it was hashed again");
            break;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_higher_attempt_resumes_and_an_old_one_changes_nothing() {
    let mut cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let digest = cam.spool(SIZE);
    a.inbox.faults.full_at.store(20 * MIB, Ordering::SeqCst);
    a.ready(inflow(1, SIZE)).await;
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &a.addr, 1, 0)));
    a.heard(|event| match event {
        Event::InflowFailed { fault, .. } => {
            assert_eq!(fault, consign_core::consumer::InflowFault::Full);
            Some(())
        }
        _ => None,
    })
    .await;
    let fault = cam.stream_failed().await;
    assert!(
        matches!(&fault, StreamFault::Link(reason) if reason.contains("disk is full")),
        "{fault:?}"
    );
    a.inbox.faults.full_at.store(u64::MAX, Ordering::SeqCst);
    assert_eq!(a.ready(inflow(2, SIZE)).await, 20 * MIB);

    let mut old = Raw::dial(&a, Purpose::Chunks).await;
    old.send(&begin(1, 20 * MIB), &[]).await;
    old.send(&chunk(1, 20 * MIB, [0; 32]), &vec![0; MIB as usize])
        .await;
    let heard = old.until_pong().await;
    assert!(matches!(heard[..], [Message::Stop(_), ..]), "{heard:?}");

    cam.net.stop_stream(key());
    cam.net
        .stream(stream(2, SIZE, target(&a.name, &a.addr, 2, 20 * MIB)));
    assert_eq!(a.complete().await, digest);
    assert_eq!(a.staged().len() as u64, SIZE);
    assert_eq!(a.ready(inflow(3, SIZE)).await, SIZE, "everything is kept");
    assert_eq!(a.complete().await, digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_restart_what_is_synced_is_kept_and_the_rest_cut_off() {
    let cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let digest = cam.spool(SIZE);
    a.ready(inflow(1, SIZE)).await;
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &a.addr, 1, 0)));
    let (offset, hashes) = a
        .heard(|event| match event {
            Event::InflowSynced { offset, hashes, .. } => Some((offset, hashes)),
            _ => None,
        })
        .await;
    a.complete().await;
    cam.net.stop_stream(key());
    a.net.close_inflow(&slot());
    let mut order = inflow(2, SIZE);
    order.synced = offset;
    order.hashes = hashes;
    // Opened again before or after the old one has let go of it, depending on who is faster.
    let from = a.ready(order).await;
    assert!(from == offset || from == SIZE, "{from}");
    cam.net
        .stream(stream(2, SIZE, target(&a.name, &a.addr, 2, from)));
    assert_eq!(a.complete().await, digest);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_successor_does_not_slow_the_first_hop() {
    let cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let digest = cam.spool(SIZE);
    a.ready(inflow(1, SIZE)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    a.forward_to(&name("slow"), &addr, 1, 0);
    let mut slow = Raw::accept(&listener, "slow", Purpose::Chunks).await;
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &a.addr, 1, 0)));
    assert_eq!(a.complete().await, digest);
    // And then it gets everything, from the staging file.
    let mut received = 0;
    while received < SIZE {
        slow.send(&credit(1, received + 3 * MIB, received), &[])
            .await;
        match slow.next().await.expect("the forward lives") {
            (Message::Chunk(chunk), payload) => {
                assert_eq!(chunk.offset, received);
                received += payload.len() as u64;
            }
            (Message::Begin(_) | Message::Ping(_), _) => {}
            (other, _) => panic!("{other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forwards_of_an_old_attempt_are_over_when_the_next_is_ready() {
    let cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    cam.spool(SIZE);
    a.ready(inflow(1, SIZE)).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    a.forward_to(&name("b"), &addr, 1, 0);
    let mut b = Raw::accept(&listener, "b", Purpose::Chunks).await;
    cam.net
        .stream(stream(1, SIZE, target(&a.name, &a.addr, 1, 0)));
    a.complete().await;
    b.send(&credit(1, MIB, 0), &[]).await;
    while !matches!(b.next().await, Some((Message::Chunk(_), _))) {}
    a.ready(inflow(2, SIZE)).await;
    b.send(&credit(1, 4 * MIB, MIB), &[]).await;
    let heard = b.until_pong().await;
    assert!(heard.is_empty(), "{heard:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_sender_never_exceeds_its_credit() {
    let cam = Node::start("cam").await;
    cam.spool(SIZE);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    cam.net
        .stream(stream(1, SIZE, target(&name("store"), &addr, 1, 0)));
    let mut store = Raw::accept(&listener, "store", Purpose::Chunks).await;
    let chunks = |heard: Vec<Message>| {
        let chunk = |message: &&Message| matches!(message, Message::Chunk(_));
        heard.iter().filter(chunk).count()
    };
    assert_eq!(chunks(store.until_pong().await), 0);
    let mut sent = 0;
    for granted in [2, 3, 7] {
        // One byte less than a chunk more is as good as nothing.
        let through = (granted + 1) * MIB - 1;
        store.send(&credit(1, through, 0), &[]).await;
        while sent < granted {
            if let Some((Message::Chunk(_), _)) = store.next().await {
                sent += 1;
            }
        }
        assert_eq!(chunks(store.until_pong().await), 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_receiver_grants_a_window_and_ends_a_sender_who_exceeds_it() {
    let mut a = Node::start("a").await;
    a.ready(inflow(1, SIZE)).await;
    a.inbox.faults.set_stuck(true);
    let mut raw = Raw::dial(&a, Purpose::Chunks).await;
    raw.send(&begin(1, 0), &[]).await;
    let Some((Message::Credit(granted), _)) = raw.next().await else {
        panic!("no credit");
    };
    assert!(granted.through >= 2 * MIB && granted.through <= CREDIT_WINDOW_BYTES);
    let bytes = vec![0; MIB as usize];
    let mut offset = 0;
    while offset <= CREDIT_WINDOW_BYTES {
        let hash = consign_core::tree::chunk_hash(&bytes, offset / MIB, MIB, SIZE);
        raw.send(&chunk(1, offset, hash.0), &bytes).await;
        offset += MIB;
    }
    raw.last_words().await;
    a.inbox.faults.set_stuck(false);
    // What came before within the credit is kept.
    let from = a.ready(inflow(2, SIZE)).await;
    assert!(from <= CREDIT_WINDOW_BYTES, "{from}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sealing_makes_files_durable_together_and_tells_whether_the_path_is_free() {
    let mut cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    cam.spool(MIB);
    a.ready(inflow(1, MIB)).await;
    cam.net
        .stream(stream(1, MIB, target(&a.name, &a.addr, 1, 0)));
    a.complete().await;
    cam.digest_known().await;
    std::fs::write(a.dir.path().join("inbox/taken"), b"x").unwrap();
    let mut outcomes = Vec::new();
    let syncs = a.inbox.faults.syncs.load(Ordering::SeqCst);
    for path in ["free", "taken", "taken/below"] {
        a.net.seal(
            SealOrder {
                slot: slot(),
                staging: "staged".into(),
                path: path.into(),
                attributes: Attributes {
                    mode: Some(0o640),
                    ..Attributes::default()
                },
            },
            Arc::clone(&a.inbox) as Arc<TestDisk> as _,
        );
        let sealed = a.heard(|event| match event {
            Event::Sealed { outcome, .. } => Some(outcome),
            _ => None,
        });
        outcomes.push(soon(sealed).await.unwrap());
    }
    assert_eq!(outcomes, [true, false, false]);
    assert_eq!(a.inbox.faults.syncs.load(Ordering::SeqCst), syncs + 3);
    assert!(a.inbox.faults.dir_syncs.load(Ordering::SeqCst) > 0);
}
