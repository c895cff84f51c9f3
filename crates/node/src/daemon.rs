//! The agent: reads its configuration, and runs the node until it is told to stop.

use std::path::Path;

/// Runs the agent until SIGTERM.
///
/// # Errors
/// When it cannot start, or has to stop by itself.
pub(crate) fn run(config: &Path) -> anyhow::Result<()> {
    anyhow::bail!(
        "the agent is not wired up yet (it would read {}); hint: this is a build from the middle \
         of the work",
        config.display()
    )
}

/// Reads a configuration and says in a line what it describes.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_config(config: &Path) -> anyhow::Result<String> {
    anyhow::bail!(
        "the configuration is not read yet ({}); hint: this is a build from the middle of the work",
        config.display()
    )
}
