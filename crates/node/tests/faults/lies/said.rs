//! What is said after a lie, and of which files.

use std::process::{Command, Stdio};

use serde_json::Value;

use crate::ledger::base;
use crate::machine::Machine;

/// What the agent and its tools say after a lie.
pub(super) struct Said {
    /// The target does not go on.
    pub(super) refused: bool,
    pub(super) hints: bool,
    pub(super) panicked: bool,
    pub(super) doctor: String,
    pub(super) audit: String,
    pub(super) transfers: String,
    /// What the target's agent has written since its end.
    pub(super) log: String,
    pub(super) all: String,
}

impl Said {
    /// Whether somebody says that this file, or the whole node, is not what it should be.
    pub(super) fn names(&self, name: &str) -> bool {
        let problem = |line: &&str| line.contains("\"problem\"");
        let of_node = self.doctor.lines().filter(problem).count() > 0;
        let mut found = objects(&self.audit).filter(|line| line["kind"] == "finding");
        let mut open = objects(&self.transfers).filter(|line| line["state"] != "done");
        let of_file = |line: &Value| line["name"].as_str().is_some_and(|it| base(it) == name);
        (self.refused && self.hints)
            || of_node
            || found.any(|line| of_file(&line))
            || open.any(|line| of_file(&line))
            || self.log.lines().any(|line| warns_of(line, name))
    }
}

/// Whether a line of an agent's log is a warning about the path that this file has in its inbox.
fn warns_of(line: &str, name: &str) -> bool {
    line.contains(" WARN ") && line.contains(&format!("/{name}\""))
}

fn objects(text: &str) -> impl Iterator<Item = Value> {
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
}

/// What `doctor --read` says of a machine that does not run.
pub(super) fn doctor(target: &Machine) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_consign"))
        .args(["doctor", "--read", "--json", "--config"])
        .arg(target.config())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}
