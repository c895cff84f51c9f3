//! What waits to be sent to one node.

use std::sync::Arc;

use bytes::Bytes;
use consign_core::producer::SmallSend;
use consign_core::wire::{Hop, SmallFrame};
use tokio::sync::OwnedSemaphorePermit;

use super::payload::Payloads;

/// What is to be sent.
pub(super) enum Parcel {
    /// Our own files; their bytes are yet to be read.
    Own {
        route: Vec<Hop>,
        files: Vec<SmallSend>,
        payloads: Arc<dyn Payloads>,
    },
    /// A frame that goes on.
    Forward { frame: SmallFrame, payload: Bytes },
}

/// The payload, which takes up `room` until it is written and dropped.
pub(super) fn with_room(payload: Bytes, room: [OwnedSemaphorePermit; 2]) -> Bytes {
    Bytes::from_owner(Roomed {
        payload,
        _room: room,
    })
}

/// A payload that takes room until it is written.
struct Roomed {
    payload: Bytes,
    _room: [OwnedSemaphorePermit; 2],
}

impl AsRef<[u8]> for Roomed {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}
