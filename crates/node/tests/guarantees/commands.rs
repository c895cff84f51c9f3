//! The commands as scripts see them: exit codes, JSON, and what does not exist yet.

use crate::cluster::{Cluster, SOON, consign, until};

#[test]
fn every_listing_has_json() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    let path = cluster.write("a.txt", b"a");
    let args = [
        "send",
        path.to_str().unwrap(),
        "--feed",
        "files",
        "--wait",
        "--json",
    ];
    let sent = cluster.ask("prod-1", &args).good().objects();
    let id = sent[0]["id"].as_str().unwrap();
    for (args, key) in [
        (vec!["status"], "ready"),
        (vec!["nodes"], "name"),
        (vec!["feeds"], "feed"),
        (vec!["transfers"], "id"),
        (
            vec![
                "transfers",
                "--state",
                "done",
                "--feed",
                "files",
                "--to",
                "cons-1",
            ],
            "id",
        ),
        (vec!["show", id], "id"),
        (
            vec!["explain", "--feed", "files", "--key", "a.txt"],
            "chain",
        ),
        (vec!["retry", "--failed"], "files"),
    ] {
        let with = [&args[..], &["--json"]].concat();
        let objects = cluster.ask("prod-1", &with).good().objects();
        assert!(!objects.is_empty(), "{args:?}");
        assert!(
            !objects[0][key].is_null(),
            "{args:?} has no {key}: {objects:#?}"
        );
        // And without, there is a text for people that says something else.
        let plain = cluster.ask("prod-1", &args).good().out;
        assert!(!plain.starts_with('{'), "{args:?}: {plain}");
    }
    let none = ["transfers", "--state", "failed", "--json"];
    assert_eq!(cluster.ask("prod-1", &none).good().out, "");
    let consumed = cluster.ask("cons-1", &["feeds", "--json"]).good().objects();
    assert_eq!(consumed[0]["role"], "consume");
}

#[test]
fn wrong_usage_exits_with_2() {
    for args in [
        vec!["sned"],
        vec!["send"],
        vec!["config", "check", "--config", "/nonexistent/consign.toml"],
        vec!["agent", "--config", "/nonexistent/consign.toml"],
        vec!["transfers", "--state", "lost"],
        vec!["status", "--agent", "ftp://here"],
        vec!["demo", "--consumers", "1", "--replicas", "2"],
    ] {
        let said = consign(&args);
        assert_eq!(said.code, 2, "{args:?}: {said:#?}");
        assert!(
            !said.err.is_empty() && said.out.is_empty(),
            "{args:?}: {said:#?}"
        );
    }
}

#[test]
fn an_agent_that_is_not_there_exits_with_3() {
    let commands = [
        vec!["status"],
        vec!["transfers", "--json"],
        vec!["send", "/etc/hostname", "--feed", "files"],
        vec!["forget", "cons-1"],
    ];
    for args in commands {
        let all = [&["--agent", "unix:/nonexistent/agent.sock"], &args[..]].concat();
        consign(&all).bad(3, &["/nonexistent/agent.sock"]);
    }
}

#[test]
fn waiting_in_vain_exits_with_4_and_the_file_still_arrives() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    let path = cluster.write("a.txt", b"a");
    let args = [
        "send",
        path.to_str().unwrap(),
        "--feed",
        "files",
        "--wait",
        "--timeout",
        "500ms",
    ];
    cluster.ask("prod-1", &args).bad(4, &["not done"]);
    cluster.start_one("cons-1");
    until("it arrives", SOON, || {
        cluster.node("cons-1").inbox().join("a.txt").exists()
    });
}

#[test]
fn what_cannot_be_done_exits_with_1_and_names_it() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "max_queue = \"1MiB\"");
    cluster.start();
    let send = |path: &str, feed: &str| cluster.ask("prod-1", &["send", path, "--feed", feed]);
    send("/nonexistent/file", "files").bad(1, &["/nonexistent/file"]);
    let path = cluster.write("a.txt", b"a");
    let path = path.to_str().unwrap();
    send(path, "flies").bad(1, &["flies", "files"]);
    let large = cluster.write("large", &[0; 2 << 20]);
    send(large.to_str().unwrap(), "files").bad(1, &["large", "queue"]);
    let id = "prod-1.0000000000000001.1";
    cluster.ask("prod-1", &["show", id]).bad(1, &[id]);
    cluster.ask("prod-1", &["cancel", id]).bad(1, &[id]);

    // What waits can be given up, and then is not sent.
    let id = send(path, "files").good().out.trim().to_owned();
    cluster.ask("prod-1", &["cancel", &id]).good();
    until("it is cancelled", SOON, || {
        cluster.count("prod-1", "cancelled") == 1
    });
}

#[test]
fn commands_of_later_versions_are_refused_by_name() {
    for command in ["receive", "top", "man"] {
        let said = consign(&[command, "anything", "--at-all"]);
        assert_ne!(said.code, 0, "{command}: {said:#?}");
        assert!(
            said.err.contains(command) && said.err.contains("hint: "),
            "{said:#?}"
        );
    }
}

#[test]
fn completions_are_printed_for_every_shell() {
    for shell in ["bash", "zsh", "fish"] {
        let said = consign(&["completions", shell]).good();
        assert!(said.out.contains("consign"), "{shell}");
    }
}

#[test]
fn what_a_directory_leaves_out_is_said() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    let own = cluster.dir().join("own");
    std::fs::create_dir(&own).unwrap();
    let send = |feed| {
        let args = ["send", own.to_str().unwrap(), "--feed", feed];
        cluster.ask("prod-1", &args)
    };
    send("files").bad(1, &["no file to send in", "hint: "]);
    cluster.write(".hidden", b"");
    cluster.write("b.part", b"");
    send("files").bad(1, &["left out 2", ".hidden", "b.part", "no file to send"]);
    cluster.write("good", b"");
    cluster.write("better", b"");
    let said = send("files").good();
    assert!(said.err.contains("left out 2"), "{said:#?}");
    // Once, and not for each file.
    let said = send("fils");
    assert_eq!(said.err.matches("does not produce").count(), 1, "{said:#?}");
    let path = own.join("good");
    let args = [
        "send",
        path.to_str().unwrap(),
        "--feed",
        "files",
        "--meta",
        "a=1",
        "--meta",
        "a=2",
    ];
    cluster
        .ask("prod-1", &args)
        .bad(2, &["\"a\"", "two values"]);
}

#[test]
fn waiting_goes_on_over_a_restart_of_the_agent() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.configure();
    cluster.start_one("prod-1");
    let path = cluster.write("file", b"bytes");
    let mut sending = std::process::Command::new(env!("CARGO_BIN_EXE_consign"))
        .args([
            "send",
            path.to_str().unwrap(),
            "--feed",
            "files",
            "--wait",
            "--config",
        ])
        .arg(cluster.node("prod-1").config())
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until("it is submitted", SOON, || {
        !cluster.transfers("prod-1", &[]).is_empty()
    });
    cluster.kill("prod-1");
    let mut said = std::io::BufReader::new(sending.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).unwrap();
    assert!(line.contains("waiting for it"), "{line}");
    cluster.start_one("prod-1");
    cluster.start_one("cons-1");
    assert!(sending.wait().unwrap().success());
}
