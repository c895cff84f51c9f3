//! Every file against every inbox, by content, and against what the agents say of it.
//!
//! A copy that a consumer had saved counts, also when that consumer is drained or lost later: what was
//! delivered is its application's. Of one that was lost it counts only if its producer had been told of it
//! before the loss; all others must be on consumers that live. So the inboxes of those that are gone are
//! looked at too, and nothing that was handed over after they had gone may be in there.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::fleet::{REPLICAS, inbox};
use super::story::{Going, Gone, Story};
use crate::bridge;
use crate::machine::{Machine, files_in, objects};
use crate::waiting::{SOON, until};

/// Consumers that hold each file, by its name.
type Holders = BTreeMap<String, BTreeSet<String>>;

/// What is wrong, and what was counted.
#[derive(Debug, Default)]
struct Findings {
    wrong: Vec<String>,
    /// Pairs of a file and a consumer that has it, and is not among those it was placed on.
    extra: BTreeSet<(String, String)>,
    /// Files that were placed on a consumer and then on another in its place.
    placed_again: u64,
    /// Copies that count and that a lost consumer had saved before it died.
    on_lost: u64,
}

impl Story {
    /// Checks everything, when all is done. Nobody takes part any more afterwards.
    pub(super) fn check(&mut self) {
        self.wake_the_drained();
        let mut findings = Findings::default();
        let audited = self.audit(&mut findings);
        self.bury_the_lost();
        let holders = self.holders(&mut findings);
        for producer in self.fleet.named("prod") {
            self.check_ledger(producer, &holders, &mut findings);
        }
        self.check_extra(&audited, &mut findings);
        println!(
            "{} files, {} MiB, {} copies; {} placed again; {} extra, {} that lost consumers had saved",
            self.sources.count(),
            self.sources.bytes >> 20,
            holders.values().map(BTreeSet::len).sum::<usize>(),
            findings.placed_again,
            findings.extra.len(),
            findings.on_lost,
        );
        let lost = self.of(Going::Lost).count();
        assert!(
            lost == 0 || findings.placed_again > 0,
            "the lost one was owed nothing"
        );
        let wrong = findings.wrong;
        assert!(
            wrong.is_empty(),
            "{} wrong: {:#?}",
            wrong.len(),
            &wrong[..wrong.len().min(20)]
        );
    }

    fn of(&self, how: Going) -> impl Iterator<Item = &str> {
        let gone = self.gone.iter();
        gone.filter(move |(_, gone)| gone.how == how)
            .map(|(name, _)| name.as_str())
    }

    /// An audit asks those that were switched off after they had drained.
    fn wake_the_drained(&self) {
        for name in self.of(Going::Drained) {
            self.fleet.spawn(name);
            self.fleet.machine(name).wait_until_ready();
        }
    }

    /// What a lost consumer had saved, and not shown when it was killed, it shows when it starts: alone,
    /// with its cable pulled, so that nobody hears of it.
    fn bury_the_lost(&self) {
        for name in self.of(Going::Lost) {
            bridge::plug(name, false);
            self.fleet.spawn(name);
            self.fleet.machine(name).wait_until_ready();
            until("it shows what it had saved", SOON, || {
                let saved = ["transfers", "--json", "--state", "saved"];
                self.fleet.ask(name, &saved).is_empty()
            });
        }
    }

    /// Looks into every inbox.
    fn holders(&self, findings: &mut Findings) -> Holders {
        let mut holders = Holders::new();
        for consumer in self.fleet.named("cons") {
            for path in files_in(&inbox(consumer)) {
                let content = blake3::hash(&std::fs::read(&path).unwrap());
                let shown = path
                    .strip_prefix(inbox(consumer))
                    .unwrap()
                    .to_str()
                    .unwrap();
                match self.sources.by_content.get(content.as_bytes()) {
                    Some(source) if source.name == shown => {
                        let holders = holders.entry(source.name.clone()).or_default();
                        holders.insert(consumer.name.clone());
                    }
                    found => {
                        let what = found.map(|source| &source.name);
                        let wrong = format!("{} shows {shown}, which is {what:?}", consumer.name);
                        findings.wrong.push(wrong);
                    }
                }
            }
        }
        holders
    }

    /// What a producer says of its files, against who has them.
    fn check_ledger(&self, producer: &Machine, holders: &Holders, findings: &mut Findings) {
        let transfers = producer.transfers().expect("it answers");
        let mut by_name: BTreeMap<&str, Vec<&Value>> = BTreeMap::new();
        for transfer in &transfers {
            let name = transfer["name"].as_str().unwrap();
            by_name.entry(name).or_default().push(transfer);
        }
        let sources = self.sources.by_content.iter();
        for (content, source) in sources.filter(|(_, source)| source.producer == producer.name) {
            let held = holders.get(&source.name).cloned().unwrap_or_default();
            let of_name = by_name.remove(&*source.name).unwrap_or_default();
            let [transfer] = of_name[..] else {
                findings
                    .wrong
                    .push(format!("{} is of {} transfers", source.name, of_name.len()));
                continue;
            };
            let digest = blake3::Hash::from_bytes(*content).to_hex();
            if transfer["state"] != "done" || transfer["digest"] != digest.as_str() {
                findings
                    .wrong
                    .push(format!("not done, or not that file: {transfer}"));
            }
            self.check_copies(producer, transfer, source.number, &held, findings);
            findings.explain(producer, transfer, self);
        }
        let strange = by_name
            .keys()
            .map(|name| format!("nobody handed over {name}"));
        findings.wrong.extend(strange);
    }

