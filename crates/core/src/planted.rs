//! Bugs that real systems shipped, to be planted one at a time, so that it is known that the checks
//! find each of them.
//!
//! Each is one condition beside the line that it breaks. Without the feature `planted` every such
//! condition is the constant `false`, and nothing of a bug is compiled. A build without debug
//! assertions, as every release is, refuses the feature.

#[cfg(all(feature = "planted", not(debug_assertions)))]
compile_error!("a release must not contain planted bugs; hint: build with --profile planted");

/// Where a bug is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hunt {
    /// In simulated clusters.
    Simulator,
    /// On real filesystems that lose power: it is in code that the simulator models.
    Machines,
    /// Among peers that say anything: those of the simulator do not lie.
    Peers,
}

macro_rules! planted {
    ($($(#[$doc:meta])* $name:ident $label:literal $hunt:ident $words:literal,)*) => {
        /// A bug that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum Planted {
            $($(#[$doc])* $name,)*
        }

        impl Planted {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// Its name, as the command line and the environment have it.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)*
                }
            }

            /// What is wrong, in a few words.
            #[must_use]
            pub fn words(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)*
                }
            }

            /// Where it is looked for.
            #[must_use]
            pub fn hunt(self) -> Hunt {
                match self {
                    $(Self::$name => Hunt::$hunt,)*
                }
            }
        }
    };
}

