//! A whole cluster in one thread: time, an event queue, and the nodes with their disks and network.
//!
//! What ships runs here unchanged: both state machines, the intent log, recovery and publishing.
//! What is modelled is everything around them: connections, chunk streams, the applications at both
//! ends, operators and misfortune. An effect is performed at once where its order counts, and after
//! a random delay where the node would do it on another thread; a crash may come before any single
//! operation of a disk.

mod consuming;
mod damage;
mod faults;
mod finish;
mod flow;
mod happening;
mod hearing;
mod inbox;
mod inflow;
mod leftovers;
mod life;
mod log;
mod members;
mod network;
mod node;
mod producing;
mod recovering;
mod sick;
mod smalls;
mod spool;
mod view;
mod watching;
mod workload;

use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

use consign_core::ids::NodeName;
use consign_core::spec::OnConflict;
use consign_core::view::View;
use consign_core::watched;

use crate::content::Content;
use crate::coverage::Coverage;
use crate::disk::SimDisk;
use crate::ledger::{Ledger, Stats, Story, Violation};
use crate::plan::{Fault, Plan};
use crate::rng::Rng;
use crate::trace::SharedTrace;
use flow::Flow;
use happening::{Happening, Scheduled};
use network::Link;
use node::Node;

/// The wall clock at the beginning of time, in ms.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// How long a slow disk takes at most, in µs: longer than connections are down for.
const SLOW_DISK_US_MAX: u64 = 12_000_000;

/// How long a healed cluster may take to deliver everything, in ms: several of the longest
/// deadlines one after another.
const PATIENCE_MS: u64 = 900_000;

/// A cluster under one seed.
pub struct World {
    plan: Plan,
    rng: Rng,
    /// In µs.
    now: u64,
    order: u64,
    queue: BinaryHeap<Scheduled>,
    nodes: Vec<Node>,
    links: BTreeMap<u64, Link>,
    flows: BTreeMap<u64, Flow>,
    next_number: u64,
    view: View,
    /// Pairs of which the first cannot reach the second.
    blocked: BTreeSet<(usize, usize)>,
    ledger: Ledger,
    trace: SharedTrace,
    coverage: Coverage,
    healed: bool,
    violation: Option<Violation>,
    events: u64,
}

/// What a run that kept all promises leaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Hash over everything that happened.
    pub hash: u64,
    /// Simulated time, in ms.
    pub time_ms: u64,
    /// Events.
    pub events: u64,
    /// Counts.
    pub stats: Stats,
    /// What was met.
    pub coverage: Coverage,
}

impl World {
    /// The world of a plan.
    #[must_use]
    pub fn new(plan: Plan, trace: SharedTrace) -> Self {
        let mut rng = Rng::new(plan.seed ^ 0x636f_6e73_6967_6e21);
        let names: Vec<NodeName> = plan
            .nodes
            .iter()
            .map(|node| NodeName::new(&node.name).expect("plans have clean names"))
            .collect();
        let stories = plan
            .files
            .iter()
            .map(|file| {
                let content = Content::draw(&mut rng, file.size);
                Story {
                    plan: file.clone(),
                    content,
                    digest: content.digest(),
                    key: None,
                    accepted_at_ms: 0,
                    digested: false,
                    acknowledged: false,
                    cancelled: false,
                    done: false,
                    kept: BTreeMap::new(),
                    saved: BTreeSet::new(),
                    shown: BTreeMap::new(),
                }
            })
            .collect();
        let replicas = plan.feeds.iter().map(|feed| feed.replicas).collect();
        let mut ledger = Ledger::new(stories, &names, replicas);
        ledger.calm = plan.is_calm() && plan.is_swift();
        let patient = plan
            .feeds
            .iter()
            .map(|feed| feed.replace_after_ms.is_none());
        let feeds = patient.enumerate().filter(|(_, patient)| !patient);
        let refusing = |feed: &usize| plan.feeds[*feed].on_conflict == OnConflict::Reject;
        ledger.refusing = (0..plan.feeds.len()).filter(refusing).collect();
        ledger.impatient = feeds.map(|(feed, _)| feed).collect();
        let nodes = names
            .into_iter()
            .zip(&plan.nodes)
            .map(|(name, plan)| Node::new(name, plan, SimDisk::new(rng.next_u64())))
            .collect();
        let mut world = Self {
            plan,
            rng,
            now: 0,
            order: 0,
            queue: BinaryHeap::new(),
            nodes,
            links: BTreeMap::new(),
            flows: BTreeMap::new(),
            next_number: 1,
            view: View::default(),
            blocked: BTreeSet::new(),
            ledger,
            trace,
            coverage: Coverage::default(),
            healed: false,
            violation: None,
            events: 0,
        };
        world.set_up();
        world
    }

