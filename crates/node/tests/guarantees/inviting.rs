//! Invitations: whoever has a token becomes a node, once, and nobody else does.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;

use crate::cluster::{Authority, Cluster, SOON, Said, consign, files_in, until};

/// A consumer that runs and lets machines in, and a producer that has no keys yet.
fn with_a_door() -> (Cluster, Authority) {
    let mut cluster = Cluster::new();
    cluster.consumer("cons-1", "");
    cluster.producer("prod-1", "");
    let authority = Authority::new(&cluster, "authority");
    open_door(&mut cluster, "cons-1", &authority);
    cluster.configure();
    cluster.start_one("cons-1");
    (cluster, authority)
}

fn open_door(cluster: &mut Cluster, name: &str, authority: &Authority) {
    let bundle = authority.issue(name, "consumer");
    let lines = format!("bundle = {bundle:?}\nauthority = {:?}", authority.dir());
    cluster.tls(name, &lines);
}

/// A token for `prod-1`.
#[track_caller]
fn invite(authority: &Authority, port: u16, options: &[&str]) -> String {
    let dir = authority.dir().to_str().unwrap();
    let at = format!("127.0.0.1:{port}");
    let args = [
        "keys", "invite", "prod-1", "--roles", "producer", "--dir", dir, "--at", &at,
    ];
    let said = consign(&[&args, options].concat()).good();
    assert!(said.err.contains("consign join"), "{said:#?}");
    said.out.trim().to_owned()
}

fn join(token: &str, out: &Path) -> Said {
    consign(&["join", token, "--out", out.to_str().unwrap()])
}

/// With the token on stdin, where no other user sees it.
fn join_aside(token: &str, out: &Path) -> bool {
    let mut joining = Command::new(env!("CARGO_BIN_EXE_consign"))
        .args(["join", "-", "--out", out.to_str().unwrap()])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    writeln!(joining.stdin.take().unwrap(), "{token}").unwrap();
    joining.wait().unwrap().success()
}

/// What `keys list` says of `prod-1`.
fn listed(authority: &Authority) -> Vec<Value> {
    let dir = authority.dir().to_str().unwrap();
    let listed = consign(&["keys", "list", "--json", "--dir", dir]).good();
    let mut objects = listed.objects();
    objects.retain(|one| one["node"] == "prod-1");
    objects
}

fn key_part(out: &Path) -> PathBuf {
    PathBuf::from(format!("{}.key-part", out.display()))
}

#[test]
fn from_nothing_to_a_delivered_file_by_a_token() {
    let (mut cluster, authority) = with_a_door();
    let config = cluster.node("cons-1").config();
    let args = ["--config", config.to_str().unwrap()];
    let dir = authority.dir().to_str().unwrap();
    // The address is that of the agent whose configuration it is.
    let invite = [
        "keys", "invite", "prod-1", "--roles", "producer", "--dir", dir,
    ];
    let token = consign(&[&invite[..], &args].concat()).good().out;
    assert_eq!(token.lines().count(), 1, "{token}");
    let invited = listed(&authority);
    assert!(invited[0]["invited_until"].is_string(), "{invited:?}");

    let out = cluster.dir().join("joined.pem");
    let said = join(&token, &out).good();
    for word in ["joined.pem", "roles producer", "[tls] bundle", "next:"] {
        assert!(said.out.contains(word), "{said:#?}");
    }
    assert_eq!(
        fs::metadata(&out).unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!key_part(&out).exists());
    let issued = listed(&authority);
    assert_eq!(issued.len(), 1, "{issued:?}");
    assert!(issued[0]["serial"].is_u64(), "{issued:?}");

    cluster.tls("prod-1", &format!("bundle = {out:?}"));
    cluster.configure();
    cluster.start_one("prod-1");
    let path = cluster.write("hello", b"from a machine that was nobody");
    let send = ["send", path.to_str().unwrap(), "--feed", "files"];
    let wait = ["--wait", "--timeout", "60s"];
    cluster.ask("prod-1", &[&send[..], &wait].concat()).good();
    let inbox = cluster.node("cons-1").inbox();
    until("the file is there", SOON, || {
        let files = files_in(&inbox);
        let file = files.get("hello");
        file.is_some_and(|at| fs::read(at).unwrap() == b"from a machine that was nobody")
    });
}

#[test]
fn a_token_may_come_on_stdin() {
    let (cluster, authority) = with_a_door();
    let token = invite(&authority, cluster.node("cons-1").port(), &[]);
    let out = cluster.dir().join("joined.pem");
    assert!(join_aside(&token, &out));
    assert!(out.exists());
}

