//! The consumer.
mod event;
pub use event::*;
