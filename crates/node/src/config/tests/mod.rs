mod feeds;
mod keys;
mod members;

use std::collections::BTreeSet;

use consign_core::spec::{OnConflict, Replicas};

use super::*;

/// The example of the design, without the keys that come later.
const EXAMPLE: &str = r#"
[node]
name = "cam-7"
zone = "hall-2"                     # optional
data_dir = "/var/lib/consign"
history = "30d"                     # how long finished transfers stay in the catalogue

[listen]
peer = "0.0.0.0:7420"               # node to node
advertise = "cam-7.lan:7420"        # what others connect to; names are resolved at each connection
http = "127.0.0.1:7421"             # optional: dashboard, metrics, API (changing calls need the token)

[tls]
plaintext = true

[membership]
kind = "static"                     # "static" | "gossip" | "etcd"
nodes = [{ name = "store-1", addr = "10.0.0.5:7420", zone = "a", weight = 100, feeds = ["images"] }]
# seeds = ["10.0.0.5:7420"]         # gossip
replace_after = "10m"               # an unreachable consumer's files are placed elsewhere after this; "never" to wait
forget_after = "never"

[[produce]]
feed = "images"
watch = "/srv/camera/out"           # optional; sub-directories keep their relative path
include = ["**/*"]
after = "archive"                   # "delete" | "archive" | "keep"
replicas = 2                        # or "all"
key = "{name}"                      # {name} {stem} {dir} {producer} {meta.x}
ack = "saved"                       # or "processed"
priority = 5
expire_after = "never"
max_queue = "500GiB"                # more is refused, aloud
preserve = ["mtime", "mode"]

[[consume]]
feed = "images"
inbox = "/srv/ingest/in"
layout = "{name}"                   # also {feed} {producer} {id}
on_conflict = "rename"              # another transfer with the same path: "rename" | "reject"
weight = 100
min_free = "5GiB"
owner = "root:root"                 # optional; also mode = "0640"
from = ["cam-*"]                    # which producers may send
"#;

/// The least that a config needs.
const LEAST: &str = r#"
[node]
name = "n"
data_dir = "/d"
[listen]
peer = "127.0.0.1:7420"
"#;

fn parse(text: &str) -> Config {
    Config::parse(text, "c.toml").unwrap_or_else(|bad| panic!("{bad}\n{text}"))
}

/// The error for a text, after checking what must hold for every error.
fn refused(text: &str) -> ConfigError {
    let bad = match Config::parse(text, "c.toml") {
        Err(bad) => bad,
        Ok(config) => panic!("must be refused:\n{text}\n{config}"),
    };
    let message = bad.to_string();
    assert!(message.starts_with("c.toml"), "no file: {message}");
    assert!(message.contains("hint: "), "no hint: {message}");
    bad
}

/// The problem, with its key, of the least config and some lines more.
fn problem_in(more: &str) -> (String, Problem) {
    match refused(&format!("{LEAST}{more}")) {
        ConfigError::Value { key, problem, .. } => (key, *problem),
        other => panic!("{other}"),
    }
}

fn in_produce(line: &str) -> String {
    format!("[[produce]]\nfeed = \"f\"\n{line}\n")
}

fn in_consume(line: &str) -> String {
    format!("[[consume]]\nfeed = \"f\"\ninbox = \"/in\"\n{line}\n")
}

