//! Running seeds.

use std::panic::{self, AssertUnwindSafe};
use std::time::{Duration, Instant};

use crate::ledger::Violation;
use crate::plan::{Cut, Fault, Plan};
use crate::promise::Promise;
use crate::trace::Trace;
use crate::world::{Outcome, World};

/// Lines of the trace that are shown with a failure.
const TAIL_LINES: usize = 80;

/// A seed under which a promise was broken.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// What was broken.
    pub violation: Violation,
    /// The end of the trace, as far as it concerns the file.
    pub tail: Vec<String>,
    /// What can be left out of the plan so that the same promise is still broken.
    pub cuts: Vec<Cut>,
}

/// Runs one seed.
///
/// # Errors
/// The first broken promise. The seed is then run once more to get its trace.
pub fn run_seed(seed: u64) -> Result<Outcome, Box<Failure>> {
    run_cut(seed, &[])
}

/// Runs a plan that was made by hand or changed; a panic of the run is one of the caller.
///
/// # Errors
/// The first broken promise.
pub fn run_plan(plan: Plan) -> Result<Outcome, Violation> {
    World::new(plan, Trace::new(false)).run()
}

/// Runs one seed without a part of its plan.
///
/// # Errors
/// As [`run_seed`].
pub fn run_cut(seed: u64, cuts: &[Cut]) -> Result<Outcome, Box<Failure>> {
    run_once(seed, cuts, false).map_err(|first| match run_once(seed, cuts, true) {
        Err(failure) => failure,
        Ok(_) => Box::new(Failure {
            violation: Violation {
                promise: Promise::Deterministic,
                what: format!("it failed only once: {:?}", first.violation),
                file: None,
            },
            ..*first
        }),
    })
}

/// Runs one seed and returns all of its trace.
#[must_use]
pub fn trace_seed(seed: u64, cuts: &[Cut]) -> Vec<String> {
    let trace = Trace::new(true);
    let _ = run_in(seed, cuts, &trace);
    trace.borrow().tail(&[], usize::MAX)
}

fn run_in(
    seed: u64,
    cuts: &[Cut],
    trace: &crate::trace::SharedTrace,
) -> Result<Outcome, (Violation, Vec<String>)> {
    let shared = trace.clone();
    let needles = std::cell::RefCell::new(Vec::new());
    let ran = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut plan = Plan::draw(seed);
        cuts.iter().for_each(|cut| cut.apply(&mut plan));
        let mut world = World::new(plan, shared);
        world.run().inspect_err(|violation| {
            if let Some(file) = violation.file {
                *needles.borrow_mut() = world.needles(file);
            }
        })
    }));
    match ran {
        Ok(Ok(outcome)) => Ok(outcome),
        Ok(Err(violation)) => Err((violation, needles.take())),
        Err(panic) => {
            let what = panic
                .downcast_ref::<String>()
                .cloned()
                .or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
            let violation = Violation {
                promise: Promise::NoPanic,
                what: what.unwrap_or_default(),
                file: None,
            };
            Err((violation, Vec::new()))
        }
    }
}

fn run_once(seed: u64, cuts: &[Cut], lines: bool) -> Result<Outcome, Box<Failure>> {
    let trace = Trace::new(lines);
    run_in(seed, cuts, &trace).map_err(|(violation, needles)| {
        Box::new(Failure {
            seed,
            violation,
            tail: trace.borrow().tail(&needles, TAIL_LINES),
            cuts: cuts.to_vec(),
        })
    })
}

/// Leaves out of a failed seed's plan what can be left out while the same promise is broken: kinds of
/// fault first, then the time after which all is healed, then files. Stops trying after `at_most`.
#[must_use]
pub fn shrink(failure: Failure, at_most: Duration) -> Failure {
    let begun = Instant::now();
    let plan = Plan::draw(failure.seed);
    let faults = Fault::ALL.iter().filter(|fault| plan.faults.has(**fault));
    let mut candidates: Vec<Cut> = faults.map(|fault| Cut::Fault(*fault)).collect();
    candidates.extend((1..4).map(|part| Cut::After(plan.heal_at_ms * part / 4)));
    candidates.extend((0..plan.files.len()).map(Cut::File));
    candidates.extend((0..plan.nodes.len()).map(Cut::Slowness));
    let mut smallest = failure;
    for cut in candidates {
        if begun.elapsed() >= at_most {
            break;
        }
        let cuts: Vec<Cut> = smallest.cuts.iter().copied().chain([cut]).collect();
        if let Err(failed) = run_once(smallest.seed, &cuts, false)
            && failed.violation.promise == smallest.violation.promise
        {
            smallest = *failed;
        }
    }
    match run_once(smallest.seed, &smallest.cuts, true) {
        Err(told) => *told,
        Ok(_) => smallest,
    }
}
