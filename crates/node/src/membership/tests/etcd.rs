//! The suite over a real etcd server, which each test starts for itself on ports of the system's,
//! kills with SIGKILL, and starts again on the same data. Where there is no etcd the tests say so.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write as _;
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::super::etcd::Etcd;
use super::{DEADLINE, Own, Started, World, suite};
use crate::config::EtcdConfig;

/// A server of one member. It ends with this.
pub(super) struct Server {
    dir: tempfile::TempDir,
    client: u16,
    peer: u16,
    /// More arguments, and whether clients use TLS.
    args: Vec<String>,
    scheme: &'static str,
    process: Option<Child>,
}

impl Server {
    fn new() -> Self {
        // Given back at once: nobody else asks for ports fast enough to get these.
        let ports = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [client, peer] = ports.map(|port| port.local_addr().unwrap().port());
        Self {
            dir: tempfile::tempdir().unwrap(),
            client,
            peer,
            args: Vec::new(),
            scheme: "http",
            process: None,
        }
    }

    fn url(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.client)
    }

    fn start(&mut self) {
        let log = File::options()
            .append(true)
            .create(true)
            .open(self.dir.path().join("log"))
            .unwrap();
        let peer = format!("http://127.0.0.1:{}", self.peer);
        let url = self.url();
        let child = Command::new("etcd")
            .args(["--name", "one", "--log-level", "error"])
            .args(["--data-dir", self.dir.path().join("data").to_str().unwrap()])
            .args([
                "--listen-client-urls",
                &url,
                "--advertise-client-urls",
                &url,
            ])
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
        let deadline = Instant::now() + DEADLINE;
        while std::net::TcpStream::connect(("127.0.0.1", self.client)).is_err() {
            assert!(Instant::now() < deadline, "etcd does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    fn config(&self) -> EtcdConfig {
        EtcdConfig {
            endpoints: vec![self.url()],
            prefix: "/consign/test".to_owned(),
            login: None,
            ca: None,
            identity: None,
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Whether there is an etcd. A test that cannot run says so where `./test` looks.
fn is_there(test: &str) -> bool {
    let there = Command::new("etcd").arg("--version").output().is_ok();
    if !there {
        skip(test, "there is no etcd; hint: install etcd-server");
    }
    there
}

fn skip(test: &str, why: &str) {
    eprintln!("SKIPPED: {why}");
    if let Some(skipped) = std::env::var_os("CONSIGN_SKIPPED") {
        let file = File::options().append(true).create(true).open(skipped);
        writeln!(file.unwrap(), "{test}: {why}").unwrap();
    }
}

struct Registered {
    server: Server,
    config: EtcdConfig,
}

impl Registered {
    fn new() -> Self {
        let mut server = Server::new();
        server.start();
        let config = server.config();
        Self { server, config }
    }
}

impl World for Registered {
    async fn start(&mut self, own: Own) -> Started {
        let source = Etcd::start(self.config.clone(), own, BTreeSet::new());
        Started::new(Box::new(source), None)
    }

    async fn break_source(&mut self) {
        self.server.kill();
    }

    async fn mend_source(&mut self) {
        self.server.start();
    }
}

macro_rules! suite {
    ($($test:ident)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $test() {
            if is_there(stringify!($test)) {
                suite::$test(Registered::new()).await;
            }
        }
    )*};
}

suite! {
    members_that_join_are_heard
    changes_of_a_member_are_heard
    a_member_that_leaves_goes_and_may_return
    a_member_that_crashes_stays_and_returns
    a_member_that_restarts_at_once_has_its_name
    a_forgotten_member_goes_everywhere
    the_later_of_two_nodes_of_one_name_is_refused
    the_name_of_a_dead_node_may_be_used_by_another
    a_node_that_returns_with_a_new_disk_is_heard
    nobody_goes_while_the_source_is_away
}

/// Runs a client of etcd's own as far as tests need one: by the library.
async fn client(config: &EtcdConfig) -> etcd_client::Client {
    let options = config.login.as_ref().map(|(user, file)| {
        let password = std::fs::read_to_string(file).unwrap();
        etcd_client::ConnectOptions::new().with_user(user, password.trim())
    });
    etcd_client::Client::connect(&config.endpoints, options)
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_and_a_lease_that_were_lost_are_there_again() {
    if !is_there("a_key_and_a_lease_that_were_lost_are_there_again") {
        return;
    }
    let mut world = Registered::new();
    let mut a = world.start(super::own("a", 1)).await;
    let _b = world.start(super::own("b", 1)).await;
    a.until_live("b", true).await;
    let mut etcd = client(&world.config).await;
    let key = "/consign/test/members/b";
    etcd.delete(key, None).await.unwrap();
    a.until_live("b", true).await;
    let found = etcd.get(key, None).await.unwrap();
    let lease = found.kvs().first().map(etcd_client::KeyValue::lease);
    if let Some(lease) = lease {
        etcd.lease_revoke(lease).await.unwrap();
    }
    a.until_live("b", true).await;
    let until = Instant::now() + DEADLINE;
    loop {
        let found = etcd.get(key, None).await.unwrap();
        match found.kvs().first() {
            Some(kv) if Some(kv.lease()) != lease => break,
            _ => assert!(Instant::now() < until, "the key does not come back"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn strange_values_under_the_prefix_harm_nobody() {
    if !is_there("strange_values_under_the_prefix_harm_nobody") {
        return;
    }
    let mut world = Registered::new();
    let mut a = world.start(super::own("a", 1)).await;
    a.until_members(&["a"]).await;
    let mut etcd = client(&world.config).await;
    for (key, value) in [
        ("/consign/test/members/x", "{}"),
        ("/consign/test/members/../y", "no"),
        ("/consign/test/members/", ""),
        ("/consign/test/other", "yes"),
        ("/consign/test/forgotten/../z", ""),
        ("/consign/test2/members/q", "{}"),
    ] {
        etcd.put(key, value, None).await.unwrap();
    }
    let _b = world.start(super::own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_user_and_a_password_open_etcd_and_without_them_it_says_why() {
    if !is_there("a_user_and_a_password_open_etcd") {
        return;
    }
    let mut world = Registered::new();
    let mut etcd = client(&world.config).await;
    etcd.user_add("root", "sesame", None).await.unwrap();
    etcd.user_grant_role("root", "root").await.unwrap();
    etcd.auth_enable().await.unwrap();
    let mut refused = world.start(super::own("r", 1)).await;
    refused
        .until("that it is refused", |heard, _| {
            heard
                .standing
                .error
                .as_deref()
                .is_some_and(|why| why.contains("hint:"))
        })
        .await;
    let password = world.server.dir.path().join("password");
    std::fs::write(&password, "sesame\n").unwrap();
    world.config.login = Some(("root".to_owned(), password));
    let mut a = world.start(super::own("a", 1)).await;
    let _b = world.start(super::own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
}

/// Makes an authority, and a certificate of it for 127.0.0.1, in `dir`.
fn certificates(dir: &std::path::Path) -> bool {
    let make = |args: &str| {
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500";
        let args = format!("req -x509 {key} {args}");
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_open_etcd_and_without_them_it_is_not_heard() {
    let test = "certificates_open_etcd_and_without_them_it_is_not_heard";
    if !is_there(test) {
        return;
    }
    let mut server = Server::new();
    if !certificates(server.dir.path()) {
        return skip(
            test,
            "openssl makes no certificates; hint: install openssl 3",
        );
    }
    let at = |name: &str| server.dir.path().join(name);
    let (ca, cert, key) = (at("ca.pem"), at("one.pem"), at("one.key"));
    server.scheme = "https";
    server.args = [
        ("--cert-file", &cert),
        ("--key-file", &key),
        ("--trusted-ca-file", &ca),
    ]
    .map(|(flag, file)| format!("{flag}={}", file.display()))
    .to_vec();
    server.args.push("--client-cert-auth".to_owned());
    server.start();
    let config = server.config();
    let mut world = Registered { server, config };
    // Neither whom it does not trust, nor without a certificate of its own.
    for ca in [None, Some(&ca)] {
        world.config.ca = ca.cloned();
        let mut outside = world.start(super::own("outside", 1)).await;
        outside
            .until("that it is not heard", |heard, _| {
                !heard.standing.reachable && heard.standing.error.is_some()
            })
            .await;
    }
    world.config.identity = Some((cert, key));
    let mut a = world.start(super::own("a", 1)).await;
    let _b = world.start(super::own("b", 1)).await;
    a.until_members(&["a", "b"]).await;
}