planted! {
    /// A broker acknowledged what a timer would sync later (NATS JetStream). Breaks S1.
    SubmittedBeforeSync "submitted-before-sync" Simulator
        "`submitted` is answered while its record is not synced",
    /// Dead letters were deleted at a restart (Fluent Bit 11387). Breaks S1.
    FailedGoneAtRestart "failed-gone-at-restart" Simulator
        "a restart throws away what waits for a person",
    /// A retry file was retired before its outcome was logged (Sarracenia). Breaks S1.
    CloseBeforeSync "close-before-sync" Simulator
        "a slot closes before the answer that closes it is synced",
    /// A write was sent under a number that a crash would forget. Breaks S3.
    SlotBeforeSync "slot-before-sync" Simulator
        "bytes leave before the placement that drew their slot is synced",
    /// A replica answered for what only its memory held. Breaks S2.
    SavedBeforeSync "saved-before-sync" Simulator
        "`saved` is said while its record is not synced",
    /// A file was renamed and its directory never synced, so that a power cut undid it. Breaks S2.
    PublishWithoutDirSync "publish-without-dir-sync" Simulator
        "`published` is logged before the inbox directory is synced",
    /// A directory was made and its parent never synced. Breaks S2.
    NewDirWithoutSync "new-dir-without-sync" Simulator
        "a file is renamed into a new directory that may vanish",
    /// Recovery took the intent for the deed. Breaks S2.
    IntentIsDeed "intent-is-deed" Simulator
        "after a restart *publishing* counts as published",
    /// Duplicates were let through when a deduplication window had expired. Breaks S3.
    DeduplicateByTime "deduplicate-by-time" Simulator
        "what was published is forgotten by time instead of by the low watermark",
    /// A job was given out anew, and the old worker never fenced. Breaks S3.
    ReplacedUnfenced "replaced-unfenced" Simulator
        "a consumer that is replaced is not asked to abandon its slot",
    /// A job was given out anew before the old worker was fenced. Breaks S3.
    SecondSlot "second-slot" Simulator
        "a consumer gets a second slot before it has answered for the first",
    /// A side effect came before its entry in the write-ahead log. Breaks S3.
    PublishBeforeLogged "publish-before-logged" Simulator
        "small files are renamed before *publishing* is synced",
    /// A rename without a sync before it left empty files (the ext4 delayed allocation case). Breaks S4.
    RenameBeforeSync "rename-before-sync" Simulator
        "staged files are renamed without having been synced",
    /// A missing checksum was taken for a valid one (HDFS-14706). Breaks S4.
    NoChecksumIsValid "no-checksum-is-valid" Simulator
        "a commit's digest is not compared with what was received",
    /// The first acknowledgement was taken for a quorum. Breaks S4.
    CommitWhenAnyReceived "commit-when-any-received" Simulator
        "all are told to publish when one has received",
    /// The decision was sent before it was durable. Breaks S4.
    CommitBeforeDigest "commit-before-digest" Simulator
        "all are told to publish before the digest is synced",
    /// The tail's answer was counted for the whole chain. Breaks S5.
    OneReceiptForAll "one-receipt-for-all" Simulator
        "one consumer's receipt counts for all",
    /// A source was deleted while its delivery was known to memory only (Vector 20816). Breaks S5.
    ReleaseBeforeSync "release-before-sync" Simulator
        "a source goes before `done` is synced",
    /// An epoch was checked in one step and used in another (HDFS-7065). Breaks S6.
    OlderAttemptHeard "older-attempt-heard" Simulator
        "a producer hears answers to an attempt that is over",
    /// A process that came back was not fenced from what it had sent before. Breaks S6.
    OlderLifeHeard "older-life-heard" Simulator
        "a consumer takes small files that an older life sent",
    /// A connection that was replaced was still read. Breaks S6.
    OlderConnectionHeard "older-connection-heard" Simulator
        "a consumer hears messages of a connection that was replaced",
    /// Two nodes hashed with seeds of their own. Breaks S7.
    PlacementByOwnSeed "placement-by-own-seed" Simulator
        "every node places by a hash of its own",
    /// The log was committed without a sync. Breaks S8.
    CommitWithoutSync "commit-without-sync" Simulator
        "the log's commit returns without a sync",
    /// A new segment got its name before its bytes were synced. Breaks S8.
    SegmentNamedBeforeSync "segment-named-before-sync" Simulator
        "a log segment gets its name before its header is synced",
    /// A new log file's entry was never synced. Breaks S8.
    SegmentDirNotSynced "segment-dir-not-synced" Simulator
        "the log's directory is not synced after a new segment",
    /// Recovery answered from the page cache. Breaks S8.
    RecoveryBelievesCache "recovery-believes-cache" Simulator
        "recovery takes what it can read for synced",
    /// A log was cut at the first bad record, and acknowledged ones behind it were gone. Breaks S8.
    DamageIsTail "damage-is-tail" Simulator
        "the log is cut at damage in its middle",
    /// A buffer with a torn end kept its process from starting (Vector 16231). Breaks S8.
    TornTailIsDamage "torn-tail-is-damage" Simulator
        "a torn tail keeps the node down",
    /// Old segments went before the word that they no longer count was durable. Breaks S8.
    DropBeforeSync "drop-before-sync" Simulator
        "segments are removed before the word of it is synced",
    /// A failed fsync was tried again, and said that all was well (PostgreSQL before 2018). Breaks S9.
    SyncRetried "sync-retried" Simulator
        "a failed sync of the log is tried again",
    /// Recovery tidied up before it had made its own work durable. Breaks S10.
    RecoveryCutsFirst "recovery-cuts-first" Simulator
        "recovery cuts the old tail before its copy has a name",
    /// The space that was set aside was counted and never made. Breaks S11.
    ReserveForgotten "reserve-forgotten" Simulator
        "the log says that it has room when its reserve is gone",
    /// Recovery needed space that nobody had kept for it. Breaks S8.
    RefugeForgotten "refuge-forgotten" Simulator
        "no space is kept for a recovery on a full disk",
    /// Credit was taken and not given back when a transfer failed. Breaks S12.
    CreditLeak "credit-leak" Simulator
        "what ends badly stays counted as under way",
    /// A log could never be shortened, since what was over still counted. Breaks S12.
    ForgottenStaysLive "forgotten-stays-live" Simulator
        "records of what is forgotten keep the log from being shortened",
    /// One table stayed for every restart of every peer. Breaks S12.
    StartsNeverForgotten "starts-never-forgotten" Simulator
        "what is over of a producer's earlier lives is remembered for ever",
    /// A lost message was never missed. Breaks L1.
    LossNeverMissed "loss-never-missed" Simulator
        "no progress is no reason to ask",
    /// One unreachable target held up the whole queue. Breaks L2.
    WaitsForAll "waits-for-all" Simulator
        "a file goes to nobody while one of its consumers cannot be reached",
    /// A restart began from the first byte (iroh-blobs 254). Breaks L3.
    WatermarkGoneAtRestart "watermark-gone-at-restart" Simulator
        "a restarted consumer begins a large file anew",
    /// The sender ignored what the receiver had. Breaks L3.
    StreamFromStart "stream-from-start" Simulator
        "a producer sends from the first byte whatever a consumer holds",
    /// What was owed to a removed member waited for it for ever. Breaks L4.
    ForgetMovesNothing "forget-moves-nothing" Simulator
        "what is owed to a forgotten consumer is not placed anew",
    /// A cancelled download left its partial file. Breaks L5.
    StagingNotDiscarded "staging-not-discarded" Simulator
        "what was staged of an abandoned file stays",
    /// A finished job's input was never removed. Breaks L5.
    SourceNotReleased "source-not-released" Simulator
        "what is done leaves its source in the spool",
    /// A full disk was a final error. Breaks L6.
    FullDiskIsFinal "full-disk-is-final" Simulator
        "a small file that could not be staged is not tried again",
    /// A watermark was ahead of the data: in the simulator's model of receiving. Breaks S4.
    WatermarkBeforeSync "watermark-before-sync" Simulator
        "a watermark is logged before the bytes below it are synced",
    /// A file's sync was a setting, and off. Breaks S1 and S2.
    OsSyncSkipped "os-sync-skipped" Machines
        "no file is synced",
    /// Directories were never synced. Breaks S8.
    OsDirSyncSkipped "os-dir-sync-skipped" Machines
        "no directory of log, staging or inbox is synced",
    /// The sync that covers a batch was left out. Breaks S2.
    OsFsSyncSkipped "os-fs-sync-skipped" Machines
        "the filesystem is not synced under a batch of small files",
    /// A spool file was acknowledged out of the page cache. Breaks S1.
    SpoolNotSynced "spool-not-synced" Machines
        "`submitted` is logged before a spooled file's bytes are synced",
    /// A file was copied to another disk, and removed here while its name there could still vanish.
    /// Breaks S5.
    ArchiveDirNotSynced "archive-dir-not-synced" Machines
        "a file leaves the spool before the archive's directory is synced",
    /// What had been done was remembered in a cache. Breaks S3.
    KeptSetNotSynced "kept-set-not-synced" Machines
        "what `keep` has taken is remembered, and that is not synced",
    /// A download was moved into place before its bytes were synced. Breaks S2.
    SealNotSynced "seal-not-synced" Machines
        "`saved` is logged before a large file's bytes are synced",
    /// A receipt was checked for its signature, and not for what it is of. Breaks S5.
    LeafUnchecked "leaf-unchecked" Peers
        "a receipt that attests another file than was sent is believed",
}

