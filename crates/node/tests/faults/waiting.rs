//! Conditions with deadlines.

use std::time::{Duration, Instant};

/// How long a condition may take that has no reason to take long.
pub(crate) const SOON: Duration = match cfg!(feature = "planted") {
    true => Duration::from_secs(10),
    false => Duration::from_secs(30),
};
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Waits for a condition; false when it does not come.
pub(crate) fn comes(within: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    while !holds() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(LOOK_EVERY);
    }
    true
}

/// Waits for a condition, and fails the test when it does not come.
#[track_caller]
pub(crate) fn until(what: &str, within: Duration, holds: impl FnMut() -> bool) {
    assert!(comes(within, holds), "not within {within:?}: {what}");
}
