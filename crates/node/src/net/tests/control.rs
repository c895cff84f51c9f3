//! Control connections: who may talk, what is heard, and what ends it.

use consign_core::ids::Incarnation;
use consign_core::producer::Session;
use consign_core::wire::{Abandon, Hello, Message, Ping, Progress, Purpose, Rejected};
use consign_core::{consumer, producer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::net::NetEvent;
use crate::net::bounds::{HELLO_DEADLINE, SILENCE_MAX};

use super::raw::{Raw, hello};
use super::support::{Node, leg, name, soon};

async fn connected(node: &mut Node) -> (Session, Incarnation) {
    node.produced(|event| match event {
        producer::Event::PeerUp {
            session,
            incarnation,
            ..
        } => Some((session, incarnation)),
        _ => None,
    })
    .await
}

async fn accepted(node: &mut Node) -> Session {
    node.heard(|event| match event {
        consumer::Event::PeerUp { session, .. } => Some(session),
        _ => None,
    })
    .await
}

#[tokio::test]
async fn messages_go_both_ways_and_the_end_is_noticed() {
    let (mut cam, mut store) = (Node::start("cam").await, Node::start("store").await);
    cam.net
        .set_targets(vec![(store.name.clone(), store.addr.clone())]);
    let there = accepted(&mut store).await;
    let (here, incarnation) = connected(&mut cam).await;
    assert_eq!(incarnation, Incarnation(1));
    assert!(cam.net.peer_states()[0].connected);
    let question = Message::Abandon(Abandon { leg: leg(1) });
    cam.net.send(&store.name, here, &question);
    let heard = store.heard(|event| match event {
        consumer::Event::Message {
            session, message, ..
        } => Some((session, message)),
        _ => None,
    });
    assert_eq!(heard.await, (there, question));
    let answer = Message::Progress(Progress {
        leg: leg(1),
        bytes: 5,
    });
    store.net.send(&cam.name, there, &answer);
    let heard = cam.produced(|event| match event {
        producer::Event::Message {
            session, message, ..
        } => Some((session, message)),
        _ => None,
    });
    assert_eq!(heard.await, (here, answer));
    drop(store);
    let down = cam.produced(|event| match event {
        producer::Event::PeerDown { session, .. } => Some(session),
        _ => None,
    });
    assert_eq!(down.await, here);
    cam.net.set_targets(Vec::new());
    assert!(cam.net.peer_states().is_empty());
}

#[tokio::test]
async fn a_peer_that_is_no_longer_wanted_is_left() {
    let (mut cam, mut store) = (Node::start("cam").await, Node::start("store").await);
    cam.net
        .set_targets(vec![(store.name.clone(), store.addr.clone())]);
    let there = accepted(&mut store).await;
    connected(&mut cam).await;
    cam.net.set_targets(Vec::new());
    let down = store.heard(|event| match event {
        consumer::Event::PeerDown { session, .. } => Some(session),
        _ => None,
    });
    assert_eq!(down.await, there);
    cam.produced(|event| matches!(event, producer::Event::PeerDown { .. }).then_some(()))
        .await;
}

#[tokio::test]
async fn a_producer_is_answered_only_when_it_is_admitted() {
    let mut store = Node::start_as("store", 1, false).await;
    let mut raw = Raw::connect(&store).await;
    raw.send(&Message::Hello(hello(&store, Purpose::Control)), &[])
        .await;
    let session = accepted(&mut store).await;
    let mut byte = [0];
    let early = raw.stream.try_read(&mut byte);
    assert!(early.is_err(), "nothing may be said before: {early:?}");
    store.net.admit(&name("cam"), session);
    assert!(matches!(raw.next().await, Some((Message::Welcome(_), _))));

    let mut old = Raw::connect(&store).await;
    old.send(&Message::Hello(hello(&store, Purpose::Control)), &[])
        .await;
    let session = accepted(&mut store).await;
    store.net.reject(&name("cam"), session, Incarnation(8));
    let Some(Message::Rejected(rejected)) = old.last_words().await else {
        panic!("must be rejected");
    };
    assert_eq!(rejected.seen, 8);
    assert!(rejected.reason.contains("hint:"));
}

#[tokio::test]
async fn a_newer_life_ends_the_connections_of_the_older() {
    let store = Node::start("store").await;
    let mut control = Raw::dial(&store, Purpose::Control).await;
    let mut data = Raw::dial(&store, Purpose::Chunks).await;
    let mut newer = Raw::connect(&store).await;
    let again = Hello {
        incarnation: 2,
        ..hello(&store, Purpose::Control)
    };
    newer.send(&Message::Hello(again), &[]).await;
    assert!(matches!(newer.next().await, Some((Message::Welcome(_), _))));
    control.last_words().await;
    data.last_words().await;
    let mut late = Raw::connect(&store).await;
    late.send(&Message::Hello(hello(&store, Purpose::Chunks)), &[])
        .await;
    assert!(matches!(
        late.last_words().await,
        Some(Message::Rejected(Rejected { seen: 2, .. }))
    ));
    assert!(newer.until_pong().await.is_empty());
}

#[tokio::test]
async fn a_node_of_another_name_is_not_talked_to() {
    let (cam, store) = (Node::start("cam").await, Node::start("store").await);
    cam.net
        .set_targets(vec![(name("stray"), store.addr.clone())]);
    let error = soon(async {
        loop {
            if let Some(error) = cam.net.peer_states()[0].error.clone() {
                return error;
            }
            tokio::task::yield_now().await;
        }
    });
    let error = error.await;
    assert!(error.contains("this is store"), "{error}");
    assert!(error.contains("hint:"), "{error}");
}

#[tokio::test]
async fn a_peer_that_remembers_a_later_life_of_ours_is_reported() {
    let mut store = Node::start_as("store", 3, true).await;
    let mut raw = Raw::connect(&store).await;
    let later = Hello {
        seen: 5,
        ..hello(&store, Purpose::Control)
    };
    raw.send(&Message::Hello(later), &[]).await;
    let reported = store.event(|event| match event {
        NetEvent::Outlived { peer, seen } => Some((peer, seen.incarnation)),
        _ => None,
    });
    assert_eq!(reported.await, (name("cam"), Incarnation(5)));
    assert!(matches!(raw.last_words().await, Some(Message::Rejected(_))));
}

#[tokio::test]
async fn strangers_who_do_not_speak_our_protocol_are_closed() {
    let store = Node::start("store").await;
    let mut too_long =
        consign_core::wire::encode_frame(&Message::Ping(Ping { number: 1, log: 0 }), 0);
    too_long[8..12].copy_from_slice(&(1u32 << 20).to_le_bytes());
    let before_hello =
        consign_core::wire::encode_frame(&Message::Ping(Ping { number: 1, log: 0 }), 0);
    for bytes in [
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        too_long,
        before_hello,
    ] {
        let mut raw = Raw::connect(&store).await;
        raw.stream.write_all(&bytes).await.unwrap();
        assert!(soon(raw.next()).await.is_none());
    }
    let mut wrong = Raw::connect(&store).await;
    let other = Hello {
        to: "other".into(),
        ..hello(&store, Purpose::Control)
    };
    wrong.send(&Message::Hello(other), &[]).await;
    assert!(matches!(
        wrong.last_words().await,
        Some(Message::Rejected(rejected)) if rejected.reason.contains("hint:")
    ));
}

#[tokio::test]
async fn a_stranger_who_says_nothing_is_closed() {
    let store = Node::start("store").await;
    let mut raw = Raw::connect(&store).await;
    raw.stream.write_all(b"CSGN").await.unwrap();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let mut rest = Vec::new();
    soon(raw.stream.read_to_end(&mut rest)).await.unwrap();
    assert!(began.elapsed() < HELLO_DEADLINE * 2);
}

#[tokio::test]
async fn a_consumer_that_falls_silent_is_left() {
    let mut cam = Node::start("cam").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    cam.net.set_targets(vec![(name("store"), addr)]);
    let _silent = Raw::accept(&listener, "store", Purpose::Control).await;
    connected(&mut cam).await;
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    cam.produced(|event| matches!(event, producer::Event::PeerDown { .. }).then_some(()))
        .await;
    assert!(began.elapsed() >= SILENCE_MAX);
    let error = cam.net.peer_states()[0].error.clone().unwrap();
    assert!(error.contains("nothing was heard"), "{error}");
}

#[tokio::test]
async fn a_producer_that_falls_silent_is_left() {
    let mut store = Node::start("store").await;
    let mut silent = Raw::dial(&store, Purpose::Control).await;
    tokio::time::pause();
    store
        .heard(|event| matches!(event, consumer::Event::PeerDown { .. }).then_some(()))
        .await;
    assert!(matches!(silent.last_words().await, Some(Message::Ping(_))));
}

#[tokio::test]
async fn a_message_of_the_other_side_ends_the_connection() {
    let store = Node::start("store").await;
    let mut raw = Raw::dial(&store, Purpose::Control).await;
    let misplaced = Message::Progress(Progress {
        leg: leg(1),
        bytes: 1,
    });
    raw.send(&misplaced, &[]).await;
    assert!(raw.last_words().await.is_none());
}
