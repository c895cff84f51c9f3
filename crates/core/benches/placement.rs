//! What a placement costs, and how evenly and steadily it spreads: `cargo bench -p consign-core`, of a
//! million keys, or with `PLACEMENT_KEYS` of others.
//!
//! One row for each size of cluster, of consumers with five weights in ten zones of equal weight, and three
//! copies of each file. What is compared with what, column by column:
//! * the time of one placement: the median over batches, which other work on the machine disturbs least;
//! * each consumer's copies over its share by weight, the most of all: of the first copies alone, in which
//!   weights count exactly, and of all three, where nobody gets two of one file;
//! * how far the worst of them is from its share of the first copies, in σ, since chance alone makes some
//!   heavier where each has few;
//! * the copies that go elsewhere when one joins, and when one leaves, over its share by weight, which is the
//!   least that keeps the balance;
//! * files with their copies in three zones: before, after the join, and after the leave.

// It measures time, which the core itself must not know, and uses all processors for that.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use consign_core::ids::{FeedName, NodeName};
use consign_core::placement::{Ask, place};
use consign_core::spec::Replicas;
use consign_core::view::{Member, MemberState, View};

/// Few enough that a busy machine rarely takes the processor away in between.
const KEYS_PER_BATCH: usize = 10;
const COPIES: usize = 3;
const ZONES: usize = 10;
/// Each zone gets all of them in turn, so that the zones of 100 consumers and more are equal.
const WEIGHTS: [u32; 5] = [40, 70, 100, 130, 160];
/// Who joins, and who leaves, is of the mean weight.
const MEAN_WEIGHT: u32 = 100;
/// The one that leaves.
const LEAVER: usize = 2;

fn weight(at: usize) -> u32 {
    WEIGHTS[(at + at / ZONES) % WEIGHTS.len()]
}

fn member(at: usize, weight: u32) -> Member {
    Member {
        name: NodeName::new(&format!("store-{at}")).unwrap(),
        addr: format!("store-{at}.lan:7420"),
        zone: Some(format!("zone-{}", at % ZONES)),
        weight,
        feeds: [FeedName::new("images").unwrap()].into(),
        state: MemberState::Active,
    }
}

/// The same cluster at three times.
struct Views {
    before: View,
    joined: View,
    left: View,
}

impl Views {
    fn of(consumers: usize) -> Self {
        let all: Vec<_> = (0..consumers).map(|at| member(at, weight(at))).collect();
        let joined = [all.clone(), vec![member(consumers, MEAN_WEIGHT)]].concat();
        let mut left = all.clone();
        assert_eq!(left.remove(LEAVER).weight, MEAN_WEIGHT);
        let view = |members| View::new(1, members).unwrap();
        Self {
            before: view(all),
            joined: view(joined),
            left: view(left),
        }
    }
}

fn chosen(key: &str, view: &View) -> Vec<NodeName> {
    let (feed, nobody) = (FeedName::new("images").unwrap(), BTreeSet::new());
    let ask = Ask {
        key,
        feed: &feed,
        replicas: Replicas::Count(COPIES),
        kept: &nobody,
        excluded: &nobody,
    };
    place(&ask, view).members
}

/// What was counted over some of the keys.
#[derive(Default)]
struct Counts {
    /// How long each batch of placements took.
    batches: Vec<Duration>,
    /// First copies and all copies of each consumer.
    load: BTreeMap<NodeName, (u32, u32)>,
    /// Copies that went elsewhere when one joined, and when one left.
    moved: [usize; 2],
    /// Files in three zones: before, and after each change.
    spread: [usize; 3],
}

impl Counts {
    fn of(keys: Range<usize>, views: &Views) -> Self {
        let mut counts = Self::default();
        for from in keys.step_by(KEYS_PER_BATCH) {
            let keys: Vec<_> = (from..from + KEYS_PER_BATCH)
                .map(|key| format!("file-{key}"))
                .collect();
            let began = Instant::now();
            let placed: Vec<_> = keys.iter().map(|key| chosen(key, &views.before)).collect();
            counts.batches.push(began.elapsed());
            for (key, old) in keys.iter().zip(placed) {
                counts.count(key, &old, views);
            }
        }
        counts
    }

