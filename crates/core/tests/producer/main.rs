//! What the producer guarantees, event by event.

mod carrying;
mod desk;
mod placing;
mod windows;
