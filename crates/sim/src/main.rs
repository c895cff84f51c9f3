//! Runs simulated clusters: many seeds, or one with its trace.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use clap::Parser;
use consign_sim::coverage::Coverage;
use consign_sim::ledger::Stats;
use consign_sim::run::{Failure, run_seed, trace_seed};

/// Runs whole consign clusters under seeds, with every kind of misfortune, and checks the promises.
#[derive(Debug, Parser)]
#[command(name = "consign-sim")]
struct Args {
    /// How many seeds to run.
    #[arg(long, default_value_t = 1_000)]
    seeds: u64,
    /// The first seed, or the only one with --trace.
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print everything that happens under one seed.
    #[arg(long)]
    trace: bool,
    /// Threads.
    #[arg(long, default_value_t = 1)]
    jobs: u64,
    /// Go on after a failure, and list all of them.
    #[arg(long)]
    keep_going: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    if args.trace {
        let mut out = io::stdout().lock();
        for line in trace_seed(args.seed) {
            // A reader that has seen enough is no error.
            if writeln!(out, "{line}").is_err() {
                break;
            }
        }
        return match run_seed(args.seed) {
            Ok(outcome) => {
                eprintln!("{outcome:?}");
                ExitCode::SUCCESS
            }
            Err(failure) => report(&failure, false),
        };
    }
    run_many(&args)
}

fn run_many(args: &Args) -> ExitCode {
    let (next, stop) = (AtomicU64::new(args.seed), AtomicBool::new(false));
    let end = args.seed + args.seeds;
    let begun = Instant::now();
    let mut failures: Vec<Failure> = Vec::new();
    let (send, receive) = std::sync::mpsc::channel();
    let mut all = Stats::default();
    let mut coverage = Coverage::default();
    let mut done = 0u64;
    std::thread::scope(|scope| {
        for _ in 0..args.jobs {
            let send = send.clone();
            let (next, stop) = (&next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || send.send(run_seed(seed)).is_err() {
                        return;
                    }
                }
            });
        }
        drop(send);
        for result in receive {
            done += 1;
            match result {
                Ok(outcome) => {
                    add(&mut all, &outcome.stats);
                    coverage.add(&outcome.coverage);
                }
                Err(failure) => {
                    report(&failure, true);
                    failures.push(*failure);
                    stop.store(!args.keep_going, Ordering::Relaxed);
                }
            }
            if io::stderr().is_terminal() && done.is_multiple_of(100) {
                eprint!(
                    "\r{done} of {} seeds, {} failures",
                    args.seeds,
                    failures.len()
                );
            }
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!(
        "{done} seeds in {seconds:.1} s, {:.0} a second; {all:?}",
        done as f64 / seconds
    );
    print!("{coverage}");
    failures.sort_by_key(|failure| failure.seed);
    if let [only] = failures.as_slice() {
        report(only, false);
    }
    match failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

fn add(all: &mut Stats, one: &Stats) {
    all.shown += one.shown;
    all.shown_again += one.shown_again;
    all.chunks += one.chunks;
    all.wasted_chunks += one.wasted_chunks;
    all.crashes += one.crashes;
    all.records += one.records;
    all.segments_dropped += one.segments_dropped;
    all.cancelled += one.cancelled;
    all.rotten += one.rotten;
}

fn report(failure: &Failure, brief: bool) -> ExitCode {
    if !brief {
        for line in &failure.tail {
            println!("{line}");
        }
    }
    let what: String = failure.violation.what.chars().take(400).collect();
    println!(
        "seed {}: {}: {what}",
        failure.seed, failure.violation.promise
    );
    if !brief {
        println!(
            "replay: cargo run -p consign-sim --release -- --seed {} --trace",
            failure.seed
        );
    }
    ExitCode::FAILURE
}
