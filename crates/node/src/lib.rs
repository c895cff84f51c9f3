//! `consign`: guaranteed, asynchronous, distributed file transfer.
//!
//! The binary is all there is to use; this library is its body, so that what strangers may send can
//! be tried on it from outside ([`untrusted`]).

mod api;
mod audit;
mod catalogue;
mod cli;
mod config;
mod daemon;
mod database;
mod demo;
mod doctor;
mod driver;
mod filesystem;
mod hint;
mod identity;
mod inboxes;
mod log_writer;
mod membership;
mod net;
mod os_disk;
mod outbox;
mod problems;
mod receipts;
mod timestamp;
#[doc(hidden)]
pub mod untrusted;
mod watch;

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> std::process::ExitCode {
    cli::main()
}
