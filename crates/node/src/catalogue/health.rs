//! Whether the catalogue works. It is allowed to fail; it is not allowed to do so silently.

use std::sync::Mutex;

use crate::problems::Problem;
use crate::timestamp::Timestamp;

/// What is wrong with the catalogue, if anything. The first failure stands until the records that
/// are missing since have come from the log: once there is room again, or at the next start.
#[derive(Debug, Default)]
pub(crate) struct Health {
    failure: Mutex<Option<Problem>>,
    filling: Mutex<Option<Problem>>,
    notice: Mutex<Option<Problem>>,
}

impl Health {
    /// What a person should know, for `status`: the failure if there is one, else that it is being
    /// filled, else that an unusable database was set aside at this start.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let failure = locked(&self.failure).clone();
        let filling = || locked(&self.filling).clone();
        failure
            .or_else(filling)
            .or_else(|| locked(&self.notice).clone())
    }

    /// Whether it has stopped taking records, or lacks many.
    pub(crate) fn is_degraded(&self) -> bool {
        locked(&self.failure).is_some() || locked(&self.filling).is_some()
    }

    /// Why it has stopped taking records.
    pub(super) fn failure(&self) -> Option<Problem> {
        locked(&self.failure).clone()
    }

    /// Notes the first failure; later ones follow from it and are not kept.
    pub(super) fn fail(&self, what: String) {
        let mut failure = locked(&self.failure);
        if failure.is_none() {
            tracing::error!(
                what,
                "the catalogue is degraded; transfers go on without it"
            );
            *failure = Some(Problem {
                what: format!("the catalogue is degraded, so listings are incomplete: {what}"),
                hint:
                    "files are delivered all the same; free some space in the data directory, and \
                       the catalogue is filled from the log; if it has enough, look at its disk \
                       and restart the agent"
                        .to_owned(),
                since: Timestamp::now(),
            });
        }
    }

    /// Notes that it is being filled from the log.
    pub(super) fn filling(&self) {
        let mut filling = locked(&self.filling);
        if filling.is_none() {
            tracing::info!("the catalogue is being filled from the log");
            *filling = Some(Problem {
                what: "the catalogue is being filled from the log, so listings are incomplete"
                    .to_owned(),
                hint: "files are delivered all the same; wait until this is over".to_owned(),
                since: Timestamp::now(),
            });
        }
    }

    /// Notes that that is over.
    pub(super) fn filled(&self) {
        if locked(&self.filling).take().is_some() {
            tracing::info!("the catalogue is filled");
        }
    }

    /// Notes that everything missing is there.
    pub(super) fn recovered(&self) {
        tracing::info!("the catalogue is complete again");
        *locked(&self.failure) = None;
    }

    /// Notes that a database was set aside and begun anew.
    pub(super) fn set_aside(&self, why: &str, kept_as: &std::path::Path) {
        tracing::warn!(why, kept_as = %kept_as.display(), "the catalogue was set aside and is begun anew");
        *locked(&self.notice) = Some(Problem {
            what: format!(
                "the catalogue was begun anew at this start, and the history before it is not \
                 listed: {why}"
            ),
            hint: format!(
                "nothing else is lost; the old one is kept as {}, delete it when you do not need it",
                kept_as.display()
            ),
            since: Timestamp::now(),
        });
    }
}

fn locked(slot: &Mutex<Option<Problem>>) -> std::sync::MutexGuard<'_, Option<Problem>> {
    // A panic while it is held cannot leave it half written: it is only ever assigned whole.
    slot.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
