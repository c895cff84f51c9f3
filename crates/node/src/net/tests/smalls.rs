//! Small files along a route.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use consign_core::consumer::Event;
use consign_core::ids::{Attempt, Digest, NodeName, Sequence, Slot, Start, TransferKey};
use consign_core::log::Position;
use consign_core::producer::{self, SmallSend};
use consign_core::spec::FileSpec;
use consign_core::wire::{Hop, Message, Purpose, SmallFile, SmallFrame};
use tokio::net::TcpListener;

use crate::net::Payloads;

use super::raw::Raw;
use super::support::{Node, START};

/// Files whose bytes lie at a position of their number.
fn bytes_at(at: Position) -> io::Result<Bytes> {
    let len = 1000 + at.offset as usize % 5000;
    Ok(Bytes::from(vec![at.offset as u8; len]))
}

fn payloads() -> Arc<dyn Payloads> {
    Arc::new(bytes_at)
}

fn files(count: u32, hops: u64) -> Vec<SmallSend> {
    (0..count)
        .map(|number| {
            let submitted = Position {
                segment: 0,
                offset: number,
            };
            let bytes = bytes_at(submitted).unwrap();
            SmallSend {
                key: TransferKey {
                    start: START,
                    seq: Sequence(number.into()),
                },
                attempt: Attempt(1),
                slots: (0..hops)
                    .map(|hop| (Start(hop), Slot(u64::from(number) + 100 * hop)))
                    .collect(),
                submitted,
                spec: FileSpec {
                    name: format!("f{number}"),
                    size: bytes.len() as u64,
                    ..FileSpec::default()
                },
                digest: Digest(*blake3::hash(&bytes).as_bytes()),
            }
        })
        .collect()
}

fn hop(node: &NodeName, addr: &str) -> Hop {
    Hop {
        node: node.to_string(),
        addr: addr.into(),
    }
}

