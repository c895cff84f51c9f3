//! Addresses, and who the members are.

use super::super::KeyFiles;
use super::super::error::{ConfigError, Problem};
use super::super::{HostPort, Source};
use super::{LEAST, in_consume, parse, problem_in, refused};

#[test]
fn nothing_leaves_this_machine_unencrypted_unless_it_is_said_aloud() {
    let listen =
        |lines: &str| format!("[node]\nname = \"n\"\ndata_dir = \"/d\"\n[listen]\n{lines}\n");
    let cases = [
        (
            "listen.peer",
            listen("peer = \"0.0.0.0:1\"\nadvertise = \"127.0.0.1:1\""),
        ),
        ("listen.peer", listen("peer = \"10.0.0.1:1\"")),
        (
            "listen.advertise",
            listen("peer = \"[::1]:1\"\nadvertise = \"cam.lan:1\""),
        ),
        (
            "membership.nodes[1].addr",
            format!("{LEAST}[membership]\nnodes = [{{ name = \"a\", addr = \"10.0.0.5:1\" }}]"),
        ),
    ];
    for (expected, text) in cases {
        match refused(&text) {
            ConfigError::Value { key, problem, .. } => {
                assert_eq!(key, expected);
                assert!(matches!(*problem, Problem::Exposed { .. }), "{problem}");
            }
            other => panic!("{other}"),
        }
        assert!(
            parse(&format!("{text}\n[tls]\nplaintext = true"))
                .tls
                .plaintext
        );
    }
    parse(&listen(
        "peer = \"127.9.9.9:1\"\nadvertise = \"localhost:1\"\nhttp = \"[::1]:0\"",
    ));
}

#[test]
fn two_members_at_one_address_are_refused() {
    let text = format!(
        "{LEAST}[membership]\nnodes = [{{ name = \"a\", addr = \"127.0.0.1:5\" }}, \
         {{ name = \"b\", addr = \"127.0.0.1:5\" }}]"
    );
    match refused(&text) {
        ConfigError::Value { key, problem, .. } => {
            assert_eq!(key, "membership.nodes[2].addr");
            assert!(problem.to_string().contains("of a already"), "{problem}");
        }
        other => panic!("{other}"),
    }
}

#[test]
fn http_stays_on_this_machine_whatever_else_is_plaintext() {
    for http in ["[2001:db8::1]:2", "0.0.0.0:2", "cam.lan:2"] {
        let text = LEAST.replace("[listen]", &format!("[listen]\nhttp = {http:?}"));
        let ConfigError::Value { key, problem, .. } =
            refused(&format!("{text}\n[tls]\nplaintext = true"))
        else {
            panic!("{http} is refused for what it is");
        };
        assert_eq!(key, "listen.http");
        assert!(problem.to_string().contains("127.0.0.1:2"), "{problem}");
    }
}

#[test]
fn others_can_connect_to_what_is_advertised() {
    let wildcard = LEAST.replace("127.0.0.1", "0.0.0.0");
    let text = format!("{wildcard}[tls]\nplaintext = true\n");
    match refused(&text) {
        ConfigError::Value { key, problem, .. } => {
            assert_eq!(key, "listen.peer");
            assert_eq!(
                *problem,
                Problem::NotReachable {
                    addr: "0.0.0.0:7420".to_owned()
                }
            );
        }
        other => panic!("{other}"),
    }
    let own = "[membership]\nnodes = [{ name = \"n\", addr = \"n.lan:1\" }]";
    assert_eq!(
        parse(&format!("{text}{own}")).listen.advertise.to_string(),
        "n.lan:1"
    );
    for addr in ["0.0.0.0:1", "[::]:1", "127.0.0.1:0"] {
        let nodes = format!("[membership]\nnodes = [{{ name = \"a\", addr = \"{addr}\" }}]");
        assert!(
            matches!(problem_in(&nodes).1, Problem::NotReachable { .. }),
            "{addr}"
        );
    }
}

