//! Runs simulated clusters.

fn main() {}
