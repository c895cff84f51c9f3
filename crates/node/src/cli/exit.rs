//! How a command ends: its exit code, and what it says on the way out.

use crate::config::ConfigError;
use std::io;
use std::process::ExitCode;

use crate::api::error::ErrorBody;

/// The documented exit codes, beside 0 for done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    /// It failed.
    Failed = 1,
    /// Wrong usage, or a wrong configuration.
    Usage = 2,
    /// No agent answers.
    Unreachable = 3,
    /// What was waited for did not come in time.
    TimedOut = 4,
}

/// Why a command does not end with 0.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) exit: Option<Exit>,
    pub(crate) text: String,
}

impl Failure {
    /// It failed; `text` ends in `; hint: …`.
    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::with(Exit::Failed, text)
    }

    /// It was used wrongly; `text` ends in `; hint: …`.
    pub(crate) fn usage(text: impl Into<String>) -> Self {
        Self::with(Exit::Usage, text)
    }

    /// Any of the codes.
    pub(crate) fn with(exit: Exit, text: impl Into<String>) -> Self {
        Self {
            exit: Some(exit),
            text: text.into(),
        }
    }

    /// Everything there was to say has been said already.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self::with(exit, "")
    }

    /// Says on stderr what there is to say.
    pub(crate) fn say(&self) {
        if !self.text.is_empty() {
            let (message, hint) = crate::hint::split(&self.text);
            eprintln!("consign: {message}");
            if !hint.is_empty() {
                eprintln!("hint: {hint}");
            }
        }
    }

    /// The code to exit with.
    pub(crate) fn code(&self) -> ExitCode {
        match self.exit {
            None => ExitCode::SUCCESS,
            Some(exit) => ExitCode::from(exit as u8),
        }
    }
}

impl From<io::Error> for Failure {
    /// Of writing to stdout. A reader that has seen enough (`| head`) is no failure.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Self {
                exit: None,
                text: String::new(),
            },
            _ => Self::failed(format!(
                "cannot write the output: {error}; hint: look at where stdout goes"
            )),
        }
    }
}

impl From<ErrorBody> for Failure {
    fn from(error: ErrorBody) -> Self {
        let exit = match error.kind.as_str() {
            "invalid" => Exit::Usage,
            _ => Exit::Failed,
        };
        Self::with(exit, told(&error))
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<ConfigError>() {
            // It says itself what it comes from.
            Some(config) => Self::usage(config.to_string()),
            None => Self::failed(said(&error)),
        }
    }
}

/// An error and what it comes from, in one text that ends in its hint. Most say themselves what
/// they come from, and nothing is said twice.
pub(crate) fn said(error: &anyhow::Error) -> String {
    let (mut message, mut hint) = (String::new(), String::new());
    for cause in error.chain().map(ToString::to_string) {
        let (what, to_do) = crate::hint::split(&cause);
        if !message.contains(what) {
            let separator = if message.is_empty() { "" } else { ": " };
            message.extend([separator, what]);
        }
        if hint.is_empty() {
            hint = to_do.to_owned();
        }
    }
    match hint.as_str() {
        "" => message,
        hint => format!("{message}; hint: {hint}"),
    }
}

/// An error of the API as one text again.
pub(crate) fn told(error: &ErrorBody) -> String {
    match error.hint.as_str() {
        "" => error.message.clone(),
        hint => format!("{}; hint: {hint}", error.message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_each_thing_once_and_ends_in_its_hint() {
        let refused = anyhow::anyhow!("Operation not permitted");
        let error = refused
            .context("cannot give \"f\" away: Operation not permitted; hint: run as root")
            .context("the inbox is of no use");
        assert_eq!(
            said(&error),
            "the inbox is of no use: cannot give \"f\" away: Operation not permitted; hint: run as root"
        );
    }
}
