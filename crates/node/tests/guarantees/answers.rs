//! What a node says when somebody asks it: it tells the truth, and what to do.

use serde_json::Value;

use crate::cluster::{Cluster, SOON, random_bytes, until};

/// Slow enough to look at a file of [`LARGE_BYTES`] in the middle.
const LINK_BYTES_PER_SECOND: u64 = 8 << 20;
const LARGE_BYTES: usize = 16 << 20;

fn show(cluster: &Cluster, node: &str, id: &str) -> Value {
    let said = cluster.ask(node, &["show", id, "--json"]).good();
    said.objects().remove(0)
}

fn kinds(shown: &Value) -> Vec<&str> {
    let events = shown["events"].as_array().unwrap().iter();
    events
        .map(|event| event["kind"].as_str().unwrap())
        .collect()
}

#[test]
fn a_consumer_tells_what_it_received_from_whom_when_and_where_it_is() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    let path = cluster.write("a.txt", b"a");
    let args = ["send", path.to_str().unwrap(), "--feed", "files", "--wait"];
    let id = cluster.ask("prod-1", &args).good().out.trim().to_owned();
    until("it is published", SOON, || {
        show(&cluster, "cons-1", &id)["state"] == "published"
    });
    let there = show(&cluster, "cons-1", &id);
    assert_eq!(there["role"], "consumer");
    assert_eq!(there["producer"], "prod-1");
    assert_eq!(there["path"], "a.txt");
    assert_eq!(kinds(&there), ["saved", "published"]);
    let place = cluster.node("cons-1").inbox().join("a.txt");
    let page = cluster.ask("cons-1", &["show", &id]).good().out;
    assert!(page.contains(place.to_str().unwrap()), "{page}");

    for (filter, files) in [
        (&[][..], 1),
        (&["--state", "published", "--from", "prod-1"], 1),
        (&["--to", "cons-1", "--feed", "files"], 1),
        (&["--state", "receiving"], 0),
        (&["--from", "prod-2"], 0),
        (&["--feed", "other"], 0),
    ] {
        let listed = cluster.transfers("cons-1", filter);
        assert_eq!(listed.len(), files, "{filter:?}: {listed:#?}");
        assert!(listed.iter().all(|file| file["id"] == *id), "{listed:#?}");
    }
    // The producer's entries stay as they are.
    let sent = &cluster.transfers("prod-1", &[])[0];
    assert!(sent["role"].is_null(), "{sent}");
    let never = "prod-1.0000000000000001.7";
    let said = ["prod-1", "consign show"];
    cluster.ask("cons-1", &["show", never]).bad(1, &said);
}

#[test]
fn a_consumer_tells_why_a_file_is_not_there_yet_and_from_where_it_went_on() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    let link = cluster.proxy("cons-1");
    link.slow_down(LINK_BYTES_PER_SECOND);
    cluster.start();
    let path = cluster.write("large.bin", &random_bytes(7, LARGE_BYTES));
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    let id = cluster.ask("prod-1", &args).good().out.trim().to_owned();
    until("a part of it is there", SOON, || {
        let listed = cluster.transfers("cons-1", &["--state", "receiving"]);
        listed
            .first()
            .is_some_and(|file| file["bytes"].as_u64() > Some(0))
    });
    let status = cluster.ask("cons-1", &["status"]).good().out;
    assert!(
        status.contains("large.bin") && status.contains("from prod-1"),
        "{status}"
    );
    let reason = |cluster: &Cluster| {
        let reason = show(cluster, "cons-1", &id)["waiting_reason"].clone();
        reason.as_str().unwrap_or_default().to_owned()
    };
    assert_eq!(reason(&cluster), "", "it flows");
    cluster.kill("prod-1");
    until("its absence is told", SOON, || {
        reason(&cluster).contains("prod-1 is not connected")
    });
    cluster.start_one("prod-1");
    until("it is published", SOON, || {
        show(&cluster, "cons-1", &id)["state"] == "published"
    });
    let there = show(&cluster, "cons-1", &id);
    assert_eq!(kinds(&there), ["opened", "opened", "saved", "published"]);
    assert!(there["waiting_reason"].is_null(), "{there:#}");
}