/// Waits until `count` files arrived: their bytes, by slot here.
async fn arrived(node: &mut Node, count: usize) -> Vec<(u64, Bytes)> {
    let mut all = Vec::new();
    node.heard(|event| match event {
        Event::Smalls { files, .. } => {
            all.extend(files.into_iter().map(|file| (file.leg.slot, file.bytes)));
            (all.len() >= count).then_some(())
        }
        _ => None,
    })
    .await;
    all.sort_by_key(|(slot, _)| *slot);
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_of_three_gets_every_file() {
    let cam = Node::start("cam").await;
    let mut stores = [
        Node::start("a").await,
        Node::start("b").await,
        Node::start("c").await,
    ];
    let route = stores.iter().map(|n| hop(&n.name, &n.addr)).collect();
    cam.net.send_smalls(route, files(1000, 3), payloads());
    for (number, store) in stores.iter_mut().enumerate() {
        let arrived = arrived(store, 1000).await;
        for (index, (slot, bytes)) in arrived.into_iter().enumerate() {
            assert_eq!(slot, (index + 100 * number) as u64);
            let at = Position {
                segment: 0,
                offset: index as u32,
            };
            assert_eq!(bytes, bytes_at(at).unwrap());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_hop_is_reported_by_the_one_before() {
    let mut cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone_addr = gone.local_addr().unwrap().to_string();
    drop(gone);
    let b: NodeName = "b".parse().unwrap();
    let route = vec![hop(&a.name, &a.addr), hop(&b, &gone_addr)];
    cam.net.send_smalls(route, files(3, 2), payloads());
    arrived(&mut a, 3).await;
    let lost = a.heard(|event| match event {
        Event::SmallsNotForwarded {
            producer,
            to,
            slots,
            reason,
        } => Some((producer, to, slots, reason)),
        _ => None,
    });
    let (producer, to, slots, reason) = lost.await;
    assert_eq!((producer.as_str(), to), ("cam", b.clone()));
    assert_eq!(slots, [100, 101, 102].map(|slot| (Start(1), Slot(slot))));
    assert!(reason.contains("hint:"), "{reason}");

    let route = vec![hop(&b, &gone_addr)];
    cam.net.send_smalls(route, files(2, 1), payloads());
    let lost = cam.produced(|event| match event {
        producer::Event::SmallsNotSent { slots, .. } => Some(slots),
        _ => None,
    });
    assert_eq!(lost.await, [0, 1].map(|slot| (Start(0), Slot(slot))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_bytes_cannot_be_read_is_named_and_the_others_go() {
    let mut cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let all = payloads();
    let some = move |at: Position| match at.offset {
        1 => Err(std::io::Error::other("a payload's checksum is wrong")),
        2 => Err(std::io::ErrorKind::NotFound.into()),
        _ => all.read(at),
    };
    let route = vec![hop(&a.name, &a.addr)];
    cam.net.send_smalls(route, files(4, 1), Arc::new(some));
    let unread = |event| match event {
        producer::Event::SmallUnread { key, to, why, .. } => Some((key.seq.0, to, why)),
        producer::Event::SmallsNotSent { .. } => panic!("the others are not held up"),
        _ => None,
    };
    let (first, to, why) = cam.produced(unread).await;
    assert_eq!((first, to.as_str()), (1, "a"));
    assert!(
        matches!(&why, producer::Unread::Lost(why) if why.contains("checksum") && why.contains("hint:")),
        "{why:?}"
    );
    assert_eq!(cam.produced(unread).await.2, producer::Unread::Moved);
    arrived(&mut a, 2).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_that_the_peer_did_not_confirm_are_reported_when_it_dies() {
    let mut cam = Node::start("cam").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let b: NodeName = "b".parse().unwrap();
    cam.net
        .send_smalls(vec![hop(&b, &addr)], files(10, 1), payloads());
    cam.net
        .send_smalls(vec![hop(&b, &addr)], files(20, 1), payloads());
    let mut raw = Raw::accept(&listener, "b", Purpose::Smalls).await;
    let mut frames = 0;
    while frames < 2 {
        match raw.next().await.unwrap().0 {
            Message::SmallFrame(_) => frames += 1,
            // The first frame is confirmed, the second is not.
            Message::Ping(ping) if ping.number == 1 => raw.send(&Message::Pong(ping), &[]).await,
            _ => {}
        }
    }
    // Only when the confirmation has arrived: what follows it on the same connection has, too.
    assert!(raw.until_pong().await.len() <= 1);
    drop(raw);
    let lost = cam.produced(|event| match event {
        producer::Event::SmallsNotSent { slots, .. } => Some(slots.len()),
        _ => None,
    });
    assert_eq!(lost.await, 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_next_hop_that_does_not_read_holds_back_nobody() {
    const COUNT: u32 = 40_000;
    let cam = Node::start("cam").await;
    let mut a = Node::start("a").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let b: NodeName = "b".parse().unwrap();
    let route = vec![hop(&a.name, &a.addr), hop(&b, &addr)];
    cam.net.send_smalls(route, files(COUNT, 2), payloads());
    let _unread = Raw::accept(&listener, "b", Purpose::Smalls).await;
    let (mut taken, mut refused) = (0, 0);
    a.heard(|event| match event {
        Event::Smalls { files, .. } => {
            taken += files.len();
            (taken == COUNT as usize).then_some(())
        }
        Event::SmallsNotForwarded { slots, reason, .. } => {
            assert!(reason.contains("more slowly"), "{reason}");
            refused += slots.len();
            None
        }
        _ => None,
    })
    .await;
    assert!(refused > 0 && refused < COUNT as usize, "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_small_file_ends_the_connection_and_is_not_taken() {
    let mut a = Node::start("a").await;
    let mut raw = Raw::dial(&a, Purpose::Smalls).await;
    let file = |bytes: &[u8], slot| SmallFile {
        start: START.0,
        seq: slot,
        attempt: 1,
        slot_starts: vec![START.0],
        slots: vec![slot],
        spec: FileSpec {
            size: bytes.len() as u64,
            ..FileSpec::default()
        },
        digest: blake3::hash(bytes).as_bytes().to_vec(),
    };
    let frame = |files| {
        Message::SmallFrame(SmallFrame {
            producer: "cam".into(),
            incarnation: 1,
            route: vec![hop(&"a".parse().unwrap(), "")],
            files,
        })
    };
    raw.send(&frame(vec![file(b"good", 1)]), b"good").await;
    let two = frame(vec![file(b"good", 2), file(b"good", 3)]);
    raw.send(&two, b"goodbad!").await;
    raw.last_words().await;
    let mut again = Raw::dial(&a, Purpose::Smalls).await;
    again.send(&frame(vec![file(b"good", 4)]), b"good").await;
    let arrived = arrived(&mut a, 2).await;
    let slots: Vec<_> = arrived.iter().map(|(slot, _)| *slot).collect();
    assert_eq!(slots, [1, 4]);
}
