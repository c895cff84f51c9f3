//! A data directory that was restored from an older copy. The node cannot know it by itself: its
//! peers do, who have seen it further on. It says so and stops; from its next start on it is *set
//! apart*: it answers audits and its operator, and neither sends nor takes in anything, until an audit
//! has compared its queue with what every consumer has, and its operator has agreed to go on.
//!
//! What must hold: nothing that a later life delivered is sent once more as another transfer.
//! Deliberately absent: what a later life received or accepted. It is lost here; audits name it.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use consign_core::ids::{NodeName, Start, TransferKey};
use consign_core::log::Payload;
use consign_core::ranges::RangeSet;
use consign_core::record::{Outlived, PeerLog, Reconciled, Record, Transfers};
use tokio::sync::oneshot;

use super::refusal::Refusal;
use super::{Driver, now};
use crate::log_writer::{Order, Role};
use crate::net::Sight;

/// How often it is logged how far peers were seen. A copy is made by a person or once a day: what was
/// seen in the minutes before a crash is not what tells.
const SEEN_KEPT_EVERY: Duration = Duration::from_secs(600);

/// Peers of which that is logged in one go.
const KEPT_AT_ONCE: usize = 64;

/// Most ranges of transfers in one record.
const RANGES_PER_RECORD: usize = 4096;

/// What a driver keeps of this.
#[derive(Debug, Default)]
pub(crate) struct OldCopy {
    /// Whether this node is set apart.
    pub(crate) set_apart: bool,
    /// Whether it goes on with its next start: what was found out for that must stay in the log until
    /// then, although neither machine knows of it in this life.
    pub(super) reconciled: bool,
    /// When it was last logged how far peers were seen.
    kept_at: Option<Instant>,
    /// Peers of which that is still to be logged.
    to_keep: Vec<(NodeName, Sight)>,
    /// Whom to answer, with how many files, once so many more of the node's own records are synced.
    reconciling: Option<Reconciling>,
    /// Records of the node's own that are not synced yet.
    unsynced: usize,
}

#[derive(Debug)]
struct Reconciling {
    left: usize,
    files: u64,
    reply: oneshot::Sender<Result<u64, Refusal>>,
}

impl OldCopy {
    /// Of a node that is set apart, or not.
    pub(crate) fn new(set_apart: bool) -> Self {
        Self {
            set_apart,
            ..Self::default()
        }
    }
}

impl Driver {
    /// Appends a record of the node's own.
    pub(super) fn append_own(&mut self, record: Record) {
        self.note_of_nodes(&record);
        self.order_own(record);
    }

    /// Appends one that is noted already.
    pub(super) fn order_own(&mut self, record: Record) {
        self.old_copy.unsynced += 1;
        self.log
            .order(Order::Append(Role::Node, record, Payload::None));
    }

    /// So many of the node's own records are synced.
    pub(super) fn own_synced(&mut self, records: usize) {
        self.old_copy.unsynced = self.old_copy.unsynced.saturating_sub(records);
        let Some(mut open) = self.old_copy.reconciling.take() else {
            return;
        };
        open.left = open.left.saturating_sub(records);
        if open.left > 0 {
            self.old_copy.reconciling = Some(open);
            return;
        }
        self.say_until_next_start();
        let _ = open.reply.send(Ok(open.files));
    }

    /// A peer has seen this node further on than it is.
    pub(super) fn outlived(&mut self, peer: &NodeName, seen: Sight) {
        let outlived = Outlived {
            peer: peer.to_string(),
            incarnation: seen.incarnation.max(seen.log_in).0,
            log: seen.log,
            at: now().0,
        };
        let known = self.log_care.outlived();
        let is_known = known.iter().any(|one| {
            (&one.peer, one.incarnation, one.log)
                == (&outlived.peer, outlived.incarnation, outlived.log)
        });
        let is_later_life = seen.incarnation > self.producer.incarnation();
        if is_known && !is_later_life {
            return;
        }
        self.append_own(Record::Outlived(outlived));
        if self.old_copy.set_apart && !is_later_life {
            return self.say_set_apart();
        }
        let (node, ours) = (&self.config.node.name, self.producer.incarnation());
        self.die(format!(
            "{peer} has seen {seen} of this node, which is in incarnation {ours} and has less: the data directory is an old copy, or another node has this name; hint: make sure that only one node is called {node}, then start it again: it is set apart until `consign audit --reconcile`"
        ));
    }

