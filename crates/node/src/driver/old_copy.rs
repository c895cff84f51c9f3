//! A data directory that was restored from an older copy. The node cannot know it by itself: its
//! peers do, who have seen it further on. It says so and stops; from its next start on it is *set
//! apart*: it answers audits and its operator, and neither sends nor takes in anything, until an audit
//! has compared its queue with what every consumer has, and its operator has agreed to go on.
//!
//! What must hold: nothing that a later life delivered is sent once more as another transfer.
//! Deliberately absent: what a later life received or accepted. It is lost here; audits name it.

use std::collections::{BTreeMap, BTreeSet};
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

/// How often it is looked at how far peers were seen.
const SEEN_LOOKED_AT_EVERY: Duration = Duration::from_secs(2);

/// How much a peer may have logged since that was last logged here, in bytes of its log: so much less a
/// copy of its disk may have, and not be found out, if this node crashes before the two meet.
const LOG_BYTES_UNKEPT_MAX: u64 = 1 << 20;

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
    /// When it was last looked at how far peers were seen.
    looked_at: Option<Instant>,
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

    /// A peer has seen this node further on than it is. From who was forgotten that is no news, and
    /// neither is what was reconciled.
    pub(super) fn outlived(&mut self, peer: &NodeName, seen: Sight) {
        let forgotten = self.producer.forgotten().any(|gone| gone == peer);
        let own = &self.log_care.own;
        if forgotten || seen.incarnation <= own.reconciled() {
            return;
        }
        let mut known = own.outlived().into_iter();
        let known = known.find(|one| one.peer == peer.as_str());
        let outlived = Outlived {
            peer: peer.to_string(),
            incarnation: seen.incarnation.0,
            log: seen.log,
            at: now().0,
        };
        if known.is_some_and(|known| known.incarnation >= outlived.incarnation) {
            return;
        }
        self.append_own(Record::Outlived(outlived));
        if self.old_copy.set_apart {
            return self.say_set_apart();
        }
        let (node, ours) = (&self.config.node.name, self.producer.incarnation());
        self.die(format!(
            "{peer} has seen more of this node than its log has ({seen}; this is incarnation {ours}): the data directory is an old copy or a new one, or another node has this name; hint: make sure that only one node is called {node}, then start it again: it is set apart until `consign audit --reconcile`"
        ));
    }

    /// Says who has seen this node further on.
    pub(super) fn say_set_apart(&self) {
        let known = self.log_care.own.outlived();
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
            "{SET_APART}, and sends and takes in nothing: {} {} seen more of it than its log has, so that its data directory is an old copy or a new one, or another node has its name",
            peers.join(", "),
            match known.len() {
                1 => "has",
                _ => "and others have",
            }
        );
        let ours = self.producer.incarnation().0;
        let later = known.iter().find(|one| one.incarnation > ours);
        let hint = match later {
            Some(later) => format!(
                "start this agent once more, so that it is above incarnation {}, which {} has seen",
                later.incarnation, later.peer
            ),
            None => "if no other node has its name, `consign audit --reconcile` here, and on each producer `consign audit` lists what is lost; or forget this node, and set it up under a new name".to_owned(),
        };
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

    /// The files that an audit must find nowhere before a node that is set apart may go on: those that
    /// it would place, and so send under a new slot.
    pub(super) fn to_reconcile(&self) -> Result<BTreeSet<TransferKey>, Refusal> {
        self.may_reconcile()?;
        Ok(self.producer.unplaced())
    }

    fn may_reconcile(&self) -> Result<(), Refusal> {
        let refused = |what: &str, hint: &str| {
            let (what, hint) = (what.to_owned(), hint.to_owned());
            Err(Refusal::Invalid { what, hint })
        };
        if !self.old_copy.set_apart {
            return refused("this node is not set apart", "audit it without --reconcile");
        }
        if self.old_copy.reconciled {
            return refused("this node is reconciled", "start its agent again");
        }
        let ours = self.producer.incarnation().0;
        let mut known = self.log_care.own.outlived().into_iter();
        match known.find(|one| one.incarnation > ours) {
            Some(later) => refused(
                &format!(
                    "{} has seen incarnation {} of this node, which is in {ours}",
                    later.peer, later.incarnation
                ),
                "start this agent again, then audit again",
            ),
            None => Ok(()),
        }
    }

    /// An audit has compared the queue with what all consumers have, and a person wants to go on.
    /// What is not placed and is there all the same was delivered by a later life: it fails, for a
    /// person to look at, with the next start.
    pub(super) fn reconcile(
        &mut self,
        held: Vec<(TransferKey, NodeName)>,
        reply: oneshot::Sender<Result<u64, Refusal>>,
    ) {
        if let Err(refusal) = self.may_reconcile() {
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
        let seen = self.log_care.own.outlived().into_iter();
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
        let due = |at: Instant| at.elapsed() >= SEEN_LOOKED_AT_EVERY;
        if self.old_copy.to_keep.is_empty() && self.old_copy.looked_at.is_none_or(due) {
            self.old_copy.looked_at = Some(Instant::now());
            self.old_copy.to_keep = self.net.seen();
        }
        let all = self.old_copy.to_keep.len();
        let some = (self.old_copy.to_keep).split_off(all.saturating_sub(KEPT_AT_ONCE));
        for (node, sight) in some {
            self.keep_sight(&node, sight, LOG_BYTES_UNKEPT_MAX);
        }
    }

    /// Logs how far all peers were seen, before this node stops.
    pub(super) fn keep_all_seen(&mut self) {
        for (node, sight) in self.net.seen() {
            self.keep_sight(&node, sight, 0);
        }
    }

    /// Logs how far a peer was seen: at once in another life of it, and when it has logged much since.
    /// Were it logged at every change, two idle nodes would keep each other busy.
    fn keep_sight(&mut self, node: &NodeName, sight: Sight, unkept_bytes: u64) {
        let known = self.log_care.own.peer_log(node);
        let is_kept = known.is_some_and(|known| {
            let grown = sight.log.saturating_sub(known.log);
            known.start == sight.start.0 && (grown == 0 || grown < unkept_bytes)
        });
        if is_kept || self.producer.forgotten().any(|gone| gone == node) {
            return;
        }
        self.append_own(Record::PeerLog(PeerLog {
            node: node.to_string(),
            incarnation: sight.log_in.0,
            log: sight.log,
            start: sight.start.0,
        }));
    }
}

/// How the problem begins.
const SET_APART: &str = "this node is set apart";
