//! Drawing a plan from a seed.

use consign_core::limits;
use consign_core::spec::{OnConflict, Replicas};

use super::{Fault, Faults, FeedPlan, FilePlan, Handing, NodePlan, Plan, SMALL_BYTES_MAX};
use crate::rng::Rng;

/// How many nodes of each kind there are.
struct Shape {
    producers: usize,
    consumers: usize,
    late: usize,
    /// Consumers that may not come back.
    losses: usize,
}

/// Within what time files are handed over while one consumer is sick, in ms.
const SICK_FILES_MS: u64 = 30_000;

/// When it is well again, in ms: what everybody else is owed must have arrived by then, although each
/// deadline may have passed once.
const SICK_HEAL_MS: u64 = 240_000;

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let mut heal_at_ms = 2_000 + rng.below(10_000);
        let faults = Faults::draw(rng, heal_at_ms);
        let sick = faults.has(Fault::Sicken);
        let losses = [Fault::ConsumerGone, Fault::Leave].map(|fault| faults.has(fault));
        let losses = losses.into_iter().filter(|lost| *lost).count();
        let shape = Shape {
            producers: 2 + rng.below(3) as usize,
            consumers: 3 + rng.below(5) as usize,
            // Whoever is gone is made up for, so that all replicas find a place in the end.
            late: losses + rng.below(3).saturating_sub(1) as usize,
            losses,
        };
        let plain = faults.is_calm() || faults.is_scarcity() || sick;
        let mut feeds = draw_feeds(rng, &shape, plain);
        let mut nodes = draw_nodes(rng, &shape, &feeds);
        let length_ms = match sick {
            true => SICK_FILES_MS,
            false => heal_at_ms,
        };
        let more_larges = faults.has(Fault::SlowCall);
        let files = draw_files(rng, &nodes, &feeds, length_ms, more_larges);
        if sick {
            heal_at_ms = SICK_HEAL_MS;
            nodes.iter_mut().for_each(|node| node.slowness = 1);
        }
        for (number, feed) in feeds.iter_mut().enumerate() {
            // A file that is larger than the queue would never be taken.
            let own = files.iter().filter(|file| file.feed == number);
            let largest = own.map(|file| file.size).max().unwrap_or(0);
            feed.max_queue_bytes = feed.max_queue_bytes.max(largest);
        }
        Self {
            seed,
            nodes,
            feeds,
            files,
            faults,
            heal_at_ms,
            segment_bytes: [4, 8, 16, 64][rng.below(4) as usize] << 10,
            spare_segments: 1 + rng.below(6),
            carry_again_ms: [1, 50, 500][rng.below(3) as usize],
            latency_us: [200, 2_000, 20_000, 100_000][rng.below(4) as usize],
            disk_us: [100, 1_000, 10_000, 100_000][rng.below(4) as usize],
        }
    }
}

fn draw_feeds(rng: &mut Rng, shape: &Shape, calm: bool) -> Vec<FeedPlan> {
    let most = (shape.consumers - shape.losses).min(4) as u64;
    (0..1 + rng.below(3))
        .map(|number| FeedPlan {
            name: format!("feed{number}"),
            replicas: match rng.below(5) {
                0 => Replicas::All,
                _ => Replicas::Count(1 + rng.below(most) as usize),
            },
            replace_after_ms: rng.one_in(2).then(|| 100 + rng.below(3_000)),
            on_conflict: match rng.below(3) {
                0 => OnConflict::Reject,
                _ => OnConflict::Rename,
            },
            max_queue_bytes: match rng.below(3) {
                0 => 1_000 + rng.below(10_000),
                _ => u64::MAX,
            },
            min_free_bytes: match rng.below(3) {
                0 => rng.below(100_000),
                _ => 0,
            },
            from: match !calm && rng.one_in(8) {
                true => vec!["cam-0".to_owned(), "store-*".to_owned()],
                false => Vec::new(),
            },
            layout: match rng.below(6) {
                0 => "{producer}/{name}",
                1 => "{feed}/{name}",
                2 => "{id}",
                3 if !calm => "{producer}-in-{feed}-{name}",
                _ => "{name}",
            }
            .to_owned(),
        })
        .collect()
}

/// For each consumer that is there from the start, the feeds that it consumes.
fn draw_consumed(rng: &mut Rng, shape: &Shape, feeds: &[FeedPlan]) -> Vec<Vec<usize>> {
    let mut consumed = vec![Vec::new(); shape.consumers];
    for (number, feed) in feeds.iter().enumerate() {
        let wanted = match feed.replicas {
            Replicas::Count(count) => count,
            Replicas::All => 1,
        };
        let mut may_refuse = shape.consumers - wanted - shape.losses.min(shape.consumers - wanted);
        for feeds in &mut consumed {
            if may_refuse > 0 && rng.one_in(4) {
                may_refuse -= 1;
            } else {
                feeds.push(number);
            }
        }
    }
    consumed
}

