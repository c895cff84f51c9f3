//! A little colour, where it helps: on a terminal, unless `NO_COLOR` is set.

use std::fmt::Display;
use std::io::IsTerminal as _;

use comfy_table::Color;

/// Whether stdout takes colours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Paint(bool);

impl Paint {
    /// As stdout and the environment have it.
    pub(crate) fn for_stdout() -> Self {
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(!unwanted && std::io::stdout().is_terminal())
    }

    /// Never any.
    #[cfg(test)]
    pub(crate) fn plain() -> Self {
        Self(false)
    }

    /// Always some.
    #[cfg(test)]
    pub(crate) fn bright() -> Self {
        Self(true)
    }

    /// Whether there is colour.
    pub(crate) fn is_on(self) -> bool {
        self.0
    }

    /// Bold.
    pub(crate) fn bold(self, text: impl Display) -> String {
        self.coded("1", text)
    }

    /// Dimmed.
    pub(crate) fn dim(self, text: impl Display) -> String {
        self.coded("2", text)
    }

    /// In the colour of a state.
    pub(crate) fn state(self, state: &str) -> String {
        match color_of(state) {
            Some(Color::Green) => self.coded("32", state),
            Some(Color::Red) => self.coded("31", state),
            Some(_) => self.coded("33", state),
            None => state.to_owned(),
        }
    }

    fn coded(self, code: &str, text: impl Display) -> String {
        match self.0 {
            true => format!("\x1b[{code}m{text}\x1b[0m"),
            false => text.to_string(),
        }
    }
}

/// Good states are green, those that need a person red, those in doubt yellow; the others have no
/// colour, so that the eye finds these.
pub(crate) fn color_of(state: &str) -> Option<Color> {
    match state {
        "done" | "ok" | "saved" | "published" | "connected" | "sends here" | "both ways" => {
            Some(Color::Green)
        }
        "failed" | "refused" | "not ready" => Some(Color::Red),
        "degraded" | "cancelled" | "abandoned" | "away" | "draining" => Some(Color::Yellow),
        _ => None,
    }
}