impl std::fmt::Display for Planted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

impl std::str::FromStr for Planted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.iter().find(|bug| bug.name() == text);
        found.copied().ok_or_else(|| {
            let names: Vec<&str> = Self::ALL.iter().map(|bug| bug.name()).collect();
            format!("{text:?} is no planted bug; hint: {}", names.join(", "))
        })
    }
}

/// Whether a bug is planted in this process: never, where the feature is off.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub const fn planted(_: Planted) -> bool {
    false
}

#[cfg(feature = "planted")]
pub use switch::{plant, planted};

#[cfg(feature = "planted")]
mod switch {
    use std::sync::atomic::{AtomicU8, Ordering};

    use super::Planted;

    const NONE: u8 = u8::MAX;

    /// The only mutable state outside the machines, which is why it is behind a feature.
    static PLANTED: AtomicU8 = AtomicU8::new(NONE);

    /// Plants a bug in this process, in the place of another, or none.
    pub fn plant(bug: Option<Planted>) {
        let number = bug.map_or(NONE, |bug| bug as u8);
        PLANTED.store(number, Ordering::SeqCst);
    }

    /// Whether a bug is planted in this process.
    pub fn planted(bug: Planted) -> bool {
        PLANTED.load(Ordering::Relaxed) == bug as u8
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_name_is_read_as_it_is_printed() {
        for &bug in Planted::ALL {
            assert_eq!(bug.to_string().parse(), Ok(bug));
        }
        let names: BTreeSet<_> = Planted::ALL.iter().map(|bug| bug.name()).collect();
        assert_eq!(names.len(), Planted::ALL.len());
        assert!("rain".parse::<Planted>().is_err());
    }

    #[test]
    #[cfg(not(feature = "planted"))]
    fn without_the_feature_nothing_is_planted() {
        assert!(Planted::ALL.iter().all(|bug| !planted(*bug)));
    }
}
