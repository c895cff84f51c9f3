//! `consign`: guaranteed, asynchronous, distributed file transfer.
#![allow(dead_code)] // Until the daemon wires the parts together.

mod api;
mod catalogue;
mod cli;
mod daemon;
mod demo;
mod driver;
mod timestamp;

fn main() -> std::process::ExitCode {
    cli::main()
}
