//! Deterministic simulation for consign: the world that its promises are tested against.
//!
//! * [`rng`]: the one source of chance, from a seed.
//! * [`disk`]: a filesystem that forgets what was not synced, tears, fills up and fails.

pub mod disk;
pub mod rng;