fn draw_nodes(rng: &mut Rng, shape: &Shape, feeds: &[FeedPlan]) -> Vec<NodePlan> {
    let (zoned, weighted) = (rng.one_in(2), rng.one_in(2));
    let both = rng.one_in(3);
    let consumed = draw_consumed(rng, shape, feeds);
    let all: Vec<usize> = (0..feeds.len()).collect();
    let mut nodes = Vec::new();
    for number in 0..shape.producers + shape.consumers + shape.late {
        let is_consumer = number >= shape.producers;
        let joins_late = number >= shape.producers + shape.consumers;
        let mixed = both && number + 1 >= shape.producers && number <= shape.producers;
        let consumes = match number.checked_sub(shape.producers) {
            Some(consumer) => consumed.get(consumer).unwrap_or(&all).clone(),
            None if mixed => all.clone(),
            None => Vec::new(),
        };
        nodes.push(NodePlan {
            name: match is_consumer {
                true => format!("store-{}", number - shape.producers),
                false => format!("cam-{number}"),
            },
            zone: zoned.then(|| format!("z{}", rng.below(3))),
            weight: match weighted {
                true => 1 + rng.below(300) as u32,
                false => 100,
            },
            produces: !is_consumer || mixed,
            consumes,
            joins_late,
            slowness: match is_consumer && rng.one_in(12) {
                true => 2 + rng.below(30),
                false => 1,
            },
        });
    }
    nodes
}

fn draw_files(
    rng: &mut Rng,
    nodes: &[NodePlan],
    feeds: &[FeedPlan],
    length_ms: u64,
    more_larges: bool,
) -> Vec<FilePlan> {
    let producers: Vec<usize> = (0..nodes.len()).filter(|&n| nodes[n].produces).collect();
    let smalls = 4 + rng.below(30);
    let larges = match rng.below(5) {
        0 | 1 => 1 + rng.below(3),
        // Each of them is sealed, and slow disks are about syncs.
        _ if more_larges => 2 + rng.below(4),
        _ => 0,
    };
    let names_repeat = rng.one_in(5);
    let watched = rng.one_in(2);
    let in_bursts = rng.one_in(2);
    let urgent = rng.one_in(2);
    let mut at_ms = 0;
    (0..smalls + larges)
        .map(|number| {
            if !in_bursts || rng.one_in(8) {
                at_ms = rng.below(length_ms * 3 / 4);
            }
            let feed = rng.below(feeds.len() as u64) as usize;
            let name = draw_name(rng, number, names_repeat);
            // The smallest segments have no room for records that are long in every way.
            let long = name.len() == limits::NAME_COMPONENT_BYTES_MAX;
            let size = draw_size(rng, number >= smalls);
            FilePlan {
                at_ms,
                producer: producers[rng.below(producers.len() as u64) as usize],
                feed,
                name,
                size: match long && number < smalls {
                    true => size.min(500),
                    false => size,
                },
                handing: match rng.below(6) {
                    0 if watched => Handing::WatchedDelete,
                    1 if watched => Handing::WatchedArchive,
                    2 if watched => Handing::WatchedKeep,
                    _ => Handing::Api,
                },
                priority: match urgent {
                    true => rng.below(5) as i32 - 2,
                    false => 0,
                },
                left_out: false,
            }
        })
        .collect()
}

fn draw_name(rng: &mut Rng, number: u64, names_repeat: bool) -> String {
    if names_repeat && rng.one_in(3) {
        return format!("same-{}", rng.below(3));
    }
    match rng.below(30) {
        // As long as a component may be: with anything before it, it is too long.
        0 => format!(
            "{number:0>width$}",
            width = limits::NAME_COMPONENT_BYTES_MAX
        ),
        1..8 => format!("d{}/f{number}", rng.below(2)),
        _ => format!("f{number}"),
    }
}

fn draw_size(rng: &mut Rng, large: bool) -> u64 {
    if large {
        let least = limits::SMALL_FILE_BYTES_MAX + 1;
        return match rng.below(4) {
            0 => least + rng.below(1000),
            1 => limits::CHUNK_BYTES_MIN * (1 + rng.below(2)),
            _ => limits::CHUNK_BYTES_MIN + rng.below(2 * limits::CHUNK_BYTES_MIN),
        };
    }
    match rng.below(8) {
        0 => 0,
        1 => 500 + rng.below(SMALL_BYTES_MAX - 500),
        _ => 1 + rng.below(500),
    }
}
