//! `consign`: guaranteed, asynchronous, distributed file transfer.

mod api;
mod catalogue;
mod cli;
mod config;
mod daemon;
mod demo;
mod doctor;
mod driver;
mod filesystem;
mod hint;
mod inboxes;
mod log_writer;
mod net;
mod os_disk;
mod outbox;
mod problems;
mod timestamp;
mod watch;

fn main() -> std::process::ExitCode {
    cli::main()
}
