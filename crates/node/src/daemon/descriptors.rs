//! How many files this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The usual soft limit, where the system does not tell.
const USUAL: usize = 1024;

/// Raises the limit as far as the system lets us: the usual 1,024 is there for programs that use
/// `select`, and strangers on the peer port would use it up. Returns the limit from now on.
pub(super) fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    // Refused where a sandbox forbids it: then what there is must do, and it does with fewer
    // strangers.
    let now = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    // None is no limit.
    now.map_or(usize::MAX, |now| usize::try_from(now).unwrap_or(USUAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_what_the_system_says_then() {
        let limit = raise_limit();
        let current = getrlimit(Resource::Nofile).current;
        assert_eq!(
            current.map_or(usize::MAX, |current| current.try_into().unwrap()),
            limit
        );
        assert!(limit >= 256, "{limit}");
    }
}
