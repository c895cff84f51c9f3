//! The `consign` program.

#![allow(dead_code, reason = "wired by the driver, which is on its way")]

mod net;

fn main() {}
