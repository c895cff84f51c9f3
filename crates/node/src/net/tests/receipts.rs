//! Receipts on their way: signed by who gives them, checked by who gets them.

use consign_core::producer;
use consign_core::ranges::SlotRange;
use consign_core::receipt::{HASH_BYTES, root};
use consign_core::record::Receipt;
use consign_core::wire::{
    Holding, Message, OpenAnswer, PROTOCOL_VERSION, PROTOCOL_VERSION_RECEIPTS, Purpose, Saved,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::identity::Keyring;
use crate::identity::tests::Ca;

use super::raw::Raw;
use super::support::{Node, leg, name, soon};

/// What the core says of so many files.
fn word(files: u8) -> Receipt {
    Receipt {
        consumer: "store".into(),
        incarnation: 1,
        at: 7,
        leaves: (0..files).flat_map(|file| [file; HASH_BYTES]).collect(),
        ..Receipt::default()
    }
}

fn saved(files: u8, receipt: Receipt) -> Message {
    Message::Saved(Saved {
        slot_start: 1,
        slots: vec![SlotRange {
            from: 3,
            to: 3 + u64::from(files),
        }],
        receipt,
    })
}

fn holds(receipt: Receipt) -> Message {
    Message::OpenAnswer(OpenAnswer {
        leg: leg(1),
        holding: Holding::Saved.into(),
        receipt: Some(receipt),
        ..OpenAnswer::default()
    })
}

/// The receipt in the next message that `cam` hears.
async fn heard(cam: &mut Node) -> Receipt {
    cam.produced(|event| match event {
        producer::Event::Message { mut message, .. } => {
            message.receipt_mut().map(|(receipt, _)| receipt.clone())
        }
        _ => None,
    })
    .await
}

#[tokio::test]
async fn a_receipt_is_signed_on_its_way_and_comes_with_all_that_proves_it() {
    let mut ca = Ca::new();
    let (cam, store) = (
        ca.keyring("cam", "producer"),
        ca.keyring("store", "consumer"),
    );
    let mut cam = Node::start_secured("cam", &cam).await;
    let mut store = Node::start_secured("store", &store).await;
    cam.net
        .set_targets(vec![(store.name.clone(), store.addr.clone())]);
    let session = store
        .heard(|event| match event {
            consign_core::consumer::Event::PeerUp { session, .. } => Some(session),
            _ => None,
        })
        .await;
    cam.produced(|event| matches!(event, producer::Event::PeerUp { .. }).then_some(()))
        .await;
    for (files, message) in [(5, saved(5, word(5))), (1, holds(word(1)))] {
        store.net.send(&cam.name, session, &message);
        let receipt = heard(&mut cam).await;
        let leaves = receipt.leaves.as_chunks().0;
        assert_eq!(receipt.leaves, word(files).leaves);
        assert_eq!(receipt.root, root(leaves).unwrap());
        assert_eq!(receipt.certificates.len(), 1);
        assert!(!receipt.signature.is_empty() && receipt.cluster.len() == HASH_BYTES);
    }
}

/// What says that it is `store` to `cam`, which dials it over and over.
struct Hostile {
    cam: Node,
    listener: TcpListener,
}

impl Hostile {
    async fn new(cam: Node) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap().to_string();
        cam.net.set_targets(vec![(name("store"), addr)]);
        Self { cam, listener }
    }

    async fn plain(&self) -> Raw<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        Raw { stream }
    }

    async fn secured(&self, keyring: &Keyring) -> Raw<impl AsyncRead + AsyncWrite + Unpin + use<>> {
        let (stream, _) = soon(self.listener.accept()).await.unwrap();
        let accepting = TlsAcceptor::from(keyring.accepting().0).accept(stream);
        let stream = soon(accepting).await.unwrap();
        Raw { stream }
    }

    /// Why `cam` has ended the connection.
    async fn ended(&mut self) -> String {
        self.cam
            .produced(|event| match event {
                producer::Event::Message { message, .. } => panic!("{message:?} is believed"),
                producer::Event::PeerDown { .. } => Some(()),
                _ => None,
            })
            .await;
        soon(async {
            loop {
                let states = self.cam.net.peer_states();
                match states.iter().find_map(|state| state.error.clone()) {
                    Some(error) => return error,
                    None => tokio::task::yield_now().await,
                }
            }
        })
        .await
    }
}