#[test]
fn a_producer_tells_why_a_file_is_not_delivered_yet() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "replicas = 2");
    cluster.consumer("cons-1", "");
    cluster.consumer("cons-2", "");
    cluster.configure();
    cluster.start_one("prod-1");
    let path = cluster.write("file", b"bytes");
    let args = ["send", path.to_str().unwrap(), "--feed", "files"];
    let id = cluster.ask("prod-1", &args).good().out.trim().to_owned();
    let waits_since = |cluster: &Cluster, reason: &str| {
        let told = show(cluster, "prod-1", &id)["waiting_reason"].to_string();
        told.contains(reason)
    };
    until("nobody is there", SOON, || {
        waits_since(&cluster, "none of its consumers can be reached")
    });
    assert_eq!(cluster.status("prod-1")["health"], "degraded");
    cluster.start_one("cons-1");
    until("one is there", SOON, || {
        waits_since(&cluster, "cons-2 cannot be reached")
    });
    cluster.start_one("cons-2");
    cluster.wait_until_done("prod-1", 1, SOON);
    assert!(show(&cluster, "prod-1", &id)["waiting_reason"].is_null());
    until("all is well", SOON, || {
        cluster.status("prod-1")["health"] == "ok"
    });
    cluster
        .ask("prod-1", &["show", ""])
        .bad(2, &["it is empty"]);
}

#[test]
fn a_consumer_lists_the_producers_that_are_connected() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    let sends_here = |cluster: &Cluster| {
        let said = cluster.ask("cons-1", &["nodes", "--json"]).good();
        let mut nodes = said.objects().into_iter();
        nodes
            .find(|node| node["name"] == "prod-1")
            .is_some_and(|node| node["sends_here"] == true)
    };
    until("it is listed", SOON, || sends_here(&cluster));
    let page = cluster.ask("cons-1", &["nodes"]).good().out;
    assert!(page.contains("sends here"), "{page}");
    let status = cluster.ask("cons-1", &["status"]).good().out;
    assert!(status.contains("1 producer is connected"), "{status}");
    cluster.stop("prod-1");
    until("it is gone", SOON, || !sends_here(&cluster));
}

#[test]
fn what_is_over_is_said_to_be_over_and_a_stranger_to_be_none() {
    let mut cluster = Cluster::new();
    cluster.producer("prod-1", "");
    cluster.consumer("cons-1", "");
    cluster.start();
    let path = cluster.write("a.txt", b"a");
    let args = ["send", path.to_str().unwrap(), "--feed", "files", "--wait"];
    let id = cluster.ask("prod-1", &args).good().out.trim().to_owned();
    for action in ["retry", "cancel"] {
        let said = ["done since 20", "nothing left to do"];
        cluster.ask("prod-1", &[action, &id]).bad(1, &said);
        let never = "prod-1.0000000000000001.7";
        let said = ["no such transfer", "`consign transfers` lists"];
        cluster.ask("prod-1", &[action, never]).bad(1, &said);
        let said = ["does not send", "prod-1"];
        cluster.ask("cons-1", &[action, &id]).bad(1, &said);
    }
    // Its totals are those of the history, so they outlive the agent.
    cluster.stop("prod-1");
    cluster.start_one("prod-1");
    let feeds = cluster.ask("prod-1", &["feeds", "--json"]).good().objects();
    assert_eq!(feeds[0]["done_total"], 1);
    assert_eq!(cluster.transfers("prod-1", &["--state", "done"]).len(), 1);
}

#[test]
fn cancel_says_where_the_file_is() {
    for (lines, words) in [("", "stays at "), ("after = \"delete\"", "goes back to ")] {
        let mut cluster = Cluster::new();
        cluster.producer("prod-1", lines);
        cluster.start();
        let path = cluster.write("a.txt", b"a");
        let path = path.to_str().unwrap();
        let args = ["send", path, "--feed", "files"];
        let id = cluster.ask("prod-1", &args).good().out.trim().to_owned();
        let said = cluster.ask("prod-1", &["cancel", &id]).good().out;
        let expected = format!("{words}{path}");
        assert!(said.contains(&expected), "{said}");
        until("it is there and told so", SOON, || {
            let page = cluster.ask("prod-1", &["show", &id]).good().out;
            page.contains(&expected) && std::fs::exists(path).unwrap()
        });
        let said = ["cancelled since 20", "nothing left to do"];
        cluster.ask("prod-1", &["cancel", &id]).bad(1, &said);
    }
}
