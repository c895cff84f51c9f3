//! Carries the letters of `chitchat` over our own connections.
//!
//! That crate knows nodes by their socket address, and ours have addresses by name, which are
//! resolved at each connection. So it is given addresses that nobody can connect to, each made of
//! the hash of a node's name or of a seed's text, and here they are turned back.

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use chitchat::transport::{Socket, Transport};
use chitchat::{ChitchatMessage, Serializable};
use consign_core::ids::NodeName;

use super::letter::Room;
use crate::net::{Mail, Place};

/// The made-up address of a place: in fd00::/8, which is nobody's on the internet.
pub(super) fn virtual_addr(place: &Place) -> SocketAddr {
    let (kind, text) = match place {
        Place::Node(node) => ("node", node.as_str()),
        Place::Seed(addr) => ("seed", addr.as_str()),
    };
    let hash = blake3::hash(format!("consign gossip {kind} {text}").as_bytes());
    let mut octets = [0; 16];
    octets.copy_from_slice(&hash.as_bytes()[..16]);
    octets[0] = 0xfd;
    SocketAddr::from((Ipv6Addr::from(octets), 1))
}

/// Where each made-up address leads.
#[derive(Debug, Clone, Default)]
pub(super) struct Book(Arc<Mutex<HashMap<SocketAddr, Entry>>>);

#[derive(Debug, Clone)]
struct Entry {
    place: Place,
    /// Where to connect to; unknown of a newcomer that has called and not announced itself.
    addr: Option<String>,
}

impl Book {
    /// Notes where a place is.
    pub(super) fn note(&self, place: Place, addr: Option<&str>) -> SocketAddr {
        let at = virtual_addr(&place);
        let mut entries = self.entries();
        let entry = entries.entry(at).or_insert(Entry { place, addr: None });
        if addr.is_some() && entry.addr.as_deref() != addr {
            entry.addr = addr.map(str::to_owned);
        }
        at
    }

    /// Forgets all nodes but these.
    pub(super) fn keep(&self, nodes: impl Fn(&NodeName) -> bool) {
        self.entries().retain(|_, entry| match &entry.place {
            Place::Node(node) => nodes(node),
            Place::Seed(_) => true,
        });
    }

    fn find(&self, at: SocketAddr) -> Option<Entry> {
        self.entries().get(&at).cloned()
    }

    fn entries(&self) -> MutexGuard<'_, HashMap<SocketAddr, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The mail, in the form that `chitchat` wants. One socket at a time: a second one waits for the
/// first to be dropped.
#[derive(Debug)]
pub(super) struct Wire {
    pub(super) mail: Arc<tokio::sync::Mutex<Mail>>,
    pub(super) book: Book,
    pub(super) room: Room,
}

#[async_trait]
impl Transport for Wire {
    async fn open(&self, _listen_addr: SocketAddr) -> anyhow::Result<Box<dyn Socket>> {
        Ok(Box::new(Post {
            mail: Arc::clone(&self.mail).lock_owned().await,
            book: self.book.clone(),
            room: self.room.clone(),
        }))
    }
}

struct Post {
    mail: tokio::sync::OwnedMutexGuard<Mail>,
    book: Book,
    room: Room,
}

#[async_trait]
impl Socket for Post {
    async fn send(&mut self, to: SocketAddr, letter: ChitchatMessage) -> anyhow::Result<()> {
        // Without a way there it is lost, as a datagram would be.
        if let Some(Entry { place, addr }) = self.book.find(to) {
            let letter = letter.serialize_to_vec();
            self.mail.postman().send(&place, addr.as_deref(), letter);
        }
        Ok(())
    }

    async fn recv(&mut self) -> anyhow::Result<(SocketAddr, ChitchatMessage)> {
        loop {
            let letter = self.mail.next().await;
            let letter = letter.ok_or_else(|| anyhow::anyhow!("the net is gone"))?;
            match self.room.read(&letter.bytes) {
                Some(message) => {
                    let from = self.book.note(Place::Node(letter.from), None);
                    return Ok((from, message));
                }
                None => {
                    tracing::debug!(peer = %letter.from, "a letter of gossip is no letter, or there is no room for it");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str) -> Place {
        Place::Node(NodeName::new(name).unwrap())
    }

    #[test]
    fn a_node_and_a_seed_of_one_text_have_addresses_apart() {
        let (a, b) = (virtual_addr(&node("a")), virtual_addr(&node("b")));
        assert_ne!(a, b);
        assert_ne!(a, virtual_addr(&Place::Seed("a".to_owned())));
        assert_eq!(a, virtual_addr(&node("a")));
        assert!(a.to_string().starts_with("[fd"), "{a}");
    }

    #[test]
    fn the_book_knows_a_caller_before_its_address() {
        let book = Book::default();
        let at = book.note(node("a"), None);
        assert_eq!(book.find(at).unwrap().addr, None);
        book.note(node("a"), Some("a.lan:1"));
        book.note(node("a"), None);
        assert_eq!(book.find(at).unwrap().addr.as_deref(), Some("a.lan:1"));
        book.keep(|_| false);
        assert!(book.find(at).is_none());
    }
}
