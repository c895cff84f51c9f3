//! What `consign demo` takes.

use std::path::PathBuf;

/// Nodes of one role: more say nothing new, and each wants memory and file descriptors.
const NODES_MAX: i64 = 16;

/// What `consign demo` takes.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct DemoArgs {
    /// Files and directories to send; without any, files are made
    #[arg(value_name = "PATH")]
    pub(super) paths: Vec<PathBuf>,
    /// Nodes that send
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    pub(super) producers: u16,
    /// Nodes that receive
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    pub(super) consumers: u16,
    /// Consumers for each file
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=NODES_MAX))]
    pub(super) replicas: u16,
    /// Kill nodes with SIGKILL and start them again while files flow
    #[arg(long)]
    pub(super) chaos: bool,
    /// Seconds of chaos, at least
    #[arg(long, value_name = "N", default_value_t = 12, requires = "chaos", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(super) seconds: u64,
    /// MiB of the largest file that is made
    #[arg(long, value_name = "MIB", default_value_t = 256, value_parser = clap::value_parser!(u64).range(1..=1_048_576))]
    pub(super) size: u64,
    /// Choose the same names, bytes and victims as an earlier run
    #[arg(long, value_name = "N")]
    pub(super) seed: Option<u64>,
    /// Work in this new or empty directory and keep it, to look at it afterwards
    #[arg(long, value_name = "DIR")]
    pub(super) keep: Option<PathBuf>,
    /// Print the result as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

impl DemoArgs {
    /// What makes no sense together, with a hint.
    pub(super) fn check(&self) -> Result<(), String> {
        if self.replicas > self.consumers {
            return Err(format!(
                "--replicas {} needs as many consumers, and there are {}; hint: add --consumers {}",
                self.replicas, self.consumers, self.replicas
            ));
        }
        Ok(())
    }
}
