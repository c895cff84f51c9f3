//! Whole clusters under seeds. Each test holds the promises of DESIGN for a few hundred of them;
//! `cargo run --release -p consign-sim -- --seeds 100000` holds them for many more.

use consign_sim::plan::{Cut, Fault, Faults, Plan, Rate};
use consign_sim::run::{run_cut, run_plan, run_seed};

/// Runs seeds until one breaks a promise.
fn run(seeds: impl IntoIterator<Item = u64>) {
    for seed in seeds {
        if let Err(failure) = run_seed(seed) {
            let tail = failure.tail.join("\n");
            panic!(
                "{tail}\nseed {seed}: {}: {}\nreplay: cargo run --release -p consign-sim -- --seed {seed} --trace",
                failure.violation.promise, failure.violation.what
            );
        }
    }
}

#[test]
fn every_submitted_file_arrives_once_and_whole_whatever_happens() {
    run(0..60);
}

#[test]
fn every_submitted_file_arrives_once_and_whole_whatever_else_happens() {
    run(1_000..1_060);
}

/// A plan that is calm but for these faults, all of them frequent.
fn rough(seed: u64, faults: &[(Fault, Rate)]) -> Plan {
    let mut plan = Plan::draw(seed);
    plan.faults = Faults::default();
    for (fault, rate) in faults {
        plan.faults.set(*fault, *rate);
    }
    plan
}

fn run_rough(seeds: std::ops::Range<u64>, faults: &[(Fault, Rate)]) {
    for seed in seeds {
        if let Err(violation) = run_plan(rough(seed, faults)) {
            panic!("seed {seed}: {}: {}", violation.promise, violation.what);
        }
    }
}

/// A node joined on a disk that had space for its log, and none for the log's reserve: it did not
/// come up again.
#[test]
fn a_node_that_joins_on_a_nearly_full_disk_comes_up_again() {
    run_rough(
        0..20,
        &[
            (Fault::DiskFull, Rate::Every(150)),
            (Fault::Kill, Rate::Every(200)),
        ],
    );
}

/// A file left memory while its consumer's answer was on its way, and the answer was forgotten.
#[test]
fn what_a_consumer_answers_while_its_file_leaves_memory_is_not_forgotten() {
    run_rough(
        0..20,
        &[
            (Fault::BreakLink, Rate::Every(60)),
            (Fault::HalfOpen, Rate::Every(300)),
        ],
    );
}

#[test]
fn a_replaced_consumer_may_say_saved_twice() {
    run_rough(
        0..20,
        &[
            (Fault::Partition, Rate::Every(300)),
            (Fault::Weigh, Rate::Every(300)),
            (Fault::Kill, Rate::Every(500)),
        ],
    );
}

/// A feed was not in the configuration while a file of it was committed, staged or published, or
/// while a consumer of it left: the file waited for ever, or had fewer copies than were wanted.
#[test]
fn a_feed_that_leaves_the_configuration_and_comes_back_loses_nothing() {
    run_rough(
        0..20,
        &[
            (Fault::Reconfigure, Rate::Every(150)),
            (Fault::Drain, Rate::Every(400)),
        ],
    );
}

#[test]
fn a_cut_plan_runs_without_what_was_cut() {
    let cuts = [Cut::File(0), Cut::After(1_000)];
    let shows_less = |seed| {
        let (whole, cut) = (run_seed(seed).unwrap(), run_cut(seed, &cuts).unwrap());
        cut.stats.shown < whole.stats.shown
    };
    // In some seeds that file finds no consumer, whatever is cut.
    assert!((0..8).any(shows_less));
}

/// Its disk had crashed, and the node not noticed, when the strangers' files were to go away.
#[test]
fn what_strangers_left_on_a_crashed_disk_is_not_taken_for_a_delivery() {
    run([1_257]);
}

/// A claim took long to be submitted, and its application was made to bring the file once more.
#[test]
fn a_file_whose_submission_takes_long_is_not_brought_twice() {
    run([655]);
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..10 {
        assert_eq!(
            run_seed(seed).unwrap(),
            run_seed(seed).unwrap(),
            "seed {seed}"
        );
    }
}
