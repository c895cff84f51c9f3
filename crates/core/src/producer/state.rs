//! One transfer as its producer holds it while it is in the active window, and the legal changes
//! of its state.

use std::fmt::Display;

use crate::ids::{
    Attempt, Digest, FeedName, Fence, Incarnation, Millis, NodeName, Slot, Start, TransferId,
    TransferKey,
};
use crate::limits;
use crate::log::Position;
use crate::planted::{Planted, planted};
use crate::producer::Token;
use crate::receipt::{self, Hash};
use crate::record::{LegRecord, LegRung};
use crate::spec::{FileSpec, Replicas, Source};
use crate::wire;

/// Where a transfer stands.
///
/// ```text
///  Claiming ──▶ Queued ──▶ Opening ──▶ Streaming ──▶ Committing ──▶ Done ──▶ (released)
///     │          ▲ ▲ ▲        │  ▲        │  │            │
///     ▼          │ │ │        │  └────────┘  │            │
///  (unclaimed)   │ │ └────────┴──────────────┴────────────┘
///                │ │           (what is left is owed, and considered again)
///                │ └─▶ Placing (until the log has it)
///                └───▶ Parking (until the log has it, and then out of memory)
///
///  Done ◀── any of them but Claiming        Failed ◀── any of them but Claiming and Done
///  Cancelled ◀── any of them but Claiming, Committing and Done
/// ```
/// What is done next about a transfer is decided in `Queued`. One that has failed or was parked comes
/// back from the log as `Queued`.
///
/// A small file has no `Opening`: its bytes are pushed (`Streaming`), or those consumers that may
/// have some of it are asked first (`Streaming` as well, with the leg in `Opening`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// The claim is logged, or being logged; the file is being taken into the spool.
    Claiming,
    /// Submitted; waiting for its turn, or for the log to say so.
    Queued,
    /// Consumers are chosen; waiting for the log to say so.
    Placing,
    /// Consumers have been asked what they hold.
    Opening {
        /// Who has not answered by then is left out.
        deadline: Millis,
        /// Why this attempt is needed, for a person; empty for a first one.
        why: String,
    },
    /// Bytes are on their way down the chain.
    Streaming,
    /// Every member has received it, and has been told to publish.
    Committing {
        /// Who has not answered by then is left out.
        deadline: Millis,
    },
    /// Its state is being written, to leave memory.
    Parking,
    /// Every consumer has it; the source is being released.
    Done,
    /// A person must act.
    Failed {
        /// Why.
        reason: String,
    },
    /// A person does not want it; the source is being given back.
    Cancelled,
}

impl Stage {
    /// Whether a transfer may go from this stage to `next`: the one place that says so.
    #[must_use]
    pub fn may_become(&self, next: &Self) -> bool {
        use Stage::{
            Cancelled, Claiming, Committing, Done, Failed, Opening, Parking, Placing, Queued,
            Streaming,
        };
        match (self, next) {
            (Claiming, Queued) => true,
            (
                Queued,
                Placing | Opening { .. } | Streaming | Parking | Done | Failed { .. } | Cancelled,
            ) => true,
            (Placing | Parking, Queued | Done | Failed { .. } | Cancelled) => true,
            (Opening { .. }, Streaming | Queued | Done | Failed { .. } | Cancelled) => true,
            (
                Streaming,
                Opening { .. } | Committing { .. } | Queued | Done | Failed { .. } | Cancelled,
            ) => true,
            // Whoever was told to publish may have done so: it cannot be cancelled any more.
            (Committing { .. }, Queued | Done | Failed { .. }) => true,
            (
                Claiming
                | Queued
                | Placing
                | Opening { .. }
                | Streaming
                | Committing { .. }
                | Parking
                | Done
                | Failed { .. }
                | Cancelled,
                _,
            ) => false,
        }
    }

