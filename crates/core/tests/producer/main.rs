//! What the producer guarantees, event by event.

mod attempts;
mod carrying;
mod desk;
mod draining;
mod joining;
mod late_words;
mod orders;
mod placing;
mod windows;
