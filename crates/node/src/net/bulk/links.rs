//! The links for chunks: a few to each peer, dialled when they are needed, shared by all transfers
//! to it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use consign_core::ids::NodeName;
use consign_core::wire::Purpose;
use tokio::time::Instant;

use crate::net::bounds::CHUNK_LINKS_PER_PEER;
use crate::net::shared::Shared;

use super::lanes::Lanes;
use super::link::Link;

/// A link and the transfers on it.
#[derive(Debug, Clone)]
pub(super) struct ChunkLink {
    pub(super) link: Arc<Link>,
    pub(super) lanes: Arc<Lanes>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Links {
    shared: Arc<Shared>,
    peers: Mutex<HashMap<(NodeName, String), Arc<Peer>>>,
}

#[derive(Debug, Default)]
struct Peer(tokio::sync::Mutex<PeerLinks>);

#[derive(Debug, Default)]
struct PeerLinks {
    links: Vec<ChunkLink>,
    /// When dialling failed last, and why.
    failed: Option<(Instant, String)>,
}

impl Links {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        Self {
            shared: Arc::clone(shared),
            peers: Mutex::default(),
        }
    }

    /// The least used link to a peer; dialled if there is none, or if all are in use and there may
    /// be more.
    ///
    /// # Errors
    /// Why the peer cannot be reached, for a person.
    pub(super) async fn to(&self, node: &NodeName, addr: &str) -> Result<ChunkLink, String> {
        let asked = Instant::now();
        let peer = self.peer(node, addr);
        let mut peer = peer.0.lock().await;
        peer.links.retain(|link| link.link.closed().is_none());
        let best = peer
            .links
            .iter()
            .min_by_key(|link| link.lanes.len())
            .cloned();
        match &best {
            Some(best) if best.lanes.len() == 0 || peer.links.len() >= CHUNK_LINKS_PER_PEER => {
                return Ok(best.clone());
            }
            Some(_) | None => {}
        }
        // Many wait here while one dials in vain: its failure is theirs, they do not try in turn.
        if let (None, Some((at, reason))) = (&best, &peer.failed)
            && *at >= asked
        {
            return Err(reason.clone());
        }
        match self.dial(node, addr).await {
            Ok(link) => {
                peer.links.push(link.clone());
                Ok(link)
            }
            Err(reason) => {
                peer.failed = Some((Instant::now(), reason.clone()));
                best.ok_or(reason)
            }
        }
    }

    async fn dial(&self, node: &NodeName, addr: &str) -> Result<ChunkLink, String> {
        let lanes = Arc::new(Lanes::default());
        let user = Arc::clone(&lanes);
        let link = Link::dial(&self.shared, node, addr, Purpose::Chunks, user);
        let link = link.await.map_err(|why| format!("{node}: {why}"))?;
        Ok(ChunkLink { link, lanes })
    }

    fn peer(&self, node: &NodeName, addr: &str) -> Arc<Peer> {
        let mut peers = self.peers.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has no link that lives is forgotten, so that addresses of the past do not pile
        // up.
        peers.retain(|_, peer| {
            Arc::strong_count(peer) > 1
                || peer
                    .0
                    .try_lock()
                    .is_ok_and(|peer| peer.links.iter().any(|link| link.link.closed().is_none()))
        });
        let peer = peers.entry((node.clone(), addr.to_owned())).or_default();
        Arc::clone(peer)
    }
}
