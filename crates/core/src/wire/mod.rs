//! What nodes say to each other: messages, and the frames that carry them.
//!
//! There are two kinds of connection. On a *control* connection a producer and a consumer talk
//! about transfers; it is dialled by the producer. On a *data* connection one node sends bytes to
//! another: a producer to the first consumer of a chain, and each consumer to the next. On an *audit*
//! connection a producer asks a consumer about its copies. All begin with [`Hello`] and
//! [`Welcome`]. `docs/protocol.md` has the bytes.

mod frame;
mod message;

pub use frame::{BadFrame, FRAME_HEAD_BYTES, Frame, FrameHead, encode_frame, parse_frame_head};
pub use message::*;

/// The protocol version that this program speaks.
pub const PROTOCOL_VERSION: u32 = 4;
/// The first version that answers audits.
pub const PROTOCOL_VERSION_AUDIT: u32 = 2;
/// The first version whose receipts say of which files they are, and are signed where there are keys.
pub const PROTOCOL_VERSION_RECEIPTS: u32 = 4;
/// The oldest protocol version that this program still understands.
pub const PROTOCOL_VERSION_MIN: u32 = 1;