/// A receipt with everything in it, of which nothing is true.
fn made_up() -> Receipt {
    let receipt = word(5);
    Receipt {
        root: root(receipt.leaves.as_chunks().0).unwrap().to_vec(),
        signature: vec![1; 64],
        scheme: 0x0807,
        cluster: vec![1; HASH_BYTES],
        certificates: vec![vec![1; 500]],
        ..receipt
    }
}

#[tokio::test]
async fn who_has_a_certificate_is_cut_off_when_its_receipt_proves_nothing() {
    let mut ca = Ca::new();
    let (cam, store) = (
        ca.keyring("cam", "producer"),
        ca.keyring("store", "consumer"),
    );
    let mut hostile = Hostile::new(Node::start_secured("cam", &cam).await).await;
    let foreign = Receipt {
        consumer: "other".into(),
        ..made_up()
    };
    let other_root = Receipt {
        root: vec![9; HASH_BYTES],
        ..made_up()
    };
    for (message, why) in [
        (saved(5, made_up()), "another authority"),
        (saved(5, word(5)), "is not signed"),
        (saved(5, other_root), "the root of its files"),
        (saved(5, foreign), "in another node's name"),
        (saved(4, made_up()), "not one of the files"),
        (saved(5, word(0)), "not one of the files"),
        (holds(word(1)), "is not signed"),
    ] {
        let mut raw = hostile.secured(&store).await;
        raw.welcome("store", PROTOCOL_VERSION).await;
        raw.send(&message, &[]).await;
        let ended = hostile.ended().await;
        assert!(ended.contains(why) && ended.contains("hint:"), "{ended}");
        assert!(ended.starts_with("store gave a receipt"), "{ended}");
    }
}

#[tokio::test]
async fn what_nobody_can_check_does_not_go_on_as_proof() {
    for version in [PROTOCOL_VERSION_RECEIPTS - 1, PROTOCOL_VERSION] {
        let mut hostile = Hostile::new(Node::start("cam").await).await;
        let mut raw = hostile.plain().await;
        let hello = raw.welcome("store", version).await;
        assert_eq!(hello.purpose, i32::from(Purpose::Control));
        raw.send(&saved(5, made_up()), &[]).await;
        let left = match version {
            PROTOCOL_VERSION => word(5),
            _ => word(5).unsigned(),
        };
        assert_eq!(heard(&mut hostile.cam).await, left, "version {version}");
    }
}

#[tokio::test]
async fn a_peer_of_an_older_version_is_believed_unsigned_over_tls_too() {
    let mut ca = Ca::new();
    let (cam, store) = (
        ca.keyring("cam", "producer"),
        ca.keyring("store", "consumer"),
    );
    let mut hostile = Hostile::new(Node::start_secured("cam", &cam).await).await;
    let mut raw = hostile.secured(&store).await;
    raw.welcome("store", PROTOCOL_VERSION_RECEIPTS - 1).await;
    raw.send(&saved(5, made_up()), &[]).await;
    assert_eq!(heard(&mut hostile.cam).await, word(5).unsigned());
}

#[tokio::test]
async fn a_producer_of_an_older_version_hears_what_it_knows() {
    let mut ca = Ca::new();
    let (cam, store) = (
        ca.keyring("cam", "producer"),
        ca.keyring("store", "consumer"),
    );
    let mut store = Node::start_secured("store", &store).await;
    let stream = tokio::net::TcpStream::connect(&store.addr).await.unwrap();
    let (config, _) = cam.dialling();
    let to = rustls::pki_types::ServerName::try_from("node.consign").unwrap();
    let stream = soon(tokio_rustls::TlsConnector::from(config).connect(to, stream)).await;
    let mut raw = Raw {
        stream: stream.unwrap(),
    };
    let mut hello = super::raw::hello(&store, Purpose::Control);
    (hello.version, hello.version_min) = (PROTOCOL_VERSION_RECEIPTS - 1, 1);
    raw.send(&Message::Hello(hello), &[]).await;
    let session = store
        .heard(|event| match event {
            consign_core::consumer::Event::PeerUp { session, .. } => Some(session),
            _ => None,
        })
        .await;
    let answer = raw.next().await.unwrap().0;
    assert!(matches!(answer, Message::Welcome(_)), "{answer:?}");
    store.net.send(&name("cam"), session, &saved(5, word(5)));
    let heard = soon(async {
        loop {
            match raw.next().await.unwrap().0 {
                Message::Saved(saved) => return saved.receipt,
                _ => continue,
            }
        }
    })
    .await;
    assert_eq!(heard, word(5).unsigned());
}
