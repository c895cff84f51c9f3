//! The producer.
mod event;
pub use event::*;
