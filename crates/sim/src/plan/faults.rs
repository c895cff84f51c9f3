//! What may go wrong in a run, and how often.
//!
//! Swarm testing (Groce et al., ISSTA 2012): every seed leaves most faults out, so that each is
//! also met alone and in every combination.

use std::collections::BTreeMap;

use crate::rng::Rng;

macro_rules! faults {
    ($($(#[$doc:meta])* $name:ident $label:literal,)*) => {
        /// A kind of misfortune.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        pub enum Fault {
            $($(#[$doc])* $name,)*
        }

        impl Fault {
            /// All kinds.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name, as reports and the command line have it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }
        }
    };
}

faults! {
    /// A process is killed.
    Kill "kill",
    /// A machine loses power.
    PowerCut "power-cut",
    /// A process or machine ends at a random disk operation.
    CrashAtOp "crash-at-op",
    /// A start ends at a random disk operation of its recovery.
    CrashInRecovery "crash-in-recovery",
    /// A connection breaks.
    BreakLink "break-link",
    /// Two nodes cannot reach each other for a while.
    Partition "partition",
    /// One node cannot reach another for a while, but hears it.
    OneWay "one-way",
    /// Nothing more arrives at one end of a connection, and nobody is told for a while.
    HalfOpen "half-open",
    /// What is under way on a connection is late by seconds.
    Stall "stall",
    /// A disk is full for a while.
    DiskFull "disk-full",
    /// A single call finds no space.
    NoSpaceCall "no-space-call",
    /// A sync of a file fails.
    SyncError "sync-error",
    /// A write fails after a part of it.
    WriteError "write-error",
    /// A read fails.
    ReadError "read-error",
    /// A disk takes many times as long for a while.
    SlowDisk "slow-disk",
    /// A single piece of disk work takes many seconds.
    SlowCall "slow-call",
    /// A person cancels a transfer.
    Cancel "cancel",
    /// A person retries what failed.
    Retry "retry",
    /// A request that must be refused is made.
    BadRequest "bad-request",
    /// An application takes a file away.
    Take "take",
    /// A stranger puts a file where one is expected.
    Squat "squat",
    /// A member is drained, and comes back.
    Drain "drain",
    /// A member gets another weight.
    Weigh "weigh",
    /// A member moves into another zone.
    Move "move",
    /// A member is listed without one of its feeds for a while.
    Unlist "unlist",
    /// A feed is taken out of a node's configuration for a while.
    Reconfigure "reconfigure",
    /// A byte of a large file changes in staging, where nobody looks again before it is published.
    RotStaging "rot-staging",
    /// A byte of a large source changes in the spool, after its digest is synced.
    RotSpool "rot-spool",
    /// A staging file that is not saved yet is removed by hand.
    LoseStaging "lose-staging",
    /// A consumer dies for good.
    ConsumerGone "consumer-gone",
    /// A producer dies for good.
    ProducerGone "producer-gone",
    /// A consumer leaves.
    Leave "leave",
    /// A consumer is dead, silent, slow or full until all is healed.
    Sicken "sicken",
    /// Frames of small files are lost without anybody being told.
    SilentLoss "silent-loss",
    /// Frames of small files are late by many seconds.
    LateFrame "late-frame",
    /// Small files arrive damaged.
    DamageSmall "damage-small",
    /// Chunks arrive damaged.
    DamageChunk "damage-chunk",
    /// Chunks that a consumer passes on are damaged and hashed anew: nobody can tell before the end.
    ForgeChunk "forge-chunk",
    /// A watched file is taken back just when it is to be taken in; it comes again later.
    Withdraw "withdraw",
    /// A node's clock jumps by years between two of its lives.
    ClockJump "clock-jump",
    /// A copy of a dead node's log is damaged, and has to be recovered or reported.
    DamageLog "damage-log",
}

/// How a fault comes about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Again and again, this many ms apart in the mean.
    Every(u64),
    /// Once, at this ms.
    At(u64),
    /// So many times of 1000 chances.
    Permille(u64),
}

/// The faults of a run.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Faults(BTreeMap<Fault, Rate>);

impl Faults {
    /// Whether a kind is in the run.
    #[must_use]
    pub fn has(&self, fault: Fault) -> bool {
        self.0.contains_key(&fault)
    }

    /// Of 1000 chances of a fault, how many come true.
    #[must_use]
    pub fn permille(&self, fault: Fault) -> u64 {
        match self.0.get(&fault) {
            Some(Rate::Permille(of_1000)) => *of_1000,
            Some(Rate::Every(_) | Rate::At(_)) | None => 0,
        }
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = (Fault, Rate)> + use<'_> {
        self.0.iter().map(|(fault, rate)| (*fault, *rate))
    }

    /// Puts one in.
    pub fn set(&mut self, fault: Fault, rate: Rate) {
        self.0.insert(fault, rate);
    }

    /// Leaves one out.
    pub fn remove(&mut self, fault: Fault) {
        self.0.remove(&fault);
    }

    /// Whether nothing can go wrong: what applications and persons may do at any time is no fault.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        let harmless = [
            Fault::Take,
            Fault::Retry,
            Fault::BadRequest,
            Fault::DamageLog,
        ];
        self.0.keys().all(|fault| harmless.contains(fault))
    }

    /// Space is short, and nothing else is wrong.
    fn scarcity(rng: &mut Rng) -> Self {
        let mut faults = Self::default();
        faults.set(Fault::DiskFull, Rate::Every(200 + rng.below(2_000)));
        faults.set(Fault::NoSpaceCall, Rate::Every(50 + rng.below(1_000)));
        faults.set(Fault::Take, Rate::Every(20 + rng.below(1_000)));
        faults
    }

    /// Whether nothing but space is short.
    #[must_use]
    pub fn is_scarcity(&self) -> bool {
        let of_it = [Fault::DiskFull, Fault::NoSpaceCall, Fault::Take];
        !self.0.is_empty() && self.0.keys().all(|fault| of_it.contains(fault))
    }

    /// One consumer is sick, and nothing else is wrong.
    fn one_sick(rng: &mut Rng) -> Self {
        let mut faults = Self::default();
        faults.set(Fault::Sicken, Rate::At(1 + rng.below(15_000)));
        faults.set(Fault::Take, Rate::Every(20 + rng.below(1_000)));
        faults
    }

    /// Disks are slow, connections break, and members are listed without a feed: answers come when
    /// everybody has decided otherwise.
    fn sluggish(rng: &mut Rng) -> Self {
        let mut faults = Self::default();
        let every = [
            (Fault::SlowDisk, 200, 1_500),
            (Fault::BreakLink, 40, 400),
            (Fault::Unlist, 100, 600),
            (Fault::Squat, 30, 300),
            (Fault::Retry, 200, 2_000),
        ];
        for (fault, least_ms, span_ms) in every {
            faults.set(fault, Rate::Every(least_ms + rng.below(span_ms)));
        }
        let some = [
            (Fault::Kill, 300, 2_000),
            (Fault::Cancel, 200, 2_000),
            (Fault::Stall, 50, 1_000),
        ];
        for (fault, least_ms, span_ms) in some {
            if rng.one_in(2) {
                faults.set(fault, Rate::Every(least_ms + rng.below(span_ms)));
            }
        }
        faults.set(Fault::SlowCall, Rate::Permille(1 + rng.below(50)));
        faults
    }

    /// Draws the faults of a run of this length.
    pub(super) fn draw(rng: &mut Rng, length_ms: u64) -> Self {
        let mut faults = Self::default();
        // One seed in eight runs without faults: what is promised only then is checked there. One in
        // sixteen each has one kind of trouble, for what is promised of that.
        match rng.below(16) {
            0 | 1 => return faults,
            2 => return Self::scarcity(rng),
            3 => return Self::one_sick(rng),
            4 => return Self::sluggish(rng),
            _ => {}
        }
        // Crashes are frequent: a run in which any of these three are has ten of them in the mean.
        let every = [
            (Fault::Kill, 2, 100, 1_200),
            (Fault::PowerCut, 2, 100, 1_200),
            (Fault::CrashAtOp, 2, 100, 1_200),
            (Fault::BreakLink, 2, 50, 2_000),
            (Fault::Partition, 3, 200, 4_000),
            (Fault::OneWay, 3, 200, 4_000),
            (Fault::HalfOpen, 3, 100, 3_000),
            (Fault::Stall, 3, 50, 2_000),
            (Fault::DiskFull, 4, 1_000, 5_000),
            (Fault::NoSpaceCall, 5, 100, 3_000),
            (Fault::SyncError, 6, 1_000, 5_000),
            (Fault::WriteError, 6, 1_000, 5_000),
            (Fault::ReadError, 6, 200, 3_000),
            (Fault::SlowDisk, 5, 500, 4_000),
            (Fault::Cancel, 4, 100, 3_000),
            (Fault::Retry, 2, 300, 2_000),
            (Fault::BadRequest, 8, 200, 3_000),
            (Fault::Take, 2, 20, 1_000),
            (Fault::Squat, 5, 50, 2_000),
            (Fault::Drain, 6, 500, 4_000),
            (Fault::Weigh, 6, 200, 4_000),
            (Fault::Move, 8, 200, 4_000),
            (Fault::Unlist, 5, 100, 3_000),
            (Fault::Reconfigure, 6, 200, 4_000),
            (Fault::RotStaging, 8, 50, 500),
            (Fault::RotSpool, 8, 50, 500),
            (Fault::LoseStaging, 8, 50, 500),
        ];
        for (fault, one_in, least_ms, span_ms) in every {
            if rng.one_in(one_in) {
                faults.set(fault, Rate::Every(least_ms + rng.below(span_ms)));
            }
        }
        let once = [
            (Fault::ConsumerGone, 6),
            (Fault::ProducerGone, 12),
            (Fault::Leave, 8),
        ];
        for (fault, one_in) in once {
            if rng.one_in(one_in) {
                faults.set(fault, Rate::At(500 + rng.below(length_ms)));
            }
        }
        let chances = [
            (Fault::CrashInRecovery, 3, 500),
            (Fault::SlowCall, 6, 20),
            (Fault::SilentLoss, 4, 100),
            (Fault::LateFrame, 5, 100),
            (Fault::DamageSmall, 6, 200),
            (Fault::DamageChunk, 6, 200),
            (Fault::ForgeChunk, 8, 200),
            (Fault::Withdraw, 5, 300),
            (Fault::ClockJump, 6, 600),
            (Fault::DamageLog, 4, 200),
        ];
        for (fault, one_in, most) in chances {
            if rng.one_in(one_in) {
                faults.set(fault, Rate::Permille(1 + rng.below(most)));
            }
        }
        faults
    }
}
