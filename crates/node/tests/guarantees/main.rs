//! The guarantees, held by real agents as real processes: what a user sees, and nothing else.

mod answers;
mod audit;
mod cluster;
mod commands;
mod crashes;
mod delivery;
mod demo;
mod disks;
mod doctor;
mod draining;
mod identity;
mod inboxes;
mod inviting;
mod joining;
mod listed;
mod members;
mod receipts;
mod refusals;
mod restored;
mod scale;
mod sources;
