//! The `consign` binary.

#![allow(
    dead_code,
    unused_imports,
    reason = "the driver that calls these modules is not there yet"
)]

mod filesystem;
mod os_disk;
mod outbox;
mod watch;

fn main() {}
