//! Sends a file, from some byte on, to one node: as fast as it grants credit, and as far as the
//! file is there. A cursor over the file, so a slow successor slows nobody else.

use std::sync::Arc;

use consign_core::ids::{Incarnation, NodeName};
use consign_core::wire::{Begin, Chunk, Leg, Message};

use super::chunks::{ChunkFault, Chunks};
use super::lanes::Lane;
use super::link::{Body, Link};
use super::links::Links;

/// Whom to send to, and what to label it with.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The receiver.
    pub(super) node: NodeName,
    /// Its address.
    pub(super) addr: String,
    /// Whose transfer it is.
    pub(super) producer: NodeName,
    /// The producer's incarnation.
    pub(super) incarnation: Incarnation,
    /// The receiver's slot.
    pub(super) leg: Leg,
    /// The first byte that it does not hold.
    pub(super) from: u64,
}

/// Why a file was not sent whole. Everything may be tried again under the next attempt.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum OutflowFault {
    /// The receiver cannot be reached, broke off, or refused.
    #[error("{0}")]
    Link(String),
    /// The file cannot be read.
    #[error(transparent)]
    File(#[from] ChunkFault),
}

/// Sends the file. Returns when the receiver has verified and written all of it.
///
/// # Errors
/// [`OutflowFault`].
pub(super) async fn outflow<C: Chunks>(
    links: &Links,
    file: &Arc<C>,
    target: Target,
) -> Result<(), OutflowFault> {
    let shape = file.shape();
    if target.from == shape.size {
        return Ok(());
    }
    if shape.at(target.from).is_none() {
        return Err(OutflowFault::Link(format!(
            "{} wants bytes from {} on, where no chunk begins; hint: check its version",
            target.node, target.from
        )));
    }
    let (link, lane) = open_lane(links, &target)
        .await
        .map_err(OutflowFault::Link)?;
    tokio::select! {
        biased;
        sent = send_all(&link, &lane, file, &target) => sent,
        reason = lane.stopped() => Err(OutflowFault::Link(format!("{}: {reason}", target.node))),
    }
}

/// Finds a link and a lane on it. A link may close, for want of use, between the two: then there
/// is another.
async fn open_lane(links: &Links, target: &Target) -> Result<(Arc<Link>, Lane), String> {
    let mut reason = String::new();
    for _ in 0..3 {
        let chosen = links.to(&target.node, &target.addr).await?;
        match chosen.lanes.open(target.producer.as_str(), target.leg) {
            Ok(lane) => return Ok((chosen.link, lane)),
            Err(closed) => reason = format!("{}: {closed}", target.node),
        }
    }
    Err(reason)
}

async fn send_all<C: Chunks>(
    link: &Link,
    lane: &Lane,
    file: &Arc<C>,
    target: &Target,
) -> Result<(), OutflowFault> {
    let shape = file.shape();
    let begin = Message::Begin(Begin {
        producer: target.producer.to_string(),
        incarnation: target.incarnation.0,
        leg: target.leg,
        from: target.from,
    });
    link.send(&begin, Body::None, None)
        .await
        .map_err(OutflowFault::Link)?;
    let mut cursor = target.from;
    while let Some((index, end)) = shape.at(cursor) {
        lane.credit(end).await;
        file.until_held(end).await;
        // First the turn, then the memory: a link that is stuck holds no more than its turns.
        let turn = link.turn().await;
        let (chunk, hash) = file.chunk(index).await?;
        let header = Message::Chunk(Chunk {
            producer: target.producer.to_string(),
            incarnation: target.incarnation.0,
            leg: target.leg,
            offset: cursor,
            hash: hash.0.to_vec(),
        });
        link.send(&header, Body::Chunk(chunk), Some(turn))
            .await
            .map_err(OutflowFault::Link)?;
        cursor = end;
    }
    lane.verified(shape.size).await;
    Ok(())
}
