//! Looking at the state machines when a life begins and ends, for the table of what a run has met.

use consign_core::watched;

use super::World;
use super::node::Life;
use crate::coverage::{Coverage, Subject};

impl World {
    /// A life has recovered.
    pub(super) fn watch_recovered(&mut self, node: usize) {
        if let Some(life) = &self.nodes[node].life {
            let (stages, slots) = (Subject::StageRecovered, Subject::SlotRecovered);
            count_all(&mut self.coverage, life, stages, slots);
        }
    }

    /// A life ends.
    pub(super) fn watch_end(&mut self, life: &Life) {
        let (stages, slots) = (Subject::StageDied, Subject::SlotDied);
        count_all(&mut self.coverage, life, stages, slots);
    }
}

fn count_all(coverage: &mut Coverage, life: &Life, stages: Subject, slots: Subject) {
    for transfer in life.producer.transfers() {
        coverage.hit(stages, watched::stage(&transfer.stage));
    }
    for (_, entry) in life.consumer.entries() {
        coverage.hit(slots, watched::slot(&entry.state));
    }
}
