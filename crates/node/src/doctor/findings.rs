//! What an examination finds.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// It was examined, and is as it should be.
    Sound,
    /// Worth knowing; nothing to do.
    Note,
    /// A person should act.
    Problem,
}

impl Verdict {
    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Sound => "sound",
            Self::Note => "note",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Finding {
    /// How bad it is.
    pub(crate) verdict: Verdict,
    /// Of what: `data`, `log`, `spool`, `inbox`, `catalogue`, `receipts` or `salvage`.
    pub(crate) part: &'static str,
    /// What was found.
    pub(crate) what: String,
    /// What to do; empty when there is nothing to do.
    pub(crate) hint: String,
}

/// What was found so far.
#[derive(Debug, Default)]
pub(super) struct Findings {
    found: Vec<Finding>,
}

impl Findings {
    pub(super) fn sound(&mut self, part: &'static str, what: String) {
        self.add(Verdict::Sound, part, what, "");
    }

    pub(super) fn note(&mut self, part: &'static str, what: String) {
        self.add(Verdict::Note, part, what, "");
    }

    pub(super) fn problem(&mut self, part: &'static str, what: String, hint: &str) {
        self.add(Verdict::Problem, part, what, hint);
    }

    pub(super) fn into_inner(self) -> Vec<Finding> {
        self.found
    }

    fn add(&mut self, verdict: Verdict, part: &'static str, what: String, hint: &str) {
        let hint = hint.to_owned();
        self.found.push(Finding {
            verdict,
            part,
            what,
            hint,
        });
    }
}
