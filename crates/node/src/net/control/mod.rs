//! Control connections: messages about transfers, directly between a producer and each of its
//! consumers. A producer dials; what it hears is for its producer side, and what a consumer hears
//! on a connection that it accepted is for its consumer side.

mod dialer;
mod receipts;
mod serve;
mod session;

pub(super) use dialer::Dialer;
pub(crate) use dialer::PeerState;
pub(super) use serve::serve;