    fn set_up(&mut self) {
        self.view = self.members(|node| !node.joins_late, &BTreeMap::new());
        for node in 0..self.nodes.len() {
            self.format(node);
            let at = self.draw(50_000);
            self.after(at, Happening::Start(node));
        }
        for (file, plan) in self.plan.files.clone().iter().enumerate() {
            if plan.left_out {
                continue;
            }
            self.after(plan.at_ms * 1_000, Happening::HandOver(file));
        }
        self.set_up_faults();
        self.after(self.plan.heal_at_ms * 1_000, Happening::Heal);
    }

    /// What lines of the trace about a file have in them.
    #[must_use]
    pub fn needles(&self, file: usize) -> Vec<String> {
        let mut needles: Vec<String> = [" ends: ", " starts as ", "fault: ", "healed"]
            .map(str::to_owned)
            .into();
        needles.extend(self.ledger.needles(file));
        needles
    }

    /// Runs to the end.
    ///
    /// # Errors
    /// The first promise that was broken.
    pub fn run(&mut self) -> Result<Outcome, Violation> {
        // An earlier run in this thread may have ended before it took them.
        drop(watched::take());
        while let Some(next) = self.queue.pop() {
            self.now = next.at;
            self.events += 1;
            self.trace.borrow_mut().mix(&[next.at, next.what.number()]);
            let done = self.happen(*next.what);
            if let Some(violation) = self.violation.take() {
                return Err(violation);
            }
            if done {
                let hash = self.trace.borrow().hash();
                self.coverage.edges(&watched::take());
                return Ok(Outcome {
                    hash,
                    time_ms: self.now / 1_000,
                    events: self.events,
                    stats: self.ledger.stats,
                    coverage: std::mem::take(&mut self.coverage),
                });
            }
        }
        unreachable!("the look for the end is always scheduled")
    }

    fn after(&mut self, delay_us: u64, what: Happening) {
        self.at(self.now + delay_us, what);
    }

    fn at(&mut self, at: u64, what: Happening) {
        self.order += 1;
        self.queue.push(Scheduled {
            at,
            order: self.order,
            what: Box::new(what),
        });
    }

    /// A number below `bound`, or 0.
    fn draw(&mut self, bound: u64) -> u64 {
        self.rng.below(bound.max(1))
    }

    /// Whether a fault that has a chance now comes true.
    fn chance(&mut self, fault: Fault) -> bool {
        let of_1000 = self.plan.faults.permille(fault);
        let strikes = of_1000 > 0 && !self.healed && self.rng.below(1000) < of_1000;
        if strikes {
            self.coverage.fault(fault);
        }
        strikes
    }

    /// How long a message takes, in µs: mostly short, seldom much longer.
    fn latency(&mut self, from: usize, to: usize) -> u64 {
        let slow = self.plan.nodes[from]
            .slowness
            .max(self.plan.nodes[to].slowness);
        let usual = 50 + self.draw(self.plan.latency_us * slow);
        match self.rng.one_in(50) {
            true => usual * 20,
            false => usual,
        }
    }

    /// How long a piece of disk work takes, in µs.
    fn disk_time(&mut self, node: usize) -> u64 {
        let slow = self.plan.nodes[node].slowness;
        let usual = 20 + self.draw(self.plan.disk_us * slow);
        let usual = match self.rng.one_in(40) {
            true => usual * 10,
            false => usual,
        };
        if self.chance(Fault::SlowCall) {
            return usual.max(self.draw(SLOW_DISK_US_MAX));
        }
        // What a disk was slow with is over a while after it is fast again.
        match self.nodes[node].drag {
            1 => usual,
            drag => usual.max((usual * drag).min(SLOW_DISK_US_MAX)),
        }
    }

    /// How long a sync takes, in µs: what hangs at a disk that hangs, once in `one_in` times.
    fn sync_time(&mut self, node: usize, one_in: u64) -> u64 {
        let usual = self.disk_time(node);
        let may_hang = !self.healed && self.plan.faults.has(Fault::SlowCall);
        match may_hang && self.rng.one_in(one_in) {
            true => usual.max(self.draw(SLOW_DISK_US_MAX)),
            false => usual,
        }
    }

    fn violate(&mut self, violation: Violation) {
        self.violation.get_or_insert(violation);
    }

    fn check(&mut self, found: Result<(), Violation>) {
        if let Err(violation) = found {
            self.violate(violation);
        }
    }

    fn node_of(&self, name: &NodeName) -> usize {
        let found = self.nodes.iter().position(|node| node.name == *name);
        found.expect("nobody speaks of nodes that are not in the plan")
    }

    fn line(&self, line: impl FnOnce() -> String) {
        let now = self.now;
        self.trace
            .borrow_mut()
            .line(|| format!("{:>10}.{:03} {}", now / 1000, now % 1000, line()));
    }
}
