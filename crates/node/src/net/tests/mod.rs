//! Whole nets over real sockets on loopback.

mod audit;
mod chain;
mod control;
mod faults;
mod raw;
mod smalls;
mod support;
mod throughput;
