//! One agent: a real process with a config, a data directory and a log of its own.

use std::fs::{self, File};
use std::io;
use std::net::TcpListener;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal};
use toml::{Table, Value};

use super::source::Way;

/// How long an agent may take to stop by itself once it was asked to.
const STOP_DEADLINE: Duration = Duration::from_secs(20);
const STOP_LOOK_EVERY: Duration = Duration::from_millis(20);
/// How much of a log's end is shown when its agent ended by itself, in bytes.
const LOG_TAIL_BYTES: usize = 2_000;

/// What a node is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    /// It sends.
    Producer,
    /// It receives.
    Consumer,
}

/// What became of an agent that was asked to stop.
#[derive(Debug)]
pub(super) enum Stopped {
    /// It ended.
    Ended(ExitStatus),
    /// It did not end in time, and was killed.
    Late,
    /// There was none.
    Down,
}

/// One agent. It is killed when this is dropped, whatever the reason.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: String,
    pub(super) role: Role,
    port: u16,
    home: PathBuf,
    process: Mutex<Option<Child>>,
    ready: AtomicBool,
}

impl Node {
    /// A node that does not run yet, with its directories in `parent`.
    pub(super) fn new(parent: &Path, name: String, role: Role, port: u16) -> Self {
        Self {
            home: parent.join(&name),
            name,
            role,
            port,
            process: Mutex::new(None),
            ready: AtomicBool::new(false),
        }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.data_dir().join("agent.sock")
    }

    /// Where its process writes what it has to say.
    pub(super) fn log(&self) -> PathBuf {
        self.home.join("log.txt")
    }

    /// Where files of a feed arrive.
    pub(super) fn inbox(&self, way: Way) -> PathBuf {
        self.home.join("inbox").join(way.feed())
    }

    /// The directory whose files it takes.
    pub(super) fn watched(&self) -> PathBuf {
        self.home.join("watched")
    }

    /// Where it holds what it took.
    pub(super) fn spool(&self) -> PathBuf {
        self.data_dir().join("spool")
    }

    fn data_dir(&self) -> PathBuf {
        self.home.join("data")
    }

    fn config(&self) -> PathBuf {
        self.home.join("consign.toml")
    }

    /// Writes its config and makes its directories.
    ///
    /// # Errors
    /// Whatever the filesystem says.
    pub(super) fn prepare(&self, members: &[Value], replicas: u16) -> io::Result<()> {
        fs::create_dir_all(&self.home)?;
        match self.role {
            Role::Producer => fs::create_dir_all(self.watched())?,
            Role::Consumer => {
                for way in Way::ALL {
                    fs::create_dir_all(self.inbox(way))?;
                }
            }
        }
        fs::write(self.config(), self.config_text(members, replicas))
    }

