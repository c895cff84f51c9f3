//! What the producer guarantees, event by event.

mod carrying;
mod desk;
mod orders;
mod placing;
mod windows;
