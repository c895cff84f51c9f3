//! The next start of machines that lost power.

use std::collections::BTreeSet;

use rustix::process::Signal;

use super::Fleet;
use super::sources::archived;
use crate::ledger::base;
use crate::machine::Machine;
use crate::rng::Rng;
use crate::waiting::{SOON, comes};

impl Fleet {
    /// Starts what lost power. Consumers come up alone, so that whatever the producer holds
    /// receipts for can only come from their own disks. Returns how many receipts there were.
    pub(super) fn restart(&self, victims: &[&Machine], rng: &mut Rng) -> u64 {
        let producer = self.producer();
        let (has_producer, consumers): (Vec<_>, Vec<_>) = victims
            .iter()
            .partition(|victim| victim.name == producer.name);
        if !has_producer.is_empty() {
            producer.start();
        }
        if consumers.is_empty() {
            return 0;
        }
        let receipts = self.receipts(&consumers);
        let archived = archived(producer);
        let paused = Paused::new(producer);
        consumers.iter().for_each(|consumer| consumer.spawn());
        consumers
            .iter()
            .for_each(|consumer| consumer.wait_until_ready());
        let mut lacking = Vec::new();
        let all_there = comes(SOON, || {
            self.consumers()
                .iter()
                .for_each(|consumer| self.take(consumer, rng));
            let ledger = self.ledger.lock().unwrap();
            lacking = receipts
                .iter()
                .filter(|(name, consumer)| !ledger.has(consumer, name))
                .cloned()
                .collect();
            lacking.is_empty()
        });
        let mut ledger = self.ledger.lock().unwrap();
        let released = archived
            .iter()
            .map(|path| base(path.to_str().unwrap()).to_owned());
        ledger.check_released(&released.collect::<Vec<_>>());
        drop(ledger);
        drop(paused);
        assert!(
            all_there,
            "saved, and not there after a power cut: {lacking:?}"
        );
        receipts.len() as u64
    }

    /// What the producer's log says that these consumers have saved: name and consumer.
    fn receipts(&self, consumers: &[&&Machine]) -> BTreeSet<(String, String)> {
        let names: BTreeSet<_> = consumers.iter().map(|machine| &*machine.name).collect();
        let transfers = self.producer().transfers().expect("the producer answers");
        let mut receipts = BTreeSet::new();
        for transfer in transfers {
            let name = base(transfer["name"].as_str().unwrap()).to_owned();
            for leg in transfer["consumers"].as_array().unwrap() {
                let node = leg["node"].as_str().unwrap();
                if leg["state"] == "saved" && names.contains(node) {
                    receipts.insert((name.clone(), node.to_owned()));
                }
            }
        }
        receipts
    }
}

/// A machine that stands still, until this goes: also by a failure, since the load waits for it.
struct Paused<'a>(&'a Machine);

impl<'a> Paused<'a> {
    fn new(machine: &'a Machine) -> Self {
        machine.signal(Signal::STOP);
        Self(machine)
    }
}

impl Drop for Paused<'_> {
    fn drop(&mut self) {
        self.0.signal(Signal::CONT);
    }
}

/// A device's number may be another after each start of a machine: so it is here where several
/// disks are mounted in another order.
pub(super) fn mount_again(victims: &[&Machine], rng: &mut Rng) {
    let alone: Vec<_> = victims
        .iter()
        .map(|victim| {
            let alone = victim.mounted.write().unwrap();
            victim.unmount();
            alone
        })
        .collect();
    let mut left = victims.to_vec();
    while !left.is_empty() {
        let at = rng.below(left.len() as u64) as usize;
        left.swap_remove(at).mount();
    }
    drop(alone);
}
