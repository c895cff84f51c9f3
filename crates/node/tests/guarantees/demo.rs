//! `consign demo` is the proof that a stranger runs first.

use crate::cluster::consign;

#[test]
fn the_demonstration_succeeds_and_leaves_nothing() {
    let said = consign(&["demo", "--size", "16", "--json"]).good();
    let report = &said.objects()[0];
    assert_eq!(report["ok"], true);
    assert!(report["files"].as_u64().unwrap() > 2_000);
    let inboxes = report["inboxes"].as_array().unwrap();
    let copies: u64 = inboxes
        .iter()
        .map(|row| row["verified"].as_u64().unwrap())
        .sum();
    assert_eq!(copies, 2 * report["files"].as_u64().unwrap());
    assert!(report["directory"].is_null());
}

#[test]
fn the_demonstration_holds_through_chaos() {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in [("a file", 10), ("sub/another", 3 << 20)] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, crate::cluster::random_bytes(1, bytes)).unwrap();
    }
    let own = dir.path().to_str().unwrap();
    let said = consign(&["demo", own, "--chaos", "--seconds", "3", "--json"]).good();
    let report = &said.objects()[0];
    let kills = report["kills"].as_array().unwrap();
    for role in ["producer", "consumer"] {
        let of = kills.iter().filter(|kill| kill["role"] == role);
        assert!(of.count() >= 3, "{kills:#?}");
    }
    assert!(
        dir.path().join("a file").exists(),
        "nothing of the user's is touched"
    );
}
