//! What is produced and consumed.

use super::super::error::Problem;
use super::{LEAST, in_consume, in_produce, parse, problem_in, refused};

#[test]
fn a_feed_is_configured_once() {
    let (key, problem) = problem_in(&in_produce("").repeat(2));
    assert_eq!(key, "produce[2].feed");
    assert!(
        matches!(problem, Problem::DuplicateFeed { other_key, .. } if other_key == "produce[1]")
    );
    let other = in_consume("").replace("/in", "/in2");
    let (key, problem) = problem_in(&(in_consume("") + &other));
    assert_eq!(key, "consume[2].feed");
    assert!(matches!(problem, Problem::DuplicateFeed { .. }));
    parse(&format!("{LEAST}{}{}", in_produce(""), in_consume("")));
}

#[test]
fn paths_are_absolute_and_do_not_climb() {
    for more in [
        in_produce("watch = \"w\""),
        in_produce("watch = \"\""),
        in_produce("after = \"archive\"\narchive_dir = \"./a\""),
        in_consume("").replace("/in", "in"),
    ] {
        assert!(
            matches!(problem_in(&more).1, Problem::Relative { .. }),
            "{more}"
        );
    }
    let climbing = in_produce("watch = \"/w/../etc\"");
    assert!(matches!(problem_in(&climbing).1, Problem::Climbs { .. }));
    let config = parse(&format!(
        "{LEAST}{}",
        in_consume("").replace("/in", "/a//b/./c/")
    ));
    assert_eq!(config.consume[0].policy.inbox, "/a/b/c");
}

#[test]
fn directories_of_different_use_are_apart() {
    let consume =
        |feed: &str, inbox: &str| format!("[[consume]]\nfeed = \"{feed}\"\ninbox = \"{inbox}\"\n");
    let watch = |feed: &str, dir: &str, more: &str| {
        format!("[[produce]]\nfeed = \"{feed}\"\nwatch = \"{dir}\"\n{more}\n")
    };
    for (more, key) in [
        (consume("a", "/d"), "consume[1].inbox"),
        (consume("a", "/d/in"), "consume[1].inbox"),
        (consume("a", "/"), "consume[1].inbox"),
        (
            consume("a", "/in") + &consume("b", "/in/"),
            "consume[2].inbox",
        ),
        (
            consume("a", "/in") + &consume("b", "/in/b"),
            "consume[2].inbox",
        ),
        (watch("a", "/d/w", ""), "produce[1].watch"),
        (
            watch("a", "/w", "") + &watch("b", "/w/b", ""),
            "produce[2].watch",
        ),
        (
            watch("a", "/x", "") + &consume("a", "/x"),
            "consume[1].inbox",
        ),
        (
            watch("a", "/x/w", "") + &consume("a", "/x"),
            "consume[1].inbox",
        ),
        (
            watch("a", "/w", "after = \"archive\"\narchive_dir = \"/w/old\""),
            "produce[1].archive_dir",
        ),
        (
            watch("a", "/w", "after = \"archive\"\narchive_dir = \"/d/old\""),
            "produce[1].archive_dir",
        ),
    ] {
        let (found, problem) = problem_in(&more);
        assert_eq!(found, key, "{more}");
        assert!(matches!(problem, Problem::Overlap { .. }), "{problem}");
    }
    let archive = "after = \"archive\"\narchive_dir = \"/old\"";
    let hidden = "after = \"archive\"\narchive_dir = \"/w3/.old/x\"";
    let apart = [
        consume("a", "/in"),
        consume("b", "/in2"),
        watch("a", "/w", archive),
        watch("b", "/w2", archive),
        watch("c", "/w3", hidden),
    ];
    parse(&format!("{LEAST}{}", apart.concat()));
}