    /// As many as are wanted say that they have it, each has it, and whoever has it besides is noted.
    fn check_copies(
        &self,
        producer: &Machine,
        transfer: &Value,
        number: u64,
        held: &BTreeSet<String>,
        findings: &mut Findings,
    ) {
        let saved: Vec<&str> = saved_by(transfer).collect();
        let consumers = transfer["consumers"].as_array().unwrap();
        findings.placed_again += u64::from(consumers.len() > saved.len());
        let distinct: BTreeSet<String> = saved.iter().map(|&name| name.to_owned()).collect();
        if saved.len() != REPLICAS || distinct.len() != REPLICAS || !distinct.is_subset(held) {
            findings.wrong.push(format!("on {held:?}: {transfer}"));
        }
        for (name, gone) in &self.gone {
            if gone.how == Going::Lost && distinct.contains(name) {
                findings.on_lost += 1;
                if !self.had_before(producer, transfer, name, gone) {
                    let wrong = format!("{name} was lost before it had saved {transfer}");
                    findings.wrong.push(wrong);
                }
            }
            if number >= gone.before && held.contains(name) {
                findings.wrong.push(format!("{name} had gone: {transfer}"));
            }
        }
        let file = transfer["name"].as_str().unwrap().to_owned();
        let extra = held.difference(&distinct).cloned();
        findings
            .extra
            .extend(extra.map(|node| (file.clone(), node)));
    }

    /// Whether a file was done, or at least saved by this consumer, when that was lost.
    fn had_before(&self, producer: &Machine, transfer: &Value, name: &str, gone: &Gone) -> bool {
        let is_before = |at: &Value| at.as_str().is_some_and(|at| at <= gone.at.as_str());
        if is_before(&transfer["done_at"]) {
            return true;
        }
        let id = transfer["id"].as_str().unwrap();
        let shown = self.fleet.ask(&producer.name, &["show", id, "--json"]);
        let mut events = shown[0]["events"].as_array().unwrap().iter();
        events.any(|event| {
            event["kind"] == "saved" && event["node"] == name && is_before(&event["at"])
        })
    }

    /// Every producer's audit finds nothing but extra copies, which it names.
    fn audit(&self, findings: &mut Findings) -> BTreeSet<(String, String)> {
        let mut extra = BTreeSet::new();
        for producer in self.fleet.named("prod") {
            let (sound, out, err) = producer.ask(&["audit", "--read", "--json"]);
            if !sound {
                findings
                    .wrong
                    .push(format!("audit of {}: {err}", producer.name));
            }
            for line in objects(&out) {
                let text = |what: &str| line[what].as_str().unwrap().to_owned();
                if line["kind"] == "finding" && line["class"] == "extra" {
                    extra.insert((text("name"), text("node")));
                } else if line["kind"] == "finding" && self.is_of_lost(&line) {
                    // It cannot be asked; its disk is looked at instead.
                } else if line["kind"] == "finding" {
                    findings
                        .wrong
                        .push(format!("audit of {}: {line}", producer.name));
                }
            }
        }
        extra
    }

    fn is_of_lost(&self, finding: &Value) -> bool {
        let mut lost = self.of(Going::Lost);
        lost.any(|name| finding["node"] == name) && finding["class"] == "unknown"
    }

    /// The audit names each extra copy, but for those on disks of consumers that cannot be asked.
    fn check_extra(&self, audited: &BTreeSet<(String, String)>, findings: &mut Findings) {
        let is_lost = |pair: &&(String, String)| self.of(Going::Lost).any(|name| name == pair.1);
        let asked = findings.extra.iter().filter(|pair| !is_lost(pair));
        let asked: BTreeSet<_> = asked.cloned().collect();
        for pair in asked.symmetric_difference(audited) {
            let wrong = format!("an extra copy, by inboxes or by audit only: {pair:?}");
            findings.wrong.push(wrong);
        }
    }
}

impl Findings {
    /// An extra copy is there because the file was placed again, and the story of the file says so.
    fn explain(&mut self, producer: &Machine, transfer: &Value, story: &Story) {
        let file = transfer["name"].as_str().unwrap();
        if !self.extra.iter().any(|(name, _)| name == file) {
            return;
        }
        let id = transfer["id"].as_str().unwrap();
        let shown = story.fleet.ask(&producer.name, &["show", id, "--json"]);
        let events = shown[0]["events"].as_array().unwrap().iter();
        let placed = events.filter(|event| event["kind"] == "placed").count();
        if placed < 2 {
            self.wrong.push(format!(
                "an extra copy of what was placed once: {}",
                shown[0]
            ));
        }
    }
}

/// The consumers that have said that they have it.
fn saved_by(transfer: &Value) -> impl Iterator<Item = &str> {
    let consumers = transfer["consumers"].as_array().unwrap().iter();
    let saved = consumers.filter(|one| one["state"] == "saved");
    saved.map(|one| one["node"].as_str().unwrap())
}
