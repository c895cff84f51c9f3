//! Whole nets over real sockets on loopback.

mod audit;
mod chain;
mod control;
mod faults;
mod gossip;
mod identity;
mod raw;
mod receipts;
mod smalls;
mod strangers;
mod support;
mod throughput;