#[test]
fn names_templates_patterns_and_modes_are_checked() {
    type Check = fn(&Problem) -> bool;
    let cases: [(String, &str, Check); 12] = [
        (
            in_produce("").replace("\"f\"", "\"a/b\""),
            "produce[1].feed",
            |p| matches!(p, Problem::Name(_)),
        ),
        (
            in_consume("").replace("\"f\"", "\"\""),
            "consume[1].feed",
            |p| matches!(p, Problem::Name(_)),
        ),
        (in_produce("key = \"{id}\""), "produce[1].key", |p| {
            matches!(p, Problem::Template(_))
        }),
        (in_consume("layout = \"{nam}\""), "consume[1].layout", |p| {
            matches!(p, Problem::Template(_))
        }),
        (
            in_consume("layout = \"/{name}\""),
            "consume[1].layout",
            |p| matches!(p, Problem::Template(_)),
        ),
        (in_consume("from = [\"cam?\"]"), "consume[1].from", |p| {
            matches!(p, Problem::Pattern(_))
        }),
        (in_consume("from = []"), "consume[1].from", |p| {
            matches!(p, Problem::EmptyList)
        }),
        (in_consume("mode = \"640\""), "consume[1].mode", |p| {
            matches!(p, Problem::Mode { .. })
        }),
        (in_consume("mode = \"4755\""), "consume[1].mode", |p| {
            matches!(p, Problem::Mode { .. })
        }),
        (in_consume("mode = \"0o64\""), "consume[1].mode", |p| {
            matches!(p, Problem::Mode { .. })
        }),
        (in_consume("owner = \"root\""), "consume[1].owner", |p| {
            matches!(p, Problem::Owner(_))
        }),
        (
            "[membership]\nnodes = [{ name = \"a\", addr = \"localhost:1\", feeds = [\"-\"] }]"
                .to_owned(),
            "membership.nodes[1].feeds",
            |p| matches!(p, Problem::Name(_)),
        ),
    ];
    for (more, key, check) in cases {
        let (found, problem) = problem_in(&more);
        assert_eq!(found, key);
        assert!(check(&problem), "{problem}");
    }
    assert!(
        refused(&LEAST.replace("\"n\"", "\"n n\""))
            .to_string()
            .contains("node.name")
    );
    let config = parse(&format!(
        "{LEAST}{}",
        in_consume("mode = \"0640\"\nowner = \"7:8\"")
    ));
    assert_eq!(config.consume[0].policy.mode, Some(0o640));
    assert_eq!(config.consume[0].policy.owner, Some((7, 8)));
}

#[test]
fn keys_that_would_do_nothing_are_refused() {
    for (more, key) in [
        (in_produce("include = [\"*\"]"), "produce[1].include"),
        (in_produce("settle = \"1s\""), "produce[1].settle"),
        (in_produce("scan_every = \"1s\""), "produce[1].scan_every"),
        (in_produce("archive_dir = \"/a\""), "produce[1].archive_dir"),
        (
            in_produce("after = \"delete\"\narchive_dir = \"/a\""),
            "produce[1].archive_dir",
        ),
    ] {
        let (found, problem) = problem_in(&more);
        assert_eq!(found, key);
        assert!(matches!(problem, Problem::Without { .. }), "{problem}");
    }
    assert_eq!(
        problem_in(&in_produce("after = \"archive\"")).1,
        Problem::NoArchive
    );
    let busy = in_produce("watch = \"/w\"\nscan_every = \"99ms\"");
    assert_eq!(problem_in(&busy).1, Problem::TooShort { min: "100ms" });
}

#[test]
fn only_included_files_are_taken() {
    let watch = |include: &str| in_produce(&format!("watch = \"/w\"\ninclude = {include}"));
    let config = parse(&format!("{LEAST}{}", watch("[\"*.jpg\", \"raw/**\"]")));
    let include = &config.produce[0].watch.as_ref().unwrap().include;
    for (name, covered) in [
        ("a.jpg", true),
        ("d/a.jpg", false),
        ("raw/d/a", true),
        ("a.png", false),
        (".jpg", true),
    ] {
        assert_eq!(include.covers(name), covered, "{name}");
    }
    assert!(matches!(
        problem_in(&watch("[\"a[\"]")).1,
        Problem::Glob { .. }
    ));
    assert_eq!(problem_in(&watch("[]")).1, Problem::EmptyList);
}

#[test]
fn feeds_have_deadlines_of_their_own() {
    let more = format!(
        "[membership]\nreplace_after = \"never\"\n{}{}",
        in_produce("replace_after = \"5s\""),
        in_produce("").replace("\"f\"", "\"g\"")
    );
    let config = parse(&format!("{LEAST}{more}"));
    assert_eq!(config.membership.replace_after, None);
    let deadlines: Vec<_> = config
        .produce
        .iter()
        .map(|p| p.policy.replace_after_ms)
        .collect();
    assert_eq!(deadlines, [Some(5_000), None]);
}
