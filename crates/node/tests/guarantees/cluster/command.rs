//! Running the program, and what it says.

use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use serde_json::Value;

/// How long a command may take: then it hangs, and is killed.
const COMMAND_DEADLINE: Duration = Duration::from_secs(90);
/// A user that owns nothing.
pub(super) const NOBODY: u32 = 65_534;

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn new(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let by_signal = output.status.signal().map(|signal| -signal);
        Self {
            code: output.status.code().or(by_signal).unwrap(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    /// It ended well.
    #[track_caller]
    pub(crate) fn good(self) -> Self {
        assert_eq!(self.code, 0, "{self:#?}");
        self
    }

    /// It ended with `code`, and its error names all of `words` and something to do.
    #[track_caller]
    pub(crate) fn bad(self, code: i32, words: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:#?}");
        for word in words.iter().chain(&["hint: "]) {
            assert!(self.err.contains(word), "no {word:?} in {self:#?}");
        }
        self
    }

    /// Its objects, one a line.
    #[track_caller]
    pub(crate) fn objects(&self) -> Vec<Value> {
        let lines = self.out.lines();
        lines
            .map(|line| serde_json::from_str(line).expect(line))
            .collect()
    }
}

/// Runs the program without any agent in mind.
pub(crate) fn consign<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Said {
    consign_with(args, &[])
}

/// Runs the program in an environment that says this too.
pub(crate) fn consign_with<S: AsRef<std::ffi::OsStr>>(args: &[S], env: &[(&str, &str)]) -> Said {
    let child = Command::new(env!("CARGO_BIN_EXE_consign"))
        .args(args)
        .envs(env.iter().copied())
        .env_remove("CONSIGN_AGENT")
        .env_remove("CONSIGN_CONFIG")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (pid, (ended, end)) = (child.id(), std::sync::mpsc::channel());
    let watchdog = std::thread::spawn(move || {
        // The sender goes away when the command has ended.
        if end.recv_timeout(COMMAND_DEADLINE) == Err(RecvTimeoutError::Timeout) {
            signal(pid, Signal::KILL);
        }
    });
    let output = child.wait_with_output().unwrap();
    drop::<std::sync::mpsc::Sender<()>>(ended);
    watchdog.join().unwrap();
    Said::new(&output)
}

/// The program as a user without rights, but for some capabilities.
pub(super) fn as_nobody(rights: &str) -> Command {
    let nobody = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"])
        .args(["--inh-caps", rights, "--ambient-caps", rights])
        .arg(env!("CARGO_BIN_EXE_consign"));
    command
}

pub(super) fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
