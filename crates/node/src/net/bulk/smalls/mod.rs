//! Small files, many to a frame, along their route: sent, received, verified and passed on.

mod frame;
mod line;
mod parcel;
mod payload;
mod receive;
mod send;

pub(crate) use payload::Payloads;
pub(super) use receive::serve;
pub(super) use send::SmallSenders;
