//! Deterministic simulation for consign: whole clusters in one thread under a seed, and the checker
//! of their promises.
//!
//! * [`rng`]: the one source of chance, from a seed.
//! * [`disk`]: a filesystem that forgets what was not synced, tears, fills up and fails.
//! * [`plan`]: what one seed does: its cluster, its files, its faults and their rates.
//! * [`world`]: time, network, nodes; the shipped state machines, log and publishing run in it.
//! * [`ledger`]: what really happened, seen from outside, held against the promises.
//! * [`promise`]: what is promised, by number.
//! * [`coverage`]: which states, edges, records, messages and faults a run has met.
//! * [`trace`], [`run`]: what a run leaves, and running seeds.
//! * `hunt`, with the feature `planted`: whether the checks find bugs that were planted.

pub mod content;
pub mod coverage;
pub mod disk;
#[cfg(feature = "planted")]
pub mod hunt;
pub mod ledger;
pub mod plan;
pub mod promise;
pub mod rng;
pub mod run;
pub mod trace;
pub mod world;
