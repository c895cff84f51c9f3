//! Connections for gossip.

use consign_core::wire::{Gossip, Hello, Message, Ping, Purpose};

use super::raw::{Raw, hello};
use super::support::{Node, soon};
use crate::net::bounds::LETTER_BYTES_MAX;
use crate::net::{Mail, Place};

fn letter(text: &str) -> Message {
    Message::Gossip(Gossip {
        letter: text.as_bytes().to_vec(),
    })
}

/// The next letter, and who sent it.
async fn next(mail: &mut Mail) -> (String, String) {
    let letter = soon(mail.next()).await.expect("the net lives");
    let text = String::from_utf8(letter.bytes).unwrap();
    (letter.from.to_string(), text)
}

#[tokio::test]
async fn letters_go_both_ways_over_the_connection_there_is() {
    let (a, b) = (Node::start("a").await, Node::start("b").await);
    let mut at_a = a.net.mail().unwrap();
    let mut at_b = b.net.mail().unwrap();
    // Of a seed only the address is known.
    let seed = Place::Seed(a.addr.clone());
    at_b.postman()
        .send(&seed, Some(&a.addr), b"from b".to_vec());
    assert_eq!(next(&mut at_a).await, ("b".to_owned(), "from b".to_owned()));
    // And of who has called, only the connection.
    let to_b = Place::Node(b.name.clone());
    at_a.postman().send(&to_b, None, b"from a".to_vec());
    assert_eq!(next(&mut at_b).await, ("a".to_owned(), "from a".to_owned()));
    // Whoever it is at the seed's address is the same node.
    let to_a = Place::Node(a.name.clone());
    at_b.postman().send(&to_a, None, b"again".to_vec());
    assert_eq!(next(&mut at_a).await, ("b".to_owned(), "again".to_owned()));
}

#[tokio::test]
async fn a_node_that_does_not_gossip_says_so() {
    let store = Node::start("store").await;
    let mut raw = Raw::connect(&store).await;
    raw.send(&Message::Hello(hello(&store, Purpose::Gossip)), &[])
        .await;
    match raw.last_words().await {
        Some(Message::Rejected(rejected)) => {
            assert!(
                rejected.reason.contains("membership.kind"),
                "{}",
                rejected.reason
            );
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn only_gossip_may_leave_open_whom_it_wants() {
    let store = Node::start("store").await;
    let _mail = store.net.mail().unwrap();
    for (purpose, is_welcome) in [(Purpose::Gossip, true), (Purpose::Control, false)] {
        let mut raw = Raw::connect(&store).await;
        let open = Hello {
            to: String::new(),
            ..hello(&store, purpose)
        };
        raw.send(&Message::Hello(open), &[]).await;
        let answer = raw.next().await.unwrap().0;
        assert_eq!(
            matches!(answer, Message::Welcome(_)),
            is_welcome,
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn who_gossips_wrongly_is_hung_up_on_and_the_others_are_heard() {
    let store = Node::start("store").await;
    let mut mail = store.net.mail().unwrap();
    for wrong in [
        Message::Ping(Ping { number: 1, log: 0 }),
        letter(&"x".repeat(LETTER_BYTES_MAX + 64)),
    ] {
        let mut raw = Raw::dial(&store, Purpose::Gossip).await;
        raw.send(&wrong, &[]).await;
        assert_eq!(raw.last_words().await, None);
    }
    let mut raw = Raw::dial(&store, Purpose::Gossip).await;
    let longest = "x".repeat(LETTER_BYTES_MAX);
    raw.send(&letter(&longest), &[]).await;
    assert_eq!(next(&mut mail).await.1, longest);
}