    /// The stage's name, as `status` prints it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Claiming => "claiming",
            Self::Queued => "queued",
            Self::Placing => "placing",
            Self::Opening { .. } => "opening",
            Self::Streaming => "streaming",
            Self::Committing { .. } => "committing",
            Self::Parking => "parking",
            Self::Done => "releasing",
            Self::Failed { .. } => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// Where one consumer of a transfer stands.
///
/// ```text
///  Owed ──▶ Opening ──▶ Receiving ──▶ Received ──▶ Committing ──▶ Saved
///   ▲ │        │            │             │             │
///   │ └────────┴────────────┴─────────────┴─────────────┤ (its answer may be any of these)
///   └───────────────── lost, late, or refused for now ◀─┘
///  Opening … Committing ──▶ Refused ──▶ Owed (a person retried)
///  Owed ──▶ Dropped (it was placed elsewhere) ──▶ Saved (it had it all the same)
/// ```
/// What a consumer says is `Saved` counts in every state, also out of turn: it is a promise.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LegState {
    /// Nothing is under way.
    Owed,
    /// It was asked what it holds.
    Opening {
        /// When.
        since: Millis,
    },
    /// Bytes are on their way to it.
    Receiving {
        /// The first byte that it does not hold, as far as is known.
        bytes: u64,
        /// When that last changed.
        since: Millis,
    },
    /// It holds every byte.
    Received,
    /// It was told to publish.
    Committing,
    /// It answered that the file is durable and will be visible.
    Saved,
    /// It will not have it; a person must act.
    Refused {
        /// Why.
        reason: String,
    },
    /// The transfer was placed elsewhere instead; it is told so on its own account.
    Dropped,
}

impl LegState {
    /// Whether a leg may go from this state to `next`: the one place that says so.
    #[must_use]
    pub fn may_become(&self, next: &Self) -> bool {
        use LegState::{Committing, Dropped, Opening, Owed, Received, Receiving, Refused, Saved};
        match (self, next) {
            (Owed, Opening { .. } | Receiving { .. } | Saved | Dropped) => true,
            (Opening { .. }, Receiving { .. } | Received | Saved | Owed | Refused { .. }) => true,
            (
                Receiving { .. },
                Opening { .. } | Receiving { .. } | Received | Saved | Owed | Refused { .. },
            ) => true,
            (Received, Opening { .. } | Committing | Saved | Owed | Refused { .. }) => true,
            (Committing, Saved | Owed | Refused { .. }) => true,
            (Refused { .. }, Owed | Saved) => true,
            (Dropped, Saved) => true,
            (
                Owed
                | Opening { .. }
                | Receiving { .. }
                | Received
                | Committing
                | Saved
                | Refused { .. }
                | Dropped,
                _,
            ) => false,
        }
    }

    /// Whether something is under way with this consumer.
    #[must_use]
    pub fn in_flight(&self) -> bool {
        match self {
            Self::Opening { .. } | Self::Receiving { .. } | Self::Received | Self::Committing => {
                true
            }
            Self::Owed | Self::Saved | Self::Refused { .. } | Self::Dropped => false,
        }
    }

    /// The state's name, as `show` prints it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Owed => "owed",
            Self::Opening { .. } => "opening",
            Self::Receiving { .. } => "receiving",
            Self::Received => "received",
            Self::Committing => "committing",
            Self::Saved => "saved",
            Self::Refused { .. } => "refused",
            Self::Dropped => "replaced",
        }
    }
}

/// One consumer of a transfer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransferLeg {
    /// The consumer.
    pub node: NodeName,
    /// The start under which its slot was drawn.
    pub start: Start,
    /// The slot.
    pub slot: Slot,
    /// Where it stands.
    pub state: LegState,
    /// Whether bytes may have been sent to it.
    pub tried: bool,
}

