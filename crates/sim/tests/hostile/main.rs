//! Peers that say anything, disks that answer anything, at any moment: the state machines neither
//! panic nor give away what they promised, and go on when everybody is honest again.
//!
//! The simulator plays peers that keep the protocol. These do not: messages come in any order, of
//! any connection, about slots that are known, closed, of another life or of nobody.

mod consumer;
mod producer;

use consign_core::watched::{self, Machine};
use consign_sim::coverage::{LEFT_TO_HOSTILE_PEERS, names};

/// The seeds to run: those in `CONSIGN_SEEDS`, as `from..to`, or so many.
fn seeds(many: u64) -> std::ops::Range<u64> {
    let given = std::env::var("CONSIGN_SEEDS").ok();
    let range = given.as_deref().and_then(|given| given.split_once(".."));
    let range = range.and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    range.unwrap_or(0..many)
}

/// Prints what happens, when `CONSIGN_TRACE` is set: for a single seed.
fn trace(line: impl FnOnce() -> String) {
    if std::env::var_os("CONSIGN_TRACE").is_some() {
        eprintln!("{}", line());
    }
}

/// Runs `one` under each seed; a failure names the command that runs that seed alone.
fn run(test: &str, many: u64, one: impl Fn(u64) + std::panic::RefUnwindSafe) {
    for seed in seeds(many) {
        if std::panic::catch_unwind(|| one(seed)).is_err() {
            panic!(
                "seed {seed} fails; again: CONSIGN_TRACE=1 CONSIGN_SEEDS={seed}..{} cargo test -p consign-sim --test hostile {test}",
                seed + 1
            );
        }
    }
}

/// Bugs that only a lying consumer brings out, one at a time: each must be found.
#[cfg(feature = "planted")]
#[test]
fn planted_bugs_are_found_within_a_thousand_seeds() {
    use consign_core::planted::{Hunt, Planted, plant};

    let bugs = Planted::ALL.iter().filter(|bug| bug.hunt() == Hunt::Peers);
    for &bug in bugs {
        let begun = std::time::Instant::now();
        plant(Some(bug));
        let finds = |seed: &u64| std::panic::catch_unwind(|| producer::run_seed(*seed)).is_err();
        let found = (0..1000).find(finds);
        plant(None);
        let found = found.unwrap_or_else(|| panic!("{bug} survived"));
        let (words, took) = (bug.words(), begun.elapsed().as_secs_f64());
        println!(
            "| `{bug}` | {words} | hostile consumers | {} | {took:.1} |",
            found + 1
        );
    }
}

/// What no simulated cluster has to do was done here, in this thread.
fn assert_taken(machines: &[Machine]) {
    let taken = watched::take();
    let number = |machine, state| names(machine).iter().position(|name| *name == state);
    let here = LEFT_TO_HOSTILE_PEERS.iter();
    let here = here.filter(|(machine, _, _)| machines.contains(machine));
    let missed = here.filter(|(machine, from, to)| {
        let (from, to) = (number(*machine, *from), number(*machine, *to));
        let edge = from.zip(to).map(|(from, to)| (*machine, from, to));
        edge.is_none_or(|edge| !taken.contains_key(&edge))
    });
    let missed: Vec<_> = missed.collect();
    assert!(missed.is_empty(), "nobody took {missed:?}");
}
