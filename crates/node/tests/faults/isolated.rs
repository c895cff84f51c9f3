//! Each test runs in namespaces of its own: mounts, processes and network. Whatever it mounts,
//! starts or configures is gone with its last process, also when the test is killed.

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::image::tool;

/// Set inside the namespaces.
pub(crate) const INSIDE: &str = "CONSIGN_FAULTS_INSIDE";
/// A file to which what was skipped is appended, so that a summary can show it.
const SKIPPED: &str = "CONSIGN_SKIPPED";

/// Runs `body` in new namespaces, where `test` is the full name of the test that calls this.
/// Skips it, aloud, where that is not possible or one of `tools` is missing.
pub(crate) fn isolated(test: &str, tools: &[&str], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        // Loopback is down in a new network namespace.
        tool("ip", &["link", "set", "lo", "up"]);
        return body();
    }
    if let Some(why) = obstacle(tools) {
        return skip(test, &why);
    }
    let status = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        // Whoever runs this test has asked for it.
        .arg("--include-ignored")
        .env(INSIDE, "1")
        .stdin(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success(), "see above: {status}");
}

/// Ends together with whoever started it, and takes everything inside with it.
pub(crate) fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--net", "--pid", "--mount-proc", "--fork"]);
    command.arg("--kill-child=KILL");
    command
}

fn obstacle(tools: &[&str]) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("only root can mount filesystems and make namespaces".to_owned());
    }
    let runs = |command: &mut Command| {
        let output = command.stdin(Stdio::null()).output();
        output.is_ok_and(|output| output.status.success())
    };
    let missing = |tool: &&&str| !runs(Command::new("which").arg(tool));
    if let Some(tool) = tools.iter().find(missing) {
        return Some(format!("{tool} is not installed"));
    }
    // Root in a container may lack the right to either of these.
    let probe = "ip link set lo up && mount -t tmpfs tmpfs /mnt && truncate -s 8M /mnt/i && \
                 mkfs.ext4 -q /mnt/i && mkdir /mnt/d && mount -o loop /mnt/i /mnt/d";
    match runs(unshare().args(["sh", "-c", probe])) {
        true => None,
        false => Some("this root may not make namespaces or loop mounts".to_owned()),
    }
}

/// Says that something was not tested, here and in the summary.
fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED {test}: {why}");
    if let Some(path) = std::env::var_os(SKIPPED) {
        let file = std::fs::File::options()
            .append(true)
            .create(true)
            .open(path);
        writeln!(file.unwrap(), "{test}: {why}").unwrap();
    }
}

/// How much is to be tried: a number from the environment, or what fits into a run of all tests.
pub(crate) fn amount(variable: &str, usual: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text.parse().expect(variable),
        Err(_) => usual,
    }
}