impl TransferLeg {
    /// Changes the state.
    pub(crate) fn become_(&mut self, next: LegState) {
        assert!(
            self.state.may_become(&next),
            "a leg at {} went from {:?} to {next:?}",
            self.node,
            self.state
        );
        #[cfg(feature = "watched")]
        crate::watched::edge((
            crate::watched::Machine::Leg,
            crate::watched::leg(&self.state),
            crate::watched::leg(&next),
        ));
        self.state = next;
    }

    /// The leg as the wire names it.
    pub(crate) fn named(&self, key: TransferKey, attempt: Attempt) -> wire::Leg {
        wire::Leg {
            start: key.start.0,
            seq: key.seq.0,
            slot_start: self.start.0,
            slot: self.slot.0,
            attempt: attempt.0,
        }
    }

    /// The leg as the log names it; `abandoning` says whether a dropped one has yet to answer.
    pub(crate) fn record(&self, abandoning: bool) -> LegRecord {
        let (rung, refusal) = match &self.state {
            LegState::Owed
            | LegState::Opening { .. }
            | LegState::Receiving { .. }
            | LegState::Received
            | LegState::Committing => (LegRung::Owed, ""),
            LegState::Saved => (LegRung::Saved, ""),
            LegState::Refused { reason } => (LegRung::Refused, reason.as_str()),
            LegState::Dropped if abandoning => (LegRung::Abandoning, ""),
            LegState::Dropped => (LegRung::Abandoned, ""),
        };
        LegRecord {
            node: self.node.as_str().to_owned(),
            start: self.start.0,
            slot: self.slot.0,
            rung: rung.into(),
            tried: self.tried,
            refusal: refusal.to_owned(),
        }
    }

    /// Reads a leg back; `None` for a name that cannot be one.
    pub(crate) fn from_record(record: &LegRecord) -> Option<Self> {
        let state = match record.rung() {
            LegRung::Owed => LegState::Owed,
            LegRung::Saved => LegState::Saved,
            LegRung::Refused => LegState::Refused {
                reason: record.refusal.clone(),
            },
            LegRung::Abandoning | LegRung::Abandoned => LegState::Dropped,
        };
        Some(Self {
            node: NodeName::new(&record.node).ok()?,
            start: Start(record.start),
            slot: Slot(record.slot),
            state,
            tried: record.tried,
        })
    }
}

/// A transfer in the active window.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// Which.
    pub key: TransferKey,
    /// Its feed.
    pub feed: FeedName,
    /// The file.
    pub spec: FileSpec,
    /// Its place.
    pub source: Source,
    /// How many consumers its feed wanted for it when it was submitted.
    pub(crate) replicas: Option<Replicas>,
    /// Its digest, once known.
    pub digest: Option<Digest>,
    /// Whether the digest is synced: no commit before.
    pub(crate) digest_synced: bool,
    /// The current try.
    pub attempt: Attempt,
    /// Where it stands.
    pub stage: Stage,
    /// Its consumers, in chain order.
    pub legs: Vec<TransferLeg>,
    /// Whether more consumers are wanted than there were.
    pub short: bool,
    /// Where its claim lies, until it is submitted.
    pub(crate) claimed: Option<Position>,
    /// Where its submission lies; known once it is synced.
    pub(crate) submitted: Option<Position>,
    /// Where its newest placement lies; known once it is synced.
    pub(crate) placed: Option<Position>,
    /// Placements that are written and not synced.
    pub(crate) placings: usize,
    /// Whether anything changed since that placement was written.
    pub(crate) dirty: bool,
    /// Chunk hashes known from before a restart, 32 bytes each.
    pub(crate) hashes: Vec<u8>,
    /// Whether a stream is under way.
    pub(crate) streaming: bool,
    /// The members of the current chain, in order; indices into `legs`.
    pub(crate) chain: Vec<usize>,
    /// What went wrong since the current attempt began, for a person: why the next one is needed.
    pub(crate) setback: String,
    /// Which consumer had no room, when it was last tried.
    pub(crate) crowded_out_by: Option<NodeName>,
    /// How often a consumer found other bytes than this producer's digest says.
    pub(crate) mismatches: u32,
    /// Who waits to hear that it is submitted.
    pub(crate) asker: Option<Token>,
}

