//! Real agents as real processes, each with a config and a data directory of its own. Whatever
//! happens in a test, they are killed at its end; when it fails, their logs are shown.

mod proxy;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use serde_json::Value;

pub(crate) use proxy::Proxy;

/// How long a condition may take that has no reason to take long.
pub(crate) const SOON: Duration = Duration::from_secs(20);
/// How long a command may take: then it hangs, and is killed.
const COMMAND_DEADLINE: Duration = Duration::from_secs(90);
/// A user that owns nothing.
const NOBODY: u32 = 65_534;
const LOOK_EVERY: Duration = Duration::from_millis(25);
/// How much of each log a failed test shows, in bytes.
const LOG_TAIL_BYTES: usize = 3_000;

/// Waits for a condition, and fails the test when it does not come.
#[track_caller]
pub(crate) fn until(what: &str, within: Duration, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + within;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {within:?}: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
}

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
fn as_nobody(rights: &str) -> Command {
    let nobody = NOBODY.to_string();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &nobody, "--regid", &nobody, "--clear-groups"])
        .args(["--inh-caps", rights, "--ambient-caps", rights])
        .arg(env!("CARGO_BIN_EXE_consign"));
    command
}

fn signal(pid: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// One agent.
#[derive(Debug)]
pub(crate) struct Node {
    name: String,
    home: PathBuf,
    port: u16,
    /// What the others connect to.
    addr: String,
    consumes: bool,
    sections: String,
    /// Whether it runs as a user without rights, and which ones it has all the same.
    nobody: Option<&'static str>,
    process: Option<Child>,
}

impl Node {
    pub(crate) fn inbox(&self) -> PathBuf {
        self.home.join("inbox")
    }

    pub(crate) fn watched(&self) -> PathBuf {
        self.home.join("watched")
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.join("consign.toml")
    }

    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.home.join("log.txt")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// Its resident memory at its highest, in bytes.
    pub(crate) fn memory_peak(&self) -> u64 {
        let pid = self.process.as_ref().expect("it runs").id();
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmHWM:"))
            .unwrap();
        let kib = line.split_whitespace().nth(1).unwrap();
        kib.parse::<u64>().unwrap() * 1024
    }

    fn spawn(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.home.join("log.txt"))
            .unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_consign"));
        if let Some(rights) = self.nobody {
            chown(&self.home, Some(NOBODY), Some(NOBODY)).unwrap();
            command = as_nobody(rights);
        }
        let child = command
            .arg("agent")
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            // Both only fail when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// The agents of one test.
#[derive(Debug)]
pub(crate) struct Cluster {
    dir: tempfile::TempDir,
    nodes: Vec<Node>,
    membership: String,
}

impl Cluster {
    /// No agents yet.
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::Builder::new()
                .prefix("consign-")
                .tempdir()
                .unwrap(),
            nodes: Vec::new(),
            membership: String::new(),
        }
    }

    /// A directory for the test's own files.
    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Adds lines to everybody's `[membership]`.
    pub(crate) fn membership(&mut self, lines: &str) {
        self.membership = lines.to_owned();
    }

    /// Adds a node that produces the feed `files`; `lines` go into its section. Where they say
    /// `WATCHED`, that is its watched directory.
    pub(crate) fn producer(&mut self, name: &str, lines: &str) {
        let watched = self.dir().join(name).join("watched");
        fs::create_dir_all(&watched).unwrap();
        let lines = lines.replace("WATCHED", watched.to_str().unwrap());
        self.add(
            name,
            false,
            format!("[[produce]]\nfeed = \"files\"\n{lines}\n"),
        );
    }

    /// Adds a node that consumes the feed `files`; `lines` go into its section.
    pub(crate) fn consumer(&mut self, name: &str, lines: &str) {
        let inbox = self.dir().join(name).join("inbox");
        self.consumer_at(name, &inbox, lines);
    }

    /// Adds a node that consumes the feed `files` into `inbox`.
    pub(crate) fn consumer_at(&mut self, name: &str, inbox: &Path, lines: &str) {
        let section = format!(
            "[[consume]]\nfeed = \"files\"\ninbox = {inbox:?}\n{}{lines}\n",
            match lines.contains("min_free") {
                true => "",
                false => "min_free = \"1MiB\"\n",
            }
        );
        self.add(name, true, section);
    }

    fn add(&mut self, name: &str, consumes: bool, sections: String) {
        let home = self.dir().join(name);
        fs::create_dir_all(&home).unwrap();
        // Given back at once: nobody else asks for ports fast enough to get this one.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        self.nodes.push(Node {
            name: name.to_owned(),
            home,
            port,
            addr: format!("127.0.0.1:{port}"),
            consumes,
            sections,
            nobody: None,
            process: None,
        });
    }

    /// Lets a node run as a user without rights, from its first start on. `false`, said aloud, where
    /// this user may not become another one and has rights.
    pub(crate) fn as_nobody(&mut self, name: &str) -> bool {
        !rustix::process::geteuid().is_root() || self.as_nobody_with(name, "-all")
    }

    /// As [`Cluster::as_nobody`], with capabilities.
    pub(crate) fn as_nobody_with(&mut self, name: &str, rights: &'static str) -> bool {
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.dir(), everybody).unwrap();
        let seen = as_nobody(rights).arg("--version").output();
        self.node_mut(name).nobody = Some(rights);
        let may = seen.is_ok_and(|output| output.status.success());
        if !may {
            eprintln!("SKIPPED: the program cannot be run as a user without rights");
        }
        may
    }

    /// Puts a proxy in front of a node: everybody connects to that. Before anything starts.
    pub(crate) fn proxy(&mut self, name: &str) -> Proxy {
        let node = self.node_mut(name);
        let proxy = Proxy::in_front_of(node.port);
        node.addr = proxy.addr().to_string();
        proxy
    }

    /// Writes everybody's config.
    pub(crate) fn configure(&self) {
        let members: Vec<_> = self
            .nodes
            .iter()
            .map(|node| {
                let feeds = if node.consumes { "\"files\"" } else { "" };
                format!(
                    "{{ name = {:?}, addr = {:?}, feeds = [{feeds}] }}",
                    node.name, node.addr
                )
            })
            .collect();
        for node in &self.nodes {
            let config = format!(
                "[node]\nname = {:?}\ndata_dir = {:?}\n\n[listen]\npeer = \"127.0.0.1:{}\"\n\n\
                 [membership]\nnodes = [{}]\n{}\n\n{}",
                node.name,
                node.data_dir(),
                node.port,
                members.join(", "),
                self.membership,
                node.sections
            );
            fs::write(node.config(), config).unwrap();
        }
    }

    /// Writes everybody's config, starts everybody, and waits until they are ready.
    pub(crate) fn start(&mut self) {
        self.configure();
        for node in &mut self.nodes {
            node.spawn();
        }
        let names: Vec<_> = self.nodes.iter().map(|node| node.name.clone()).collect();
        names.iter().for_each(|name| self.wait_until_ready(name));
    }

    /// Starts one node, and waits until it is ready. The configs must have been written.
    #[track_caller]
    pub(crate) fn start_one(&mut self, name: &str) {
        self.node_mut(name).spawn();
        self.wait_until_ready(name);
    }

    /// Starts one node, whatever becomes of it.
    pub(crate) fn spawn(&mut self, name: &str) {
        self.node_mut(name).spawn();
    }

    /// The segments of a node's log, the eldest first.
    pub(crate) fn segments(&self, name: &str) -> Vec<PathBuf> {
        let files = files_in(&self.node(name).data_dir()).into_values();
        let is_segment =
            |path: &PathBuf| path.extension().is_some_and(|e| e == "log" || e == "seg");
        let mut segments: Vec<_> = files.filter(is_segment).collect();
        segments.sort();
        segments
    }

    /// Starts one node that is not expected to be ready, and returns how it ended.
    #[track_caller]
    pub(crate) fn start_in_vain(&mut self, name: &str) -> Said {
        self.node_mut(name).spawn();
        let status = self.wait_for_end(name);
        let err = self.node(name).log();
        Said {
            code: status.code().unwrap_or(-1),
            out: String::new(),
            err,
        }
    }

    /// Waits until a process has ended by itself.
    #[track_caller]
    pub(crate) fn wait_for_end(&mut self, name: &str) -> ExitStatus {
        let mut ended = None;
        until(&format!("{name} ends"), SOON, || {
            let child = self
                .node_mut(name)
                .process
                .as_mut()
                .expect("it was started");
            ended = child.try_wait().unwrap();
            ended.is_some()
        });
        self.node_mut(name).process = None;
        ended.unwrap()
    }

    #[track_caller]
    pub(crate) fn wait_until_ready(&mut self, name: &str) {
        until(&format!("{name} is ready"), SOON, || {
            let child = self
                .node_mut(name)
                .process
                .as_mut()
                .expect("it was started");
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none(), "{name} ended: {ended:?}");
            let said = self.ask(name, &["status", "--json"]);
            // With a full log it is ready and exits with 1.
            said.code <= 1 && said.objects()[0]["ready"] == true
        });
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self, name: &str) {
        self.node_mut(name).kill();
    }

    /// SIGHUP: it reads its config again.
    #[track_caller]
    pub(crate) fn hang_up(&self, name: &str) {
        self.signal(name, Signal::HUP);
    }

    fn signal(&self, name: &str, signal: Signal) {
        let process = self.node(name).process.as_ref();
        self::signal(process.expect("it runs").id(), signal);
    }

    /// SIGTERM; it must end well and soon.
    #[track_caller]
    pub(crate) fn stop(&mut self, name: &str) {
        self.signal(name, Signal::TERM);
        let status = self.wait_for_end(name);
        assert!(status.success(), "{name} ended with {status}");
    }

    #[track_caller]
    pub(crate) fn node(&self, name: &str) -> &Node {
        self.nodes
            .iter()
            .find(|node| node.name == name)
            .expect(name)
    }

    fn node_mut(&mut self, name: &str) -> &mut Node {
        self.nodes
            .iter_mut()
            .find(|node| node.name == name)
            .expect(name)
    }

    /// Runs a command that asks the agent of a node.
    pub(crate) fn ask(&self, name: &str, args: &[&str]) -> Said {
        let socket = self.node(name).data_dir().join("agent.sock");
        let agent = format!("unix:{}", socket.display());
        let mut all = vec!["--agent", &agent];
        all.extend(args);
        consign(&all)
    }

    /// The node's `status`, which exits with 1 when the node accepts nothing.
    #[track_caller]
    pub(crate) fn status(&self, name: &str) -> Value {
        let said = self.ask(name, &["status", "--json"]);
        let status = said.objects().remove(0);
        let accepts = status["ready"] == true && status["log"]["has_room"] == true;
        assert_eq!(said.code, i32::from(!accepts), "{status:#}");
        status
    }

    /// The node's transfers that satisfy some options of `transfers`.
    #[track_caller]
    pub(crate) fn transfers(&self, name: &str, options: &[&str]) -> Vec<Value> {
        let args = [&["transfers", "--json"], options].concat();
        self.ask(name, &args).good().objects()
    }

    /// A member as a node sees it.
    #[track_caller]
    pub(crate) fn member(&self, name: &str, member: &str) -> Value {
        let nodes = self.ask(name, &["nodes", "--json"]).good().objects();
        let found = nodes.into_iter().find(|node| node["name"] == member);
        found.expect(member)
    }

    /// Waits until a transfer that had failed was tried again, and has failed once more.
    #[track_caller]
    pub(crate) fn wait_until_failed_again(&self, name: &str, id: &str) {
        until(&format!("{id} has failed again"), SOON, || {
            let shown = self.ask(name, &["show", id, "--json"]).good().objects();
            let events = shown[0]["events"].as_array().unwrap();
            let count = |kind: &str| events.iter().filter(|event| event["kind"] == kind).count();
            count("retried") == 1 && count("failed") == 2
        });
    }

    /// How many of the node's transfers are in a state.
    #[track_caller]
    pub(crate) fn count(&self, name: &str, state: &str) -> u64 {
        let status = self.status(name);
        let counts = status["transfers"].as_array().unwrap().iter();
        let counts = counts.filter(|count| count["state"] == state);
        counts.map(|count| count["files"].as_u64().unwrap()).sum()
    }

    /// Waits until so many of the node's transfers are done.
    #[track_caller]
    pub(crate) fn wait_until_done(&self, name: &str, files: u64, within: Duration) {
        until(
            &format!("{files} transfers of {name} are done"),
            within,
            || self.count(name, "done") == files,
        );
    }

    /// Writes a file of the test's own.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir().join("own").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            node.kill();
            if std::thread::panicking() {
                let log = node.log();
                let mut from = log.len().saturating_sub(LOG_TAIL_BYTES);
                while !log.is_char_boundary(from) {
                    from += 1;
                }
                eprintln!("--- log of {}\n{}", node.name, &log[from..]);
            }
        }
    }
}

/// Bytes that do not repeat: as long as wanted, and different for each `seed`.
pub(crate) fn random_bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    let mut bytes = vec![0; length];
    hasher.finalize_xof().fill(&mut bytes);
    bytes
}

/// Every file under a directory by its relative path, without what is in staging.
pub(crate) fn files_in(dir: &Path) -> std::collections::BTreeMap<String, PathBuf> {
    let mut files = std::collections::BTreeMap::new();
    let mut waiting = vec![dir.to_owned()];
    while let Some(at) = waiting.pop() {
        let Ok(entries) = fs::read_dir(&at) else {
            continue;
        };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.file_name().is_some_and(|name| name == ".consign") {
                continue;
            }
            if path.is_dir() {
                waiting.push(path);
            } else {
                let name = path.strip_prefix(dir).unwrap();
                files.insert(name.to_string_lossy().into_owned(), path.clone());
            }
        }
    }
    files
}

/// What is left in an inbox's staging directory, beside its marker.
pub(crate) fn left_in_staging(inbox: &Path) -> Vec<String> {
    let entries = fs::read_dir(inbox.join(".consign")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "marker").collect()
}
