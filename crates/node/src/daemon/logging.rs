//! What the agent says on stderr, and how much of it.

use std::env::VarError;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use super::log_lines::LogLines;

/// What is logged when `CONSIGN_LOG` says nothing that is understood.
const LEVEL: &str = "info";

/// What is logged unless `CONSIGN_LOG` says otherwise. The watcher of directories says at `info` that
/// it cannot stop watching what is gone.
const RULES: &str = "info,notify=warn";

/// From here on events go to stderr, one line each.
pub(super) fn start() {
    let filter = filter().unwrap_or_else(|why| {
        // It is the log that is not there yet.
        eprintln!("consign: {why}");
        eprintln!("hint: use a level such as debug, or rules such as info,consign::net=trace");
        EnvFilter::new(LEVEL)
    });
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(|| LogLines)
        .with_ansi(false)
        .with_target(false)
        .try_init();
}

/// What is logged, from `CONSIGN_LOG`.
fn filter() -> Result<EnvFilter, String> {
    let wanted = match std::env::var("CONSIGN_LOG") {
        Ok(wanted) if !wanted.trim().is_empty() => wanted,
        Ok(_) | Err(VarError::NotPresent) => return Ok(EnvFilter::new(RULES)),
        Err(VarError::NotUnicode(wanted)) => {
            return Err(format!(
                "CONSIGN_LOG is not UTF-8: {wanted:?}; {LEVEL} is used"
            ));
        }
    };
    let refused = |why: &str| {
        Err(format!(
            "CONSIGN_LOG = {wanted:?} is not understood, {LEVEL} is used: {why}"
        ))
    };
    // To the filter a word alone is the name of a module, of which everything is to be logged and
    // of all others nothing: a level with a typing error would end all talk.
    let bare = wanted
        .split(',')
        .find(|rule| !rule.contains(['=', '[']) && rule.trim().parse::<LevelFilter>().is_err());
    if let Some(rule) = bare {
        return refused(&format!("{rule:?} is no level"));
    }
    EnvFilter::try_new(&wanted).or_else(|error| refused(&error.to_string()))
}
