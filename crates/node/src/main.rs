//! The `consign` program.
#![allow(dead_code)]

mod config;
mod filesystem;
mod os_disk;
mod outbox;
mod watch;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::Config;

/// Wrong usage or config.
const EXIT_USAGE: u8 = 2;

/// Guaranteed, asynchronous, distributed file transfer.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The config file.
    #[command(subcommand)]
    Config(ConfigCommand),
}

#[derive(Subcommand)]
enum ConfigCommand {
    /// Check a config and print it as it is in effect, defaults filled in.
    Check {
        /// The config file.
        #[arg(
            long,
            env = "CONSIGN_CONFIG",
            default_value = "/etc/consign/consign.toml"
        )]
        config: PathBuf,
    },
}

fn main() -> ExitCode {
    let Command::Config(ConfigCommand::Check { config }) = Cli::parse().command;
    match Config::load(&config) {
        Ok(config) => {
            print!("{config}");
            ExitCode::SUCCESS
        }
        Err(bad) => {
            eprintln!("consign: {bad}");
            ExitCode::from(EXIT_USAGE)
        }
    }
}
