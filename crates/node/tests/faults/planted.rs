//! Bugs that are planted in the real binary: power cuts, or crash states at the level of blocks, must
//! find each of them within a few cycles.
//! Built only with the feature `planted`; `./test` has a step for it.

use std::process::Stdio;
use std::time::Instant;

use consign_core::planted::{Hunt, Planted};

use crate::image::Kind;
use crate::isolated::{INSIDE, amount, isolated, unshare};
use crate::power::{Load, cut_planted};
use crate::states::states_planted;

const TEST: &str = "planted::every_planted_bug_is_found";
/// What the binary reads.
const BUG: &str = "CONSIGN_PLANTED";
/// Power cuts in which a bug must be found.
const CUTS_MAX: u64 = 20;
/// The same in crash states of one recorded life of a disk. The first that shows what was not synced
/// came between 53 and 116 in all of 20 hunts.
const STATES_MAX: u64 = 200;

/// A filesystem that loses power at once has mostly written these with something else that was synced.
/// They are hunted where any order of writes may have been lost.
const IN_CRASH_STATES: [Planted; 4] = [
    Planted::OsDirSyncSkipped,
    Planted::PublishWithoutDirSync,
    Planted::SealNotSynced,
    Planted::SpoolNotSynced,
];

/// Bugs of the core that are hunted here as well, over a real filesystem.
const OF_THE_CORE: [Planted; 4] = [
    Planted::CommitWithoutSync,
    Planted::PublishWithoutDirSync,
    Planted::RenameBeforeSync,
    Planted::WatermarkBeforeSync,
];

#[test]
fn every_planted_bug_is_found() {
    // Inside, with a bug: what fails here is what the outer one wants to see.
    if let Ok(bug) = std::env::var(BUG) {
        let bug: Planted = bug.parse().unwrap();
        return isolated(TEST, &[], || match IN_CRASH_STATES.contains(&bug) {
            true => states_planted(kind_for(bug), STATES_MAX),
            false => {
                let load = match bug {
                    Planted::WatermarkBeforeSync => Load::Large,
                    Planted::ArchiveDirNotSynced => Load::Only("archived"),
                    Planted::KeptSetNotSynced => Load::Only("staying"),
                    _ => Load::Small,
                };
                cut_planted(kind_for(bug), CUTS_MAX, load);
            }
        });
    }
    isolated(
        TEST,
        &["xfs_io", "mkfs.ext4", "mkfs.xfs", "qemu-storage-daemon"],
        || {
            let of_machines = Planted::ALL
                .iter()
                .filter(|bug| bug.hunt() == Hunt::Machines);
            let bugs: Vec<Planted> = of_machines.copied().chain(OF_THE_CORE).collect();
            println!(
                "| bug | what is wrong | found by | by what | cycles | seconds |\n|---|---|---|---|---|---|"
            );
            let survived: Vec<Planted> = bugs.into_iter().filter(|bug| !is_found(*bug)).collect();
            assert!(survived.is_empty(), "not found: {survived:?}");
        },
    );
}

/// ext4 writes the bytes of a file before the directory that was synced after it: there a file that was
/// not synced itself is seldom lost. Only on xfs is the archive another filesystem; within one, both
/// ends of a rename are there after a crash, or neither.
fn kind_for(bug: Planted) -> Kind {
    match bug {
        Planted::SpoolNotSynced | Planted::SealNotSynced | Planted::ArchiveDirNotSynced => {
            Kind::Xfs
        }
        _ => Kind::Ext4,
    }
}

/// Hunts a bug, in namespaces of its own.
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
    let is_cycle = |line: &&str| line.contains("cut ") || line.starts_with("state ");
    let cycles = out.lines().filter(is_cycle).count();
    let found = !output.status.success() && cycles > 0;
    println!(
        "| `{bug}` | {} | {} | {} | {cycles} | {:.0} |",
        bug.words(),
        match found {
            true => reason(&err),
            false => "**survived**".to_owned(),
        },
        match IN_CRASH_STATES.contains(&bug) {
            true => format!("crash states of {}", kind_for(bug).name()),
            false => format!("power cuts of {}", kind_for(bug).name()),
        },
        began.elapsed().as_secs_f64()
    );
    if !found {
        println!("{out}\n{err}");
    }
    found
}

/// What the test said first, in one line; of an agent that does not come up, what that said.
fn reason(err: &str) -> String {
    let found = |what: &str| {
        let line = err.lines().find(|line| line.contains(what));
        line.map(str::to_owned)
    };
    let mut lines = err.lines().skip_while(|line| !line.contains("panicked at"));
    let said: Vec<&str> = lines.by_ref().skip(1).take(2).map(str::trim).collect();
    let panic = match said[..] {
        [first, second] if first.ends_with('[') => format!("{first}{second}"),
        [first, ..] => first.to_owned(),
        [] => "the test failed".to_owned(),
    };
    let said = match panic.starts_with("not ready") {
        true => found(" ERROR ").unwrap_or_default(),
        false => found("VIOLATION: ").unwrap_or(panic),
    };
    let said = said.split(" ERROR ").last().unwrap_or_default();
    said.chars().take(120).collect::<String>().replace('|', "/")
}
