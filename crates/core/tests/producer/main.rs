//! What the producer guarantees, event by event.

mod desk;
mod placing;
