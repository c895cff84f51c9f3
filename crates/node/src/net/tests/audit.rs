//! Audit connections, also to peers that are old, broken or lying.

use consign_core::audit::{Question, Scope};
use consign_core::ids::{Sequence, Start, TransferKey};
use consign_core::wire::{
    AuditAnswer, AuditAsk, AuditEntry, Hello, Message, PROTOCOL_VERSION_AUDIT, Ping, Purpose,
    Rejected, Welcome,
};
use tokio::net::TcpListener;

use super::raw::{Raw, hello};
use super::support::{Node, name, soon};
use crate::net::CallError;

fn key(start: u64, seq: u64) -> TransferKey {
    TransferKey {
        start: Start(start),
        seq: Sequence(seq),
    }
}

fn question(number: u64) -> Question {
    Question::new(number, key(1, 0), key(9, 0), &Scope::default())
}

fn answer(number: u64, seq: u64, more: bool) -> AuditAnswer {
    AuditAnswer {
        number,
        entries: vec![AuditEntry {
            start: 5,
            seq,
            feed: "images".into(),
            ..AuditEntry::default()
        }],
        more,
        ..AuditAnswer::default()
    }
}

/// The question that arrives at a node, and the way to answer it.
async fn asked(store: &mut Node) -> crate::net::Asked {
    soon(store.audited.recv()).await.expect("a question")
}

#[tokio::test]
async fn questions_are_answered_part_by_part_and_one_after_the_other() {
    let mut store = Node::start("store").await;
    let cam = Node::start("cam").await;
    let auditor = cam.net.auditor();
    let mut call = auditor.call(&name("store"), &store.addr).await.unwrap();
    for number in 1..=3 {
        let mut question = question(number);
        call.ask(&question).await.unwrap();
        let one = asked(&mut store).await;
        assert_eq!((one.producer.as_str(), one.ask.number), ("cam", number));
        for (seq, more) in [(1, true), (2, true), (3, false)] {
            let part = answer(number, seq, more);
            one.answers.send(part).await.unwrap();
            let heard = call.hear(&mut question).await.unwrap();
            assert_eq!((heard.entries[0].seq, heard.is_last), (seq, !more));
        }
    }
    // Who hangs up is not answered further.
    let open = question(4);
    call.ask(&open).await.unwrap();
    let one = asked(&mut store).await;
    drop(call);
    for seq in 1.. {
        if one.answers.send(answer(4, seq, true)).await.is_err() {
            return;
        }
    }
}

#[tokio::test]
async fn a_consumer_that_cannot_answer_says_why() {
    let mut store = Node::start("store").await;
    let cam = Node::start("cam").await;
    let auditor = cam.net.auditor();
    let mut call = auditor.call(&name("store"), &store.addr).await.unwrap();
    let mut question = question(1);
    call.ask(&question).await.unwrap();
    let trouble = AuditAnswer {
        trouble: "no catalogue; hint: wait".into(),
        ..answer(1, 1, true)
    };
    asked(&mut store).await.answers.send(trouble).await.unwrap();
    let error = call.hear(&mut question).await.unwrap_err();
    assert!(matches!(error, CallError::Trouble(_)), "{error}");
    assert!(error.to_string().ends_with("hint: wait"), "{error}");
}

#[tokio::test]
async fn a_peer_of_an_older_version_is_named_and_its_other_connections_live() {
    let cam = Node::start("cam").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    cam.net.set_targets(vec![(name("store"), addr.clone())]);
    let (stream, _) = soon(listener.accept()).await.unwrap();
    let mut control = Raw { stream };
    let Some((Message::Hello(hello), _)) = control.next().await else {
        panic!("no hello");
    };
    assert!(hello.version_min < PROTOCOL_VERSION_AUDIT && hello.version >= PROTOCOL_VERSION_AUDIT);
    let old = Welcome {
        version: PROTOCOL_VERSION_AUDIT - 1,
        node: "store".into(),
        incarnation: 1,
        ..Welcome::default()
    };
    control.send(&Message::Welcome(old), &[]).await;
    control.until_pong().await;
    let called = cam.net.auditor().call(&name("store"), &addr).await;
    let error = called.unwrap_err();
    assert!(matches!(error, CallError::TooOld { version: 1 }), "{error}");
    assert!(error.to_string().contains("hint: upgrade it"), "{error}");
    // It was not even called, and goes on as before.
    control.until_pong().await;
}