    fn count(&mut self, key: &str, old: &[NodeName], views: &Views) {
        for (rank, node) in old.iter().enumerate() {
            let (first, all) = self.load.entry(node.clone()).or_default();
            *first += u32::from(rank == 0);
            *all += 1;
        }
        self.spread[0] += is_spread(old, &views.before);
        for (change, view) in [&views.joined, &views.left].into_iter().enumerate() {
            let new = chosen(key, view);
            self.moved[change] += new.iter().filter(|node| !old.contains(node)).count();
            self.spread[change + 1] += is_spread(&new, view);
        }
    }

    fn add(&mut self, other: Self) {
        self.batches.extend(other.batches);
        for (node, (first, all)) in other.load {
            let own = self.load.entry(node).or_default();
            *own = (own.0 + first, own.1 + all);
        }
        for (own, other) in self.moved.iter_mut().zip(other.moved) {
            *own += other;
        }
        for (own, other) in self.spread.iter_mut().zip(other.spread) {
            *own += other;
        }
    }
}

fn is_spread(nodes: &[NodeName], view: &View) -> usize {
    let zones: BTreeSet<_> = nodes.iter().map(|node| view.zone(node)).collect();
    usize::from(zones.len() == COPIES)
}

/// How many keys, in whole batches: a million, or what the environment says.
fn keys() -> usize {
    let given = std::env::var("PLACEMENT_KEYS").map(|keys| keys.parse().expect("it is a number"));
    given.unwrap_or(1_000_000) / KEYS_PER_BATCH * KEYS_PER_BATCH
}

fn count_all(views: &Views) -> Counts {
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let batches = keys() / KEYS_PER_BATCH;
    let edge = |thread: usize| thread * batches / threads * KEYS_PER_BATCH;
    let mut counts = Counts::default();
    thread::scope(|scope| {
        let parts = (0..threads).map(|at| edge(at)..edge(at + 1));
        let parts: Vec<_> = parts
            .map(|keys| scope.spawn(|| Counts::of(keys, views)))
            .collect();
        for part in parts {
            counts.add(part.join().unwrap());
        }
    });
    counts
}

fn row(consumers: usize) {
    let views = Views::of(consumers);
    let mut counts = count_all(&views);
    counts.batches.sort_unstable();
    let median = counts.batches[counts.batches.len() / 2].as_secs_f64();
    let keys = keys() as f64;
    let total: u32 = (0..consumers).map(weight).sum();
    let (mut most_first, mut most, mut sigmas) = (0f64, 0f64, 0f64);
    for member in views.before.members() {
        let (first, all) = counts.load.get(&member.name).copied().unwrap_or_default();
        let share = f64::from(member.weight) / f64::from(total);
        let expected = keys * share;
        most_first = most_first.max(f64::from(first) / expected);
        most = most.max(f64::from(all) / expected / COPIES as f64);
        let sigma = (expected * (1.0 - share)).sqrt();
        sigmas = sigmas.max((f64::from(first) - expected).abs() / sigma);
    }
    let moved = |change: usize, total_with: u32| {
        let share = f64::from(MEAN_WEIGHT) / f64::from(total_with);
        counts.moved[change] as f64 / keys / COPIES as f64 / share
    };
    let [before, joined, left] = counts.spread.map(|files| 100.0 * files as f64 / keys);
    println!(
        "| {consumers} | {:.1} µs | {most_first:.3} | {sigmas:.1} σ | {most:.3} | {:.3} | {:.3} \
         | {before:.1}, {joined:.1}, {left:.1} % |",
        median / KEYS_PER_BATCH as f64 * 1e6,
        moved(0, total + MEAN_WEIGHT),
        moved(1, total),
    );
}

fn main() {
    println!(
        "| consumers | one placement | first copies: most / share | worst | all copies: most / share \
         | moved when one joins / its share | when one leaves / its share \
         | in {COPIES} zones: before, joined, left |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    for consumers in [10, 100, 1_000, 10_000] {
        row(consumers);
    }
}
