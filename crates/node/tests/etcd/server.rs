//! A real etcd server of one member, that can be killed and started again on the same data. All
//! tests that need one have this file: those of the library, of agents, and of machines.

use std::fs::File;
use std::io::Write as _;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long it may take until it listens, on a machine with other work.
const STARTS_WITHIN: Duration = Duration::from_secs(40);

/// See the module. It ends with this.
#[derive(Debug)]
pub(crate) struct Server {
    dir: PathBuf,
    host: String,
    client: u16,
    peer: u16,
    /// How clients speak to it.
    scheme: &'static str,
    args: Vec<String>,
    process: Option<Child>,
}

#[allow(
    dead_code,
    reason = "not all of those who have this file use all of it"
)]
impl Server {
    /// On this machine, at ports of the system's, with what it keeps in `dir`. It does not run yet.
    pub(crate) fn new(dir: &Path) -> Self {
        // Given back at once: nobody else asks for ports fast enough to get these.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let ports = ports.map(|port| port.local_addr().unwrap().port());
        Self::at("127.0.0.1", ports, dir)
    }

    /// At these ports, for clients and for other servers.
    pub(crate) fn at(host: &str, [client, peer]: [u16; 2], dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            host: host.to_owned(),
            client,
            peer,
            scheme: "http",
            args: Vec::new(),
            process: None,
        }
    }

    /// Clients speak TLS to it, and show a certificate of the authority `ca`.
    pub(crate) fn with_tls(mut self, ca: &Path, cert: &Path, key: &Path) -> Self {
        let files = [
            ("trusted-ca-file", ca),
            ("cert-file", cert),
            ("key-file", key),
        ];
        let arg = |(flag, file): (&str, &Path)| format!("--{flag}={}", file.display());
        self.scheme = "https";
        self.args = files.map(arg).to_vec();
        self.args.push("--client-cert-auth".to_owned());
        self
    }

    /// Where clients find it.
    pub(crate) fn url(&self) -> String {
        format!("{}://{}:{}", self.scheme, self.host, self.client)
    }

    /// What a config says of it.
    pub(crate) fn membership(&self) -> String {
        let url = self.url();
        format!("kind = \"etcd\"\nendpoints = [{url:?}]\nprefix = \"/consign/test\"")
    }

    /// Starts it, on the data that it had.
    pub(crate) fn start(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.dir.join("log"))
            .unwrap();
        let (url, peer) = (self.url(), format!("http://{}:{}", self.host, self.peer));
        let child = Command::new("etcd")
            .args(["--name", "one", "--log-level", "error"])
            .arg("--data-dir")
            .arg(self.data())
            .args(["--listen-client-urls", &url])
            .args(["--advertise-client-urls", &url])
            .args(["--listen-peer-urls", &peer])
            .args(["--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("one={peer}")])
            .args(&self.args)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(child);
        let deadline = Instant::now() + STARTS_WITHIN;
        while TcpStream::connect((self.host.as_str(), self.client)).is_err() {
            assert!(Instant::now() < deadline, "etcd does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            // Both only fail when it has ended by itself.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// It is killed, and forgets everything.
    pub(crate) fn wipe(&mut self) {
        self.kill();
        std::fs::remove_dir_all(self.data()).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.dir.join("data")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Makes an authority, `ca.pem`, and a certificate of it for 127.0.0.1, `one.pem` and `one.key`, in `dir`: good
/// for so many days. `false` where there is no openssl that can.
#[allow(dead_code, reason = "as above")]
pub(crate) fn certificates(dir: &Path, days: u32) -> bool {
    let make = |args: &str| {
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
        let args = format!("req -x509 {key} -days {days} {args}");
        let made = Command::new("openssl")
            .args(args.split(' '))
            .current_dir(dir)
            .output();
        made.is_ok_and(|made| made.status.success())
    };
    make("-keyout ca.key -out ca.pem -subj /CN=authority")
        && make(
            "-CA ca.pem -CAkey ca.key -keyout one.key -out one.pem -subj /CN=one -addext subjectAltName=IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE",
        )
}

/// Whether there is an etcd. A test that cannot run says so where `./test` looks.
#[allow(dead_code, reason = "as above")]
pub(crate) fn is_there(test: &str) -> bool {
    let there = Command::new("etcd").arg("--version").output().is_ok();
    if !there {
        skip(test, "there is no etcd; hint: install etcd-server");
    }
    there
}

/// Says that a test does not run, and why.
#[allow(dead_code, reason = "as above")]
pub(crate) fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED: {why}");
    if let Some(skipped) = std::env::var_os("CONSIGN_SKIPPED") {
        let file = File::options().append(true).create(true).open(skipped);
        writeln!(file.unwrap(), "{test}: {why}").unwrap();
    }
}