    /// How the others know it.
    pub(super) fn as_member(&self) -> Value {
        let feeds = match self.role {
            Role::Producer => Vec::new(),
            Role::Consumer => Way::ALL.map(|way| text(way.feed())).to_vec(),
        };
        table([
            ("name", text(&self.name)),
            ("addr", text(self.address())),
            ("feeds", Value::Array(feeds)),
        ])
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn config_text(&self, members: &[Value], replicas: u16) -> String {
        let mut config = Table::new();
        let own = [
            ("name", text(&self.name)),
            ("data_dir", path(&self.data_dir())),
        ];
        config.insert("node".to_owned(), table(own));
        let listen = table([("peer", text(self.address()))]);
        config.insert("listen".to_owned(), listen);
        let membership = table([("nodes", Value::Array(members.to_vec()))]);
        config.insert("membership".to_owned(), membership);
        let (section, feeds) = match self.role {
            Role::Producer => ("produce", Way::ALL.map(|way| self.produced(way, replicas))),
            Role::Consumer => ("consume", Way::ALL.map(|way| self.consumed(way))),
        };
        config.insert(section.to_owned(), Value::Array(feeds.to_vec()));
        config.to_string()
    }

    fn produced(&self, way: Way, replicas: u16) -> Value {
        let replicas = Value::Integer(i64::from(replicas));
        let common = [("feed", text(way.feed())), ("replicas", replicas)];
        match way {
            Way::Sent => table(common.into_iter().chain([("after", text("keep"))])),
            Way::Dropped => table(common.into_iter().chain([
                ("after", text("delete")),
                ("watch", path(&self.watched())),
                ("settle", text("500ms")),
                ("scan_every", text("1s")),
            ])),
        }
    }

    fn consumed(&self, way: Way) -> Value {
        table([
            ("feed", text(way.feed())),
            ("inbox", path(&self.inbox(way))),
            // Room was made sure of; a stranger's disk may be nearly full all the same.
            ("min_free", text("16MiB")),
        ])
    }

    /// Starts its process, which is not ready yet.
    ///
    /// # Errors
    /// Whatever the system says.
    pub(super) fn start(&self) -> io::Result<()> {
        let log = File::options().append(true).create(true).open(self.log())?;
        let child = Command::new(std::env::current_exe()?)
            .arg("agent")
            .arg("--config")
            .arg(self.config())
            // Held in the child, and closed by the system if the demonstration is killed.
            .arg("--until-stdin-ends")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C on the terminal is for the demonstration, which then ends its agents itself.
            .process_group(0)
            .spawn()?;
        self.ready.store(false, Ordering::Relaxed);
        *self.process() = Some(child);
        Ok(())
    }

    /// Ends its process as a power cut would, without a word of warning.
    pub(super) fn kill(&self) {
        self.ready.store(false, Ordering::Relaxed);
        if let Some(mut child) = self.process().take() {
            // Both only fail when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether its process was started and not killed since.
    pub(super) fn is_up(&self) -> bool {
        self.process().is_some()
    }

    /// Whether it said that it accepts files and connections, since it was started.
    pub(super) fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// Notes that it said so.
    pub(super) fn said_ready(&self, ready: bool) {
        let is_up = self.is_up();
        self.ready.store(ready && is_up, Ordering::Relaxed);
    }

    /// How its process ended, if it did so by itself.
    pub(super) fn ended(&self) -> Option<ExitStatus> {
        let mut process = self.process();
        process.as_mut()?.try_wait().ok().flatten()
    }

    /// Asks its process to stop, and waits for that.
    pub(super) async fn stop(&self) -> Stopped {
        let Some(mut child) = self.process().take() else {
            return Stopped::Down;
        };
        self.ready.store(false, Ordering::Relaxed);
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        if let Some(pid) = pid {
            // It only fails when it has ended by itself, which is seen below.
            let _ = rustix::process::kill_process(pid, Signal::TERM);
        }
        let deadline = Instant::now() + STOP_DEADLINE;
        while Instant::now() < deadline {
            if let Ok(Some(status)) = child.try_wait() {
                return Stopped::Ended(status);
            }
            tokio::time::sleep(STOP_LOOK_EVERY).await;
        }
        let _ = child.kill();
        let _ = child.wait();
        Stopped::Late
    }

    /// The end of its log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read(self.log()).unwrap_or_default();
        let tail = &log[log.len().saturating_sub(LOG_TAIL_BYTES)..];
        String::from_utf8_lossy(tail).trim().to_owned()
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().expect("nobody panics while holding it")
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn text(value: impl Into<String>) -> Value {
    Value::String(value.into())
}

fn path(value: &Path) -> Value {
    text(value.to_str().expect("the working directory is UTF-8"))
}

fn table(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let entries = entries.into_iter();
    Value::Table(
        entries
            .map(|(key, value)| (key.to_owned(), value))
            .collect(),
    )
}

/// Ports that nobody listens on now. Somebody may take one before an agent does, which then says so
/// and ends.
///
/// # Errors
/// Whatever the system says.
pub(super) fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    // All are held until the last one is known, so that none is given twice.
    let listeners = (0..count).map(|_| TcpListener::bind("127.0.0.1:0"));
    let listeners = listeners.collect::<io::Result<Vec<_>>>()?;
    let ports = listeners
        .iter()
        .map(|listener| Ok(listener.local_addr()?.port()));
    ports.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn the_configs_that_are_written_are_accepted() {
        let dir = tempfile::tempdir().unwrap();
        let nodes = [
            ("prod-1", Role::Producer, 7420),
            ("cons-1", Role::Consumer, 7421),
        ];
        let nodes =
            nodes.map(|(name, role, port)| Node::new(dir.path(), name.to_owned(), role, port));
        let members: Vec<_> = nodes.iter().map(Node::as_member).collect();
        for node in &nodes {
            node.prepare(&members, 1).unwrap();
            let config = Config::load(&node.config()).unwrap();
            assert_eq!(config.membership.nodes.len(), 2);
        }
    }
}
