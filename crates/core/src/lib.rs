//! The promises of consign, without I/O.
//!
//! This crate knows nothing of tokio, sockets or clocks. Time is an argument, randomness a seed,
//! the network and the disk are events in and effects out; `clippy.toml` bans the rest by name.
//!
//! * [`ids`], [`spec`], [`record`], [`ranges`], [`limits`]: the nouns.
//! * [`receipt`]: what a consumer signs of the files that it has saved.
//! * [`view`], [`placement`]: who the members are, and which of them get a file.
//! * [`name`], [`tree`]: names of files, and the BLAKE3 tree over their chunks.
//! * [`wire`]: what nodes say to each other.
//! * [`disk`], [`log`], [`publish`]: the storage seam, and over it the intent log and the way into
//!   an inbox.
//! * [`audit`]: comparing what a producer believes with what its consumers say.
//! * [`producer`], [`consumer`], [`journal`]: the two state machines, and their way to the log.
//! * [`planted`]: bugs for the checks to find, in no release.
//! * `watched`, with the feature of that name: which edges the state machines take.

pub mod audit;
pub mod consumer;
pub mod disk;
pub mod ids;
pub mod journal;
pub mod limits;
mod live;
pub mod log;
pub mod name;
mod numbered;
pub mod placement;
pub mod planted;
pub mod producer;
pub mod publish;
pub mod ranges;
pub mod receipt;
pub mod record;
pub mod spec;
pub mod tree;
pub mod view;
#[cfg(feature = "watched")]
pub mod watched;
pub mod wire;