    /// Says who has seen this node further on.
    pub(super) fn say_set_apart(&self) {
        let known = self.log_care.outlived();
        if known.is_empty() {
            // Nobody says so any more: those who did were forgotten.
            if self.old_copy.set_apart {
                self.say_until_next_start();
            }
            return;
        }
        self.problems.remove_starting(SET_APART);
        let peers: Vec<&str> = known.iter().map(|one| one.peer.as_str()).take(3).collect();
        let what = format!(
            "{SET_APART}, and sends and takes in nothing: {} has seen more of it than its log has, so that its data directory is an old copy, or another node has its name",
            peers.join(", ")
        );
        let hint = "if no other node has its name, `consign audit --reconcile` here, and on each producer `consign audit` lists what is lost; or forget this node, and set it up under a new name".to_owned();
        tracing::error!("{what}; hint: {hint}");
        self.problems.add(what, hint);
    }

    fn say_until_next_start(&self) {
        self.problems.remove_starting(SET_APART);
        let what = format!("{SET_APART} until its next start, and goes on then");
        self.problems.add(what, "start this agent again".to_owned());
    }

    /// Why nothing is accepted, if this node is set apart.
    pub(super) fn set_apart(&self) -> Option<Refusal> {
        self.old_copy.set_apart.then(|| Refusal::NotReady {
            why: format!("{SET_APART}, since its data directory may be an old copy"),
            hint: "see `consign status`".to_owned(),
        })
    }

    /// An audit has compared the queue with what all consumers have, and a person wants to go on.
    /// What is not placed and is there all the same was delivered by a later life: it fails, for a
    /// person to look at, with the next start.
    pub(super) fn reconcile(
        &mut self,
        held: Vec<(TransferKey, NodeName)>,
        reply: oneshot::Sender<Result<u64, Refusal>>,
    ) {
        if !self.old_copy.set_apart {
            let refusal = Refusal::Invalid {
                what: "this node is not set apart".to_owned(),
                hint: "audit it without --reconcile".to_owned(),
            };
            let _ = reply.send(Err(refusal));
            return;
        }
        let mut delivered: BTreeMap<(NodeName, Start), RangeSet> = BTreeMap::new();
        let mut files = 0;
        for (key, node) in held {
            if self.producer.is_unplaced(key) {
                files += 1;
                let seqs = delivered.entry((node, key.start)).or_default();
                seqs.insert(key.seq.0);
            }
        }
        for ((node, start), seqs) in delivered {
            let ranges: Vec<_> = seqs.ranges().collect();
            for part in ranges.chunks(RANGES_PER_RECORD) {
                self.append_own(Record::Failed(Transfers {
                    start: start.0,
                    seqs: part.to_vec(),
                    at: now().0,
                    reason: format!(
                        "{node} has it already, from a later life of this node than its data directory knew; hint: `consign cancel` it, or `consign retry` to deliver it once more"
                    ),
                }));
            }
        }
        let seen = self.log_care.outlived().into_iter();
        let highest = seen.map(|one| one.incarnation).max().unwrap_or_default();
        self.append_own(Record::Reconciled(Reconciled {
            incarnation: highest.max(self.producer.incarnation().0),
            at: now().0,
        }));
        self.old_copy.reconciled = true;
        let left = self.old_copy.unsynced;
        self.old_copy.reconciling = Some(Reconciling { left, files, reply });
    }

    /// Logs now and then how far peers were seen, some of them at a time.
    pub(super) fn keep_seen(&mut self) {
        let due = |at: Instant| at.elapsed() >= SEEN_KEPT_EVERY;
        if self.old_copy.to_keep.is_empty() && self.old_copy.kept_at.is_none_or(due) {
            self.old_copy.kept_at = Some(Instant::now());
            self.old_copy.to_keep = self.net.seen();
        }
        let all = self.old_copy.to_keep.len();
        let some = (self.old_copy.to_keep).split_off(all.saturating_sub(KEPT_AT_ONCE));
        for (node, sight) in some {
            let peer = PeerLog {
                node: node.to_string(),
                incarnation: sight.log_in.0,
                log: sight.log,
            };
            if !self.log_care.has_seen(&peer) {
                self.append_own(Record::PeerLog(peer));
            }
        }
    }
}

/// How the problem begins.
const SET_APART: &str = "this node is set apart";
