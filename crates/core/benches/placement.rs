//! What a placement costs, and how evenly and steadily it spreads: `cargo bench -p consign-core`.
//!
//! One row for each size of cluster: the time of one placement of three copies, the heaviest load
//! against the mean, what moves when one consumer joins against the ideal of one share, and how many of the
//! files have their copies in three zones.

// It measures time, which the core itself must not know.
#![allow(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::time::Instant;

use consign_core::ids::{FeedName, NodeName};
use consign_core::placement::{Ask, place};
use consign_core::spec::Replicas;
use consign_core::view::{Member, MemberState, View};

const COPIES: usize = 3;
const ZONES: usize = 10;

fn view(consumers: usize) -> View {
    let feed = FeedName::new("images").unwrap();
    let member = |at: usize| Member {
        name: NodeName::new(&format!("store-{at}")).unwrap(),
        addr: format!("store-{at}.lan:7420"),
        zone: Some(format!("zone-{}", at % ZONES)),
        weight: 100,
        feeds: [feed.clone()].into(),
        state: MemberState::Active,
    };
    View::new(1, (0..consumers).map(member).collect()).unwrap()
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

fn row(consumers: usize, keys: usize) {
    let (before, after) = (view(consumers), view(consumers + 1));
    let mut load: BTreeMap<NodeName, usize> = BTreeMap::new();
    let (mut moved, mut spread) = (0, 0);
    let began = Instant::now();
    for key in 0..keys {
        black_box(chosen(&format!("file-{key}"), &before));
    }
    let each = began.elapsed() / u32::try_from(keys).unwrap();
    for key in (0..keys).map(|key| format!("file-{key}")) {
        let (old, new) = (chosen(&key, &before), chosen(&key, &after));
        moved += new.iter().filter(|node| !old.contains(node)).count();
        let zones: BTreeSet<_> = old.iter().map(|node| before.zone(node)).collect();
        spread += usize::from(zones.len() == COPIES);
        for node in old {
            *load.entry(node).or_default() += 1;
        }
    }
    let copies = (keys * COPIES) as f64;
    let mean = copies / consumers as f64;
    let heaviest = *load.values().max().unwrap() as f64;
    println!(
        "| {consumers} | {keys} | {:.1} µs | {:.3} | {:.5} of {:.5} | {:.1} % |",
        each.as_secs_f64() * 1e6,
        heaviest / mean,
        moved as f64 / copies,
        1.0 / (consumers + 1) as f64,
        100.0 * spread as f64 / keys as f64
    );
}

fn main() {
    println!(
        "| consumers | keys | one placement | heaviest / mean | moved when one joins | in {COPIES} zones |"
    );
    println!("|---|---|---|---|---|---|");
    for (consumers, keys) in [
        (10, 1_000_000),
        (100, 1_000_000),
        (1_000, 1_000_000),
        (10_000, 1_000_000),
    ] {
        row(consumers, keys);
    }
}
