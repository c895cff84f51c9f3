//! Runs simulated clusters: many seeds, or one with its trace.

use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use consign_sim::coverage::Coverage;
use consign_sim::ledger::Stats;
use consign_sim::plan::Cut;
use consign_sim::run::{Failure, run_cut, shrink, trace_seed};

/// How long a failure is made smaller before it is told.
const SHRINK_AT_MOST: Duration = Duration::from_secs(20);

/// Seeds between two lines of progress where they are not overwritten.
const PROGRESS_EVERY: u64 = 5_000;

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
    /// Threads; as many as there are cores by default. They change nothing of what a seed does.
    #[arg(long, default_value_t = cores())]
    jobs: u64,
    /// Go on after a failure, and list all of them.
    #[arg(long)]
    keep_going: bool,
    /// Parts of the plan of --seed to leave out, as a failure names them.
    #[arg(long, value_delimiter = ',')]
    cut: Vec<Cut>,
    /// Fail when anything that should be met by some seed was met by none.
    #[arg(long)]
    coverage_required: bool,
    /// Plant every bug there is, and fail when one is not found within --seeds.
    #[cfg(feature = "planted")]
    #[arg(long)]
    hunt: bool,
    /// Plant this bug; with --hunt, hunt no other.
    #[cfg(feature = "planted")]
    #[arg(long)]
    bug: Option<consign_core::planted::Planted>,
}

fn cores() -> u64 {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() as u64)
}

fn main() -> ExitCode {
    let args = Args::parse();
    if std::env::var_os("RUST_BACKTRACE").is_none() {
        std::panic::set_hook(Box::new(|_| {}));
    }
    #[cfg(feature = "planted")]
    if args.hunt {
        return hunt(&args);
    } else {
        consign_core::planted::plant(args.bug);
    }
    if args.trace {
        let mut out = io::stdout().lock();
        for line in trace_seed(args.seed, &args.cut) {
            // A reader that has seen enough is no error.
            if writeln!(out, "{line}").is_err() {
                break;
            }
        }
        return match run_cut(args.seed, &args.cut) {
            Ok(outcome) => {
                eprintln!("{outcome:?}");
                ExitCode::SUCCESS
            }
            Err(failure) => report(&failure, false),
        };
    }
    run_many(&args)
}

/// Prints a table of planted bugs and how they were found.
#[cfg(feature = "planted")]
fn hunt(args: &Args) -> ExitCode {
    use consign_sim::hunt::{HEAD, all, hunt};
    let begun = Instant::now();
    println!("{HEAD}");
    let mut survived = Vec::new();
    let mut bugs = 0;
    for bug in all().filter(|bug| args.bug.is_none_or(|only| only == *bug)) {
        let hunted = hunt(bug, args.seeds, args.jobs);
        bugs += 1;
        println!("{}", hunted.row());
        match &hunted.found {
            Some(failure) if args.bug.is_some() => drop(report(failure, false)),
            Some(_) => {}
            None => survived.push(bug.name()),
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!("{bugs} bugs in {seconds:.1} s, {} survived", survived.len());
    match survived.is_empty() {
        true => ExitCode::SUCCESS,
        false => {
            eprintln!(
                "not found: {}; hint: deepen the checks",
                survived.join(", ")
            );
            ExitCode::FAILURE
        }
    }
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
                    if seed >= end || send.send(run_cut(seed, &args.cut)).is_err() {
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
            tell_progress(done, args.seeds, failures.len());
        }
    });
    let seconds = begun.elapsed().as_secs_f64();
    eprintln!(
        "{done} seeds in {seconds:.1} s, {:.0} a second; {all:?}",
        done as f64 / seconds
    );
    print!("{coverage}");
    failures.sort_by_key(|failure| failure.seed);
    if !args.keep_going
        && let Some(first) = failures.first()
    {
        report(&shrink(first.clone(), SHRINK_AT_MOST), false);
    }
    let gaps = coverage.gaps();
    if args.coverage_required && !gaps.is_empty() {
        println!("no seed met: {}", gaps.join(", "));
    }
    match failures.is_empty() && (gaps.is_empty() || !args.coverage_required) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// A line that is overwritten on a terminal, and one now and then elsewhere.
fn tell_progress(done: u64, seeds: u64, failures: usize) {
    let terminal = io::stderr().is_terminal();
    let line = format!("{done} of {seeds} seeds, {failures} failures");
    if terminal && done.is_multiple_of(100) {
        eprint!("\r{line}");
    } else if !terminal && done.is_multiple_of(PROGRESS_EVERY) {
        eprintln!("{line}");
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
            "replay: cargo run -p consign-sim --release -- --seed {}{} --trace",
            failure.seed,
            cut_argument(&failure.cuts)
        );
    }
    ExitCode::FAILURE
}

fn cut_argument(cuts: &[Cut]) -> String {
    let names: Vec<String> = cuts.iter().map(ToString::to_string).collect();
    match names.is_empty() {
        true => String::new(),
        false => format!(" --cut {}", names.join(",")),
    }
}