#[test]
fn addresses_are_a_host_and_a_port() {
    for good in ["a:1", "10.0.0.1:65535", "[::1]:7420", "store-1.lan:0"] {
        assert_eq!(HostPort::parse(good).unwrap().to_string(), good);
    }
    for bad in [
        "",
        "a",
        ":1",
        "a:",
        "a:65536",
        "a:-1",
        "::1:7420",
        "[a]:1",
        "a b:1",
        "[::1]",
        "http://a:1",
    ] {
        assert!(HostPort::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn a_node_that_is_not_listed_is_a_member_as_it_says_itself() {
    let config = parse(&format!(
        "{}{}[membership]\nnodes = [{{ name = \"a\", addr = \"localhost:1\" }}]",
        LEAST.replace("\"n\"", "\"n\"\nzone = \"z\""),
        in_consume("weight = 7")
    ));
    let [a, own] = config.membership.nodes.as_slice() else {
        panic!()
    };
    assert_eq!((a.name.as_str(), a.weight, a.feeds.len()), ("a", 100, 0));
    assert_eq!(
        (own.name.as_str(), own.addr.as_str(), own.weight),
        ("n", "127.0.0.1:7420", 7)
    );
    assert_eq!(own.zone.as_deref(), Some("z"));
    assert_eq!(
        own.feeds
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>(),
        ["f"]
    );
}

#[test]
fn a_node_that_is_listed_is_listed_as_it_is() {
    let listed = |entry: &str| {
        let nodes = format!("nodes = [{{ name = \"n\", addr = \"localhost:1\", {entry} }}]");
        format!("[membership]\n{nodes}\n{}", in_consume("weight = 7"))
    };
    for (entry, key) in [
        ("feeds = [\"f\"], weight = 8", "membership.nodes[1].weight"),
        (
            "feeds = [\"f\", \"g\"], weight = 7",
            "membership.nodes[1].feeds",
        ),
        ("weight = 7", "membership.nodes[1].feeds"),
        (
            "feeds = [\"f\"], weight = 7, zone = \"z\"",
            "membership.nodes[1].zone",
        ),
    ] {
        let (found, problem) = problem_in(&listed(entry));
        assert_eq!(found, key);
        assert!(matches!(problem, Problem::OwnEntry { .. }), "{problem}");
    }
    let config = parse(&format!("{LEAST}{}", listed("feeds = [\"f\"], weight = 7")));
    assert_eq!(config.membership.nodes.len(), 1);
    assert_eq!(config.membership.nodes[0].addr, "localhost:1");
}

#[test]
fn members_fit_into_a_view() {
    let nodes = |entries: &str| format!("[membership]\nnodes = [{entries}]");
    let twice =
        nodes("{ name = \"a\", addr = \"localhost:1\" }, { name = \"a\", addr = \"localhost:2\" }");
    assert!(matches!(problem_in(&twice), (key, Problem::View(_)) if key == "membership.nodes"));
    let heavy = nodes("{ name = \"a\", addr = \"localhost:1\", weight = 2000000 }");
    assert!(matches!(problem_in(&heavy).1, Problem::View(_)));
    let other = in_consume("weight = 2")
        .replace("\"f\"", "\"g\"")
        .replace("/in", "/in2");
    let (key, problem) = problem_in(&(in_consume("weight = 1") + &other));
    assert_eq!(key, "consume[2].weight");
    assert!(matches!(
        problem,
        Problem::Weights {
            weight: 2,
            other: 1,
            ..
        }
    ));
    let zone = refused(&LEAST.replace("\"n\"", "\"n\"\nzone = \"\""));
    assert!(
        zone.to_string().contains("node: member n has the zone"),
        "{zone}"
    );
}

#[test]
fn each_kind_of_membership_has_keys_of_its_own() {
    let membership = |lines: &str| format!("[membership]\n{lines}");
    for (lines, key) in [
        ("seeds = [\"a:1\"]", "membership.seeds"),
        ("kind = \"gossip\"\nprefix = \"/x\"", "membership.prefix"),
        (
            "kind = \"etcd\"\nendpoints = [\"http://[::1]:1\"]\nseeds = []",
            "membership.seeds",
        ),
        (
            "kind = \"gossip\"\nnodes = [{ name = \"a\", addr = \"localhost:1\" }]",
            "membership.nodes",
        ),
    ] {
        let (found, problem) = problem_in(&membership(lines));
        assert_eq!(found, key);
        assert!(matches!(problem, Problem::OtherKind { .. }), "{problem}");
    }
    let gossip = parse(&format!(
        "{LEAST}{}",
        membership("kind = \"gossip\"\nseeds = [\"localhost:5\"]")
    ));
    assert!(matches!(gossip.membership.source, Source::Gossip { ref seeds } if seeds.len() == 1));
    let own = &gossip.membership.own;
    assert_eq!(gossip.membership.nodes, std::slice::from_ref(own));
}

#[test]
fn no_lie_about_the_members_comes_over_an_open_network() {
    for (lines, key) in [
        (
            "kind = \"gossip\"\nseeds = [\"10.0.0.5:7420\"]",
            "membership.seeds",
        ),
        #[cfg(feature = "etcd")]
        (
            "kind = \"etcd\"\nendpoints = [\"http://10.0.0.9:2379\"]",
            "membership.endpoints",
        ),
    ] {
        let text = format!("{LEAST}[membership]\n{lines}");
        match refused(&text) {
            ConfigError::Value {
                key: found,
                problem,
                ..
            } => {
                assert_eq!(found, key);
                assert!(matches!(*problem, Problem::Exposed { .. }), "{problem}");
            }
            other => panic!("{other}"),
        }
        parse(&format!("{text}\n[tls]\nplaintext = true"));
    }
}

#[cfg(feature = "etcd")]
#[test]
fn etcd_needs_endpoints_and_whole_credentials() {
    let etcd = |lines: &str| format!("[membership]\nkind = \"etcd\"\n{lines}");
    let at = "endpoints = [\"https://etcd.lan:2379\"]";
    for (lines, key) in [
        (String::new(), "membership.kind"),
        (
            "endpoints = [\"etcd:2379\"]".to_owned(),
            "membership.endpoints",
        ),
        (format!("{at}\nprefix = \"x/\""), "membership.prefix"),
        (format!("{at}\nuser = \"u\""), "membership.user"),
        (format!("{at}\nkey = \"/k\""), "membership.key"),
        (format!("{at}\nca = \"ca.pem\""), "membership.ca"),
        (at.to_owned(), "membership.endpoints"),
    ] {
        assert_eq!(problem_in(&etcd(&lines)).0, key, "{lines}");
    }
    let all = "user = \"u\"\npassword_file = \"/p\"\nca = \"/ca\"\ncert = \"/c\"\nkey = \"/k\"";
    let config = parse(&format!("{LEAST}{}", etcd(&format!("{at}\n{all}"))));
    let Source::Etcd(etcd) = &config.membership.source else {
        panic!()
    };
    assert_eq!(etcd.prefix, "/consign");
    assert_eq!(
        parse(&config.to_string()).membership.source,
        config.membership.source
    );
}

#[test]
fn with_keys_any_address_will_do_and_they_are_in_one_file_or_in_three() {
    let listen = LEAST.replace("127.0.0.1", "10.0.0.1");
    let config = |lines: &str| format!("{listen}[tls]\n{lines}\n");
    let tls = parse(&config("bundle = \"/k/n.pem\"\nrevoked = \"/k/revoked\"")).tls;
    assert_eq!(tls.keys, Some(KeyFiles::Bundle("/k/n.pem".into())));
    assert!(tls.revoked.is_some() && !tls.plaintext);
    let three = "ca = \"/k/ca\"\ncert = \"/k/cert\"\nkey = \"/k/key\"";
    let shown = parse(&config(three)).to_string();
    for line in [
        "tls.ca = \"/k/ca\"",
        "tls.cert = \"/k/cert\"",
        "tls.key = \"/k/key\"",
    ] {
        assert!(shown.contains(line), "{shown}");
    }
    for (lines, key, what) in [
        ("ca = \"/k/ca\"", "tls.ca", "without tls.cert"),
        (
            "cert = \"/k/c\"\nkey = \"/k/k\"",
            "tls.cert",
            "without tls.ca",
        ),
        (
            "bundle = \"/b\"\nkey = \"/k\"",
            "tls.key",
            "together with tls.bundle",
        ),
        (
            "bundle = \"/b\"\nplaintext = true",
            "tls.plaintext",
            "together with",
        ),
        (
            "plaintext = true\nrevoked = \"/r\"",
            "tls.revoked",
            "without tls.bundle",
        ),
        (
            "plaintext = true\nauthority = \"/a\"",
            "tls.authority",
            "without tls.bundle",
        ),
        ("bundle = \"b.pem\"", "tls.bundle", "relative"),
    ] {
        let said = refused(&config(lines)).to_string();
        assert!(said.contains(key) && said.contains(what), "{said}");
        assert!(said.contains("hint:"), "{said}");
    }
}
