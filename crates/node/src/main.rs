//! The `consign` binary.

#[allow(dead_code, reason = "the driver that calls it is not there yet")]
mod filesystem;
#[allow(dead_code, reason = "the driver that calls it is not there yet")]
mod os_disk;
#[allow(dead_code, reason = "the driver that calls it is not there yet")]
mod outbox;
#[allow(dead_code, reason = "the driver that calls it is not there yet")]
mod watch;

fn main() {}
