//! The authority of a cluster, and how machines come by their keys.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::bridge;

#[derive(Debug)]
pub(super) struct Authority {
    dir: PathBuf,
}

impl Authority {
    pub(super) fn new(dir: &Path) -> Self {
        let dir = dir.join("authority");
        consign(&[], &["keys", "init", "--dir", dir.to_str().unwrap()]);
        Self { dir }
    }

    /// The `[tls]` of the one node that lets others in.
    pub(super) fn door(&self, node: &str) -> String {
        let bundle = self.issue(node);
        format!("{bundle}authority = {:?}\n", self.dir)
    }

    /// The `[tls]` of a node that a person brings its keys to.
    pub(super) fn issue(&self, node: &str) -> String {
        let (dir, out) = (self.dir.to_str().unwrap(), self.bundle(node));
        let (out, role) = (out.to_str().unwrap(), role(node));
        let args = ["keys", "issue", node, "--roles", role, "--dir", dir];
        consign(&[], &[&args[..], &["--out", out]].concat());
        format!("bundle = {out:?}\n")
    }

    /// The `[tls]` of a node that comes with a token to the node at `door`.
    pub(super) fn let_in(&self, node: &str, door: &str) -> String {
        let dir = self.dir.to_str().unwrap();
        let args = ["keys", "invite", node, "--roles", role(node), "--dir", dir];
        let token = consign(&[], &[&args[..], &["--at", door]].concat());
        let out = self.bundle(node);
        let out = out.to_str().unwrap();
        let args = ["join", token.trim(), "--out", out];
        consign(&bridge::under(node), &args);
        format!("bundle = {out:?}\n")
    }

    fn bundle(&self, node: &str) -> PathBuf {
        self.dir.join(format!("{node}.pem"))
    }
}

fn role(node: &str) -> &'static str {
    match node.starts_with("cons") {
        true => "consumer",
        false => "producer",
    }
}

/// Runs the program, below another command if there is one; it must end well.
#[track_caller]
fn consign(under: &[&str], args: &[&str]) -> String {
    let words = [under, &[env!("CARGO_BIN_EXE_consign")], args].concat();
    let output = Command::new(words[0])
        .args(&words[1..])
        .env_remove("CONSIGN_AGENT")
        .env_remove("CONSIGN_CONFIG")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{words:?}: {err}");
    String::from_utf8(output.stdout).unwrap()
}
