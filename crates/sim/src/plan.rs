//! What one seed does: its cluster, its files, its faults and their rates.
//!
//! Swarm testing (Groce et al., ISSTA 2012): every seed leaves most faults out, so that each is
//! also met alone and in every combination.

use consign_core::limits;
use consign_core::log::Shortening;
use consign_core::spec::{OnConflict, Replicas};

use crate::rng::Rng;

/// One feed.
#[derive(Debug, Clone)]
pub struct FeedPlan {
    /// Its name.
    pub name: String,
    /// Consumers for each file.
    pub replicas: Replicas,
    /// How long an unreachable consumer is waited for, in ms.
    pub replace_after_ms: Option<u64>,
    /// What consumers do about taken paths.
    pub on_conflict: OnConflict,
}

/// One node.
#[derive(Debug, Clone)]
pub struct NodePlan {
    /// Its name.
    pub name: String,
    /// Its zone.
    pub zone: Option<String>,
    /// Whether files are handed to it.
    pub produces: bool,
    /// The feeds that it consumes, by number.
    pub consumes: Vec<usize>,
    /// Whether it joins only in the middle of the run.
    pub joins_late: bool,
    /// How many times slower than others it is.
    pub slowness: u64,
}

/// How a file is handed over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Handing {
    /// Over the API.
    Api,
    /// Through a watched directory; deleted when it is done.
    WatchedDelete,
    /// Through a watched directory; archived when it is done.
    WatchedArchive,
}

/// One file.
#[derive(Debug, Clone)]
pub struct FilePlan {
    /// When, in ms.
    pub at_ms: u64,
    /// At which node.
    pub producer: usize,
    /// Of which feed, by number.
    pub feed: usize,
    /// Its name.
    pub name: String,
    /// Its length in bytes.
    pub size: u64,
    /// How it is handed over.
    pub handing: Handing,
}

/// Mean times between faults of each kind, in ms; `None` leaves the kind out.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// A process is killed.
    pub kill: Option<u64>,
    /// A machine loses power.
    pub power_cut: Option<u64>,
    /// A process or machine ends at a random disk operation.
    pub crash_at_op: Option<u64>,
    /// A connection breaks.
    pub break_link: Option<u64>,
    /// Two nodes cannot reach each other for a while.
    pub partition: Option<u64>,
    /// A disk is full for a while.
    pub disk_full: Option<u64>,
    /// A sync of a file fails.
    pub sync_error: Option<u64>,
    /// A write fails.
    pub write_error: Option<u64>,
    /// A person cancels a transfer.
    pub cancel: Option<u64>,
    /// A person retries what failed.
    pub retry: Option<u64>,
    /// An application takes a file away.
    pub take: Option<u64>,
    /// A stranger puts a file where one is expected.
    pub squat: Option<u64>,
    /// A member is drained, and comes back.
    pub drain: Option<u64>,
    /// Of 1000 frames of small files, so many are lost without anybody being told.
    pub silent_loss_permille: u64,
    /// Of 1000 chunks, so many arrive damaged.
    pub damage_permille: u64,
    /// Of 1000 chunks that a consumer passes on, so many are damaged and hashed anew: nobody can
    /// tell before the end.
    pub lie_permille: u64,
    /// Of 1000 restarts, so many crash again at a random disk operation of their recovery.
    pub crash_in_recovery_permille: u64,
    /// When a consumer dies for good, in ms.
    pub consumer_gone_at_ms: Option<u64>,
    /// When a producer dies for good, in ms.
    pub producer_gone_at_ms: Option<u64>,
    /// Whether clocks jump by years at restarts.
    pub clock_jumps: bool,
}

/// The whole run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The seed it was drawn from.
    pub seed: u64,
    /// Feeds.
    pub feeds: Vec<FeedPlan>,
    /// Nodes.
    pub nodes: Vec<NodePlan>,
    /// Files.
    pub files: Vec<FilePlan>,
    /// Faults.
    pub faults: Faults,
    /// When everything is healed, in ms.
    pub heal_at_ms: u64,
    /// Size of log segments, in bytes.
    pub segment_bytes: u64,
    /// Segments of what is dead from which on what is live is carried forward.
    pub spare_segments: u64,
    /// How long a segment may stay before it is asked to be emptied again, in ms.
    pub carry_again_ms: u64,
    /// Longest ordinary delay of a message, in µs.
    pub latency_us: u64,
    /// Longest ordinary time that a disk takes, in µs.
    pub disk_us: u64,
}

/// What a live record is counted as, in bytes.
const RECORD_BYTES_COUNTED: u64 = 128;

/// Largest of the files that travel in the logs, in bytes.
pub const SMALL_BYTES_MAX: u64 = 2_500;

/// One in how many restarts meets a clock that jumped, where clocks jump.
pub const CLOCK_JUMP_ONE_IN: u64 = 3;