impl Transfer {
    pub(crate) fn new(key: TransferKey, feed: FeedName, spec: FileSpec, source: Source) -> Self {
        Self {
            key,
            feed,
            spec,
            source,
            replicas: None,
            digest: None,
            digest_synced: false,
            attempt: Attempt(0),
            stage: Stage::Queued,
            legs: Vec::new(),
            short: false,
            claimed: None,
            submitted: None,
            placed: None,
            placings: 0,
            dirty: false,
            hashes: Vec::new(),
            streaming: false,
            chain: Vec::new(),
            setback: String::new(),
            crowded_out_by: None,
            mismatches: 0,
            asker: None,
        }
    }

    /// Changes the stage.
    pub(crate) fn become_(&mut self, next: Stage) {
        assert!(
            self.stage.may_become(&next),
            "transfer {} went from {:?} to {next:?}",
            self.key,
            self.stage
        );
        #[cfg(feature = "watched")]
        crate::watched::edge((
            crate::watched::Machine::Transfer,
            crate::watched::stage(&self.stage),
            crate::watched::stage(&next),
        ));
        self.stage = next;
    }

    /// Notes what went wrong; of several things in one attempt the first, which mostly is the cause
    /// of the others.
    pub(crate) fn note_setback(&mut self, why: impl Display) {
        if self.setback.is_empty() {
            let why = why.to_string();
            self.setback = why.chars().take(limits::REASON_CHARS_MAX).collect();
        }
    }

    /// Why the attempt that begins now is needed; empty for a first one.
    pub(crate) fn take_reason(&mut self) -> String {
        if self.legs.iter().any(|leg| leg.tried) {
            self.note_setback("what is owed is tried again");
        }
        std::mem::take(&mut self.setback)
    }

    /// Whether what a consumer signs of it is what was sent. Of a peer that signs nothing, and of a file
    /// whose digest is not known, nothing can be said.
    pub(crate) fn is_right(&self, producer: &NodeName, leaf: Option<Hash>) -> bool {
        let (Some(leaf), Some(digest)) = (leaf, &self.digest) else {
            return true;
        };
        if planted(Planted::LeafUnchecked) {
            return true;
        }
        let id = TransferId {
            producer: producer.clone(),
            key: self.key,
        };
        let FileSpec {
            feed, name, size, ..
        } = &self.spec;
        leaf == receipt::leaf(&id, feed, name, *size, digest)
    }

    /// Whether its bytes travel in the logs.
    #[must_use]
    pub fn is_small(&self) -> bool {
        self.spec.size <= limits::SMALL_FILE_BYTES_MAX
    }

    /// The fence of its current attempt.
    #[must_use]
    pub fn fence(&self, incarnation: Incarnation) -> Fence {
        Fence {
            incarnation,
            attempt: self.attempt,
        }
    }

    pub(crate) fn leg_at(&self, node: &NodeName) -> Option<usize> {
        self.legs
            .iter()
            .position(|leg| leg.node == *node && leg.state != LegState::Dropped)
    }

    /// Consumers that have it, or are to have it.
    pub(crate) fn kept(&self) -> impl Iterator<Item = &TransferLeg> {
        self.legs
            .iter()
            .filter(|leg| leg.state != LegState::Dropped)
    }

    pub(crate) fn any_in_flight(&self) -> bool {
        self.legs.iter().any(|leg| leg.state.in_flight())
    }

    /// Whether nothing is left but to release the source. Nobody having to have it is not
    /// everybody having it.
    pub(crate) fn is_delivered(&self) -> bool {
        let mut kept = self.kept().peekable();
        !self.short && kept.peek().is_some() && kept.all(|leg| leg.state == LegState::Saved)
    }
}
