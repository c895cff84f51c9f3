//! Which keys there are, and which types they take.

use super::super::error::{ConfigError, Problem};
use super::super::schema::{FILE, Keys, Kind};
use super::{LEAST, in_consume, in_produce, parse, problem_in, refused};

#[test]
fn a_key_like_no_other_is_told_all_that_there_are() {
    let said = refused("[listen]\ncolour = 1").to_string();
    assert!(
        said.ends_with("hint: the keys here are peer, advertise, http"),
        "{said}"
    );
}

#[test]
fn a_mode_without_quotes_is_told_to_be_quoted() {
    let text = in_consume("mode = 0640");
    let said = refused(&text).to_string();
    assert!(said.contains("hint: quote it"), "{said}");
}

#[test]
fn unknown_keys_name_the_nearest_known_one_and_their_line() {
    let cases = [
        ("nmae = 1", "unknown key nmae", "node", 1),
        (
            "[node]\ndatadir = 1",
            "unknown key node.datadir",
            "data_dir",
            2,
        ),
        ("[listen]\n\nper = 1", "unknown key listen.per", "peer", 3),
        (
            "[[produce]]\nfeed = \"f\"\n[[produce]]\nwach = 1",
            "unknown key produce[2].wach",
            "watch",
            4,
        ),
        ("[consum]", "unknown key consum", "consume", 1),
        (
            "membership.nodes = [{ adress = 1 }]",
            "membership.nodes[1].adress",
            "addr",
            1,
        ),
    ];
    for (text, what, meant, line) in cases {
        match refused(text) {
            bad @ ConfigError::Unknown { .. } => {
                let message = bad.to_string();
                assert!(message.contains(what), "{message}");
                assert!(
                    message.ends_with(&format!("did you mean {meant}?")),
                    "{message}"
                );
                assert!(
                    message.starts_with(&format!("c.toml:{line}: ")),
                    "{message}"
                );
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn keys_of_later_versions_are_refused_by_name() {
    for (table, keys) in [("[produce]", &["bandwidth"]), ("[consume]", &["on_saved"])] {
        for key in keys {
            let bad = refused(&format!("[{table}]\n{key} = \"x\""));
            assert!(matches!(bad, ConfigError::Later { .. }), "{bad}");
            let message = bad.to_string();
            assert!(message.contains(&format!(".{key} is not implemented yet in this version")));
            assert!(message.starts_with("c.toml:2: "), "{message}");
        }
    }
}

#[test]
fn values_of_later_versions_are_refused_by_name() {
    for (table, line) in [
        ("[produce]", "ack = \"processed\""),
        ("[produce]", "compression = \"auto\""),
        ("[produce]", "compression = \"zstd\""),
        ("[produce]", "expire_after = \"1d\""),
        ("[produce]", "forget_after = \"1d\""),
    ] {
        let bad = refused(&format!("[{table}]\n{line}"));
        assert!(matches!(bad, ConfigError::LaterValue { .. }), "{bad}");
        let message = bad.to_string();
        assert!(
            message.contains(&format!("{line} is not implemented yet")),
            "{message}"
        );
    }
    let consul = format!("{LEAST}[membership]\nkind = \"consul\"");
    let consul = refused(&consul).to_string();
    assert!(consul.contains("`static`, `gossip`, `etcd`"), "{consul}");
    assert!(matches!(
        problem_in(&in_produce("ack = 1")).1,
        Problem::Only { now: "saved", .. }
    ));
    let config = format!(
        "{LEAST}{}",
        in_produce("compression = \"none\"\nack = \"saved\"")
    );
    parse(&config);
}

#[test]
fn what_has_no_default_must_be_there() {
    for (text, missing) in [
        ("", "node.name"),
        ("[node]\nname = \"n\"", "node.data_dir"),
        ("[node]\nname = \"n\"\ndata_dir = \"/d\"", "listen.peer"),
        ("[[produce]]", "produce[1].feed"),
        ("[[consume]]\nfeed = \"f\"", "consume[1].inbox"),
        (
            "membership.nodes = [{ addr = \"h:1\" }]",
            "membership.nodes[1].name",
        ),
    ] {
        match refused(text) {
            ConfigError::Missing { key, .. } => assert_eq!(key, missing),
            other => panic!("{other}"),
        }
    }
}

#[test]
fn every_known_key_is_read() {
    // No key takes a date: one that is known but not read would let it pass.
    for (table, kind) in FILE {
        let (keys, header) = match kind {
            Kind::Table(keys) => (keys, format!("[{table}]")),
            Kind::Tables(keys) => (keys, format!("[[{table}]]")),
            _ => panic!("{table} is no table"),
        };
        for name in read_keys(keys) {
            let text = complete(table, name, &format!("{header}\n{name} = 1979-05-27"));
            assert_type_refused(&text, &format!(".{name}"));
        }
    }
    let membership = FILE.iter().find(|(table, _)| *table == "membership");
    let Some((_, Kind::Table(membership))) = membership else {
        panic!()
    };
    let nodes = membership.iter().find(|(name, _)| *name == "nodes");
    let Some((_, Kind::Tables(member))) = nodes else {
        panic!()
    };
    for name in read_keys(member) {
        let required = ["name", "addr"]
            .into_iter()
            .filter(|required| *required != name);
        let required: String = required.map(|name| format!("{name} = \"a:1\", ")).collect();
        let nodes = format!("nodes = [{{ {required}{name} = 1979-05-27 }}]");
        let text = format!("{LEAST}[membership]\n{nodes}");
        assert_type_refused(&text, &format!("membership.nodes[1].{name}"));
    }
}

/// The keys of a table whose values are read, and not compared with the only one there is.
fn read_keys(keys: Keys) -> impl Iterator<Item = &'static str> {
    let read = keys
        .iter()
        .filter(|(_, kind)| matches!(kind, Kind::Required | Kind::Optional));
    read.map(|(name, _)| *name)
}

fn assert_type_refused(text: &str, key_end: &str) {
    match refused(text) {
        ConfigError::Type { key, place, .. } => {
            assert!(key.ends_with(key_end), "{key} for\n{text}");
            let line = text.lines().position(|line| line.contains("1979"));
            assert_eq!(place.line, line.map(|at| at + 1), "{text}");
        }
        other => panic!("{other}\n{text}"),
    }
}

/// `text`, which sets `name` in `table`, with all else that must be there.
fn complete(table: &str, name: &str, text: &str) -> String {
    let required = [
        ("node", "name", "\"n\""),
        ("node", "data_dir", "\"/d\""),
        ("listen", "peer", "\"127.0.0.1:1\""),
        ("produce", "feed", "\"f\""),
        ("consume", "feed", "\"f\""),
        ("consume", "inbox", "\"/in\""),
    ];
    let lines = |of: &str| {
        let of = required
            .iter()
            .filter(|(t, n, _)| *t == of && (*t, *n) != (table, name));
        of.map(|(_, n, value)| format!("{n} = {value}\n"))
            .collect::<String>()
    };
    let mut full = format!("{text}\n{}", lines(table));
    for other in ["node", "listen"]
        .into_iter()
        .filter(|other| *other != table)
    {
        full.push_str(&format!("[{other}]\n{}", lines(other)));
    }
    full
}

#[test]
fn values_of_the_wrong_type_say_what_is_expected_and_where() {
    for (more, expected) in [
        (
            in_produce("replicas = 0"),
            "a number from 1 to 1024, or \"all\"",
        ),
        (
            in_produce("replicas = \"some\""),
            "a number from 1 to 1024, or \"all\"",
        ),
        (
            in_produce("replicas = 1025"),
            "a number from 1 to 1024, or \"all\"",
        ),
        (
            in_produce("after = \"burn\""),
            "`delete`, `archive`, `keep`",
        ),
        (in_produce("preserve = [\"owner\"]"), "`mtime` or `mode`"),
        (in_produce("max_queue = \"5G\""), "such as \"5GiB\""),
        (in_produce("max_queue = -1"), "such as \"5GiB\""),
        (in_produce("replace_after = \"soon\""), "such as \"10m\""),
        (
            in_produce("replace_after = 10"),
            "a duration such as \"10m\", or \"never\"",
        ),
        (in_consume("on_conflict = \"ask\""), "`rename` or `reject`"),
        (in_consume("weight = -1"), "u32"),
        (in_consume("mode = 416"), "a string"),
        ("[membership]\nnodes = 5".to_owned(), "a sequence"),
    ] {
        let bad = refused(&format!("{LEAST}{more}"));
        let message = bad.to_string();
        assert!(
            matches!(&bad, ConfigError::Type { key, .. } if !key.is_empty()),
            "{message}"
        );
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("; hint: "), "{message}");
    }
    assert!(
        refused(
            "produce = 1\n[node]\nname = \"n\"\ndata_dir = \"/d\"\n[listen]\npeer = \"localhost:1\""
        )
        .to_string()
        .starts_with("c.toml:1: produce: ")
    );
}

#[test]
fn text_that_is_not_toml_names_the_line() {
    let bad = refused("[node]\nname = cam");
    assert!(
        matches!(&bad, ConfigError::Syntax { place, .. } if place.line == Some(2)),
        "{bad}"
    );
    assert!(matches!(
        refused("[node]\n[node]"),
        ConfigError::Syntax { .. }
    ));
}