impl Plan {
    /// The plan of a seed.
    #[must_use]
    pub fn draw(seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let rng = &mut rng;
        let heal_at_ms = 2_000 + rng.below(10_000);
        let producers = 1 + rng.below(3) as usize;
        let consumers = 2 + rng.below(3) as usize;
        let feeds = draw_feeds(rng, consumers);
        let faults = draw_faults(rng, heal_at_ms);
        // Whoever is gone is made up for, so that all replicas find a place in the end.
        let late = rng.one_in(4) || faults.consumer_gone_at_ms.is_some();
        let nodes = draw_nodes(rng, producers, consumers, &feeds, late);
        let files = draw_files(rng, &nodes, feeds.len(), heal_at_ms);
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

    /// A node's policy of shortening its log. Names are short here, and so are records.
    #[must_use]
    pub fn shortening(&self) -> Shortening {
        let spare_bytes = self.spare_segments * self.segment_bytes;
        Shortening::new(spare_bytes, RECORD_BYTES_COUNTED, self.carry_again_ms)
    }

    /// Whether nobody is so slow that deadlines pass.
    #[must_use]
    pub fn is_swift(&self) -> bool {
        self.nodes.iter().all(|node| node.slowness == 1)
    }

    /// Whether nothing goes wrong in this run.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let f = &self.faults;
        let rates = [
            f.kill,
            f.power_cut,
            f.crash_at_op,
            f.break_link,
            f.partition,
            f.disk_full,
            f.sync_error,
            f.write_error,
            f.cancel,
            f.squat,
            f.drain,
            f.consumer_gone_at_ms,
            f.producer_gone_at_ms,
        ];
        rates.iter().all(Option::is_none)
            && f.silent_loss_permille + f.damage_permille + f.lie_permille == 0
    }
}

fn draw_feeds(rng: &mut Rng, consumers: usize) -> Vec<FeedPlan> {
    (0..1 + rng.below(2))
        .map(|number| FeedPlan {
            name: format!("feed{number}"),
            replicas: match rng.below(5) {
                0 => Replicas::All,
                _ => Replicas::Count(1 + rng.below(consumers.min(3) as u64) as usize),
            },
            replace_after_ms: rng.one_in(2).then(|| 100 + rng.below(3_000)),
            on_conflict: match rng.below(3) {
                0 => OnConflict::Reject,
                _ => OnConflict::Rename,
            },
        })
        .collect()
}

fn draw_nodes(
    rng: &mut Rng,
    producers: usize,
    consumers: usize,
    feeds: &[FeedPlan],
    late: bool,
) -> Vec<NodePlan> {
    let zoned = rng.one_in(2);
    let both = rng.one_in(3);
    let mut nodes = Vec::new();
    for number in 0..producers + consumers + usize::from(late) {
        let is_consumer = number >= producers;
        let mixed = both && number + 1 >= producers && number <= producers;
        let consumes = match is_consumer || mixed {
            true => (0..feeds.len()).collect(),
            false => Vec::new(),
        };
        nodes.push(NodePlan {
            name: match is_consumer {
                true => format!("store-{}", number - producers),
                false => format!("cam-{number}"),
            },
            zone: zoned.then(|| format!("z{}", rng.below(2))),
            produces: !is_consumer || mixed,
            consumes,
            joins_late: number >= producers + consumers,
            slowness: match is_consumer && rng.one_in(8) {
                true => 2 + rng.below(30),
                false => 1,
            },
        });
    }
    nodes
}

fn draw_files(rng: &mut Rng, nodes: &[NodePlan], feeds: usize, length_ms: u64) -> Vec<FilePlan> {
    let producers: Vec<usize> = (0..nodes.len()).filter(|&n| nodes[n].produces).collect();
    let smalls = 4 + rng.below(30);
    let larges = match rng.below(5) {
        0 | 1 => 1 + rng.below(3),
        _ => 0,
    };
    let names_repeat = rng.one_in(5);
    let watched = rng.one_in(2);
    let in_bursts = rng.one_in(2);
    let mut at_ms = 0;
    (0..smalls + larges)
        .map(|number| {
            if !in_bursts || rng.one_in(8) {
                at_ms = rng.below(length_ms * 3 / 4);
            }
            let name = match names_repeat && rng.one_in(3) {
                true => format!("same-{}", rng.below(3)),
                false => match rng.below(4) {
                    0 => format!("d{}/f{number}", rng.below(2)),
                    _ => format!("f{number}"),
                },
            };
            FilePlan {
                at_ms,
                producer: producers[rng.below(producers.len() as u64) as usize],
                feed: rng.below(feeds as u64) as usize,
                name,
                size: draw_size(rng, number >= smalls),
                handing: match rng.below(4) {
                    0 if watched => Handing::WatchedDelete,
                    1 if watched => Handing::WatchedArchive,
                    _ => Handing::Api,
                },
            }
        })
        .collect()
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

fn draw_faults(rng: &mut Rng, length_ms: u64) -> Faults {
    // One seed in eight runs without faults: what is promised only then is checked there.
    if rng.one_in(8) {
        return Faults::default();
    }
    let mut maybe = |one_in: u64, least_ms: u64, span_ms: u64| {
        rng.one_in(one_in).then(|| least_ms + rng.below(span_ms))
    };
    let mut faults = Faults {
        kill: maybe(2, 300, 4_000),
        power_cut: maybe(2, 300, 4_000),
        crash_at_op: maybe(2, 300, 4_000),
        break_link: maybe(2, 50, 2_000),
        partition: maybe(2, 200, 4_000),
        disk_full: maybe(4, 1_000, 5_000),
        sync_error: maybe(6, 1_000, 5_000),
        write_error: maybe(6, 1_000, 5_000),
        cancel: maybe(4, 100, 2_000),
        retry: maybe(2, 300, 2_000),
        take: maybe(2, 20, 1_000),
        squat: maybe(5, 100, 2_000),
        drain: maybe(6, 500, 4_000),
        consumer_gone_at_ms: maybe(6, 500, length_ms),
        producer_gone_at_ms: maybe(12, 500, length_ms),
        ..Faults::default()
    };
    if rng.one_in(4) {
        faults.silent_loss_permille = rng.below(100);
    }
    if rng.one_in(6) {
        faults.damage_permille = rng.below(200);
    }
    if rng.one_in(8) {
        faults.lie_permille = rng.below(200);
    }
    if rng.one_in(3) {
        faults.crash_in_recovery_permille = rng.below(500);
    }
    faults.clock_jumps = rng.one_in(6);
    faults
}
