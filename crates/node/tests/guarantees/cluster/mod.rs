//! Real agents as real processes, each with a config and a data directory of its own. Whatever
//! happens in a test, they are killed at its end; when it fails, their logs are shown.

mod command;
mod etcd;
mod files;
mod keys;
mod proxy;

use std::fs::{self, File};
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use command::{NOBODY, as_nobody, signal};
pub(crate) use command::{Said, consign, consign_with};
pub(crate) use etcd::Etcd;
pub(crate) use files::{files_in, left_in_staging, random_bytes};
pub(crate) use keys::{Authority, skipped};
pub(crate) use proxy::Proxy;

/// How long a condition may take that has no reason to take long.
pub(crate) const SOON: Duration = Duration::from_secs(20);
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
    /// Lines of its `[tls]`.
    tls: String,
    /// What its environment says beside the usual.
    env: Vec<(&'static str, String)>,
    /// Whether it runs as a user without rights, and which ones it has all the same.
    nobody: Option<&'static str>,
    /// Whether the list of nodes has it.
    is_listed: bool,
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
        assert!(self.process.is_none(), "{} runs already", self.name);
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
            .envs(self.env.iter().map(|(name, value)| (name, value)))
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
    /// What everybody's config says instead of a list of nodes.
    source: Option<String>,
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
            source: None,
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

    /// Whether the list of nodes has one, when the configs are written next.
    pub(crate) fn list(&mut self, name: &str, is_listed: bool) {
        self.node_mut(name).is_listed = is_listed;
    }

    /// Lets everybody learn of the others, with these lines in its `[membership]` and no list.
    pub(crate) fn learns_by(&mut self, lines: &str) {
        self.source = Some(lines.to_owned());
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
            tls: String::new(),
            env: Vec::new(),
            nobody: None,
            is_listed: true,
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
            .filter(|node| node.is_listed)
            .map(|node| {
                let feeds = if node.consumes { "\"files\"" } else { "" };
                format!(
                    "{{ name = {:?}, addr = {:?}, feeds = [{feeds}] }}",
                    node.name, node.addr
                )
            })
            .collect();
        let listed = format!("nodes = [{}]", members.join(", "));
        let source = self.source.as_ref().unwrap_or(&listed);
        for node in &self.nodes {
            let config = format!(
                "[node]\nname = {:?}\ndata_dir = {:?}\n\n[listen]\npeer = \"127.0.0.1:{}\"\n\n\
                 [tls]\n{}\n[membership]\n{source}\n{}\n\n{}",
                node.name,
                node.data_dir(),
                node.port,
                node.tls,
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

    /// SIGSTOP: it stands still, as on a machine that sleeps.
    pub(crate) fn freeze(&self, name: &str) {
        self.signal(name, Signal::STOP);
    }

    /// SIGCONT: and goes on.
    pub(crate) fn thaw(&self, name: &str) {
        self.signal(name, Signal::CONT);
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
    pub(crate) fn has(&self, name: &str) -> bool {
        self.nodes.iter().any(|node| node.name == name)
    }

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
