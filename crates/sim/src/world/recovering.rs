//! What a recovery found, and why a life did not begin after it.

use consign_core::log::{LogError, Recovery};

use super::World;
use super::node::LOG;
use crate::coverage::Recovered;
use crate::disk::{is_crash, is_injected, is_injected_read};
use crate::promise::Promise;

/// Why a life did not begin.
pub(super) enum Stillborn {
    /// The planned crash came.
    Disk,
    /// It refuses to, and breaks a promise by that.
    Refuses(Promise, String),
}

/// Whether an error of the log is only the planned crash.
pub(super) fn is_planned(error: &LogError) -> bool {
    match error {
        LogError::Io { source, .. } | LogError::SyncFailed { source, .. } => is_crash(source),
        _ => false,
    }
}

/// What a call did that was planned to fail, if this error of the log is that of one: another start may
/// do better.
fn fails_by_plan(error: &LogError) -> Option<Recovered> {
    let (LogError::Io { source, .. } | LogError::SyncFailed { source, .. }) = error else {
        return None;
    };
    let what = match is_injected_read(source) {
        true => Recovered::ReadFailed,
        false => Recovered::WriteFailed,
    };
    is_injected(source).then_some(what)
}

impl World {
    pub(super) fn count_recovery(&mut self, recovery: &Recovery) {
        let found = [
            (recovery.created, Recovered::Created),
            (recovery.rewritten_records > 0, Recovered::Rewrote),
            (recovery.cut_bytes > 0, Recovered::Cut),
            (recovery.removed_segments > 0, Recovered::RemovedDropped),
        ];
        for (_, what) in found.into_iter().filter(|(found, _)| *found) {
            self.coverage.recovered(what);
        }
    }

    pub(super) fn has_log(&self, node: usize) -> bool {
        let files = self.nodes[node].disk.files();
        let mut logs = files.iter().filter(|path| path.starts_with(LOG));
        logs.any(|path| path.extension().is_some_and(|end| end == "log"))
    }

    pub(super) fn stillborn(&mut self, error: &LogError) -> Stillborn {
        let failed = fails_by_plan(error);
        if let Some(what) = failed {
            self.coverage.recovered(what);
        }
        match error {
            _ if is_planned(error) || failed.is_some() => Stillborn::Disk,
            LogError::Full { .. } => Stillborn::Refuses(Promise::ComesUpFull, error.to_string()),
            _ => Stillborn::Refuses(Promise::ComesUp, error.to_string()),
        }
    }
}
