//! Running seeds.

use std::panic::{self, AssertUnwindSafe};

use crate::ledger::Violation;
use crate::plan::Plan;
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
}

/// Runs one seed.
///
/// # Errors
/// The first broken promise. The seed is then run once more to get its trace.
pub fn run_seed(seed: u64) -> Result<Outcome, Box<Failure>> {
    run_once(seed, false).map_err(|first| match run_once(seed, true) {
        Err(failure) => failure,
        Ok(_) => Box::new(Failure {
            violation: Violation {
                promise: "the same seed gives the same run",
                what: format!("it failed only once: {:?}", first.violation),
                file: None,
            },
            ..*first
        }),
    })
}

/// Runs one seed and returns all of its trace.
#[must_use]
pub fn trace_seed(seed: u64) -> Vec<String> {
    let trace = Trace::new(true);
    let _ = run_in(seed, &trace);
    trace.borrow().tail(&[], usize::MAX)
}

fn run_in(
    seed: u64,
    trace: &crate::trace::SharedTrace,
) -> Result<Outcome, (Violation, Vec<String>)> {
    let shared = trace.clone();
    let needles = std::cell::RefCell::new(Vec::new());
    let ran = panic::catch_unwind(AssertUnwindSafe(|| {
        let mut world = World::new(Plan::draw(seed), shared);
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
                promise: "nothing panics",
                what: what.unwrap_or_default(),
                file: None,
            };
            Err((violation, Vec::new()))
        }
    }
}

fn run_once(seed: u64, lines: bool) -> Result<Outcome, Box<Failure>> {
    let trace = Trace::new(lines);
    run_in(seed, &trace).map_err(|(violation, needles)| {
        Box::new(Failure {
            seed,
            violation,
            tail: trace.borrow().tail(&needles, TAIL_LINES),
        })
    })
}
