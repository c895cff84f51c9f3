//! `consign`: guaranteed, asynchronous, distributed file transfer.

mod api;
mod audit;
mod catalogue;
mod cli;
mod config;
mod daemon;
mod demo;
mod doctor;
mod driver;
mod filesystem;
mod net;
mod os_disk;
mod outbox;
mod timestamp;
mod watch;

fn main() -> std::process::ExitCode {
    cli::main()
}