#[test]
fn a_token_is_good_once_and_a_second_use_is_seen_by_the_operator() {
    let (cluster, authority) = with_a_door();
    let token = invite(&authority, cluster.node("cons-1").port(), &[]);
    let out = cluster.dir().join("first.pem");
    join(&token, &out).good();
    let bundle = fs::read(&out).unwrap();
    join(&token, &out).bad(1, &["first.pem is there already"]);
    assert_eq!(fs::read(&out).unwrap(), bundle);

    let stolen = cluster.dir().join("second.pem");
    join(&token, &stolen).bad(1, &["used already, with another key", "keys revoke prod-1"]);
    assert!(!stolen.exists());
    assert_eq!(listed(&authority).len(), 1);
    let log = cluster.node("cons-1").log();
    let mut lines = log.lines().filter(|line| line.contains("was used again"));
    assert!(
        lines.any(|line| line.contains("ERROR") && line.contains("127.0.0.1")),
        "{log}"
    );
    until("status says it", SOON, || {
        let problems = cluster.status("cons-1")["problems"].to_string();
        problems.contains("the token for prod-1 was used again")
    });
}

#[test]
fn a_token_that_has_expired_or_was_withdrawn_or_mistyped_is_of_no_use() {
    let (cluster, authority) = with_a_door();
    let port = cluster.node("cons-1").port();
    let out = cluster.dir().join("none.pem");

    let token = invite(&authority, port, &[]);
    let (mistyped, cut) = (
        token.replacen("join-A", "join-B", 1),
        &token[..token.len() - 9],
    );
    assert_ne!(mistyped, token);
    for text in [mistyped.as_str(), cut, "hello"] {
        join(text, &out).bad(2, &["mistyped or cut off"]);
        assert!(!key_part(&out).exists(), "nothing is begun for it");
    }

    let dir = authority.dir().to_str().unwrap();
    let said = consign(&["keys", "revoke", "prod-1", "--dir", dir]).good();
    assert!(said.out.contains("not good any more"), "{said:#?}");
    join(&token, &out).bad(1, &["not known here"]);

    let token = invite(&authority, port, &["--valid", "1s"]);
    until("it has expired", SOON, || listed(&authority).is_empty());
    join(&token, &out).bad(1, &["prod-1 has expired"]);
    assert!(!out.exists());
    assert!(listed(&authority).is_empty());

    // The key of the tries in vain serves the next one, and is gone then.
    let token = invite(&authority, port, &[]);
    let said = join(&token, &out).good();
    assert!(said.err.contains("earlier try"), "{said:#?}");
    assert!(out.exists() && !key_part(&out).exists());
}

#[test]
fn an_agent_without_the_authority_lets_nobody_in_and_another_cluster_is_told_nothing() {
    let mut cluster = Cluster::new();
    cluster.consumer("cons-1", "");
    cluster.consumer("other", "");
    let ours = Authority::new(&cluster, "ours");
    let theirs = Authority::new(&cluster, "theirs");
    cluster.secure("cons-1", &ours, "consumer");
    open_door(&mut cluster, "other", &theirs);
    cluster.configure();
    cluster.start_one("cons-1");
    cluster.start_one("other");
    let out = cluster.dir().join("joined.pem");

    let token = invite(&ours, cluster.node("other").port(), &[]);
    join(&token, &out).bad(1, &["not the cluster that the token is of", "told nothing"]);
    let log = cluster.node("other").log();
    assert!(!log.contains("a newcomer was not let in"), "{log}");

    let token = invite(&ours, cluster.node("cons-1").port(), &[]);
    join(&token, &out).bad(1, &["lets nobody join", "[tls] authority"]);
    // It needs no restart.
    open_door(&mut cluster, "cons-1", &ours);
    cluster.configure();
    cluster.hang_up("cons-1");
    until("it is let in", SOON, || join(&token, &out).code == 0);

    // Another cluster's authority is no door for this one's nodes.
    let mut cluster = Cluster::new();
    cluster.consumer("cons-1", "");
    let (ours, theirs) = (
        Authority::new(&cluster, "ours"),
        Authority::new(&cluster, "theirs"),
    );
    let bundle = ours.issue("cons-1", "consumer");
    let lines = format!("bundle = {bundle:?}\nauthority = {:?}", theirs.dir());
    cluster.tls("cons-1", &lines);
    cluster.configure();
    let said = cluster.start_in_vain("cons-1");
    said.bad(1, &["is not the authority of this node's own certificate"]);
}

