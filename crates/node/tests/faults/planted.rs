//! Bugs that are planted in the real binary: power cuts must find each of them within a few cycles.
//! Built only with the feature `planted`; `./test` has a step for it.

use std::process::Stdio;
use std::time::Instant;

use consign_core::planted::{Hunt, Planted};

use crate::image::Kind;
use crate::isolated::{INSIDE, amount, isolated, unshare};
use crate::power::cut_planted;

const TEST: &str = "planted::power_cuts_find_every_planted_bug";
/// What the binary reads.
const BUG: &str = "CONSIGN_PLANTED";
/// Cuts in which a bug must be found.
const CUTS_MAX: u64 = 20;

/// Bugs of the core that are hunted here as well, over a real filesystem.
const OF_THE_CORE: [Planted; 3] = [
    Planted::CommitWithoutSync,
    Planted::PublishWithoutDirSync,
    Planted::RenameBeforeSync,
];

#[test]
fn power_cuts_find_every_planted_bug() {
    // Inside, with a bug: what fails here is what the outer one wants to see.
    if std::env::var_os(BUG).is_some() {
        return isolated(TEST, &[], || cut_planted(Kind::Ext4, CUTS_MAX));
    }
    isolated(TEST, &["xfs_io", "mkfs.ext4"], || {
        let of_machines = Planted::ALL
            .iter()
            .filter(|bug| bug.hunt() == Hunt::Machines);
        let bugs: Vec<Planted> = of_machines.copied().chain(OF_THE_CORE).collect();
        println!("| bug | what is wrong | found by | cuts | seconds |\n|---|---|---|---|---|");
        let survived: Vec<Planted> = bugs.into_iter().filter(|bug| !is_found(*bug)).collect();
        assert!(survived.is_empty(), "not found: {survived:?}");
    });
}

/// Hunts a bug with one seed after another, each in namespaces of its own, until one finds it.
fn is_found(bug: Planted) -> bool {
    let began = Instant::now();
    let output = unshare()
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", TEST, "--nocapture", "--test-threads=1"])
        .env(INSIDE, "1")
        .env(BUG, bug.name())
        .env("FAULT_SEED", amount("FAULT_SEED", 1).to_string())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let cuts = out.lines().filter(|line| line.starts_with("cut ")).count();
    let found = !output.status.success() && cuts > 0;
    println!(
        "| `{bug}` | {} | {} | {cuts} | {:.0} |",
        bug.words(),
        match found {
            true => reason(&err),
            false => "**survived**".to_owned(),
        },
        began.elapsed().as_secs_f64()
    );
    if !found {
        println!("{out}\n{err}");
    }
    found
}

/// What the test said first, in one line.
fn reason(err: &str) -> String {
    let mut lines = err.lines();
    let violation = err
        .lines()
        .find_map(|line| line.strip_prefix("VIOLATION: "));
    let panic = lines
        .find(|line| line.contains("panicked at"))
        .and(lines.next());
    let said = violation.or(panic).unwrap_or("the test failed");
    said.chars().take(120).collect::<String>().replace('|', "/")
}
