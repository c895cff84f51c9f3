//! Whole clusters under seeds. Each test holds the promises of DESIGN for a few hundred of them;
//! `cargo run --release -p consign-sim -- --seeds 100000` holds them for many more.

use consign_sim::run::run_seed;

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

/// A node joined on a disk that had space for its log, and none for the log's reserve: it did not
/// come up again.
#[test]
fn a_node_that_joins_on_a_nearly_full_disk_comes_up_again() {
    run([208]);
}

#[test]
fn what_a_consumer_answers_while_its_file_leaves_memory_is_not_forgotten() {
    run([617, 1_527]);
}

#[test]
fn a_replaced_consumer_may_say_saved_twice() {
    run([1_646]);
}

/// Its disk had crashed, and the node not noticed, when the strangers' files were to go away.
#[test]
fn what_strangers_left_on_a_crashed_disk_is_not_taken_for_a_delivery() {
    run([1_257]);
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
