//! A machine, and one life of its process.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use consign_core::consumer::Consumer;
use consign_core::disk::Disk;
use consign_core::ids::{FeedName, Incarnation, NodeName, SlotId, TransferKey};
use consign_core::log::{Log, LogReader, Position, Shortening};
use consign_core::producer::{Producer, Token};
use consign_core::record::Record;
use consign_core::view::MemberState;

use super::happening::{End, Work};
use super::inflow::Inflow;
use super::log::Append;
use super::producing::Stream;
use super::{EPOCH_MS, Happening, World};
use crate::disk::SimDisk;
use crate::plan::NodePlan;

/// Where a node's log, spool, watched directory and archive are.
pub(super) const LOG: &str = "/data/log";
pub(super) const SPOOL: &str = "/data/spool";
pub(super) const WATCHED: &str = "/watched";
pub(super) const ARCHIVE: &str = "/archive";

/// The inbox of a feed.
pub(super) fn inbox_of(feed: &str) -> PathBuf {
    Path::new("/inboxes").join(feed)
}

/// A machine.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) name: NodeName,
    pub(super) disk: SimDisk,
    /// Counts its lives.
    pub(super) lives: u32,
    pub(super) life: Option<Box<Life>>,
    /// It never comes back.
    pub(super) gone: bool,
    /// Whether its log had all of its reserve, and no recovery has used it since.
    pub(super) has_refuge: bool,
    /// It is dead, silent, slow or full until all is healed, and does not come up again before.
    pub(super) sick: bool,
    /// How many times longer its disk takes for now.
    pub(super) drag: u64,
    /// Whether the machine runs, whether or not the process does.
    pub(super) powered: bool,
    /// How the next planned crash ends it.
    pub(super) planned_end: End,
    /// What its wall clock shows at the beginning of time, in ms.
    pub(super) clock_ms: u64,
    /// What strangers have put into its inboxes, and which file it is.
    pub(super) squatters: BTreeMap<PathBuf, u64>,
    /// Files that were handed over through its watched directory, by name there.
    pub(super) watched: BTreeMap<String, usize>,
    /// Nodes that its operator has declared gone, and that may not have been told yet.
    pub(super) to_forget: BTreeSet<usize>,
    /// Its share of the keys, and its zone, as members are told.
    pub(super) weight: u32,
    pub(super) zone: Option<String>,
    /// Feeds that members are told it does not consume, although it does.
    pub(super) unlisted: BTreeSet<usize>,
    /// Feeds that its configuration lacks for now.
    pub(super) unconfigured: BTreeSet<usize>,
    /// Bytes of its spool that have changed.
    pub(super) rotten: Vec<(u64, u64)>,
    /// For each commit of its log, where the first record of it is, and up to where all before it was
    /// synced: what the header of that record's batch proves.
    pub(super) proofs: Vec<(Position, Position)>,
    /// The records that are committed in its log, by segment and hash.
    pub(super) committed: Vec<(u32, u64)>,
}

/// What somebody asked a producer for.
#[derive(Debug, Clone)]
pub(super) enum Ask {
    /// A file, and its name in the spool if it was put there.
    Submit(usize, String),
    Claim(usize, String),
    Cancel(usize),
    Retry,
    /// Whether it is out of service from here on.
    Drain(MemberState),
    /// Nonsense, which is to be refused.
    Nonsense,
    /// Asked of both machines; `left` have not answered.
    Forget {
        node: usize,
        left: usize,
    },
}

/// One life of a process.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) number: u32,
    pub(super) incarnation: Incarnation,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) log: Log,
    pub(super) reader: LogReader,
    pub(super) producer: Producer,
    pub(super) consumer: Consumer,
    /// Whether it has to stop, since a disk failed it.
    pub(super) stops: bool,
    /// Records that are not appended yet.
    pub(super) appends: Vec<Append>,
    pub(super) committing: bool,
    /// What the last commit said is synced.
    pub(super) synced_to: Position,
    /// Positions that the roles have not been told yet.
    pub(super) synced: Vec<(Append, Position)>,
    /// From where on the producer and the consumer need the log.
    pub(super) needs: [u32; 2],
    /// The node's own records, with their places.
    pub(super) own: Vec<(Position, Record)>,
    pub(super) room: bool,
    pub(super) shortening: Shortening,
    pub(super) ticks: u64,
    pub(super) asks: BTreeMap<Token, Ask>,
    /// Names in the watched directory that are being claimed.
    pub(super) claims: BTreeMap<String, Option<TransferKey>>,
    pub(super) streams: BTreeMap<TransferKey, Stream>,
    pub(super) inflows: BTreeMap<SlotId, Inflow>,
    /// Links to consumers, by node.
    pub(super) dialled: BTreeMap<usize, u64>,
}

impl Node {
    pub(super) fn new(name: NodeName, plan: &NodePlan, disk: SimDisk) -> Self {
        Self {
            name,
            disk,
            lives: 0,
            life: None,
            gone: false,
            has_refuge: false,
            sick: false,
            drag: 1,
            powered: true,
            planned_end: End::Kill,
            clock_ms: EPOCH_MS,
            squatters: BTreeMap::new(),
            watched: BTreeMap::new(),
            to_forget: BTreeSet::new(),
            weight: plan.weight,
            zone: plan.zone.clone(),
            unlisted: BTreeSet::new(),
            unconfigured: BTreeSet::new(),
            rotten: Vec::new(),
            proofs: Vec::new(),
            committed: Vec::new(),
        }
    }
}

impl World {
    pub(super) fn is_alive(&self, node: usize, life: u32) -> bool {
        self.nodes[node]
            .life
            .as_ref()
            .is_some_and(|l| l.number == life)
    }

    /// The present life of a node that is known to live.
    pub(super) fn life(&mut self, node: usize) -> &mut Life {
        self.nodes[node]
            .life
            .as_mut()
            .expect("its caller knows that it lives")
    }

    pub(super) fn lives(&self, node: usize) -> bool {
        self.nodes[node].life.is_some()
    }

    pub(super) fn do_after(&mut self, node: usize, delay_us: u64, work: Work) {
        if let Some(life) = &self.nodes[node].life {
            let life = life.number;
            self.after(delay_us, Happening::Work(node, life, work));
        }
    }

    /// The feeds that a node consumes.
    pub(super) fn consumed(&self, node: usize) -> Vec<FeedName> {
        let feeds = &self.plan.nodes[node].consumes;
        feeds
            .iter()
            .map(|&feed| FeedName::new(&self.plan.feeds[feed].name).expect("a clean name"))
            .collect()
    }
}