#[tokio::test]
async fn a_peer_that_refuses_audits_is_told_with_its_reason() {
    let cam = Node::start("cam").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let auditor = cam.net.auditor();
    let store = name("store");
    let calling = auditor.call(&store, &addr);
    let refusing = async {
        let (stream, _) = soon(listener.accept()).await.unwrap();
        let mut raw = Raw { stream };
        raw.next().await;
        let rejected = Rejected {
            reason: "cam connects for purpose 3, which is unknown; hint: check its version".into(),
            ..Rejected::default()
        };
        raw.send(&Message::Rejected(rejected), &[]).await;
    };
    let (called, ()) = tokio::join!(calling, refusing);
    let error = called.unwrap_err().to_string();
    assert!(error.contains("purpose 3"), "{error}");
}

#[tokio::test]
async fn answers_that_were_not_asked_for_end_the_audit() {
    let cam = Node::start("cam").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let auditor = cam.net.auditor();
    let too_many = AuditAnswer {
        entries: vec![AuditEntry::default(); 9_999],
        ..answer(1, 1, false)
    };
    for (said, bad) in [
        (Message::AuditAnswer(answer(2, 1, false)), "not asked"),
        (
            Message::AuditAnswer(too_many),
            "more than an answer may hold",
        ),
        (
            Message::Pong(Ping { number: 1, log: 0 }),
            "Pong is not expected",
        ),
        (
            Message::AuditAsk(AuditAsk::default()),
            "AuditAsk is not expected",
        ),
    ] {
        let store = name("store");
        let calling = auditor.call(&store, &addr);
        let (called, mut liar) =
            tokio::join!(calling, Raw::accept(&listener, "store", Purpose::Audit));
        let (mut call, mut question) = (called.unwrap(), question(1));
        call.ask(&question).await.unwrap();
        liar.send(&said, &[]).await;
        let error = call.hear(&mut question).await.unwrap_err().to_string();
        assert!(error.contains(bad) && error.contains("hint: "), "{error}");
    }
}

#[tokio::test]
async fn a_consumer_that_says_nothing_is_given_up() {
    let cam = Node::start("cam").await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    let (auditor, store) = (cam.net.auditor(), name("store"));
    let calling = auditor.call(&store, &addr);
    let (called, _silent) = tokio::join!(calling, Raw::accept(&listener, "store", Purpose::Audit));
    let (mut call, mut question) = (called.unwrap(), question(1));
    call.ask(&question).await.unwrap();
    tokio::time::pause();
    let error = call.hear(&mut question).await.unwrap_err().to_string();
    assert!(error.contains("its next answer took more than"), "{error}");
}

#[tokio::test]
async fn who_asks_wrongly_is_hung_up_on() {
    let store = Node::start("store").await;
    let long = AuditAsk {
        feed: "f".repeat(5_000),
        ..AuditAsk::default()
    };
    for wrong in [
        Message::Ping(Ping { number: 1, log: 0 }),
        Message::AuditAnswer(answer(1, 1, false)),
        Message::AuditAsk(long),
    ] {
        let mut raw = Raw::dial(&store, Purpose::Audit).await;
        raw.send(&wrong, &[]).await;
        assert_eq!(raw.last_words().await, None);
    }
}

#[tokio::test]
async fn a_newer_life_ends_the_audits_of_the_older() {
    let store = Node::start("store").await;
    let mut old = Raw::dial(&store, Purpose::Audit).await;
    let mut newer = Raw::connect(&store).await;
    let again = Hello {
        incarnation: 2,
        ..hello(&store, Purpose::Control)
    };
    newer.send(&Message::Hello(again), &[]).await;
    assert!(matches!(newer.next().await, Some((Message::Welcome(_), _))));
    old.last_words().await;
    let mut late = Raw::connect(&store).await;
    let hello = Message::Hello(hello(&store, Purpose::Audit));
    late.send(&hello, &[]).await;
    assert!(matches!(
        late.last_words().await,
        Some(Message::Rejected(_))
    ));
}
