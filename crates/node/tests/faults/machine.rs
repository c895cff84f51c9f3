//! One machine: an agent as a real process, and the disk that holds its data and its inboxes.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, RwLock};

use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::http;
use crate::image::{Cut, Image};
use crate::waiting::{SOON, comes};

/// How much of its log a failed test shows, in bytes.
const LOG_TAIL_BYTES: usize = 4_000;

#[derive(Debug)]
pub(crate) struct Machine {
    pub(crate) name: String,
    /// Config and log, which no power cut touches.
    home: PathBuf,
    /// Everything that the agent works on.
    pub(crate) disk: PathBuf,
    /// A filesystem of the archive's own, where it has one: mounted on the disk, so unmounted first.
    pub(crate) archive: Option<Image>,
    pub(crate) image: Option<Image>,
    process: Mutex<Option<Child>>,
    /// Held shared by whoever looks at the disk, and alone while it is not mounted.
    pub(crate) mounted: RwLock<()>,
}

impl Machine {
    /// A machine without a disk of its own: `disk` is a directory.
    pub(crate) fn new(dir: &Path, name: &str) -> Self {
        let home = dir.join(name);
        let disk = home.join("disk");
        fs::create_dir_all(&disk).unwrap();
        Self {
            name: name.to_owned(),
            home,
            disk,
            archive: None,
            image: None,
            process: Mutex::new(None),
            mounted: RwLock::new(()),
        }
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.disk.join("data")
    }

    fn socket(&self) -> PathBuf {
        self.data_dir().join("agent.sock")
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.home.join("consign.toml")
    }

    pub(crate) fn log(&self) -> String {
        let log = fs::read(self.home.join("log.txt")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// The end of its log.
    pub(crate) fn log_tail(&self) -> String {
        let log = self.log();
        let mut from = log.len().saturating_sub(LOG_TAIL_BYTES);
        while !log.is_char_boundary(from) {
            from += 1;
        }
        log[from..].to_owned()
    }

    /// Starts the agent, below the command `under` if there is one, whatever becomes of it.
    pub(crate) fn spawn_under<S: AsRef<OsStr>>(&self, under: &[S]) {
        let mut process = self.process.lock().unwrap();
        assert!(process.is_none(), "{} runs already", self.name);
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.home.join("log.txt"))
            .unwrap();
        let agent = OsStr::new(env!("CARGO_BIN_EXE_consign"));
        let mut words = under.iter().map(AsRef::as_ref).chain([agent]);
        let child = Command::new(words.next().unwrap())
            .args(words)
            .arg("agent")
            .arg("--config")
            .arg(self.config())
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        *process = Some(child);
    }

    pub(crate) fn spawn(&self) {
        self.spawn_under::<&str>(&[]);
    }

    #[track_caller]
    pub(crate) fn start(&self) {
        self.spawn();
        self.wait_until_ready();
    }

    #[track_caller]
    pub(crate) fn wait_until_ready(&self) {
        let mut ended = None;
        let ready = comes(SOON, || {
            ended = self.ended();
            ended.is_some() || self.is_ready()
        });
        let why = format!("{}: {ended:?}\n{}", self.name, self.log_tail());
        assert!(ready && ended.is_none(), "not ready: {why}");
    }

    pub(crate) fn is_ready(&self) -> bool {
        let answer = http::call(&self.socket(), "GET", "/status", b"");
        answer.is_ok_and(|(code, text)| code == 200 && text.contains("\"ready\":true"))
    }

    pub(crate) fn pid(&self) -> u32 {
        let process = self.process.lock().unwrap();
        process.as_ref().expect("it was started").id()
    }

    /// Whether its agent was started, and not killed.
    pub(crate) fn runs(&self) -> bool {
        self.process.lock().unwrap().is_some()
    }

    /// How it ended, if it did by itself.
    pub(crate) fn ended(&self) -> Option<ExitStatus> {
        self.process.lock().unwrap().as_mut()?.try_wait().unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.pid()).unwrap()).unwrap();
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// SIGKILL.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.process.lock().unwrap().take() {
            // Both only fail when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub(crate) fn image(&self) -> &Image {
        self.image.as_ref().expect("it has a disk of its own")
    }

    /// All its filesystems at once, as a machine does.
    pub(crate) fn lose_power(&self, cut: Cut) {
        self.image().lose_power(cut);
        self.archive.iter().for_each(|image| image.lose_power(cut));
    }

    pub(crate) fn unmount(&self) {
        self.archive.iter().for_each(Image::unmount);
        self.image().unmount();
    }

    pub(crate) fn mount(&self) {
        self.image().mount();
        self.archive.iter().for_each(Image::mount);
    }

    /// One call to its agent.
    pub(crate) fn call(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> std::io::Result<(u16, String)> {
        http::call(&self.socket(), method, path, body)
    }

    /// A command that asks its agent.
    pub(crate) fn asking(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consign"));
        command
            .arg("--agent")
            .arg(format!("unix:{}", self.socket().display()))
            .args(args)
            .env_remove("CONSIGN_AGENT")
            .env_remove("CONSIGN_CONFIG")
            .stdin(Stdio::null());
        command
    }

    /// Runs a command that asks its agent; returns whether it ended well, and what it said.
    pub(crate) fn ask(&self, args: &[&str]) -> (bool, String, String) {
        let output = self.asking(args).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let said = (text(&output.stdout), text(&output.stderr));
        (output.status.success(), said.0, said.1)
    }

    /// Its transfers, or nothing when it does not answer.
    pub(crate) fn transfers(&self) -> Option<Vec<Value>> {
        self.listed(&["transfers", "--json"])
    }

    /// What a listing has, or nothing when the agent does not answer.
    pub(crate) fn listed(&self, args: &[&str]) -> Option<Vec<Value>> {
        let (good, out, _) = self.ask(args);
        good.then(|| objects(&out))
    }

    pub(crate) fn status(&self) -> String {
        self.ask(&["status", "--json"]).1
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            eprintln!("--- log of {}\n{}", self.name, self.log_tail());
        }
    }
}

/// JSON, one object a line.
pub(crate) fn objects(text: &str) -> Vec<Value> {
    let objects = text.lines().map(|line| serde_json::from_str(line).unwrap());
    objects.collect()
}

/// Every file under a directory, without what is in staging.
pub(crate) fn files_in(dir: &Path) -> Vec<PathBuf> {
    let (mut files, mut waiting) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(at) = waiting.pop() {
        // It may be gone, or its disk may have lost power.
        let entries = fs::read_dir(&at).into_iter().flatten().flatten();
        for path in entries.map(|entry| entry.path()) {
            if path.file_name().is_some_and(|name| name == ".consign") {
                continue;
            }
            match fs::symlink_metadata(&path) {
                Ok(found) if found.is_dir() => waiting.push(path),
                Ok(_) => files.push(path),
                Err(_) => {}
            }
        }
    }
    files
}
