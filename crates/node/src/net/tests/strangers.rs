//! Connections that say nothing, or next to nothing, beside honest ones.

use std::time::Duration;

use consign_core::wire::{Message, Purpose, encode_frame};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use crate::net::bounds::{FIRST_BYTE_DEADLINE, HELLO_DEADLINE};

use super::raw::{Raw, hello};
use super::support::{Node, soon};

/// Strangers that a node of 64 open files has places for.
const PLACES: usize = 32;

#[tokio::test]
async fn strangers_on_every_place_keep_nobody_out() {
    let store = Node::start_with_files("store", 2 * PLACES).await;
    let mut strangers = Vec::new();
    for number in 0..4 * PLACES {
        let mut stranger = Raw::connect(&store).await;
        // Every other one says something that is no hello yet.
        if number % 2 == 0 {
            let _ = stranger.stream.write_all(&[0]).await;
        }
        strangers.push(stranger);
    }
    let peer = timeout(HELLO_DEADLINE / 2, Raw::dial(&store, Purpose::Control)).await;
    let _peer = peer.expect("a peer does not wait until strangers have to go anyway");
    let read = soon(strangers[0].stream.read(&mut [0])).await;
    assert!(matches!(read, Ok(0) | Err(_)), "who came first had to go");
}

#[tokio::test]
async fn a_peer_that_is_known_holds_no_strangers_place() {
    let store = Node::start_with_files("store", 2).await;
    let mut peer = Raw::dial(&store, Purpose::Control).await;
    let mut strangers = Vec::new();
    for _ in 0..8 {
        strangers.push(Raw::connect(&store).await);
    }
    drop(soon(Raw::dial(&store, Purpose::Smalls)).await);
    assert!(peer.until_pong().await.is_empty(), "it goes on as before");
}

#[tokio::test(start_paused = true)]
async fn a_hello_that_comes_byte_by_byte_has_a_deadline_as_a_whole() {
    let store = Node::start("store").await;
    let mut slow = Raw::connect(&store).await;
    let began = Instant::now();
    let hello = encode_frame(&Message::Hello(hello(&store, Purpose::Control)), 0);
    for byte in hello {
        if slow.stream.write_all(&[byte]).await.is_err() {
            break;
        }
        let answer = timeout(Duration::from_secs(1), slow.stream.read(&mut [0])).await;
        if matches!(answer, Ok(Ok(0) | Err(_))) {
            break;
        }
    }
    let took = began.elapsed();
    assert!(took <= 3 * HELLO_DEADLINE, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_says_nothing_is_let_be_for_a_while_and_not_for_ever() {
    let store = Node::start("store").await;
    let mut silent = Raw::connect(&store).await;
    let early = timeout(2 * HELLO_DEADLINE, silent.stream.read(&mut [0])).await;
    assert!(
        early.is_err(),
        "being sent away and coming back costs more: {early:?}"
    );
    let late = timeout(2 * FIRST_BYTE_DEADLINE, silent.stream.read(&mut [0])).await;
    assert!(matches!(late, Ok(Ok(0) | Err(_))), "{late:?}");
}
