//! The driver runs the state machines; everything else in this process speaks to it through its
//! [`handle`], and reads the [`snapshot`] that it publishes.

pub(crate) mod handle;
pub(crate) mod refusal;
pub(crate) mod snapshot;