#[test]
fn the_example_of_the_design_means_what_it_says() {
    let config = parse(EXAMPLE);
    assert_eq!(config.node.name.as_str(), "cam-7");
    assert_eq!(config.node.zone.as_deref(), Some("hall-2"));
    assert_eq!(config.node.data_dir, Path::new("/var/lib/consign"));
    assert_eq!(config.node.history, Some(Duration::from_secs(30 * 86_400)));
    assert_eq!(config.listen.peer.to_string(), "0.0.0.0:7420");
    assert_eq!(config.listen.advertise.to_string(), "cam-7.lan:7420");
    assert_eq!(config.listen.http.as_ref().unwrap().port, 7421);
    assert!(config.tls.plaintext);
    let members: Vec<_> = config
        .membership
        .nodes
        .iter()
        .map(|m| m.name.as_str())
        .collect();
    assert_eq!(members, ["cam-7", "store-1"]);
    assert_eq!(
        config.membership.replace_after,
        Some(Duration::from_secs(600))
    );

    let [produce] = config.produce.as_slice() else {
        panic!()
    };
    assert_eq!(produce.policy.feed.as_str(), "images");
    assert_eq!(produce.policy.replicas, Replicas::Count(2));
    assert_eq!(produce.policy.priority, 5);
    assert_eq!(produce.policy.replace_after_ms, Some(600_000));
    assert_eq!(produce.after, After::Archive);
    assert_eq!(
        produce.archive_dir.as_deref(),
        Some(Path::new("/srv/camera/out/.consign/archive"))
    );
    assert_eq!(produce.key.as_str(), "{name}");
    assert_eq!(produce.max_queue_bytes, 500 << 30);
    assert_eq!(
        produce.preserve,
        Preserve {
            mtime: true,
            mode: true
        }
    );
    let watch = produce.watch.as_ref().unwrap();
    assert_eq!(watch.dir, Path::new("/srv/camera/out"));
    assert!(watch.include.covers("a") && watch.include.covers("a/b.jpg"));

    let [consume] = config.consume.as_slice() else {
        panic!()
    };
    assert_eq!(consume.policy.inbox, "/srv/ingest/in");
    assert_eq!(consume.policy.on_conflict, OnConflict::Rename);
    assert_eq!(consume.policy.min_free_bytes, 5 << 30);
    assert_eq!(consume.policy.owner, Some((0, 0)));
    assert_eq!(consume.layout.as_str(), "{name}");
    assert!(consume.from[0].matches(&NodeName::new("cam-9").unwrap()));
}

#[test]
fn defaults_are_those_that_the_table_above_names() {
    let config = parse(&format!(
        "{LEAST}{}{}",
        in_produce("watch = \"/w\""),
        in_consume("")
    ));
    let expected = r#"node.name = "n"
node.data_dir = "/d"
node.history = "30d"
listen.peer = "127.0.0.1:7420"
listen.advertise = "127.0.0.1:7420"
tls.plaintext = false
membership.kind = "static"
membership.nodes[1].name = "n"
membership.nodes[1].addr = "127.0.0.1:7420"
membership.nodes[1].weight = 100
membership.nodes[1].feeds = ["f"]
membership.replace_after = "10m"
membership.forget_after = "never"
produce[1].feed = "f"
produce[1].watch = "/w"
produce[1].include = []
produce[1].settle = "2s"
produce[1].scan_every = "5s"
produce[1].after = "keep"
produce[1].replicas = 1
produce[1].key = "{name}"
produce[1].max_queue = "500GiB"
produce[1].preserve = ["mtime", "mode"]
produce[1].replace_after = "10m"
produce[1].priority = 0
consume[1].feed = "f"
consume[1].inbox = "/in"
consume[1].layout = "{name}"
consume[1].on_conflict = "rename"
consume[1].weight = 100
consume[1].min_free = "1GiB"
consume[1].from = []
"#;
    let sorted = |text: &str| text.lines().map(str::to_owned).collect::<BTreeSet<_>>();
    assert_eq!(sorted(&config.to_string()), sorted(expected));
}

#[test]
fn a_config_is_read_from_its_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("consign.toml");
    let missing = Config::load(&path).unwrap_err();
    assert!(matches!(missing, ConfigError::Read { .. }));
    assert!(missing.to_string().contains("hint: "), "{missing}");
    std::fs::write(&path, LEAST).unwrap();
    assert_eq!(Config::load(&path).unwrap().node.name.as_str(), "n");
}
