//! `consign`: guaranteed, asynchronous, distributed file transfer.
#![allow(dead_code)] // Until the daemon wires the parts together.

mod catalogue;
mod driver;
mod timestamp;

fn main() {}