#[test]
fn whoever_did_not_hear_the_answer_asks_again_and_is_the_same_node() {
    let (mut cluster, authority) = with_a_door();
    let deaf = without_the_answer(cluster.node("cons-1").port());
    let out = cluster.dir().join("joined.pem");
    let token = invite(&authority, deaf, &[]);
    join(&token, &out).bad(
        1,
        &["ended before the answer", "run the same command again"],
    );
    assert!(!out.exists());
    let key = fs::read_to_string(key_part(&out)).unwrap();
    // It was used up all the same: there is a certificate, which nobody has.
    let issued = listed(&authority);
    assert_eq!(issued.len(), 1, "{issued:?}");
    assert!(issued[0]["serial"].is_u64(), "{issued:?}");

    // A power cut of the agent does not forget on whom it was spent. The way is free now.
    cluster.kill("cons-1");
    cluster.start_one("cons-1");
    let said = join(&token, &out).good();
    assert!(said.err.contains("earlier try"), "{said:#?}");
    assert!(
        fs::read_to_string(&out).unwrap().contains(&key),
        "the key is another"
    );
    assert!(!key_part(&out).exists());
    assert_eq!(listed(&authority), issued);
    // One that was killed between the bundle and the end finds out.
    fs::write(key_part(&out), &key).unwrap();
    fs::set_permissions(key_part(&out), fs::Permissions::from_mode(0o600)).unwrap();
    let said = join(&token, &out).good();
    assert!(said.out.contains("had joined already"), "{said:#?}");
    assert!(!key_part(&out).exists());
}

#[test]
fn a_machine_that_is_killed_while_it_asks_asks_again_with_the_same_key() {
    let (cluster, authority) = with_a_door();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let token = invite(&authority, listener.local_addr().unwrap().port(), &[]);
    let out = cluster.dir().join("joined.pem");
    let mut asking = Command::new(env!("CARGO_BIN_EXE_consign"))
        .args(["join", &token, "--out", out.to_str().unwrap()])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let (held, _) = listener.accept().unwrap();
    asking.kill().unwrap();
    asking.wait().unwrap();
    drop(held);
    let mode = fs::metadata(key_part(&out)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let key = fs::read_to_string(key_part(&out)).unwrap();

    let port = cluster.node("cons-1").port();
    thread::spawn(move || {
        let (client, _) = listener.accept().unwrap();
        let agent = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (client_too, agent_too) = (client.try_clone().unwrap(), agent.try_clone().unwrap());
        thread::spawn(move || pass(&client_too, &agent_too, || true));
        pass(&agent, &client, || true);
    });
    join(&token, &out).good();
    assert!(
        fs::read_to_string(&out).unwrap().contains(&key),
        "the key is another"
    );
    assert!(!key_part(&out).exists());
}

#[test]
fn a_crowd_at_the_door_keeps_no_invited_machine_out() {
    let (cluster, authority) = with_a_door();
    let port = cluster.node("cons-1").port();
    let void = invite(&authority, port, &[]);
    let good = invite(&authority, port, &[]);
    let silent: Vec<_> = (0..300)
        .map(|at| {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
            if at % 2 == 0 {
                stream.write_all(&[0x16, 3, 1]).unwrap();
            }
            stream
        })
        .collect();
    let guessing: Vec<_> = (0..8)
        .map(|at| {
            let (void, out) = (void.clone(), cluster.dir().join(format!("guess-{at}.pem")));
            thread::spawn(move || join(&void, &out).bad(1, &["not known here"]))
        })
        .collect();
    join(&good, &cluster.dir().join("joined.pem")).good();
    for guess in guessing {
        guess.join().unwrap();
    }
    drop(silent);
    let log = cluster.node("cons-1").log();
    let told = log.lines().filter(|line| line.contains("not let in"));
    assert!((1..=3).contains(&told.count()), "{log}");
}

/// A way to the agent on which the first newcomer that has said its word never hears the answer. Others do.
fn without_the_answer(port: u16) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let here = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        for (at, client) in listener.incoming().map_while(Result::ok).enumerate() {
            let agent = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let said = Arc::new(AtomicUsize::new(0));
            let counting = Arc::clone(&said);
            let (client_too, agent_too) = (client.try_clone().unwrap(), agent.try_clone().unwrap());
            thread::spawn(move || {
                pass(&client_too, &agent_too, || {
                    counting.fetch_add(1, Ordering::SeqCst);
                    true
                });
            });
            // Beyond its first word the newcomer says nothing before the agent has said all of TLS.
            thread::spawn(move || {
                pass(&agent, &client, || {
                    at > 0 || said.load(Ordering::SeqCst) <= 1
                });
            });
        }
    });
    here
}

/// Passes on what may be passed on, which is asked anew for each part.
fn pass(mut from: &TcpStream, mut to: &TcpStream, mut may: impl FnMut() -> bool) {
    let mut part = [0; 16 << 10];
    while let Ok(length @ 1..) = from.read(&mut part) {
        if may() && to.write_all(&part[..length]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
    let _ = from.shutdown(Shutdown::Both);
}
